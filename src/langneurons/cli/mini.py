"""``langneurons mini``: make the built-in world's models again."""

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


@commands.command(
    epilog="""Examples:

langneurons mini build -o my-mini --minutes 60

langneurons mini build --moe -o my-mini-moe
"""
)
def build(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the model.")],
    minutes: Annotated[float, typer.Option(help="Training time, at most.")] = 60.0,
    moe: Annotated[
        bool, typer.Option("--moe", help="The mixture mini-moe, cut from mini and trained on.")
    ] = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
) -> None:
    """Train a built-in model and print how good it is; a call that was stopped goes on."""
    if dry_run:
        show_plan(
            {
                "model": "mini-moe" if moe else "mini",
                "minutes at most": minutes,
                "seed": seed,
                "output": str(output),
            },
            False,
        )
        return
    from langneurons.artifacts import write_json
    from langneurons.cli.mini_quality import lines, measure
    from langneurons.mini.build import build as make
    from langneurons.mini.recipe import Recipe, mixture_recipe

    facts = make(output, minutes=minutes, seed=seed, recipe=mixture_recipe() if moe else Recipe())
    table = measure(str(output), "auto", seed)
    write_json(output / "build.json", {**facts, "quality": table})
    typer.echo("\n".join(lines(table)))
    typer.echo(f"Model: {output}")


@commands.command(epilog="Example: langneurons mini quality")
def quality(
    model: Annotated[
        str, typer.Option("--model", "-m", help="mini, mini-moe, or the folder of a built model.")
    ] = "mini",
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Print how good a built model is, beside the rules that need no understanding."""
    from langneurons.cli.mini_quality import lines, measure

    typer.echo("\n".join(lines(measure(model, device, seed))))
