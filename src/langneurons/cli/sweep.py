"""``langneurons sweep``: values, shares and layers, own units against random ones."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langneurons.cli import steps
from langneurons.cli.drawing import check_figure, write_figure
from langneurons.cli.options import (
    AsJson,
    Block,
    Dtype,
    Matched,
    Model,
    Random,
    language_list,
    print_json,
    print_table,
)
from langneurons.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

    from langneurons.evaluation.sweep import TaskScore
    from langneurons.models import LanguageModel


def add(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(
        epilog="Example: langneurons sweep -n lape.json --lang hi -t hi.txt -m gemma.gguf "
        "--statistics stats --values=-1,zero,1,P10,P90 --shares 0.001,0.01,0.05 --bands 3 "
        "--figure sweep.png"
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
    shares: Annotated[
        str | None,
        typer.Option(help="Shares of all units that the method takes, with commas: 0.001,0.05."),
    ] = None,
    bands: Annotated[
        int, typer.Option(min=0, help="Groups of consecutive layers, each overwritten alone.")
    ] = 0,
    at: Annotated[str, typer.Option(help="Value written over each share and band.")] = "zero",
    task: Annotated[
        str | None, typer.Option(help="Score a task too, at every point: mini-nli, xnli:DIR ...")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of the adapter the task is scored under.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Examples of the task, at most.")] = None,
    statistics: Annotated[
        Path | None, typer.Option(help="Statistics, for values and shares.")
    ] = None,
    random: Random = 2,
    matched: Matched = 0,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of text, at most.")] = 3000,
    block: Block = 256,
    figure: Annotated[
        Path | None,
        typer.Option(help="Draw it: .png, .svg or .pdf; shares and layers get files of their own."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Parquet file of the table.")
    ] = None,
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Perplexity of a language for values written over its units, shares of units and layers."""
    from langneurons.artifacts import write_table
    from langneurons.data import make_blocks
    from langneurons.evaluation.sweep import sweep as measure
    from langneurons.identification import NeuronSet
    from langneurons.models import load

    check_figure(figure)
    found = NeuronSet.load(neurons)
    if lang not in found:
        raise unknown("language of the neuron set", lang, found)
    if not len(found[lang]):
        raise InputError(f"the neuron set has no unit for {lang}: choose another --lang.")
    if adapter is not None and task is None:
        raise InputError("--adapter needs the task it was trained on: add --task TASK.")
    stats = steps.read_statistics(statistics) if statistics else None
    parts = _numbers(shares)
    if parts and stats is None:
        raise InputError("--shares finds the units anew: add --statistics DIR.")
    names = [part.strip() for part in values.split(",") if part.strip()]
    lines = [at] if parts or bands else []
    chosen = {name: steps.value_of(name, stats, lang) for name in [*names, *lines]}
    documents = _text(lang, model, text, tokens)
    lm = load(model, dtype=dtype)
    table = measure(
        lm,
        found,
        lang,
        make_blocks(documents, lm.tokenizer, block=block, tokens=tokens),
        {name: (value, "set") for name, value in chosen.items()},
        at=lines,
        shares=parts,
        bands=bands,
        controls={"random": random, "matched": matched},
        stats=stats,
        task=_task_score(lm, task, lang, adapter, limit),
    ).assign(language=lang, **({"task": task.partition(":")[0]} if task else {}))
    if output:
        write_table(output, table)
    drawn = _draw(table, figure) if figure else []
    if as_json:
        print_json(table.to_dict("records"))
        return
    print_table(_shown(table), title=f"Perplexity of {lang}, ratio to untouched")
    for path in (output, *drawn):
        if path:
            typer.echo(f"Written: {path}")


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """What fits a terminal: intervals beside their numbers; the rest is in ``--json``."""
    import pandas as pd

    def spans(name: str, low: str, high: str, digits: int) -> list[str]:
        rows = zip(table[name], table[low], table[high], strict=True)
        return [f"{a:.{digits}f} [{b:.{digits}f}, {c:.{digits}f}]" for a, b, c in rows]

    own = table["kind"] == "own"
    drawn = {
        "axis": table["axis"],
        "point": table["point"],
        "value": table["value"],
        "units": table["units"],
        "of": table["kind"].where(own, table["kind"] + " " + table["seed"].astype(str)),
        "ratio": spans("ratio", "low", "high", 2),
    }
    if "score" in table:
        change = spans("score_change", "score_change_low", "score_change_high", 1)
        drawn |= {"change of the score": change}
    return pd.DataFrame(drawn)


def _numbers(shares: str | None) -> list[float]:
    try:
        return [float(part) for part in language_list(shares)]
    except ValueError as error:
        raise InputError(f"--shares {shares} must be numbers with commas: 0.001,0.01.") from error


def _text(lang: str, model: str, text: str | None, tokens: int) -> list[str]:
    if text is None and model != "mini":
        raise InputError(f"--model {model} needs text: give --text PATH.")
    if text is None:
        from langneurons import mini

        return mini.text(lang, tokens=2 * tokens, split="heldout")
    from langneurons.data import read_texts

    return read_texts(text)


def _task_score(
    lm: LanguageModel, task: str | None, lang: str, adapter: Path | None, limit: int | None
) -> TaskScore | None:
    if task is None:
        return None
    from langneurons.data.tasks import get_task
    from langneurons.evaluation import evaluate
    from langneurons.evaluation.sweep import TaskScore

    made = get_task(task)
    if adapter is not None:
        from langneurons.finetuning import load_adapter

        lm = load_adapter(lm, adapter)
    return TaskScore(lambda done: evaluate(lm, made, lang, intervention=done, limit=limit))


def _draw(table: pd.DataFrame, figure: Path) -> list[Path]:
    """One figure an axis: the file named, and others beside it."""
    from langneurons.parts.sweep.figures import sweep as draw

    table = table.rename(columns={"units": "count", "share": "units"})
    paths: list[Path] = []
    for axis, group in table.groupby("axis", sort=False):
        ending = "" if not paths else f"-{axis}"
        path = figure.with_name(f"{figure.stem}{ending}{figure.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_figure(partial(draw, group), path)
        paths.append(path)
    return paths
