"""The HTML page: one file, no network, everything from data escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langneurons.reporting.explorer.data import payload
from langneurons.reporting.methods import GLOSSARY
from langneurons.reporting.sections import Explorer, Picture, Report
from langneurons.reporting.tables import Table


@dataclass(frozen=True)
class Limits:
    """How large the page may become.

    Attributes:
        bytes: Size of the file.
        rows: Rows of one table kept in the page; the rest is in its CSV file.
        details: Bytes of the explorer's details of units kept in the page; the rest lies in files
            beside it.
    """

    bytes: int = 8_000_000
    rows: int = 2_000
    details: int = 3_000_000


@dataclass(frozen=True)
class Page:
    """The page, and the files it reads when it is served.

    Attributes:
        text: HTML.
        parts: Name to content of the explorer's files beside the page.
    """

    text: str
    parts: Mapping[str, str]


def fit(report: Report, drawn: Mapping[str, str], limits: Limits) -> Page:
    """The page with as many table rows and units as its size allows.

    Args:
        report: What is shown.
        drawn: Figures as SVG elements by name, made by this package.
        limits: Largest size.
    """
    page = render(report, drawn, limits)
    while len(page.text.encode()) > limits.bytes and limits.rows > 10:
        limits = replace(limits, rows=limits.rows // 2, details=limits.details // 2)
        page = render(report, drawn, limits)
    return page


def render(report: Report, drawn: Mapping[str, str], limits: Limits) -> Page:
    """The page for given limits, however large it comes out.

    Args:
        report: What is shown.
        drawn: Figures as SVG elements by name, made by this package.
        limits: Most rows of a table and bytes of units' details.
    """
    environment = Environment(
        loader=PackageLoader("langneurons.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made = payload(report.unit_sets(), limits.details)
    script, sheet = _asset("page.js") + _asset("explorer.js"), _asset("page.css")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template("page.html").render(
        report=report,
        glossary=GLOSSARY,
        svg={name: Markup(text) for name, text in drawn.items()},
        cells=lambda table: _cells(table, limits.rows),
        is_picture=lambda block: isinstance(block, Picture),
        is_table=lambda block: isinstance(block, Table),
        is_explorer=lambda block: isinstance(block, Explorer),
        units=made,
        units_json=Markup(made.text),
        anchors={f"fig-{picture.name}" for picture in report.pictures()},
        script=Markup(script),
        sheet=Markup(sheet),
        script_hash=allowed,
    )
    return Page(text, made.parts)


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
