"""Values in a notebook: what they show, what can be drawn, and a notebook really executed."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

import langneurons as ln
from langneurons.errors import InputError
from langneurons.evaluation import Scores
from langneurons.identification import NeuronSet, Units
from langneurons.reporting.notebook import Drawing
from langneurons.statistics import Statistics
from langneurons.statistics.language import LanguageStatistics
from langneurons.statistics.sample import MemoryRows, RowSample
from reporting_run import neurons_table, perplexity_table, write_run

EVIL = '<script>alert("x")</script>'


@pytest.fixture
def neurons():
    units = {
        "en": Units([0, 0, 1], [1, 2, 3]),
        "hi": Units([0, 1], [2, 3]),
        EVIL: Units([2, 1], [0, 3]),
    }
    return NeuronSet(units, (3, 8), method="lape", model={"name": "tiny"})


@pytest.fixture
def statistics():
    torch.manual_seed(0)
    values = torch.randn(2, 50, 4)
    numbers = torch.arange(50)
    items = {}
    for lang, shift in (("en", 0.0), ("hi", 1.0)):
        rows = values + shift
        sample = RowSample(50, 0, numbers, numbers, numbers, numbers, MemoryRows(rows))
        items[lang] = LanguageStatistics(50, (rows > 0).sum(1), sample=sample)
    return Statistics("mlp.act", (2, 4), {"name": "tiny"}, items)


@pytest.fixture
def scores():
    rows = pd.DataFrame(
        {
            "id": range(40), "group": range(40), "prediction": "a", "gold": "a",
            "correct": [1.0] * 30 + [0.0] * 10,
        }
    )  # fmt: skip
    return Scores("xnli", EVIL, ("accuracy",), rows, {"model": "tiny"}, {"accuracy": 100 / 3})


def tips(drawing: Drawing) -> list[str]:
    root = ElementTree.fromstring(drawing.svg())
    return [item.text or "" for item in root.iter("{http://www.w3.org/2000/svg}title")]


def test_neuron_set_shows_itself(neurons):
    text = neurons._repr_html_()
    assert EVIL not in text
    assert "&lt;script&gt;" in text
    for part in ("lape", "tiny", "3 layers × 8 units", "<svg", ">12.50<"):  # 3 of 24 units
        assert part in text


def test_neuron_set_draws(neurons):
    assert any(tip.startswith("en, layer 0: 2 of 8 units") for tip in tips(neurons.plot()))
    upset = neurons.plot("upset")
    assert any(tip.startswith("en and hi: 1 unit,") for tip in tips(upset))
    assert any("Jaccard 0.667" in tip for tip in tips(neurons.plot("overlap")))
    between = neurons.plot("overlap", other=neurons)
    assert any("Jaccard 1.000" in tip for tip in tips(between))
    assert "en, hi and" in neurons.plot("venn").caption
    assert "hi, en and" in neurons.plot("venn", languages=["hi", "en", EVIL]).caption


def test_what_cannot_be_drawn_is_said(neurons, statistics):
    with pytest.raises(InputError, match="layers"):
        neurons.plot("layer")
    with pytest.raises(InputError, match="languages"):
        neurons.plot("venn", language="hi")
    with pytest.raises(InputError, match="'xx'"):
        neurons.plot("venn", languages=["en", "hi", "xx"])
    with pytest.raises(InputError, match="three languages"):
        neurons.plot("venn", languages=["en", "hi"])
    with pytest.raises(InputError, match="at least 3"):
        neurons.select(["en", "hi"]).plot("venn")
    with pytest.raises(InputError, match="layer and index"):
        statistics.plot("unit")
    with pytest.raises(InputError, match=r"no unit 7\.0"):
        statistics.plot("unit", layer=7, index=0)
    counts = Statistics.from_counts({"en": torch.ones(2, 4, dtype=torch.int64)}, {"en": 9})
    with pytest.raises(InputError, match="token rows"):
        counts.plot("unit", layer=0, index=0)


def test_empty_sets_show_themselves():
    assert "0 layers" not in NeuronSet({}, (3, 8))._repr_html_()
    empty = NeuronSet({"en": Units([], [])}, (3, 8))
    assert ">0<" in empty._repr_html_()


def test_statistics_show_themselves_and_draw(statistics):
    text = statistics._repr_html_()
    rate = 100 * float(statistics.prob_positive("hi").mean())
    assert f">{rate:.1f}<" in text
    share = 100 * float(statistics.prob_positive("hi")[1].mean())
    assert any(tip == f"hi, layer 1: {share:.1f} %" for tip in tips(statistics.plot()))
    found = tips(statistics.plot("unit", layer=1, index=2))
    middle = np.quantile(statistics.rows("hi", 1)[:, 2].numpy(), 0.5)
    assert any(tip.startswith(f"hi: median {middle:.3f}".replace("-", "−")) for tip in found)


def test_scores_show_themselves_and_draw(scores):
    text = scores._repr_html_()
    assert EVIL not in text
    assert "75.0 [" in text
    assert ">33.3<" in text
    assert any(tip.startswith("accuracy: 75.0 [") for tip in tips(scores.plot()))


def test_a_drawing_is_shown_and_saved(neurons, tmp_path):
    drawing = neurons.plot()
    bundle = drawing._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "currentColor" in bundle["text/html"]
    assert "figcaption" in bundle["text/html"]
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<svg")):
        path = drawing.save(tmp_path / f"a.{suffix}")
        assert path.read_bytes().startswith(start)
    with pytest.raises(InputError, match="png"):
        drawing.save(tmp_path / "a.jpg")


def test_study_shows_itself_and_draws_its_last_run(tmp_path):
    study = ln.Study.from_yaml("mini", ["budget=small"])
    text = study._repr_html_()
    for part in ("Study mini", "english+target:hi", "mini-nli", "activation_probability"):
        assert part in text
    with pytest.raises(InputError, match="run the study"):
        study.plot()
    rng = np.random.default_rng(0)
    tables = {"neurons": neurons_table(rng), "perplexity": perplexity_table(rng, draws=1)}
    folder = write_run(tmp_path, tables)
    assert "ratio to the untouched" in study.plot(out=folder).caption
    assert study.plot("neurons_lape", out=folder).caption.startswith("Neurons found by lape")
    with pytest.raises(InputError, match="neurons_lape"):
        study.plot("neurons_lap", out=folder)


def test_importing_the_package_draws_nothing_yet():
    code = (
        "import sys, langneurons as ln; ln.NeuronSet; "
        "print([m for m in sys.modules if m.startswith(('matplotlib', 'langneurons.reporting'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_notebook_executes(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_code_cell(text)
        for text in (
            "import langneurons as ln\n"
            "texts = {lang: ln.mini.text(lang, tokens=2000) for lang in ('en', 'hi')}\n"
            "stats = ln.collect(ln.load('mini'), texts, tokens=1500, rows=300)\nstats",
            "neurons = ln.identify(stats, method='lape', top=0.02)\nneurons",
            "neurons.plot('upset')",
            "stats.plot('unit', layer=0, index=3)",
        )
    ]
    client = nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": tmp_path}})
    client.execute()
    shown = [
        output["data"]
        for cell in book.cells
        for output in cell["outputs"]
        if output["output_type"] == "execute_result"
    ]
    assert len(shown) == 4
    assert all("<svg" in data["text/html"] for data in shown)
    assert all("image/png" in data for data in shown[2:])
