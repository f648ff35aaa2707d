"""The catalogue of user-facing errors, read from the source itself: docs/errors.md.

Every call of `InputError`, `RunError`, `ArtifactError` or `unknown`, and every `ValueError` of the
study's schema (its checks become one `InputError`), is one entry: the message with its holes named.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "langneurons"
EXIT_CODES = {"InputError": 2, "RunError": 1, "ArtifactError": 1}
SAME_AS = {"LanguageMissingError": "InputError"}
# Where a ValueError is a check of pydantic's, which the study turns into an InputError.
SCHEMA = (
    *("config/schema.py", "config/grid.py", "interface/spec.py", "interface/context.py"),
    *(f"parts/{path.parent.name}/spec.py" for path in sorted((SOURCE / "parts").glob("*/spec.py"))),
)
ROOMS = {
    "": "Foundation",
    "models": "Models",
    "data": "Data and tasks",
    "statistics": "Statistics",
    "identification": "Identification",
    "intervention": "Interventions",
    "finetuning": "Fine-tuning",
    "evaluation": "Evaluation",
    "features": "Sparse features",
    "reporting": "Report",
    "stages": "Stages",
    "interface": "What parts and studies know of each other",
    "config": "Study files",
    "study": "Studies",
    "parts": "Parts of studies",
    "play": "Live page",
    "cli": "Command line",
    "mini": "Built-in world",
}


@dataclass(frozen=True, order=True)
class Entry:
    """One message of one place."""

    room: str
    module: str
    line: int
    error: str
    message: str

    @property
    def exit_code(self) -> int:
        """What the command line exits with."""
        return EXIT_CODES[self.error]


def entries(source: Path = SOURCE) -> list[Entry]:
    """Every user-facing error below `source`, by room, module and line."""
    found = []
    for path in sorted(source.rglob("*.py")):
        module = path.relative_to(source).as_posix()
        if module == "errors.py":
            continue  # the classes themselves
        room = module.split("/")[0] if "/" in module else ""
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            made = _entry(node, module)
            if made is not None:
                error, message = made
                found.append(Entry(room, module, node.lineno, error, message))
    return sorted(found)


def _entry(node: ast.AST, module: str) -> tuple[str, str] | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
        return None
    name = SAME_AS.get(node.func.id, node.func.id)
    if name in EXIT_CODES:
        message = template(node.args[0])
    elif name == "unknown":
        place = [template(item) for item in node.args[3:4]]
        where = f" {place[0]}" if place and place[0] else ""
        kind = template(node.args[0])
        said = f"unknown {kind} '{template_hole(node.args[1])}'{where}."
        return "InputError", f"{said} Did you mean {{nearest}}? Known: {{names}}."
    elif name == "ValueError" and module in SCHEMA:
        return "InputError", template(node.args[0]).rstrip(".") + "."
    else:
        return None
    return name, message


def template(node: ast.expr) -> str:
    """A message as written, its holes as `{name}`; alternatives as `(one / other)`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_piece(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    if isinstance(node, ast.IfExp):
        one, other = template(node.body), template(node.orelse)
        return f"({one} / {other})" if one and other else f"[{one or other}]"
    return template_hole(node)


def _piece(node: ast.expr) -> str:
    if not isinstance(node, ast.FormattedValue):
        return template(node)
    hole = template(node.value) if isinstance(node.value, ast.IfExp) else template_hole(node.value)
    return f"'{hole}'" if node.conversion == ord("r") else hole


def template_hole(node: ast.expr) -> str:
    """`{name}`: the shortest name that still says what stands there."""
    return "{" + (next(_names(node), "…")) + "}"


def _names(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        # `type(x).__name__` is the type of x, `error.strerror` an attribute worth its name.
        yield "type" if node.attr == "__name__" else node.attr
    elif isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.Subscript):
        yield from _names(node.value)
    elif isinstance(node, ast.Call):
        for argument in node.args:
            yield from _names(argument)
        yield from _names(node.func)
    else:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _names(child)
            elif isinstance(child, ast.comprehension):
                yield from _names(child.iter)


HEAD = """# Errors

Every message that langneurons raises on purpose, one line each: what is wrong with the value, and
what to do. `InputError` (a `ValueError`) is bad input, nothing was started, and the command line
exits with 2; `RunError` (a `RuntimeError`) is a run that failed on usable input, `ArtifactError` a
file that is damaged or not what its name says, and both exit with 1. `--debug` shows where an
error came from. Names in braces stand for your values; `(one / other)` are alternatives,
`[...]` is said where it applies.

This page is written by `make pages` from the source.
"""


def page() -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    found = entries()
    for room, title in ROOMS.items():
        rows = [entry for entry in found if entry.room == room]
        if not rows:
            continue
        parts.append(f"\n## {title}\n\n| message | error | raised in |\n| --- | --- | --- |\n")
        said = sorted({(row.module, row.message, row.error) for row in rows})
        for module, message, error in said:
            parts.append(f"| {_cell(message)} | `{error}` | `{module}` |\n")
    return "".join(parts)


def _cell(text: str) -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\|*_[]`":
        safe = safe.replace(sign, f"\\{sign}")
    return safe
