"""The report as a whole: files, escaping, size, and runs with half their tables missing."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

from langneurons.errors import ArtifactError, InputError
from langneurons.parts.adapters.comparisons import References, references
from langneurons.parts.neurons.page import members
from langneurons.parts.perplexity import shown as perplexity
from langneurons.parts.tasks.shown import by_language
from langneurons.reporting.figures import canvas, layers, sets
from langneurons.reporting.methods import flat
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import listing, number, p_value, with_interval
from langneurons.reporting.page import Limits, fit, render
from langneurons.reporting.tables import export, neurons
from langneurons.study.report import compose, read, report
from reporting_run import (
    finetuning_table,
    neurons_table,
    overlap_table,
    perplexity_table,
    rules_table,
    scores_table,
    sweep_table,
    write_run,
)

SMALL = ("en", "hi", "ur")
EVIL = '<script>alert("x")</script>&$_{}\\|'
URDU = "اردو متن"


def small_tables(languages=SMALL, name="lape") -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(1)
    found = neurons_table(rng, languages, sets=(name,))
    return {
        "neurons": found,
        "overlap": overlap_table(found, rng),
        "perplexity": perplexity_table(rng, languages, name, draws=2),
        "scores": scores_table(rng, languages, tasks=("mini-nli",), values=("zero",)),
        "rules": rules_table(languages),
        "finetuning": finetuning_table(languages),
        "sweep": sweep_table(languages[:1]),
    }


class _Page(HTMLParser):
    """Collects tags, ids and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("run"), small_tables())
    return report(folder)


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    tables = small_tables(languages=("en", EVIL, URDU), name=EVIL)
    tables["odd"] = pd.DataFrame({"passage": [URDU, EVIL], "share": [0.5, 0.25]})
    folder = write_run(
        tmp_path_factory.mktemp("evil"),
        tables,
        name=EVIL,
        command=EVIL,
        parameters={EVIL: {"x": EVIL}},
    )
    return report(folder)


def test_files_are_written(made):
    folder = made.parent
    assert made.name == "index.html"
    assert made.stat().st_size < 8_000_000
    tables = {path.name for path in (folder / "tables").iterdir()}
    for name in ("neurons", "overlap", "perplexity_own", "scores", "finetuning", "adapters"):
        assert {f"{name}.csv", f"{name}.md", f"{name}.tex"} <= tables
    figures = {path.name for path in (folder / "figures").iterdir()}
    for suffix in ("png", "svg", "pdf"):
        assert f"perplexity_matrix_lape_zero.{suffix}" in figures
    assert not [name for name in figures | tables if name.endswith(".part")]


def test_page_holds_every_section_and_needs_no_network(made):
    page = _Page(made.read_text(encoding="utf-8"))
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids)), "an id stands twice"
    for name in (
        *("answer", "neurons", "overlap", "perplexity", "tasks", "finetuning", "sweep"),
        *("methods", "reproduce"),
    ):
        assert name in ids
    for tag, attrs in page.tags:
        for key in ("src", "href", "action"):
            target = attrs.get(key) or ""
            assert not re.match(r"(https?:)?//", target), (tag, target)
        assert tag not in ("iframe", "object", "embed")
    links = [a["href"] for tag, a in page.tags if tag == "a" and (a["href"] or "").startswith("#")]
    assert links
    assert {link[1:] for link in links} <= set(ids)
    files = [a["href"] for tag, a in page.tags if tag == "a" and not a["href"].startswith("#")]
    assert files
    assert all((made.parent / name).is_file() for name in files)
    assert "langneurons run mini -o runs/mini" in "".join(page.texts)


