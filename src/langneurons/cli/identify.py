"""``langneurons identify``: the units of each language, by one method or by all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langneurons.cli import inputs, steps
from langneurons.cli.options import (
    AsJson,
    Device,
    DryRun,
    Dtype,
    Field,
    Languages,
    Load,
    Seed,
    Text,
    Trust,
    language_list,
    not_of_a_study,
    parameters,
    print_json,
    print_table,
    say,
    show_plan,
)
from langneurons.errors import InputError, unknown

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.statistics import Statistics

Directory = Annotated[
    Path,
    typer.Argument(
        help="Folder of statistics, a run directory, or published activation counts.",
        metavar="DIR",
    ),
]


def add(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(
        epilog="Example: langneurons identify stats --method all -p per_language=0.00125 "
        "-m gemma.gguf -t {lang}.txt -l en,hi"
    )(identify)


def identify(
    directory: Directory,
    method: Annotated[
        str, typer.Option(help="A method, several with commas, or all; see the docs.")
    ] = "lape",
    languages: Languages = None,
    param: steps.Parameter = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="For methods that read the model: gradient, ..."),
    ] = None,
    text: Text = None,
    field: Field = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Draw the documents anew so many times: how stable is it?")
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File (folder for several methods); default DIR/neurons, in a study's folder "
            "DIR/identified.",
        ),
    ] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    load: Load = None,
    trust_remote_code: Trust = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Find the units of each language from collected statistics."""
    from langneurons.identification import METHODS

    names = METHODS.names() if method == "all" else language_list(method)
    options = parameters(param)
    _check(names, options)
    not_of_a_study(output)
    stats = inputs.read_statistics(directory)
    chosen = language_list(languages) or None
    for lang in chosen or ():
        if lang not in stats.languages:
            raise unknown("language of the statistics", lang, stats.languages)
    given: dict[str, Any] = {}
    if model is not None and any(METHODS.get(name).needs == "model" for name in names):
        texts = inputs.texts_of(
            model, text, ",".join(chosen or stats.languages), field,
            otherwise=stats.languages, tokens=None, made=20_000,
        )  # fmt: skip
        if dry_run:
            inputs.check_plan(model, trust_remote_code, None, texts, load)
        else:
            lm = inputs.load_model(model, dtype, device, trust_remote_code, load)
            given = {"model": lm, "texts": texts}
    if dry_run:
        _plan(names, stats, chosen, model, as_json)
        return
    home = directory if directory.is_dir() else directory.parent
    # What a study has found in its own folder stays as its keys vouch for it.
    folder = home / ("identified" if (home / ".stages").is_dir() else "neurons")
    found: dict[str, NeuronSet] = {}
    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            found[name] = _one(name, stats, chosen, options, given)
        except InputError as error:
            if len(names) == 1:
                raise
            rows.append({"method": name, "note": str(error)})
            continue
        path = (
            (output or folder / f"{name}.json")
            if len(names) == 1
            else (output or folder) / (f"{name}.json")
        )
        found[name].save(path)
        rows.append({"method": name, **found[name].sizes(), "file": str(path)})
        if bootstrap and METHODS.get(name).needs != "model":
            rows[-1]["stability"] = _stable(stats, name, chosen, options, bootstrap, seed, path)
    if not found:
        raise InputError(
            f"no method found a set ({rows[0]['note'].rstrip('.')}): use other parameters or "
            "more text."
        )
    if as_json:
        single = {"output": rows[0].get("file"), "units": next(iter(found.values())).sizes()}
        more = {key: rows[0][key] for key in ("stability",) if key in rows[0]}
        print_json({**single, **more} if len(names) == 1 else rows)
        return
    _print(found, rows)


def _check(names: list[str], options: Mapping[str, Any]) -> None:
    """Refuse an unknown method, and a parameter that would be given to methods without it."""
    from langneurons.identification import METHODS, QUOTAS

    if not names:
        raise InputError("--method names no method: give one, such as lape, or all.")
    for name in names:
        METHODS.get(name)
    for key in options:
        if len(names) > 1 and key not in QUOTAS:
            raise InputError(
                f"-p {key} belongs to one method: give --method NAME, or what all methods take "
                f"({', '.join(QUOTAS)})."
            )


