"""Commands that do one step: collect, perplexity, finetune, evaluate."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langneurons.cli.options import (
    AsJson,
    Block,
    Dtype,
    Languages,
    Matched,
    Model,
    Random,
    Seed,
    Text,
    language_list,
    not_of_a_study,
    parameters,
    print_json,
    print_table,
    say,
    text_sources,
)
from langneurons.errors import InputError

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet, Units
    from langneurons.intervention import Value
    from langneurons.statistics import Statistics

Parameter = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="A parameter of the method.", metavar="KEY=VALUE"),
]
Neurons = Annotated[
    Path | None, typer.Option("--neurons", "-n", help="Neuron set: .json or a published .pth.")
]


def add(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(
        epilog="Example: langneurons collect -m gemma.gguf -t en=en.txt -t hi=hi.txt -o stats"
    )(collect)
    app.command(
        epilog="Example: langneurons perplexity -n lape.json -t en=en.txt -t hi=hi.txt "
        "-m gemma.gguf"
    )(perplexity)
    app.command(
        epilog="Example: langneurons finetune mini-nli --lang en -n lape.json --units hi -o adapter"
    )(finetune)
    app.command(
        epilog="Example: langneurons evaluate mini-nli --adapter adapter -l en,hi,ur "
        "-n lape.json --value P90 --statistics stats"
    )(evaluate)


def read_all_texts(text: list[str] | None, languages: str | None) -> dict[str, list[str]]:
    """The documents of each language that ``--text`` names.

    Raises:
        InputError: If there is none, or one cannot be read.
    """
    from langneurons.data import read_texts
    from langneurons.errors import LangNeuronsError

    found = {}
    for lang, sources in text_sources(text, languages).items():
        try:
            found[lang] = [text for source in sources for text in read_texts(source)]
        except LangNeuronsError as error:
            raise InputError(f"text of {lang}: {error}") from error
    if not found:
        raise InputError("no text: give one per language, such as --text en=english.txt.")
    return found


def collect(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the statistics.")],
    model: Model = "mini",
    text: Text = None,
    languages: Languages = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens per language, at most; default: all.")
    ] = None,
    site: Annotated[str, typer.Option(help="Where units live.")] = "mlp.act",
    block: Block = 256,
    rows: Annotated[int, typer.Option(min=0, help="Token rows kept for quantiles.")] = 10240,
    dtype: Dtype = "auto",
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Say what it would take and stop.")
    ] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Collect what every unit does in every language; one pass over the text."""
    from langneurons import statistics
    from langneurons.models import load

    not_of_a_study(output)
    if model == "mini" and not text:
        from langneurons import mini

        wanted = language_list(languages) or list(mini.LANGUAGES)
        texts = {lang: mini.text(lang, tokens=tokens or 60_000) for lang in wanted}
    else:
        texts = read_all_texts(text, languages)
    lm = load(model, dtype=dtype)
    if what_if:
        expected = statistics.estimate(
            lm, texts, site=site, tokens=tokens, block=block, rows=rows, output=output
        )
        if as_json:
            print_json(dataclasses.asdict(expected))
        else:
            typer.echo(str(expected))
        return
    say(f"Collecting {site} of {lm.name} in {' '.join(texts)}; results in {output}/")
    stats = statistics.collect(
        lm, texts, site=site, tokens=tokens, block=block, rows=rows, seed=seed, output=output
    )
    if as_json:
        print_json({"output": str(output), "site": stats.site, "tokens": stats.tokens})
    else:
        counted = ", ".join(f"{lang} {count:,}" for lang, count in stats.tokens.items())
        typer.echo(f"Statistics: {output} (tokens: {counted})")