def test_markup_in_data_is_shown_not_run(evil):
    text = evil.read_text(encoding="utf-8")
    page = _Page(text)
    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert len(scripts) == 1
    assert "<script>alert" not in text
    assert EVIL in "".join(page.texts)
    handlers = [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert not handlers
    for path in (evil.parent / "figures").glob("*.svg"):
        names = {element.tag.rsplit("}", 1)[-1] for element in ElementTree.parse(path).iter()}
        assert "script" not in names


def test_file_names_never_come_from_data_unchanged(evil):
    for path in evil.parent.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", path.name), path.name


def test_other_scripts_survive_in_every_table_format(evil):
    assert f'dir="auto">{URDU}' in evil.read_text(encoding="utf-8")
    for suffix in ("csv", "md", "tex"):
        text = (evil.parent / "tables" / f"neurons.{suffix}").read_text(encoding="utf-8")
        assert URDU in text


@pytest.mark.parametrize("kept", [(), ("neurons",), ("scores",), ("perplexity", "finetuning")])
def test_missing_tables_leave_their_sections_out(tmp_path, kept):
    tables = {name: table for name, table in small_tables().items() if name in kept}
    shown = compose(read(write_run(tmp_path, tables)))
    names = {section.name for section in shown.sections}
    assert {"methods", "reproduce"} <= names
    assert ("neurons" in names) == ("neurons" in kept)
    assert ("tasks" in names) == ("scores" in kept)
    assert (shown.answer is not None) == bool({"scores", "perplexity"} & set(kept))
    page = render(shown, {picture.name: "<svg></svg>" for picture in shown.pictures()}, Limits())
    assert ("nothing that answers a question" in page.text) == (shown.answer is None)


def test_unknown_and_empty_tables(tmp_path):
    tables = {
        "task_shares": pd.DataFrame({"language": ["hi"], "share": [0.25]}),
        "novel_part": pd.DataFrame({"x": [1], "ratio": [1.5], "low": [1.2], "high": [1.8]}),
        "sweep": sweep_table().iloc[:0],
    }
    shown = compose(read(write_run(tmp_path, tables)))
    titles = {section.name: section.title for section in shown.sections}
    assert titles["part-task_shares"] == "Task shares"
    assert titles["part-novel_part"] == "Novel part"
    assert "sweep" not in titles
    (novel,) = (table for table in shown.tables() if table.name == "other_novel_part")
    assert novel.shown().iloc[0].tolist() == ["1", "1.500 [1.200, 1.800]"]


def test_optional_parts_are_drawn(tmp_path):
    tables = {
        "forcing": pd.DataFrame(
            {
                "off": ["en", "en", "en"],
                "on": ["hi", "hi", "ur"],
                "language_detected": ["hi", "en", "ur"],
                "share": [0.6, 0.4, 0.25],
                "n": [50, 50, 40],
            }
        ),
        "unit_effects": pd.DataFrame(
            {"language": ["hi", "hi"], "layer": [0, 1], "index": [3, 7], "ratio": [1.01, 1.2]}
        ),
    }
    shown = compose(read(write_run(tmp_path, tables)))
    drawn = {p.name: canvas.svg(p.figure, p.name) for p in shown.pictures()}
    # Wilson's interval for 30 of 50, by its formula
    z, p, n = 1.959964, 0.6, 50
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    low, high = round(100 * (middle - half)), round(100 * (middle + half))
    assert f"en off, hi on: 60 [{low}, {high}] % hi" in drawn["forcing"]
    assert "hi: layer 1, unit 7: ×1.200" in drawn["unit_effects"]
    (effects,) = (table for table in shown.tables() if table.name == "unit_effects")
    assert effects.shown()["index"].tolist() == ["7", "3"]


def test_bad_input_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no run directory") as caught:
        report(tmp_path)
    assert "\n" not in str(caught.value)
    write_run(tmp_path, {"neurons": small_tables()["neurons"].drop(columns="total")})
    with pytest.raises(ArtifactError, match=r"lacks the column\(s\) total"):
        report(tmp_path)
    (tmp_path / "tables" / "neurons.parquet").write_bytes(b"no parquet")
    with pytest.raises(ArtifactError, match="damaged"):
        report(tmp_path)


def test_large_tables_are_cut_in_the_page_only(tmp_path):
    shown = compose(read(write_run(tmp_path, {"neurons": small_tables()["neurons"]})))
    drawn = {picture.name: "<svg></svg>" for picture in shown.pictures()}
    whole, cut = (render(shown, drawn, Limits(rows=rows)).text for rows in (1000, 5))
    assert "further rows are in the CSV file" not in whole
    rows = len(shown.tables()[1].data)
    assert f"{rows - 5} further rows are in the CSV file" in cut
    limit = len(whole.encode()) - 1
    assert len(fit(shown, drawn, Limits(bytes=limit, rows=1000)).text.encode()) <= limit


def test_csv_keeps_full_numbers(tmp_path):
    table = perplexity.cells(small_tables()["perplexity"])
    path = export.save(table, tmp_path)[0]
    back = pd.read_csv(path)
    np.testing.assert_allclose(back["ratio"], table.data["ratio"], rtol=1e-12)


def test_latex_and_markdown_escape(tmp_path):
    data = small_tables(name=EVIL)["neurons"]
    table = neurons.neurons(data)
    tex, markdown = export.latex(table), export.markdown(table)
    assert r"\toprule" in tex
    assert r"\textless{}script\textgreater{}" in tex
    assert r"\&\$\_\{\}\textbackslash{}" in tex
    assert "<script>" not in markdown
    short = neurons.layers(data)
    assert len(short.data) == 36
    assert r"\begin{tabular}" in export.latex(short)
    assert r"\begin{longtable}" in export.latex(neurons.layers(pd.concat([data, data])))
    header = markdown.splitlines()[0]
    for line in markdown.splitlines()[2 : 2 + len(table.data)]:
        assert len(re.findall(r"(?<!\\)\|", line)) == header.count("|")


def test_figure_is_repeatable_and_leaves_the_callers_style_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    table = small_tables()["neurons"].query("neurons == 'lape'")
    first = canvas.svg(layers.layers(table), "a")
    assert canvas.svg(layers.layers(table), "a") == first
    assert dict(mpl.rcParams) == before
    root = ElementTree.fromstring(first)
    tips = [e.get("data-tip") for e in root.iter() if e.get("data-tip")]
    assert len(tips) == 3 * 6
    units = table[(table["language"] == "hi") & (table["layer"] == 2)]["units"].item()
    assert any(tip.startswith(f"hi, layer 2: {units} of 768 units") for tip in tips)
    assert all(e.get("id", "a-").startswith("a-") for e in root.iter())


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (1234.5, 1, False, "1\N{NARROW NO-BREAK SPACE}234.5"),
        (-0.04, 1, False, "0.0"),
        (-2.0, 0, False, "−2"),
        (0.31, 1, True, "+0.3"),
        (float("nan"), 1, False, "–"),
        (None, 1, False, "–"),
        (float("inf"), 1, False, "∞"),
    ],
)
def test_numbers(value, digits, signed, text):
    assert number(value, digits, signed=signed) == text


