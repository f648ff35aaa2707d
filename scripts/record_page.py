"""The page of the records that the pages of results rest on, made from bench/results."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RECORDS = ROOT / "bench" / "results"
LINK = re.compile(r"records\.md#([a-z0-9-]+)")
MACHINE = re.compile(r"Intel[^,.;]*?Processor(?: \(AMX\))?|Intel Xeon \(AMX\)|AMD EPYC")
DTYPE = re.compile(r"\b(bfloat16|float32)\b")
DATE = re.compile(r"\b2026-\d\d-\d\d\b")
HEAD = """\
# Records

Every number of the pages of results comes from one of these records; they lie as text in
`bench/results`, newer ones in a folder with every scored example beside (`items.parquet`). A record
holds the command that made it, what was measured, and every training, draw and language by itself.
The commands `bench.real_*`, `bench.trainings` and `bench.planning` stand in commit 5775831. This
page is made from the records (`make pages`). Words: [What survives](what-survives.md#words).
"""


def cited(pages: list[Path] | None = None) -> dict[str, list[str]]:
    """Records that pages link to, in the order of the pages: name to the pages that do.

    Args:
        pages: Pages to read; without it all of the documentation.
    """
    found: dict[str, list[str]] = {}
    for page in sorted(DOCS.rglob("*.md")) if pages is None else pages:
        if page.name == "records.md":
            continue
        for name in LINK.findall(page.read_text(encoding="utf-8")):
            users = found.setdefault(name, [])
            if (path := str(page.relative_to(DOCS))) not in users:
                users.append(path)
    return found


def facts(text: str) -> str:
    """Date, dtype and machine as far as a record says them."""
    first = text.partition("\n\n")[0]
    said = [
        ("Date", DATE.findall(first)[-1:] or DATE.findall(text)[-1:]),
        ("dtype", DTYPE.findall(first)[:1] or ["not noted"]),
        ("machine", MACHINE.findall(text)[:1] or ["not noted"]),
    ]
    return ", ".join(f"{name}: {found[0]}" for name, found in said if found)


def blocks(text: str) -> str:
    """A record as Markdown: tables stay tables, everything else is shown as it stands."""
    shown = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        lines = part.splitlines()
        table = all(line.startswith("|") for line in lines) and "---" in "".join(lines[1:2])
        if len(lines) == 1 and part.startswith("#"):
            shown.append(f"**{part.lstrip('# ')}**")
        else:
            shown.append(part if table else f"```text\n{part}\n```")
    return "\n\n".join(shown)


def path_of(name: str) -> Path:
    """A record's text: one file, or the summary of a folder that holds its scored examples too."""
    alone = RECORDS / f"{name}.txt"
    return alone if alone.is_file() else RECORDS / name / "summary.md"


def section(name: str, users: list[str]) -> str:
    """One record: heading, facts, the pages that rest on it, its text behind a fold."""
    text = path_of(name).read_text(encoding="utf-8")
    links = ", ".join(f"[{page.removesuffix('.md')}]({page})" for page in users)
    return (
        f"## {name}\n\n{facts(text)}. Used by {links}.\n\n"
        f'<details markdown="1">\n<summary>The record</summary>\n\n{blocks(text)}\n\n</details>\n'
    )


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(name, users) for name, users in sorted(cited().items()))])
