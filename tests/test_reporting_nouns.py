"""A report on experts speaks of experts."""

import re

import pandas as pd
import pytest
from typer.testing import CliRunner

from langneurons import Study
from langneurons.cli.app import app
from langneurons.reporting.inputs import Run
from langneurons.reporting.nouns import call, many, noun
from langneurons.reporting.tables.neurons import layers, neurons


def run(statistics, **neurons):
    given = {"statistics": {"site": statistics}, "neurons": neurons}
    return Run(folder=None, info={"parameters": given})


def test_the_noun_follows_from_where_the_sets_live():
    assert noun(run("mlp.act", lape={"site": None})) == "neuron"
    assert noun(run("moe.router", lape={"site": None})) == "expert"
    assert noun(run("mlp.act", a={"site": "moe.act"}, b={"site": "moe.pre"})) == "unit"
    assert noun(run("mlp.act", a={"site": "moe.router"}, b={})) == "neuron"
    assert noun(Run(folder=None, info={})) == "neuron"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Neurons of hi: one neuron.", "Experts of hi: one expert."),
        ("langneurons keeps neurons_lape and neuron-set", None),
        ("the neurons' own", "the experts' own"),
    ],
)
def test_the_word_alone_is_replaced(text, expected):
    assert call(text, "expert") == (expected or text)
    assert call(text, "neuron") == text


def test_a_page_on_experts_says_nothing_of_neurons(tmp_path):
    # A name with the word in it shows that names stay.
    out = tmp_path / "run"
    small = ["model=mini-moe", "languages=[en,hi]", "statistics={tokens: 2000, rows: 64}"]
    small += ["statistics.site=moe.router", "sweep=null", "passages=null", "budget=small"]
    small += ["neurons={my-neurons: {method: expert_share, parameters: {per_language: 0.2}}}"]
    small += ["perplexity={neurons: [my-neurons], tokens: 400, random: 1, matched: 0, load: 1}"]
    result = Study.from_yaml("experts", small).run(out)
    assert result.failed == []
    page = result.report.read_text(encoding="utf-8")
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page[page.index("<body") :], flags=re.S)
    text = re.sub(r"<code\b.*?</code>|<[^>]*>", " ", body, flags=re.S)
    left = [m[0] for m in re.finditer(r".{0,30}(?<![\w.-])[Nn]eurons?\b(?![\w./-]).{20}", text)]
    assert left == []
    assert "my-neurons" in text
    assert "experts" in text


def test_tables_say_which_tokens_shares_inside_experts_are_of(tmp_path, short_reports):
    sets = "{every: {method: lape}, routed: {method: lape, parameters: {reading: routed}}}"
    words = ["model=mini-moe", "languages=[en,hi]", "statistics={tokens: 2000, rows: 64}"]
    words += ["statistics.site=moe.act", "sweep=null", "passages=null", "perplexity=null"]
    out = tmp_path / "run"
    assert Study.from_yaml("experts", [*words, f"neurons={sets}"]).run(out).failed == []
    table = pd.read_parquet(out / "tables" / "neurons.parquet")
    of = dict(zip(table["neurons"], table["reading"], strict=True))
    assert (of["every"], of["routed"]) == ("all", "routed")
    assert "shares of tokens" in neurons(table).shown().columns
    assert "shares of tokens" in layers(table).shown().columns
    shown = CliRunner().invoke(app, ["neurons", "show", str(out / "neurons" / "routed.json")])
    assert "shares of routed tokens" in " ".join(shown.output.split())


@pytest.mark.parametrize(
    ("site", "word"), [("moe.router", "experts"), ("moe.act", "units"), ("mlp.act", "neurons")]
)
def test_units_of_a_site_in_words(site, word):
    assert many(site) == word
