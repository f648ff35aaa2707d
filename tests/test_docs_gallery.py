"""The gallery shows a figure of every kind that the report draws, each with its command."""

import ast
import re
from pathlib import Path

import pytest
from scripts import gallery

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")


def beginning(node):
    """The constant beginning of a name: of a text, or of an f-string before its first value."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) else node
    return first.value if isinstance(first, ast.Constant) else None


def stems():
    """The beginnings of the names that the source gives its figures."""
    for path in sorted((ROOT / "src" / "langneurons").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            place = {"Picture": 0, "panels": 1}.get(node.func.id)
            if place is not None and (stem := beginning(node.args[place])) is not None:
                yield stem.rstrip("_")


def test_every_name_that_the_source_gives_a_figure_has_a_kind():
    found = set(stems())
    assert len(found) > 15
    assert not {stem for stem in found if gallery.kind_of(stem) is None}
    assert set(gallery.KINDS) - found <= {"sweep"}  # a name put together elsewhere


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("overlap_lape", "overlap"),
        ("overlap_chance_lape_auroc", "overlap_chance"),
        ("answer", "answer"),
        ("answering", None),
    ],
)
def test_the_longest_beginning_decides(name, kind):
    assert gallery.kind_of(name) == kind


def test_the_page_shows_every_kind_with_a_command():
    shown = re.findall(r"!\[[^\]]+\]\(figures/gallery/(\w+)\.svg\)", PAGE)
    assert set(gallery.KINDS) - set(shown) <= set(gallery.NEEDS)
    assert PAGE.endswith(gallery.foot(shown))
    assert {path.stem for path in gallery.FOLDER.glob("*.svg")} == set(shown)
    commands = re.findall(r"^\$ langneurons run (\S+) -o \S+", PAGE, re.MULTILINE)
    assert len(commands) == len(shown)
    for study in set(commands):
        assert study == "mini" or (ROOT / study).is_file()


def test_the_pictures_are_small():
    assert sum(path.stat().st_size for path in gallery.FOLDER.glob("*.svg")) < 2_000_000
