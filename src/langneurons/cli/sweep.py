"""``langneurons sweep``: perplexity over replacement values, own units against random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from langneurons.cli import steps
from langneurons.cli.options import AsJson, Dtype, Model, print_json, print_table
from langneurons.errors import InputError, unknown


def add(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(
        epilog="Example: langneurons sweep -n lape.json --lang hi -t hi.txt -m gemma.gguf "
        "--statistics stats --values=-1,zero,1,P10,P90 --figure sweep.png"
    )(sweep)


def sweep(
    neurons: Annotated[Path, typer.Option("--neurons", "-n", help="Neuron set.")],
    lang: Annotated[str, typer.Option(help="Language whose units and text are used.")],
    model: Model = "mini",
    text: Annotated[
        str | None, typer.Option("--text", "-t", help="Text of the language; mini makes its own.")
    ] = None,
    values: Annotated[
        str, typer.Option(help="Values, with commas: numbers, zero, mean, P0 to P100.")
    ] = "-10,-1,zero,1,10",
    statistics: Annotated[
        Path | None, typer.Option(help="Statistics, for values that come from them.")
    ] = None,
    random: Annotated[int, typer.Option(help="Same-size random draws.")] = 2,
    matched: Annotated[int, typer.Option(help="Draws of units of the same activity.")] = 0,
    tokens: Annotated[int, typer.Option(help="Tokens of text, at most.")] = 3000,
    block: Annotated[int, typer.Option(help="Tokens in a block.")] = 256,
    figure: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Parquet file of the table.")
    ] = None,
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Perplexity of a language for every value written over its units."""
    import pandas as pd

    from langneurons.artifacts import write_table
    from langneurons.data import make_blocks, read_texts
    from langneurons.evaluation import perplexity_change
    from langneurons.identification import NeuronSet
    from langneurons.models import load

    found = NeuronSet.load(neurons)
    if lang not in found:
        raise unknown("language of the neuron set", lang, found)
    if not len(found[lang]):
        raise InputError(f"the neuron set has no unit for {lang}: choose another --lang.")
    stats = steps.read_statistics(statistics) if statistics else None
    chosen = {
        name: steps.value_of(name, stats, lang)
        for name in (part.strip() for part in values.split(","))
        if name
    }
    if text is None and model != "mini":
        raise InputError(f"--model {model} needs text: give --text PATH.")
    if text is None:
        from langneurons import mini

        documents = mini.text(lang, tokens=2 * tokens, split="heldout")
    else:
        documents = read_texts(text)
    lm = load(model, dtype=dtype)
    blocks = {lang: make_blocks(documents, lm.tokenizer, block=block, tokens=tokens)}
    baseline: dict[str, Any] = {}
    tables = [
        perplexity_change(
            lm, found.select([lang]), blocks, value=value,
            controls={"random": random, "matched": matched}, stats=stats, baseline=baseline,
        ).table.assign(value=name)
        for name, value in chosen.items()
    ]  # fmt: skip
    table = pd.concat(tables, ignore_index=True).assign(language=lang)
    if output:
        write_table(output, table)
    if figure:
        from langneurons.reporting.figures.sweep import sweep as draw

        figure.parent.mkdir(parents=True, exist_ok=True)
        draw(table.assign(units=table["units"].astype(str))).savefig(figure, dpi=200)
    if as_json:
        print_json(table.to_dict("records"))
        return
    shown = table[["value", "kind", "seed", "units", "ratio", "low", "high"]]
    print_table(shown, title=f"Perplexity of {lang}, ratio to untouched")
    for path in (output, figure):
        if path:
            typer.echo(f"Written: {path}")
