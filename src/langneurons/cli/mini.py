"""``langneurons mini``: make the built-in world's model again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langneurons.cli.options import Device, DryRun, Seed, show_plan

commands = typer.Typer(no_args_is_help=True, help="The built-in world.")


def add(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(commands, name="mini")


@commands.callback()
def _group() -> None:
    """The built-in world."""


@commands.command(epilog="Example: langneurons mini build -o my-mini --minutes 60")
def build(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the model.")],
    minutes: Annotated[float, typer.Option(help="Training time, at most.")] = 60.0,
    dry_run: DryRun = False,
    seed: Seed = 0,
) -> None:
    """Train the built-in model from nothing and print how good it is."""
    if dry_run:
        show_plan({"minutes at most": minutes, "seed": seed, "output": str(output)}, False)
        return
    from langneurons.mini.build import build as make

    make(output, minutes=minutes, seed=seed)
    typer.echo(f"Model: {output}")


@commands.command(epilog="Example: langneurons mini quality")
def quality(
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Folder of a built model; default: the shipped one."),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Print how good a built model is, beside the rules that need no understanding."""
    from langneurons import mini, models
    from langneurons.mini import quality as measures

    lm = models.load(str(model or mini.model_path()), device=device)
    for line in measures.lines(measures.quality(lm.model, lm.tokenizer, seed)):
        typer.echo(line)
