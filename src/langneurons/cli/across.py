"""``langneurons across``: several models' runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langneurons.cli.options import AsJson, print_json, print_table


def add(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(
        epilog="Example: langneurons run next-check-2 -o runs/models && "
        "langneurons across runs/models -o runs/models/across"
    )(across)


def across(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, or folders that hold several.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the tables.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare models: layer profiles on relative depth, effects, overlap where shapes allow."""
    from langneurons.artifacts import write_table
    from langneurons.reporting.architectures import compare, read_runs

    tables = compare(read_runs(runs))
    if output:
        for name, table in tables.items():
            if len(table):
                write_table(output / f"{name}.parquet", table)
    if as_json:
        print_json({name: table.to_dict("records") for name, table in tables.items()})
        return
    models = tables["models"]
    if len(models):
        shown = ["run", "layers", "units", "neurons", "language", "found", "ratio", "low", "high",
                 "largest_control"]  # fmt: skip
        print_table(models[shown], title="Models")
    if len(tables["similarity"]):
        print_table(tables["similarity"], title="Layer profiles on relative depth (Spearman)")
    if len(tables["overlap"]):
        columns = ["run_a", "run_b", "neurons", "language", "shared", "jaccard", "expected",
                   "p_value"]  # fmt: skip
        print_table(tables["overlap"][columns], title="Shared units, models of one shape")
    if output:
        typer.echo(f"Written: {output}")