def read_statistics(path: Path) -> Statistics:
    """Statistics in a folder, in a run directory's folder of them, or published counts.

    Counts are one safetensors file, a folder with one ``counts.safetensors``, or a folder of files
    under their published names (``activation.LANGUAGE...``), known by their content.
    """
    from langneurons.identification import read_counts
    from langneurons.identification.formats import has_counts
    from langneurons.statistics import Statistics

    inside = path / "statistics"
    if inside.is_dir():
        return Statistics.load(inside)
    for one in (path, path / "counts.safetensors"):
        if one.is_file():
            return read_counts(one)
    if path.is_dir() and not any(path.glob("*.safetensors")) and has_counts(path):
        return read_counts(path)
    return Statistics.load(path)


def _neuron_set(path: Path) -> NeuronSet:
    from langneurons.identification import NeuronSet

    return NeuronSet.load(path)


def value_of(name: str, stats: Statistics | None, language: str) -> Value:
    """A replacement value by its name on the command line.

    Raises:
        InputError: Unknown name, or a statistic without statistics.
    """
    from langneurons.intervention import Value

    plain = {"zero": 0.0}
    if name in plain:
        return Value.constant(plain[name])
    try:
        return Value.constant(float(name))
    except ValueError:
        pass
    percentile = re.fullmatch(r"P(\d{1,2}(?:\.\d+)?|100)", name)
    if percentile is None and name not in ("mean", "minimum", "maximum"):
        raise InputError(
            f"value {name!r} is none of zero, mean, minimum, maximum, P0 to P100 or a number."
        )
    if stats is None:
        raise InputError(f"the value {name} comes from statistics: add --statistics DIR.")
    if percentile is not None:
        return Value.quantile(stats, language, float(percentile[1]) / 100)
    made: Value = getattr(Value, name)(stats, language)
    return made


def perplexity(
    neurons: Annotated[Path, typer.Option("--neurons", "-n", help="Neuron set.")],
    model: Model = "mini",
    text: Text = None,
    languages: Languages = None,
    value: Annotated[str, typer.Option(help="zero, mean, P90 or a number.")] = "zero",
    statistics: Annotated[
        Path | None, typer.Option(help="Statistics, for values and rate-matched controls.")
    ] = None,
    random: Random = 3,
    matched: Matched = 0,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens per language, at most.")] = 5000,
    block: Block = 256,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Parquet file of the long table.")
    ] = None,
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Perplexity of every language when one language's neurons are overwritten."""
    import pandas as pd

    from langneurons.artifacts import write_table
    from langneurons.data import make_blocks
    from langneurons.evaluation import perplexity_change
    from langneurons.models import load

    not_of_a_study(output)
    found = _neuron_set(neurons)
    stats = read_statistics(statistics) if statistics else None
    if model == "mini" and not text:
        from langneurons import mini

        wanted = language_list(languages) or list(found)
        texts = {lang: mini.text(lang, tokens=2 * tokens, split="heldout") for lang in wanted}
    else:
        texts = read_all_texts(text, languages)
    lm = load(model, dtype=dtype)
    blocks = {
        lang: make_blocks(documents, lm.tokenizer, block=block, tokens=tokens)
        for lang, documents in texts.items()
    }
    baseline: dict[str, Any] = {}
    tables = [
        perplexity_change(
            lm,
            found.select([lang]),
            blocks,
            value=value_of(value, stats, lang),
            controls={"random": random, "matched": matched},
            stats=stats,
            baseline=baseline,
        ).table
        for lang in found
        if len(found[lang])
    ]
    table = pd.concat(tables, ignore_index=True)
    if output:
        write_table(output, table)
    if as_json:
        print_json(table.to_dict("records"))
        return
    own = table[table["kind"] == "own"].pivot(index="row", columns="column", values="ratio")
    print_table(own.reset_index(), title=f"Perplexity, ratio to untouched, {value} over the row's")
    if output:
        typer.echo(f"Table: {output}")


def _chosen_units(neurons: Path | None, units: str | None) -> Units | str:
    if units in (None, "none", "all") and neurons is None:
        return units or "none"
    if neurons is None or units is None:
        raise InputError("--units LANG needs --neurons FILE, and --neurons needs --units LANG.")
    found = _neuron_set(neurons)
    union = None
    for lang in language_list(units):
        if lang not in found:
            from langneurons.errors import unknown

            raise unknown("language of the neuron set", lang, found)
        union = found[lang] if union is None else union | found[lang]
    if union is None:
        raise InputError("--units names no language: give some, such as --units hi,ur.")
    return union