def _plan(
    names: list[str],
    stats: Statistics,
    chosen: list[str] | None,
    model: str | None,
    as_json: bool,
) -> None:
    from langneurons.identification import METHODS

    needing = [name for name in names if METHODS.get(name).needs == "model"]
    if needing and model is None and len(needing) == len(names):
        raise InputError(f"method {needing[0]!r} reads the model: add --model and --text.")
    show_plan(
        {
            "methods": names,
            "languages": chosen or list(stats.languages),
            "site": stats.site,
            "units": stats.shape[0] * stats.shape[1],
            **({"read the model": needing} if needing else {}),
        },
        as_json,
    )


def _one(
    name: str,
    stats: Statistics,
    languages: list[str] | None,
    options: Mapping[str, Any],
    given: Mapping[str, Any],
) -> NeuronSet:
    from langneurons import identification

    entry = identification.METHODS.get(name)
    if entry.needs == "model" and not given:
        raise InputError(f"method {name!r} reads the model: add --model and --text.")
    say(f"{name}: {entry.summary}")
    more = given if entry.needs == "model" else {}
    return identification.identify(stats, method=name, languages=languages, **more, **options)


def _stable(
    stats: Statistics,
    name: str,
    languages: list[str] | None,
    options: Mapping[str, Any],
    replicates: int,
    seed: int,
    path: Path,
) -> dict[str, float]:
    """Mean Jaccard index of a resampled selection by language; every unit's share in a table."""
    from langneurons.artifacts import write_table
    from langneurons.identification import bootstrap

    made = bootstrap(stats, name, languages, replicates=replicates, seed=seed, **options)
    write_table(path.with_name(f"{path.stem}-stability.parquet"), made.table())
    return made.jaccard


def _print(found: Mapping[str, NeuronSet], rows: list[dict[str, Any]]) -> None:
    """One table: units of each language by method, how much is LAPE's too, what went wrong."""
    import pandas as pd

    first = next(iter(found.values()))
    if len(rows) == 1:
        total = first.shape[0] * first.shape[1]
        sizes = first.sizes()
        table = pd.DataFrame({"language": list(sizes), "units": list(sizes.values())})
        table["share %"] = 100 * table["units"] / total
        if "stability" in rows[0]:
            table["bootstrap Jaccard"] = table["language"].map(rows[0]["stability"])
        print_table(table)
        typer.echo(f"Neurons: {rows[0]['file']}")
        return
    lines = []
    for row in rows:
        neurons = found.get(row["method"])
        line: dict[str, Any] = {"method": row["method"]}
        line |= {lang: str(row.get(lang, "")) for lang in first}
        if neurons is not None:
            line |= _reliability(neurons, found.get("lape"))
        if "stability" in row:
            line["bootstrap"] = sum(row["stability"].values()) / len(row["stability"])
        lines.append({**line, "note": row.get("note", "")})
    table = pd.DataFrame(lines)
    notes = [f"{line['method']}: {line['note']}" for line in lines if line["note"]]
    print_table(
        table.drop(columns="note"),
        title="Units by method and language; Jaccard index with lape and by chance; of the "
        "selections from two halves of the tokens",
    )
    for note in notes:
        typer.echo(note)
    typer.echo(f"Neurons: {Path(next(row['file'] for row in rows if 'file' in row)).parent}")


def _reliability(neurons: NeuronSet, lape: NeuronSet | None) -> dict[str, float]:
    """Overlap with LAPE's units beside chance, and between halves of the tokens where measured."""
    from langneurons.identification import compare

    cells: dict[str, float] = {}
    if lape is not None and lape is not neurons and any(len(item) for item in neurons.values()):
        pooled = compare({"lape": lape, "other": neurons}, pooled=True).iloc[0]
        cells["with lape"] = float(pooled["jaccard"])
        cells["chance"] = float(pooled["jaccard_expected"])
    halves = neurons.parameters.get("found", {}).get("split_half_jaccard")
    if halves:
        cells["split half"] = sum(halves.values()) / len(halves)
    return cells
