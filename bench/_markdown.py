"""Tables as Markdown, for documentation and records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def printed(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for row in (columns, ["---"] * len(columns), *rows):
        print("| " + " | ".join(row) + " |")
    print()
