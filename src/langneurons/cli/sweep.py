"""``langneurons sweep``: values, shares and layers, own units against random ones."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langneurons import defaults
from langneurons.cli import inputs
from langneurons.cli.drawing import check_figure, write_figure
from langneurons.cli.options import (
    AsJson,
    Block,
    Device,
    DryRun,
    Dtype,
    Field,
    Load,
    Matched,
    Model,
    Random,
    Seed,
    Table,
    Text,
    Trust,
    check_table,
    language_list,
    print_json,
    print_table,
    show_plan,
    write_result,
)
from langneurons.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

    from langneurons.evaluation.sweep import TaskScore
    from langneurons.models import LanguageModel


def add(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(
        epilog="Example: langneurons sweep -n lape.json -l hi -t hi.txt -m gemma.gguf "
        "--statistics stats --values=-1,zero,1,P10,P90 --shares 0.001,0.01,0.05 --bands 3 "
        "--figure sweep.png"
    )(sweep)


def sweep(
    neurons: Annotated[Path, typer.Option("--neurons", "-n", help="Neuron set.")],
    languages: Annotated[
        str,
        typer.Option(
            "--languages", "-l", help="Languages whose units and text are used, with commas."
        ),
    ],
    model: Model = "mini",
    text: Text = None,
    field: Field = None,
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
        Path | None, typer.Option(help="Statistics, for values, shares and matched controls.")
    ] = None,
    random: Random = defaults.SWEEP_RANDOM,
    matched: Matched = None,
    tokens: Annotated[
        int, typer.Option(min=1, help="Tokens per language, at most.")
    ] = defaults.HELD_OUT_TOKENS,
    block: Block = defaults.BLOCK,
    figure: Annotated[
        Path | None,
        typer.Option(
            help="Draw it: .png, .svg or .pdf; further languages, shares and layers get files of "
            "their own."
        ),
    ] = None,
    output: Table = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    load: Load = None,
    trust_remote_code: Trust = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Perplexity of a language for values written over its units, shares of units and layers."""
    import pandas as pd

    from langneurons.data import make_blocks
    from langneurons.data.tasks import get_task
    from langneurons.evaluation.sweep import sweep as measure

    check_figure(figure)
    check_table(output)
    file = inputs.NeuronFile(neurons, language_list(languages))
    wanted = _languages(file, languages)
    if adapter is not None and task is None:
        raise InputError("--adapter needs the task it was trained on: add --task TASK.")
    if task is not None:
        get_task(task)
    stats = inputs.read_statistics(statistics) if statistics else None
    parts = _numbers(shares)
    if parts and stats is None:
        raise InputError("--shares finds the units anew: add --statistics DIR.")
    names = [part.strip() for part in values.split(",") if part.strip()]
    lines = [at] if parts or bands else []
    chosen = {
        lang: {name: inputs.value_of(name, stats, lang) for name in [*names, *lines]}
        for lang in wanted
    }
    texts = inputs.texts_of(
        model, text, languages, field, otherwise=wanted, tokens=2 * tokens, split="heldout"
    )
    controls = {
        "random": random,
        "matched": inputs.draws(matched, stats, defaults.SWEEP_MATCHED),
    }
    if dry_run:
        inputs.check_plan(model, trust_remote_code, block, texts, load)
        points = len(names) + len(lines) * (len(parts) + bands)
        passes = len(wanted) * (1 + points * (1 + sum(controls.values())))
        show_plan(
            {
                "model": model,
                "languages": wanted,
                "points": points,
                "controls": [f"{count} {kind}" for kind, count in controls.items()],
                "passes over a text": passes,
                "tokens at most": passes * tokens,
                **({"task": task} if task else {}),
                **({"output": str(output)} if output else {}),
            },
            as_json,
        )
        return
    lm = inputs.load_model(model, dtype, device, trust_remote_code, load)
    found = file.on(lm)
    tables = [
        measure(
            lm,
            found,
            lang,
            make_blocks(texts[lang], lm.tokenizer, block=block, tokens=tokens),
            chosen[lang],
            at=lines,
            shares=parts,
            bands=bands,
            controls=controls,
            stats=stats,
            seed=seed,
            task=_task_score(lm, task, lang, adapter, limit),
        ).assign(language=lang, **({"task": task.partition(":")[0]} if task else {}))
        for lang in wanted
    ]
    table = pd.concat(tables, ignore_index=True)
    if output:
        write_result(output, table)
    drawn = _draw(table, figure) if figure else []
    if as_json:
        print_json(table.to_dict("records"))
        return
    for lang, part in zip(wanted, tables, strict=True):
        print_table(_shown(part), title=f"Perplexity of {lang}, ratio to untouched")
    for path in (output, *drawn):
        if path:
            typer.echo(f"Written: {path}")


def _languages(file: inputs.NeuronFile, languages: str) -> list[str]:
    """The languages named, each with units in the set."""
    named = language_list(languages)
    if not named:
        raise InputError("--languages names no language: give some, such as --languages hi,ur.")
    for lang in named:
        if lang not in file.found:
            raise unknown("language of the neuron set", lang, file.found)
        if not len(file.found[lang]):
            raise InputError(f"the neuron set has no unit for {lang}: leave it out.")
    return named


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
    """One figure a language and axis: the file named, and others beside it."""
    from langneurons.parts.sweep.figures import sweep as draw

    table = table.rename(columns={"units": "count", "share": "units"})
    paths: list[Path] = []
    several = table["language"].nunique() > 1
    for (lang, axis), group in table.groupby(["language", "axis"], sort=False):
        ending = "" if not paths else f"-{lang}-{axis}" if several else f"-{axis}"
        path = figure.with_name(f"{figure.stem}{ending}{figure.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_figure(partial(draw, group), path)
        paths.append(path)
    return paths
