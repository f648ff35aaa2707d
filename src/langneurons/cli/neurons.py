"""``langneurons neurons``: look at sets, compare them, bring them in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langneurons.cli.options import AsJson, Languages, language_list, print_json, print_table
from langneurons.errors import InputError

commands = typer.Typer(no_args_is_help=True, help="Show, compare, import and export neuron sets.")
File = Annotated[Path, typer.Argument(help="A neuron set (.json) or a published .pth file.")]


def add(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(commands, name="neurons")


@commands.command(epilog="Example: langneurons neurons show runs/mini/neurons/lape.json")
def show(file: File, as_json: AsJson = False) -> None:
    """Units per language and layer."""
    from langneurons.identification import NeuronSet

    found = NeuronSet.load(file)
    table = found.per_layer().pivot(index="layer", columns="language", values="units")
    table = table[list(found)]
    if as_json:
        print_json(
            {
                "method": found.method,
                "site": found.site,
                "shape": list(found.shape),
                "units": {lang: len(units) for lang, units in found.items()},
            }
        )
        return
    print_table(table.reset_index(), title=f"{found.method} at {found.site}: units by layer")
    typer.echo("Total: " + ", ".join(f"{lang} {len(units):,}" for lang, units in found.items()))


@commands.command(epilog="Example: langneurons neurons compare lape.json dln.json")
def compare(
    first: File,
    second: Annotated[Path, typer.Argument(help="The other set.")],
    as_json: AsJson = False,
) -> None:
    """Overlap per language, with the overlap expected by chance and its p-value."""
    from langneurons.identification import NeuronSet

    one, other = NeuronSet.load(first), NeuronSet.load(second)
    table = one.overlap(other)
    same = table[table["language"] == table["other"]].drop(columns="other")
    if as_json:
        print_json(table.to_dict("records"))
    else:
        print_table(same, title=f"{first.name} against {second.name}")


@commands.command(
    name="import", epilog="Example: langneurons neurons import LLaMA-2-7B.neuron.pth lape.json"
)
def import_(
    file: File,
    output: Annotated[Path, typer.Argument(help="Own format, .json.")],
    languages: Languages = None,
) -> None:
    """Read a published set (.pth, .csv, .parquet, .json) and write it in our format."""
    from langneurons.identification import NeuronSet

    if output.suffix != ".json":
        raise InputError(f"the output must end in .json, not {output.suffix!r}.")
    found = NeuronSet.load(file, languages=language_list(languages) or None)
    found.save(output)
    typer.echo(f"Neurons: {output} ({', '.join(found)})")


@commands.command(epilog="Example: langneurons neurons export lape.json lape.csv")
def export(
    file: File,
    output: Annotated[Path, typer.Argument(help="A .csv, .parquet or .json file.")],
) -> None:
    """Write a set as a plain table: language, layer, index."""
    from langneurons.identification import NeuronSet

    NeuronSet.load(file).save(output)
    typer.echo(f"Neurons: {output}")
