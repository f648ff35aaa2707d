"""``langneurons summarise``: finished runs as tables, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langneurons.cli.options import AsJson, Output, print_json


def add(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(
        epilog="Examples: langneurons summarise runs/first runs/second | "
        "langneurons summarise runs/mini -o results/mini   (tables, and every scored example)"
    )(summarise)


def summarise(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, or folders that hold several.")
    ],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Sum up finished runs: each change on a task, and what holds over all their trainings."""
    from langneurons.artifacts import write_table, write_text
    from langneurons.reporting.architectures import read_runs
    from langneurons.reporting.summary import ITEMS, shown
    from langneurons.reporting.summary import summarise as sum_up
    from langneurons.reporting.tables.export import markdown

    found = read_runs(runs)
    tables = sum_up(found)
    parts = [f"## {table.title}\n\n{markdown(table)}" for table in shown(tables)]
    text = "\n".join([f"# {', '.join(found)}\n", *parts])
    if output is not None:
        for name, table in tables.items():
            write_table(output / f"{name}.parquet", table)
        write_text(output / "summary.md", text)
    if as_json:
        plain = {name: table for name, table in tables.items() if name not in ITEMS}
        print_json(
            {
                name: table.astype(object).where(table.notna(), None).to_dict("records")
                for name, table in plain.items()
            }
        )
        return
    typer.echo(text)
    if output is not None:
        typer.echo(f"Written: {output}")
