"""``langneurons play``: the live page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langneurons.cli.inputs import read_statistics
from langneurons.cli.options import Dtype, Model, say


def add(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(
        epilog="Examples:   langneurons play   |   langneurons play -m gemma.gguf -n lape.json "
        "--statistics stats   |   langneurons play -m gemma.gguf --statistics stats --export space"
    )(play)


def play(
    model: Model = "mini",
    neurons: Annotated[
        Path | None,
        typer.Option(
            "--neurons", "-n", help="Neuron set; without it LAPE finds one in the statistics."
        ),
    ] = None,
    statistics: Annotated[
        Path | None,
        typer.Option(help="Statistics: for values, and for random neurons that are as active."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser", help="Open it in the browser.")] = False,
    share: Annotated[
        bool, typer.Option("--share", help="A public link too, through Gradio's own server.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="Write a new folder that runs as a Hugging Face Space, and stop."),
    ] = None,
    dtype: Dtype = "auto",
) -> None:
    """Write a prompt, change a language's neurons, and read what the model then writes.

    A page on this machine (127.0.0.1 alone). Without arguments: the built-in world.
    """
    from langneurons.play import open_session
    from langneurons.play.page import gradio, launch

    gradio()  # before minutes of loading
    stats = None if statistics is None else read_statistics(statistics)
    say(f"Loading {model} and its neurons.")
    session = open_session(model, neurons, stats, dtype=dtype)
    if export is not None:
        from langneurons.play.space import export as write

        files = write(session, model, export)
        size = sum(file.stat().st_size for file in export.rglob("*") if file.is_file())
        typer.echo(f"Space: {export} ({len(files)} entries, {size / 1e6:.0f} MB)")
        return
    page, address = launch(session, port, share=share)
    typer.echo(f"Page: {address}   (Ctrl-C stops)")
    if browser:
        import webbrowser

        webbrowser.open(address)
    try:
        page.block_thread()
    finally:
        page.close(verbose=False)
