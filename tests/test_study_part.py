"""The registry of parts: light, ordered, and open to other distributions."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from langneurons.errors import ArtifactError
from langneurons.interface.part import PARTS, Later, Part, add, functions, later, ordered
from langneurons.registry import Registry
from langneurons.reporting.columns import Columns
from langneurons.reporting.sections import Section
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables.plain import plain
from langneurons.study.report import compose, read
from reporting_run import perplexity_table, scores_table, write_run


def test_parts_are_found_without_loading_what_they_need():
    heavy = "import sys; from langneurons.interface.part import ordered; parts = ordered()\n"
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


def test_every_function_that_a_part_registers_is_where_it_says():
    found = 0
    for part in ordered():
        for item in (part, *part.kinds.values(), *part.columns.values()):
            for field in dataclasses.fields(item):
                given = getattr(item, field.name)
                if isinstance(given, Later):
                    assert callable(given.target), (part.word, field.name)
                    found += 1
    assert found > 80


def test_a_part_has_no_function_of_another_name():
    assert functions("a.b", "check page") == {
        "check": Later("a.b.spec:check"),
        "page": Later("a.b.page:sections"),
    }
    with pytest.raises(KeyError):
        functions("a.b", "chek")


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


def test_a_part_brings_columns_and_section_without_a_line_outside_it(tmp_path, monkeypatch):
    ordered()  # the package's own are there
    monkeypatch.setattr(PARTS, "_entries", dict(PARTS._entries))

    def page(run):
        table = run.table("mine")
        if table is not None:
            shown = plain(table, "mine", "Mine", "What is mine.")
            yield Section("mine", "Mine", [Sentence(f"Mine is {table['x'].max():g}.")], [shown])

    add(Part("mine", 250, columns={"mine": Columns("a", "x")}, page=page))
    mine = pd.DataFrame({"a": ["b"], "x": ["7"]})
    tables = {"mine": mine, "perplexity": perplexity_table(np.random.default_rng(0), draws=1)}
    tables["scores"] = scores_table(np.random.default_rng(0), languages=("hi",))
    made = compose(read(write_run(tmp_path, tables)))
    names = [section.name for section in made.sections]
    assert names.index("perplexity") < names.index("mine") < names.index("tasks")
    (section,) = (section for section in made.sections if section.name == "mine")
    assert section.sentences[0].text == "Mine is 7."
    assert "part-mine" not in names  # claimed, so not shown a second time as it is
    write_run(tmp_path, {"mine": mine.drop(columns="x")})
    with pytest.raises(ArtifactError, match=r"lacks the column\(s\) x"):
        read(tmp_path)
