"""Options that several commands share, and how their words become values."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langneurons.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="mini, a Hub id, a folder, FILE.gguf or REPO:FILE.gguf."),
]
Text = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        "-t",
        help="LANG=PATH: text of one language (.txt a paragraph a line, .jsonl, .parquet, "
        "SQuAD .json, hub:REPO:CONFIG); repeat it. Or one PATH with {lang} in it.",
        metavar="LANG=PATH",
    ),
]
Languages = Annotated[
    str | None, typer.Option("--languages", "-l", help="Language codes, with commas.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Output folder.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Random = Annotated[int, typer.Option(min=0, help="Same-size random draws.")]
Matched = Annotated[int, typer.Option(min=0, help="Draws of units of the same activity.")]
Block = Annotated[int, typer.Option(min=2, help="Tokens in a block.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def debugging() -> bool:
    """Whether ``--debug`` was given."""
    import click

    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().params.get("debug"))


def not_of_a_study(output: Path | None) -> None:
    """Refuse to write among the results of a study, which its keys vouch for.

    Raises:
        InputError: If the path is a run directory, or lies among what a study has made in it.
    """
    from langneurons.study.records import owner

    out = None if output is None else owner(output)
    if out is not None:
        raise InputError(
            f"-o {str(output)!r} lies among the results of the study in {str(out)!r}: give "
            "another place."
        )


def is_pattern(source: str) -> bool:
    """Is it a source for every language at once, with ``{lang}`` in it?"""
    return "{lang}" in source and "=" not in source


def text_sources(items: Iterable[str] | None, languages: str | None) -> dict[str, list[str]]:
    """``LANG=PATH`` words, or ``{lang}`` templates with languages, as a mapping.

    A language named twice gets all its sources, one after the other.

    Raises:
        InputError: A word of neither form, or a template without languages.
    """
    chosen = language_list(languages)
    sources: dict[str, list[str]] = {}
    for item in items or ():
        if is_pattern(item):
            if not chosen:
                raise InputError(f"--text {item} needs --languages, such as --languages en,hi.")
            for lang in chosen:
                sources.setdefault(lang, []).append(item.replace("{lang}", lang))
            continue
        lang, found, path = item.partition("=")
        if not found or not lang or not path:
            raise InputError(f"--text {item!r} must be LANG=PATH, such as --text hi=hindi.txt.")
        sources.setdefault(lang, []).append(path)
    return sources


def language_list(languages: str | None) -> list[str]:
    """Codes from ``en,hi,ur``."""
    return [lang.strip() for lang in (languages or "").split(",") if lang.strip()]


def parameters(items: Iterable[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` words as a mapping, values read as YAML.

    Raises:
        InputError: A word of another form.
    """
    import yaml

    found = {}
    for item in items or ():
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise InputError(f"{item!r} must be KEY=VALUE, such as top=0.02.")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(
                f"the value of {item!r} must be YAML, such as 0.02 or [1, 2]."
            ) from error
    return found


def console(stderr: bool = False) -> Console:
    """A console that obeys NO_COLOR and non-terminals."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def say(text: str) -> None:
    """A line for the person, on standard error, so that standard output stays the result."""
    from langneurons.progress import is_quiet

    if not is_quiet():
        console(stderr=True).print(text, soft_wrap=True, markup=False)


def print_json(value: Mapping[str, Any] | list[Any]) -> None:
    """Print a value for machines."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


WORD = 24
"""Signs of a text cell that stay on one line."""


def print_table(
    table: pd.DataFrame | Mapping[str, Iterable[Any]], title: str | None = None
) -> None:
    """Print a small table (a data frame, or columns by name); numbers right-aligned."""
    from rich.table import Table

    drawn = Table(header_style="bold", box=None, pad_edge=False)
    columns = {str(name): list(table[name]) for name in table}
    cells = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    least = 0
    for place, (name, values) in enumerate(columns.items()):
        right = bool(values) and all(isinstance(value, Number) for value in values)
        longest = max(map(len, [name, *(row[place] for row in cells)]))
        width = longest if right else min(longest, WORD)
        drawn.add_column(name, justify="right" if right else "left", no_wrap=right, min_width=width)
        least += width + 2
    for row in cells:
        drawn.add_row(*row)
    if title:
        console().print(title, markup=False, soft_wrap=True)
    screen = console()
    # Rather lines that the terminal wraps than cells cut to a few signs.
    screen.print(drawn, width=max(screen.width, least), crop=False)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.3g}" if abs(value) < 1 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
