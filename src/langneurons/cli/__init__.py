"""The command line; the only room that nobody imports."""

from langneurons.cli.app import main

__all__ = ["main"]
