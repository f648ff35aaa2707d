"""Directions and the steering protocol in a study: run, kept, reported, refused, narrowed."""

import json
import math
from functools import partial

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import langneurons as ln
from langneurons import Study
from langneurons.cli.app import app
from langneurons.data.tasks import get_task
from langneurons.errors import InputError
from langneurons.evaluation.steering import dealt, questions, summary, written
from langneurons.identification import Directions
from langneurons.interface.narrowing import Gone
from langneurons.intervention import Steering, intervene
from langneurons.parts.directions import spec as directions_spec
from langneurons.parts.steering import page
from langneurons.parts.steering import spec as steering_spec
from langneurons.parts.steering.ways import quarters
from study_world import WORDS, files


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    """The study on disk, not run."""
    root = tmp_path_factory.mktemp("steering")
    (root / "asked").mkdir()
    for lang, words in WORDS.items():
        several = words.split()
        lines = [" ".join(several[n % 7 : n % 7 + 4]) + f" {n}?" for n in range(12)]
        (root / "asked" / f"{lang}.txt").write_text("\n".join(lines), encoding="utf-8")
    config = {
        "name": "steering",
        **files(root, max_position_embeddings=512),
        "statistics": {"tokens": 600, "block": 32, "rows": 128},
        "neurons": {"ap": {"method": "average_precision", "parameters": {"top": 0.1}}},
        "perplexity": {"neurons": ["ap"], "tokens": 200, "random": 0, "matched": 0},
        "directions": {
            "means": {"source": "en", "languages": ["hi"], "random": 1},
            "rest": {"method": "pca", "random": 0},
        },
        "features": {"topk": {"layers": [1], "features": 48, "k": 4, "tokens": 2000, "batch": 64,
                              "parameters": {"top": 0.2}, "random": 0, "matched": 0}},
        "tasks": {"open": {"source": f"clas:{root / 'asked'}", "languages": ["en", "hi"]}},
        "steering": {
            "prompts": "open",
            "targets": ["hi"],
            "choose": 2,
            "test": 4,
            "new_tokens": 4,
            "random": 1,
            "matched": 1,
            "ways": {
                "units": {"neurons": "ap", "values": ["mean", "x3"]},
                "means": {"directions": "means", "strengths": [1, 4]},
                "vector": {"directions": "means", "how": "keep_norm", "layers": "all",
                           "strengths": [2]},
                "out": {"directions": "rest", "how": "ablate", "layers": [1], "strengths": [1]},
                "dimensions": {"directions": "means", "how": "dimensions", "count": 5,
                               "layers": [0]},
                "features": {"features": "topk", "strengths": [2]},
            },
        },
    }  # fmt: skip
    (root / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def study(laid):
    """The same, run; the language of an answer is named by an extra."""
    pytest.importorskip("lingua")
    result = Study.from_yaml(laid / "study.yaml").run(laid / "run")
    assert result.failed == []
    return laid


def test_every_way_is_chosen_tested_and_held_against_controls(study):
    tables = study / "run" / "tables"
    table = pd.read_parquet(tables / "steering.parquet")
    cells = set(zip(table["way"], table["kind"], strict=True))
    for way in ("units", "means", "vector", "out", "features"):
        assert {(way, kind) for kind in ("own", "random", "matched")} <= cells
    assert {kind for way, kind in cells if way == "dimensions"} == {"own", "random"}
    assert {way for way, kind in cells if kind == "none"} == {
        "untouched", "instruction", "in the language",
    }  # fmt: skip
    assert set(table["n"]) == {4}
    tried = pd.read_parquet(tables / "steering_choice.parquet")
    assert tried.groupby("way")["chosen"].sum().eq(1).all()
    assert tried.groupby("way").size().to_dict() == {
        "units": 2, "means": 4, "vector": 1, "out": 1, "dimensions": 3, "features": 1,
    }  # fmt: skip
    answers = pd.read_parquet(tables / "steering_answers.parquet")
    for key, rows in answers.groupby(["way", "kind", "seed"]):
        (row,) = table[(table[["way", "kind", "seed"]] == list(key)).all(axis=1)].to_dict("records")
        for name, value in summary(rows).items():
            same = math.isnan(row[name]) if math.isnan(value) else row[name] == value
            assert same, (key, name)
    # What is tested was not chosen on.
    assert answers.groupby(["way", "kind", "seed"])["id"].agg(frozenset).nunique() == 1
    own = table[table["kind"] == "own"].set_index("way")
    assert (own["source_ratio"] != 1).all()
    assert (own["factor"] == 1).all()


def test_steered_answers_are_those_of_the_library(study):
    """The answers kept are what generation under the same Steering writes."""
    lm = ln.load(str(study / "model"))
    found = Directions.load(study / "run" / "directions" / "means" / "directions.safetensors")
    task = get_task(f"clas:{study / 'asked'}")
    _, test = dealt(questions(task, "en", "hi"), 2, 4, 0)
    done = Steering(found["hi"], "keep_norm", 2.0)
    asked = [task.encode(item.asked) for item in test]
    expected = written(lm, asked, partial(intervene, lm, [done]), max_new_tokens=4)
    answers = pd.read_parquet(study / "run" / "tables" / "steering_answers.parquet")
    rows = answers[(answers["way"] == "vector") & (answers["kind"] == "own")]
    assert rows["answer"].tolist() == expected
    assert rows["id"].tolist() == [item.id for item in test]


def test_directions_and_their_random_ones_are_kept(study):
    folder = study / "run" / "directions"
    own = Directions.load(folder / "means" / "directions.safetensors")
    drawn = Directions.load(folder / "means" / "random-0.safetensors")
    assert own.languages == drawn.languages == ("hi",)
    assert drawn["hi"].norm.tolist() == pytest.approx(own["hi"].norm.tolist(), rel=1e-5)
    assert Directions.load(folder / "rest" / "directions.safetensors").method == "pca"
    table = pd.read_parquet(study / "run" / "tables" / "directions.parquet")
    means = table[table["directions"] == "means"]
    apart = means.groupby("kind")["apart"].apply(lambda values: values.abs().mean())
    assert apart["own"] > apart["random"]


def test_the_page_says_so_and_all_is_kept(study):
    text = (study / "run" / "report" / "index.html").read_text(encoding="utf-8")
    for said in ("What steers a language", "Directions between languages", "4 questions a cell"):
        assert said in text
    again = Study.from_yaml(study / "study.yaml").run(study / "run")
    assert {outcome.status for outcome in again.outcomes} == {"kept"}
    # A changed question is seen.
    path = study / "asked" / "hi.txt"
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace("11?", "12?"), encoding="utf-8")
    try:
        plan = Study.from_yaml(study / "study.yaml").plan()
    finally:
        path.write_text(before, encoding="utf-8")
    changed = Study.from_yaml(study / "study.yaml").plan()
    assert plan.keys["steering/prompts/hi"] != changed.keys["steering/prompts/hi"]
    assert plan.keys["directions/means"] == changed.keys["directions/means"]


