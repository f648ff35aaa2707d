"""The registry of parts: light, ordered, and open to other distributions."""

import subprocess
import sys

import pytest

from langneurons.registry import Registry
from langneurons.study.part import Part, later, ordered


def test_parts_are_found_without_loading_what_they_need():
    heavy = "import sys; from langneurons.study.part import ordered; parts = ordered()\n"
    heavy += "print([name for name in ('matplotlib', 'IPython') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_parts_stand_in_their_order_under_their_own_word():
    parts = ordered()
    assert [part.order for part in parts] == sorted(part.order for part in parts)
    assert all(isinstance(part, Part) for part in parts)


def test_a_function_is_imported_when_it_is_called():
    assert later("os.path:basename")("a/b") == "b"
    with pytest.raises(ModuleNotFoundError):
        later("langneurons.no_such_module:page")()


def test_another_distribution_adds_an_entry(tmp_path, monkeypatch):
    meta = tmp_path / "other-1.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (meta / "entry_points.txt").write_text("[things]\nmine = other_part\n")
    (tmp_path / "other_part.py").write_text("import sys\nsys.thing.register('mine')(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    things = Registry("thing", None, "things")
    monkeypatch.setattr(sys, "thing", things, raising=False)
    assert things.names() == ["mine"]
    assert things.get("mine") == 1
