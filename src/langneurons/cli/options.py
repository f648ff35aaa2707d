"""Options that several commands share, and how their words become values."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langneurons.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="mini, mini-moe, a Hub id, a folder, FILE.gguf or REPO:FILE.gguf."
    ),
]
Text = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        "-t",
        help="LANG=PATH: text of one language (.txt a paragraph a line, .jsonl, .parquet, .csv, "
        "SQuAD .json, hub:REPO:CONFIG); repeat it. Or one PATH with {lang} in it.",
        metavar="LANG=PATH",
    ),
]
Field = Annotated[
    str | None,
    typer.Option(
        "--field",
        help="Column that holds the text, by its name (or number, in a table without a header); "
        "default: text.",
    ),
]
Languages = Annotated[
    str | None, typer.Option("--languages", "-l", help="Language codes, with commas.")
]
Template = Annotated[
    str | None,
    typer.Option(
        help="Input text: fields of an example and {eos} in braces, or a name (paper); default: "
        "the task's own."
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Output folder.")]
Table = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File the whole table goes to: .parquet or .csv."),
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[
    str, typer.Option(help="auto, balanced (spread over all accelerators), cpu, cuda:1 ...")
]
Load = Annotated[
    Literal["nf4"] | None,
    typer.Option(help="nf4: weights in 4 bits (needs bitsandbytes: langneurons[nf4])."),
]
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let code from the model's repository run."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check everything, say what would be done, and stop."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Random = Annotated[int, typer.Option(min=0, help="Same-size random draws.")]
Matched = Annotated[
    int | None,
    typer.Option(
        min=0, help="Draws of units of the same activity; default: as a study, with --statistics."
    ),
]
Block = Annotated[int, typer.Option(min=2, help="Tokens in a block.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Shape = Annotated[
    str | None,
    typer.Option(help="Layers x units of the model, such as 32x11008, if the file is silent."),
]


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
    from langneurons.stages.records import owner

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

    A language named twice gets all its sources, one after the other. Languages that are named
    choose among the sources; a bare path is that of the only one.

    Raises:
        InputError: A word of neither form, a template without languages, or a language without a
            source.
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
        if "=" not in item and len(chosen) == 1:
            item = f"{chosen[0]}={item}"
        lang, found, path = item.partition("=")
        if not found or not lang or not path:
            raise InputError(f"--text {item!r} must be LANG=PATH, such as --text hi=hindi.txt.")
        sources.setdefault(lang, []).append(path)
    if not sources or not chosen:
        return sources
    missing = [lang for lang in chosen if lang not in sources]
    if missing:
        raise InputError(
            f"--languages names {missing[0]}, --text does not: add --text {missing[0]}=PATH, or "
            "leave it out."
        )
    return {lang: sources[lang] for lang in chosen}


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


def show_plan(plan: Mapping[str, Any], as_json: bool) -> None:
    """Say what a command would do: what, and on what, a line each."""
    if as_json:
        print_json({"dry_run": True, **plan})
        return
    for name, value in plan.items():
        said = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        typer.echo(f"{name}: {f'{said:,}' if isinstance(said, int) else said}")


def check_table(path: Path | None) -> None:
    """Refuse a table's file of a format that is not written, before any work is done.

    Raises:
        InputError: If the ending is neither .parquet nor .csv.
    """
    if path is not None and path.suffix.lower() not in (".parquet", ".csv"):
        raise InputError(f"--output {path} must end in .parquet or .csv: it is one table.")


def write_result(path: Path, table: pd.DataFrame) -> None:
    """Write a table as its file's ending says."""
    from langneurons.artifacts import write_table, write_text

    if path.suffix.lower() == ".csv":
        write_text(path, table.to_csv(index=False))
    else:
        write_table(path, table)


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