def test_intervals_p_values_and_lists():
    assert with_interval(1, 0.5, 2, 1, signed=True) == "+1.0 [+0.5, +2.0]"
    assert with_interval(1, None, 2, 1) == "1.0"
    assert p_value(0.00004).endswith("0.001")
    assert p_value(0.0412) == "0.041"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["a", "b", "c"], most=2) == "a, b and 1 more"
    assert slug("lape@set") == "lape-at-set"
    assert re.fullmatch(r"script-alert-x-script-_-[0-9a-f]{6}", slug(EVIL))
    assert slug("اردو") != slug("हिन्दी")
    assert flat({"a": {"b": [1, 2]}, "c": None}) == [("a.b", "1, 2"), ("c", "–")]


def test_members_of_real_neuron_sets_are_drawn(tmp_path):
    from langneurons.identification import NeuronSet, Units

    rng = np.random.default_rng(3)
    masks = {name: torch.from_numpy(rng.random((2, 40)) < 0.4) for name in SMALL}
    found = NeuronSet({name: Units.from_mask(mask) for name, mask in masks.items()}, (2, 40))
    rows = found.per_layer().assign(neurons="lape", total=40)
    write_run(tmp_path, {"neurons": rows})
    found.save(tmp_path / "neurons" / "lape.json")
    run, units = read(tmp_path), members(tmp_path / "neurons" / "lape.json")
    names = {picture.name for picture in compose(run).pictures()}
    assert {"upset_lape", "venn_lape"} <= names

    counted = sets.memberships(units)
    stacked = np.stack([masks[name].numpy() for name in SMALL])
    for names, size in counted.items():
        pattern = np.array([name in names for name in SMALL])
        assert size == (stacked == pattern[:, None, None]).all(axis=0).sum()
    assert sum(counted.values()) == stacked.any(axis=0).sum()
    assert sets.closest(units) == SMALL


def test_names_of_reference_adapters_come_from_what_they_train():
    table = finetuning_table(SMALL)
    table["adapter"] = table["adapter"].replace({"none": "attention-only", "random": "control"})
    table["units"] = table["units"].replace({"random": "random:lape:hi"})
    assert references(table) == References(("attention-only",), ("control",))
    both = table.assign(units="lape:hi + random:lape:hi")
    assert references(both) == References((), ())


def test_overlap_as_neuron_sets_write_it(tmp_path):
    table = small_tables()["overlap"].rename(
        columns={
            "language_a": "language",
            "language_b": "other",
            "size_a": "size",
            "size_b": "other_size",
        }
    )
    run = read(write_run(tmp_path, {"overlap": table}))
    assert {"language_a", "size_b"} <= set(run.tables["overlap"].columns)


def test_an_asterisk_needs_the_test_and_the_interval():
    rng = np.random.default_rng(0)
    scores = scores_table(rng, languages=("hi",), tasks=("mini-nli",), values=("zero", "mean"))
    own = (scores["units"] == "own") & (scores["adapter"] == "none")
    low, high = ["difference_low", "difference_high"]
    scores.loc[own, "p_holm"] = 0.001
    scores.loc[own & (scores["intervention"] == "zero"), [low, high]] = [-0.5, 9.0]
    scores.loc[own & (scores["intervention"] == "mean"), [low, high]] = [0.5, 9.0]
    table = by_language(scores, "mini-nli", "none", "accuracy")
    assert table is not None
    rows = table.data[table.data["units"] == "own"].set_index("value")
    assert dict(rows["star:hi"]) == {"zero": False, "mean": True}
    scores.loc[own, "p_holm"] = 0.2
    table = by_language(scores, "mini-nli", "none", "accuracy")
    assert not table.data["star:hi"].any()
