"""Tables as HTML for notebooks, everything from data escaped."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from langneurons.reporting.tables import Table

_RIGHT = ("count", "number", "p", "short")


def table(shown: Table, most: int = 30) -> Markup:
    """A table of the report; beyond ``most`` rows the rest is counted.

    Args:
        shown: The table.
        most: Largest number of rows.
    """
    sides = ["right" if column.kind in _RIGHT else "left" for column in shown.columns]
    cell = Markup('<{0} style="text-align:{1}"{2}>{3}</{0}>').format
    head = Markup("").join(
        cell("th", side, Markup(' scope="col"'), column.label)
        for side, column in zip(sides, shown.columns, strict=True)
    )
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                cell("td", side, Markup(' dir="auto"'), text)
                for side, (text, _) in zip(sides, row, strict=True)
            )
        )
        for row in shown.rows[:most]
    )
    rest = len(shown.rows) - most
    more = Markup("<p>and {} more rows</p>").format(rest) if rest > 0 else Markup("")
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>{}").format(
        head, body, more
    )


def page(title: str, facts: Iterable[tuple[str, str]], *parts: Markup) -> str:
    """A title, a line of facts, and what follows.

    Args:
        title: What it is.
        facts: (term, text) pairs; empty texts are left out.
        parts: Markup made by this package.
    """
    line = Markup(" &middot; ").join(
        Markup("{} <b>{}</b>").format(term, text) for term, text in facts if text
    )
    return str(
        Markup('<div class="langneurons"><p><b>{}</b><br>{}</p>{}</div>').format(
            title, line, Markup("").join(parts)
        )
    )
