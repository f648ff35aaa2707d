"""The HTML page: one file, no network, everything from data escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langneurons.reporting.sections import Picture, Report
from langneurons.reporting.tables import Table


@dataclass(frozen=True)
class Limits:
    """How large the page may become.

    Attributes:
        bytes: Size of the file.
        rows: Rows of one table kept in the page; the rest is in its CSV file.
    """

    bytes: int = 8_000_000
    rows: int = 2_000


def fit(report: Report, drawn: Mapping[str, str], limits: Limits) -> str:
    """The page with as many table rows as its size allows.

    Args:
        report: What is shown.
        drawn: Figures as SVG elements by name, made by this package.
        limits: Largest size.
    """
    page = render(report, drawn, limits.rows)
    while len(page.encode()) > limits.bytes and limits.rows > 10:
        limits = replace(limits, rows=limits.rows // 2)
        page = render(report, drawn, limits.rows)
    return page


def render(report: Report, drawn: Mapping[str, str], rows: int) -> str:
    """The page as HTML text.

    Args:
        report: What is shown.
        drawn: Figures as SVG elements by name, made by this package.
        rows: Most rows of a table in the page.
    """
    environment = Environment(
        loader=PackageLoader("langneurons.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, sheet = _asset("page.js"), _asset("page.css")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        report=report,
        svg={name: Markup(text) for name, text in drawn.items()},
        cells=lambda table: _cells(table, rows),
        is_picture=lambda block: isinstance(block, Picture),
        is_table=lambda block: isinstance(block, Table),
        script=Markup(script),
        sheet=Markup(sheet),
        script_hash=allowed,
    )


def _asset(name: str) -> str:
    text = resources.files("langneurons.reporting") / "templates" / name
    return text.read_text(encoding="utf-8")


def _cells(table: Table, rows: int) -> dict[str, object]:
    """The rows of a table as (shown, sorted by) pairs, cut to ``rows``."""
    return {
        "rows": table.rows[:rows],
        "left_out": max(0, len(table.data) - rows),
        "total": len(table.data),
    }
