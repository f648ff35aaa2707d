"""Routing in the report: the tables by definition, and what the page says and draws of them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from langneurons.parts.routing import figures, page
from langneurons.parts.routing.tables import divergences, loads
from langneurons.reporting.inputs import Run
from langneurons.statistics import Statistics

TOKENS = 1000
COUNTS = {
    "en": [[900, 500, 400, 200], [0, 0, 0, 0], [500, 500, 500, 500]],
    "hi": [[100, 100, 900, 900], [0, 0, 0, 0], [500, 500, 500, 500]],
    "zh": [[1000, 0, 0, 1000], [0, 0, 0, 0], [400, 600, 400, 600]],
}  # two experts a token; the second layer routes nothing


@pytest.fixture(scope="module")
def stats():
    counts = {lang: torch.tensor(rows) for lang, rows in COUNTS.items()}
    return Statistics.from_counts(counts, dict.fromkeys(counts, TOKENS), site="moe.router")


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


def apart(p, q):
    """The divergence by its definition, in plain Python."""
    p, q = ([x / sum(row) for x in row] for row in (p, q))
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (entropy(m) - (entropy(p) + entropy(q)) / 2) / entropy(m)


def test_tables_are_the_definition(stats):
    table = divergences(stats, "en").set_index(["language", "layer"])
    assert set(table.index.get_level_values("layer")) == {0, 2}
    for lang in ("hi", "zh"):
        for layer in (0, 2):
            expected = apart(COUNTS[lang][layer], COUNTS["en"][layer])
            assert table.loc[(lang, layer), "divergence"] == pytest.approx(expected, abs=1e-12)
    assert table.loc["en", "divergence"].isna().all()
    assert table["halves"].isna().all()  # no token rows
    of = entropy([0.45, 0.25, 0.2, 0.1]) / math.log(4)
    assert table.loc[("en", 0), "entropy"] == pytest.approx(of)
    load = loads(stats).set_index(["language", "layer", "expert"])
    assert len(load) == 3 * 2 * 4
    assert load.loc[("hi", 0, 2), "load"] == pytest.approx(0.9)
    assert load.loc[("hi", 0, 2), "share"] == pytest.approx(0.45)


def test_halves_are_two_sets_of_the_pivot_s_documents(monkeypatch, stats):
    rng = np.random.default_rng(0)
    documents = torch.from_numpy(rng.integers(0, 6, 300))
    chosen = torch.zeros(3, 300, 4)
    for layer in (0, 2):
        for token in range(300):
            picked = rng.choice(4, 2, replace=False, p=[0.4, 0.3, 0.2, 0.1])
            chosen[layer, token, picked] = 0.5
    monkeypatch.setattr(Statistics, "has", lambda self, name: True)
    monkeypatch.setattr(Statistics, "row_documents", lambda self, lang: documents)
    monkeypatch.setattr(Statistics, "rows", lambda self, lang, layer: chosen[layer])
    table = divergences(stats, "en")
    first = documents < 3  # six documents, the first three in the order of their keys
    for layer in (0, 2):
        used = chosen[layer] > 0
        expected = apart(used[first].sum(0).tolist(), used[~first].sum(0).tolist())
        found = table[(table["language"] == "hi") & (table["layer"] == layer)]["halves"]
        assert found.item() == pytest.approx(expected, abs=1e-12)


def run(stats, halves=math.nan):
    tables = {
        "routing": divergences(stats, "en").assign(halves=halves),
        "expert_load": loads(stats),
    }
    return Run(Path(), {"model": "mixture", "languages": list(COUNTS)}, tables=tables)


def test_the_page_says_where_languages_part(stats):
    (section,) = page.sections(run(stats, halves=0.001))
    first, limit, heavy = (sentence.text for sentence in section.sentences)
    assert "Languages are routed unlike en in layer 0 most" in first
    assert "layer 2 least" in first
    assert "over all layers zh differs most" in first
    assert "Two halves of the en documents differ by 0.0010 at most" in first
    # In layer 2 hi is routed as en is.
    assert "3 of 4 language-layer pairs differ by more" in first
    assert "a router that goes by tokens alone gives one" in limit
    assert "is 1 in layer 0: 83 % of its load is en's" in heavy
    assert "more than half is one language's in 2 of 8 experts (en and hi)" in heavy
    assert "would give 33 %" in heavy
    assert "The heaviest load is 100 % of zh's tokens, on expert 0 of layer 0." in heavy
    names = [block.name for block in section.blocks]
    assert names == ["routing_divergence", "expert-load", "routing", "expert_load"]
    assert [label for label, _ in section.blocks[1].panels] == ["layer 0", "layer 2"]


def test_without_token_rows_nothing_is_told_from_chance(stats):
    (section,) = page.sections(run(stats))
    assert section.sentences[0].tone == "none"
    assert "Nothing was drawn to tell it from chance" in section.sentences[1].text


def test_one_language_has_loads_and_no_divergence(stats):
    alone = Statistics.from_counts(
        {"hi": torch.tensor(COUNTS["hi"])}, {"hi": TOKENS}, site="moe.router"
    )
    tables = {"routing": divergences(alone, "hi"), "expert_load": loads(alone)}
    (section,) = page.sections(Run(Path(), {"model": "m", "languages": ["hi"]}, tables=tables))
    assert not section.sentences
    assert [block.name for block in section.blocks] == ["expert-load", "routing", "expert_load"]


def test_of_many_layers_those_that_differ_most_are_drawn():
    rows = [
        {"language": lang, "pivot": "en", "layer": layer, "halves": 0.0, "entropy": 1.0,
         "divergence": math.nan if lang == "en" else (layer * 7 % 20) / 20}
        for lang in ("en", "hi") for layer in range(20)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    most = sorted(range(20), key=lambda layer: -(layer * 7 % 20))[: page.LAYERS]
    assert page.drawn(table) == sorted(most)


def test_pictures_show_every_number(stats):
    table = loads(stats)
    drawn = figures.loads(table[table["layer"] == 0])
    written = [text.get_text() for text in drawn.axes[0].texts]
    assert written[:4] == ["90", "50", "40", "20"]
    assert len(written) == 12
    many = pd.DataFrame(
        [{"language": lang, "layer": 0, "expert": e, "load": 0.1, "share": 0.1}
         for lang in ("en", "hi") for e in range(128)]
    )  # fmt: skip
    assert not figures.loads(many).axes[0].texts
    lines = figures.divergence(divergences(stats, "en").assign(halves=0.01)).axes[0]
    assert [line.get_label() for line in lines.get_lines() if line.get_label()[0] != "_"] == [
        "en, two halves", "hi", "zh",
    ]  # fmt: skip
    assert lines.get_ylim()[0] == 0