def test_runs_are_summed_up_with_their_answers(study, tmp_path):
    words = ["summarise", str(study / "run"), "-o", str(tmp_path / "record"), "--json"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert {"steering", "steering_choice"} <= set(json.loads(said.stdout))
    assert "steering_answers" not in json.loads(said.stdout)
    kept = pd.read_parquet(tmp_path / "record" / "steering_answers.parquet")
    assert len(kept) == 4 * (3 + 6 * 3 - 1)
    assert "What steers a language" in (tmp_path / "record" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("steering.targets=[en]", "prompts are in en already"),
        ("steering.targets=[xx]", "unknown language 'xx'"),
        ("steering.targets=[es]", "unknown language 'es' of means in 'steering.ways."),
        ("steering.ways.units.neurons=lap", "unknown neuron set 'lap'"),
        ("steering.ways.units.features=topk", "name one of neurons, directions and features"),
        ("steering.ways.means.directions=mean", "unknown directions 'mean'"),
        ("steering.ways.features.features=top", "unknown features 'top'"),
        ("steering.ways.means.how=ablate", "unknown language 'en' of means"),
        ("steering.ways.units.values=[P999]", "P999"),
        ("steering.prompts=xnli", "unknown task 'xnli' in 'steering.prompts'"),
        ("tasks.open.source=mini-nli", "steering.prompts: 'open' has no questions"),
        ("steering.test=90", "2 + 90 questions are asked for"),
        ("directions.rest.beta=0.5", "beta is of the method difference"),
        ("directions.rest.site=residual", "unknown site 'residual'"),
        ("directions.means.languages=[en]", "leads from one language to another"),
        ("directions.means.source=fr", "unknown language 'fr'"),
        ("neurons.ap.languages=[en,es]", "unknown language 'hi' of ap"),
        ("steering.ways={a b: {neurons: ap}}", "way name 'a b' must be letters"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(laid, change, words):
    with pytest.raises(InputError) as caught:
        Study.from_yaml(laid / "study.yaml", [change]).check()
    assert words in str(caught.value)


def test_held_out_text_is_needed(laid):
    with pytest.raises(InputError, match="steering needs `perplexity`"):
        Study.from_yaml(laid / "study.yaml", ["perplexity=null", "features=null",
                                               "steering.ways.features=null"])  # fmt: skip


def test_a_language_without_features_is_told(study):
    """Spanish has none here."""
    changes = ["steering.targets=[es]", "tasks.open.languages=[en,es]"]
    ways = ("units", "means", "vector", "out", "dimensions")
    changes += [f"steering.ways.{way}=null" for way in ways]
    result = Study.from_yaml(study / "study.yaml", changes).run(study / "run")
    (failed,) = result.failed
    assert failed.name == "steering/ways/features/es"
    assert "'topk' has no feature for es: raise its share" in failed.reason


def test_without_a_language_its_targets_go():
    gone = Gone(frozenset({"hi"}))
    given = {"prompts": "mini-qa", "targets": ["hi", "es"], "ways": {}}
    assert steering_spec.narrow(given, gone)["targets"] == ["es"]
    assert steering_spec.narrow({**given, "targets": ["hi"]}, gone) is None
    assert steering_spec.narrow({**given, "source": "hi"}, gone) is None
    without = Gone(frozenset({"hi"}), {"task": {"mini-qa"}})
    assert steering_spec.narrow(given, without) is None
    assert directions_spec.narrow({"source": "hi"}, gone) is None
    assert directions_spec.narrow({"languages": ["hi", "es"]}, gone) == {"languages": ["es"]}


def test_a_way_is_taken_out_by_null(laid):
    config = Study.from_yaml(laid / "study.yaml", ["steering.ways.units=null"]).config
    assert "units" not in config.steering.ways


def row(way, kind, score, low, high, seed=0):
    return {"way": way, "language": "hi", "kind": kind, "seed": seed, "n": 20, "score": score,
            "score_low": low, "score_high": high, "forcing": 0.8, "relevance": 0.3,
            "chance": 0.1, "target_ratio": 1.5,
            "source_ratio": 9.0}  # fmt: skip


def test_the_page_says_no_more_than_the_controls_carry():
    plain = [row("untouched", "none", 0.02, 0, 0.05), row("instruction", "none", 0.1, 0.05, 0.2)]
    clear = [row("means", "own", 0.5, 0.4, 0.6), row("means", "random", 0.1, 0, 0.2),
             row("means", "matched", 0.2, 0.1, 0.3)]  # fmt: skip
    table = pd.DataFrame([*plain, *clear])
    first, last = page.sentences(table)
    assert first.tone == "finding"
    assert "relevance 0.30 and 0.10 by another question's reference" in first.text
    assert "perplexity ×1.50 of target text and ×9.00" in first.text
    assert last.tone == "caution"
    # One draw of a control that reaches into the interval, or no control at all: no finding.
    for rows in (
        [*plain, *clear, row("means", "random", 0.41, 0.3, 0.5, seed=1)],
        [*plain, clear[0]],
        plain,
    ):
        said = [item.tone for item in page.sentences(pd.DataFrame(rows))]
        assert said == ["none", "caution"]


def test_layers_at_a_quarter_half_and_three_quarters():
    assert quarters(16) == [4, 8, 12]
    assert quarters(2) == [0, 1]
