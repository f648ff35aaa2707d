"""``langneurons neurons``: look at sets, compare them, bring them in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langneurons.cli.drawing import check_figure, write_figure
from langneurons.cli.glance import glance, shape_said
from langneurons.cli.inputs import neuron_set, shape_of
from langneurons.cli.options import (
    AsJson,
    Languages,
    Shape,
    language_list,
    print_json,
    print_table,
)
from langneurons.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from langneurons.identification import NeuronSet

commands = typer.Typer(no_args_is_help=True, help="Show, compare, import and export neuron sets.")
File = Annotated[Path, typer.Argument(help="A neuron set (.json) or a published file.")]
Named = Annotated[
    str | None,
    typer.Option(
        "--languages",
        "-l",
        help="Languages to take, with commas; of a file that names none, its languages in order.",
    ),
]


def add(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(commands, name="neurons")


@commands.command(epilog="Example: langneurons neurons show runs/mini/neurons/lape.json")
def show(file: File, languages: Named = None, shape: Shape = None, as_json: AsJson = False) -> None:
    """Units per language and layer."""
    found = glance(file, language_list(languages), shape_of(shape))
    sizes = {lang: sum(layers) for lang, layers in found.units.items()}
    if as_json:
        print_json(
            {
                "method": found.method,
                "site": found.site,
                "shape": list(found.shape),
                "units": sizes,
                **({"reading": found.reading} if found.reading else {}),
            }
        )
        return
    table = {"layer": range(found.shape[0]), **found.units}
    of = f" (shares of {found.reading} tokens)" if found.reading else ""
    print_table(table, title=f"{found.method} at {found.site}: units by layer{of}")
    typer.echo("Total: " + ", ".join(f"{lang} {size:,}" for lang, size in sizes.items()))


@commands.command(
    epilog="Example: langneurons neurons compare runs/mini/neurons/*.json --figure overlap.png"
)
def compare(
    files: Annotated[list[Path], typer.Argument(help="Neuron sets, of models of one shape.")],
    languages: Languages = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            help="Draw it (.png, .svg, .pdf): a heat map, and an UpSet plot (NAME-upset) of more "
            "than three."
        ),
    ] = None,
    shape: Shape = None,
    as_json: AsJson = False,
) -> None:
    """Overlap of sets (methods, seeds, models), with chance and its p-value.

    Of one set, its languages are compared; two sets language by language; more of them at once.
    """
    from langneurons.identification import compare as overlaps

    check_figure(figure)
    sets = _named(files, language_list(languages), shape_of(shape))
    if len(sets) == 1:
        ((title, neurons),) = sets.items()
        table = drawn = neurons.overlap().rename(columns={"language": "first", "other": "second"})
        members = neurons.table()
    else:
        table = overlaps(sets)
        pooled = overlaps(sets, pooled=True)
        title = " against ".join(sets) if len(sets) == 2 else "Overlap over all languages"
        drawn = pooled.rename(columns={"set": "first", "other_set": "second"})
        members = _members(sets)
    if as_json:
        more = pooled.to_dict("records") if len(sets) > 2 else []
        print_json([*table.to_dict("records"), *more])
    else:
        print_table(_shown(table if len(sets) == 2 else drawn), title=title)
    if figure:
        _draw(drawn, members, figure, "language" if len(sets) == 1 else "neuron set")


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """What fits a terminal: the rest is in ``--json``."""
    names = {"jaccard_expected": "chance", "p_value": "p", "other_size": "other"}
    short = table.assign(p_value=[f"{p:.1e}" if p else "<1e-300" for p in table["p_value"]])
    first = [["language"], ["first", "second"]]["first" in short]
    kept = [*first, "size", "other_size", "shared", "jaccard", "jaccard_expected", "p_value"]
    return short[kept].rename(columns=names)


def _named(
    files: list[Path], languages: list[str], shape: tuple[int, int] | None
) -> dict[str, NeuronSet]:
    """Sets by their files' names, with as much of the folder as tells them apart.

    A list that does not say its model's shape is taken to be of that of the sets beside it.
    """
    if len(set(files)) < len(files):
        raise InputError("a neuron set is named twice: give each file once.")
    names = {path: path.stem for path in files}
    if len(set(names.values())) < len(files):
        names = {path: str(path.with_suffix("")) for path in files}
    said = [shape_said(path) for path in files]
    common = shape or next((item for item in said if item is not None), None)
    return {
        name: neuron_set(path, languages, common if own is None else None)
        for (path, name), own in zip(names.items(), said, strict=True)
    }


def _members(sets: dict[str, NeuronSet]) -> pd.DataFrame:
    """Units of every set with the set in the language's place, each once per language."""
    import pandas as pd

    every = list(sets.values())
    common = [lang for lang in every[0] if all(lang in neurons for neurons in every)]
    tables = {name: neurons.select(common).table() for name, neurons in sets.items()}
    parts = [
        part.assign(layer=part["language"] + part["layer"].astype(str), language=name)
        for name, part in tables.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _draw(table: pd.DataFrame, members: pd.DataFrame, figure: Path, what: str) -> None:
    from langneurons.reporting.figures import overlap, sets

    names = {"first": "language_a", "second": "language_b", "size": "size_a"}
    pairs = table.rename(columns={**names, "other_size": "size_b"}).assign(a=what, b=what)
    write_figure(lambda: overlap.languages(pairs), figure)
    typer.echo(f"Figure: {figure}")
    if members["language"].nunique() > 3:
        second = figure.with_stem(f"{figure.stem}-upset")
        write_figure(lambda: sets.upset(members), second)
        typer.echo(f"Figure: {second}")


@commands.command(
    name="import", epilog="Example: langneurons neurons import LLaMA-2-7B.neuron.pth lape.json"
)
def import_(
    file: File,
    output: Annotated[Path, typer.Argument(help="Own format, .json.")],
    languages: Named = None,
    shape: Shape = None,
    site: Annotated[str, typer.Option(help="Where the units live.")] = "mlp.act",
) -> None:
    """Read a published set (.pth, .csv, .parquet, .json) and write it in our format."""
    from langneurons.identification import NeuronSet

    if output.suffix != ".json":
        raise InputError(f"the output must end in .json, not {output.suffix!r}.")
    found = NeuronSet.load(
        file, languages=language_list(languages) or None, shape=shape_of(shape), site=site
    )
    found.save(output)
    typer.echo(f"Neurons: {output} ({', '.join(found)})")


@commands.command(epilog="Example: langneurons neurons export lape.json lape.csv")
def export(
    file: File,
    output: Annotated[Path, typer.Argument(help="A .csv, .parquet, .json or .pth file.")],
    languages: Named = None,
    shape: Shape = None,
) -> None:
    """Write a set as a plain table: language, layer, index."""
    neuron_set(file, language_list(languages), shape_of(shape)).save(output)
    typer.echo(f"Neurons: {output}")
