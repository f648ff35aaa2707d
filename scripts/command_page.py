"""Every command and option, read from the application itself: docs/commands.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main

from langneurons.cli.app import app
from langneurons.version import __version__

HEAD = f"""# Commands

Of langneurons {__version__}; what has changed between versions is in the changelog.

Every command with its arguments and options. `--quiet` (no progress, only results) and `--debug`
(the traceback of an error) may stand anywhere in the line; `--version` prints the version.
Results go to standard output, progress and notes to standard error; `--json` prints the result for
machines, `NO_COLOR` and a pipe give plain text. Exit codes: 0 done, 1 a run failed, 2 bad input,
130 interrupted (the same command goes on where it was).

`langneurons --install-completion` adds completion of commands and options to the shell in use
(bash, zsh, fish, PowerShell); `--show-completion` prints it instead, for a place of your own.

This page is written by `make pages` from the application.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Name as typed after `langneurons`, and command, groups resolved."""
    yield from _below(typer.main.get_command(app), ())


def _below(group: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _below(command, (*names, name))
        else:
            yield " ".join((*names, name)), command


def page() -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    for name, command in commands():
        parts.append(f"\n## {name}\n\n{inspect.cleandoc(command.help or '')}\n")
        parts.append(f"\n```console\n{chr(10).join(examples(command))}\n```\n")
        rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            parts.append("\n| argument or option | default | what |\n| --- | --- | --- |\n")
            parts.extend(rows)
    return "".join(parts)


def examples(command: Any) -> list[str]:
    """The commands under "Example" in a command's help, each as `$ langneurons ...`."""
    text = (command.epilog or "").removeprefix("Examples:").removeprefix("Example:").strip()
    found = []
    for line in text.split("\n\n") if text else ():
        words, _, said = line.partition("    ")  # an explanation stands well apart
        note = f"  # {said.strip()}" if said else ""
        found.append(f"$ {' '.join(words.split())}{note}")
    return found


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        metavar = parameter.metavar or parameter.name.upper()
        words = f"`{metavar}`"
    else:
        names = [*parameter.opts, *parameter.secondary_opts]
        words = ", ".join(f"`{name}`" for name in sorted(names, key=len))
        if not parameter.is_flag:
            words += (
                f" `{parameter.metavar or parameter.type_descriptor.annotation.__name__.upper()}`"
            )
    default = "" if parameter.required else _default(parameter.default)
    what = " ".join((getattr(parameter, "help", "") or "").split()).replace("|", "\\|")
    if parameter.required:
        what = f"{what} *Required.*"
    return f"| {words} | {default} | {what} |\n"


def _default(value: Any) -> str:
    if value is None or value is False or value == () or value == []:
        return ""
    return "on" if value is True else f"`{value}`"