def finetune(
    task: Annotated[str, typer.Argument(help="mini-nli, mini-qa, xnli:DIR, xquad:DIR ...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the adapter.")],
    model: Model = "mini",
    lang: Annotated[str, typer.Option(help="Language of the training examples.")] = "en",
    neurons: Neurons = None,
    units: Annotated[
        str | None,
        typer.Option(help="Which units learn: none, all, or languages of --neurons (hi,en)."),
    ] = None,
    attention: Annotated[
        bool, typer.Option(help="Plain LoRA on the attention projections.")
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Training examples, at most.")] = None,
    param: Parameter = None,
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Train an adapter in which only the chosen units of the MLP learn."""
    from langneurons import finetuning
    from langneurons.data.tasks import get_task
    from langneurons.finetuning.sharding import sharding_asked_for
    from langneurons.models import load

    not_of_a_study(output)
    settings = parameters(param)
    finetuning.get_recipe(None, **settings)
    chosen = _chosen_units(neurons, units)
    made = finetuning.finetune(
        # Accelerators then hold shares of the weights alone.
        load(model, dtype=dtype, device="cpu" if sharding_asked_for() else "auto"),
        get_task(task),
        lang=lang,
        neurons=chosen,
        attention=attention,
        limit=limit,
        seed=seed,
        output=output,
        **settings,
    )
    if as_json:
        print_json({"output": str(made.path), "trainable": made.trainable})
    else:
        typer.echo(f"Adapter: {made.path} ({made.trainable:,} trainable parameters)")


def evaluate(
    task: Annotated[str, typer.Argument(help="mini-nli, mini-qa, xnli:DIR, xquad:DIR ...")],
    model: Model = "mini",
    languages: Languages = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter.")] = None,
    neurons: Neurons = None,
    value: Annotated[
        str | None, typer.Option(help="Overwrite each language's neurons: zero, mean, P90 ...")
    ] = None,
    statistics: Annotated[Path | None, typer.Option(help="Statistics, for values.")] = None,
    split: Annotated[str, typer.Option(help="Split of the task.")] = "test",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Examples per language, at most.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the per-example rows.")
    ] = None,
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Score a task per language, with intervals; under an adapter or an overwrite if given."""
    import pandas as pd

    from langneurons.data.tasks import get_task
    from langneurons.evaluation import evaluate as score
    from langneurons.intervention import Intervention
    from langneurons.models import load

    not_of_a_study(output)
    if (value is None) != (neurons is None):
        raise InputError("--value and --neurons go together: give both or neither.")
    found = _neuron_set(neurons) if neurons else None
    stats = read_statistics(statistics) if statistics else None
    made = task if task.startswith("harness:") else get_task(task)
    wanted = language_list(languages) or (["en"] if isinstance(made, str) else list(made.languages))
    lm = load(model, dtype=dtype)
    rows = []
    for lang in wanted:
        intervention = None
        if found is not None and value is not None:
            if lang not in found or not len(found[lang]):
                raise InputError(
                    f"the neuron set has no unit for {lang}: leave it out of --languages."
                )
            intervention = Intervention(
                units=found[lang], value=value_of(value, stats, lang), site=found.site
            )
        scores = score(
            lm,
            made,
            lang,
            adapter=adapter,
            intervention=intervention,
            split=split,
            limit=limit,
            output=output / f"{lang}.parquet" if output else None,
        )
        for metric in scores.metrics:
            low, high = scores.interval(metric)
            rows.append(
                {
                    "language": lang,
                    "metric": metric,
                    "value": scores.value(metric),
                    "low": low,
                    "high": high,
                    "n": scores.n,
                }
            )
    if as_json:
        print_json(rows)
    else:
        print_table(pd.DataFrame(rows), title=f"{task}, 95 % intervals")
        if output:
            typer.echo(f"Scores: {output}")
