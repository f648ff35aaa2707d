"""The application: its commands, and how an error becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from langneurons.cli import (
    across,
    force,
    identify,
    information,
    mini,
    neurons,
    old_words,
    play,
    steer,
    steps,
    study,
    summarise,
    sweep,
)
from langneurons.errors import LangNeuronsError
from langneurons.version import __version__

app = typer.Typer(
    name="langneurons",
    help="Which parts of a multilingual language model belong to a language, "
    "and what can be done with them?",
    epilog="Start with: langneurons run   (the whole study on the built-in world, minutes on a "
    "laptop). Every command has examples under --help.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"langneurons {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, only results.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    # The libraries underneath draw bars and warnings of their own; ours are enough.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # each retry is no news
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if quiet:
        from langneurons.progress import set_quiet

        set_quiet(True)


study.add(app)
steps.add(app)
identify.add(app)
sweep.add(app)
force.add(app)
steer.add(app)
across.add(app)
summarise.add(app)
neurons.add(app)
information.add(app)
mini.add(app)
play.add(app)


def main() -> None:
    """Run the command line and exit: 0 done, 1 a run failed, 2 bad input, 130 interrupted."""
    # --quiet and --debug may stand anywhere, as people type them.
    anywhere = ("--debug", "--quiet", "-q")
    arguments = [word for word in sys.argv[1:] if word not in anywhere]
    first = [word for word in anywhere if word in sys.argv[1:]]
    debug = "--debug" in first
    arguments = old_words.renewed(arguments)
    if not arguments:
        arguments = ["--help"]  # and nothing else
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.showwarning = _Warnings()
            code = app(args=[*first, *arguments], standalone_mode=False)
    except LangNeuronsError as error:
        code = _say(str(error), error.exit_code, debug)
    except TyperException as error:
        hint = " See langneurons --help." if error.exit_code == 2 else ""
        message = error.format_message().rstrip(".").replace("?.", "?")
        end = "" if message.endswith("?") else "."
        code = _say(message + end + hint, error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        code = _say("stopped; the same command continues where it was.", 130, False)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing is left to say to anyone.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        code = 1
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        code = _say(f"{words} (--debug shows where)", 1, debug)
    sys.exit(code or 0)


class _Warnings:
    """Warnings meant for users, each once and in one line, without the place in the source.

    Others (deprecations, overflows) are for programmers: ``--debug`` shows them.
    """

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if issubclass(category, UserWarning) and text not in self._said:
            self._said.add(text)
            sys.stderr.write(f"langneurons: warning: {text}\n")


def _say(message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    sys.stderr.write(f"langneurons: {message}\n")
    return code
