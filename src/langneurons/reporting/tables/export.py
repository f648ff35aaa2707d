"""Tables as files for papers and spreadsheets: CSV in full, Markdown and LaTeX as shown."""

from __future__ import annotations

from pathlib import Path

from langneurons.artifacts import write_text
from langneurons.reporting.tables.base import Table

FORMATS = ("csv", "md", "tex")
_PAGE = 40  # rows; longer LaTeX tables break over pages
_LATEX = {
    "\N{MINUS SIGN}": "$-$",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    "\N{EN DASH}": "--",
    "×": r"$\times$",
    "∞": r"$\infty$",
}


def save(table: Table, folder: Path) -> list[Path]:
    """Write ``name.csv``, ``name.md`` and ``name.tex`` (booktabs).

    Args:
        table: The table.
        folder: Target folder, made if missing.

    Returns:
        The files written.
    """
    texts = {
        "csv": table.data.to_csv(index=False, lineterminator="\n"),
        "md": markdown(table),
        "tex": latex(table),
    }
    paths = []
    for suffix, text in texts.items():
        paths.append(folder / f"{table.name}.{suffix}")
        write_text(paths[-1], text)
    return paths


def markdown(table: Table) -> str:
    """The table as GitHub Markdown, caption below; markup in names is shown, not obeyed."""

    def row(cells: list[str]) -> str:
        return "| " + " | ".join(map(_markdown, cells)) + " |"

    right = [column.kind not in ("text", "flag") for column in table.columns]
    rule = "|" + "|".join(" ---: " if number else " --- " for number in right) + "|"
    shown = table.shown()
    lines = [row(list(shown.columns)), rule]
    lines += [row(list(cells)) for cells in shown.itertuples(index=False)]
    return "\n".join(lines) + f"\n\n{_markdown(table.caption)}\n"


def _markdown(text: str) -> str:
    for sign in ("\\", "|", "<", ">", "*", "_", "`", "[", "]"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")


def latex(table: Table) -> str:
    """The table as LaTeX with booktabs rules, caption and label; a longtable where it is long."""
    shown = table.shown()
    shown.columns = [_latex(name) for name in shown.columns]
    shown = shown.map(_latex)
    long = len(shown) > _PAGE
    kinds = "".join("l" if c.kind in ("text", "flag") else "r" for c in table.columns)
    text = shown.to_latex(
        index=False,
        escape=False,
        column_format=kinds,
        caption=_latex(table.caption),
        label=f"tab:{table.name}",
        longtable=long,
        position=None if long else "t",
    )
    packages = "booktabs,longtable" if long else "booktabs"
    note = "names in other scripts need XeLaTeX or LuaLaTeX"
    return f"% needs \\usepackage{{{packages}}}; {note}\n{text}"


def _latex(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{sign: "\\" + sign for sign in "&%$#_{}"},
        **_LATEX,
    }
    return "".join(special.get(sign, sign) for sign in text.replace("\n", " "))
