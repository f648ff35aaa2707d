"""The paper beside a run: published facts, matching of cells, verdicts, and the paper's tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from langneurons.parts.paper import shown as paper_tables
from langneurons.parts.paper.compared import adapters_of, compared, numbers, task_name
from langneurons.parts.paper.findings import findings, table
from langneurons.parts.paper.published import model_of, published, source
from langneurons.study.report import compose, read, report
from reporting_run import (
    finetuning_table,
    neurons_table,
    overlap_table,
    perplexity_table,
    scores_table,
    write_run,
)

LLAMA = "Meta-Llama-3.1-8B"
LANGUAGES = ("en", "vi", "hi", "ur")


def test_published_facts():
    found = published()
    assert "2503.17456" in source()["paper"]
    cells = found[(found["task"] == "xnli") & (found["adapter"] == "none")]
    change = cells[cells["value"] != "none"]["change"]
    # Counted by hand from the authors' files.
    assert (len(change), (change < 0).sum(), (change > 0).sum()) == (100, 77, 21)
    assert change.max() == pytest.approx(0.58)
    assert change.min() == pytest.approx(-43.17, abs=0.01)
    zero = found[
        (found["task"] == "xquad") & (found["value"] == "zero") & (found["metric"] == "f1")
    ]
    zero = zero[zero["adapter"] == "none"].groupby("method")["change"].agg(["min", "max"]).round(1)
    assert zero.loc["activation_probability"].tolist() == [-3.1, 1.2]
    assert zero.loc["lape"].tolist() == [-29.6, -4.4]
    assert not found["untouched"].isna().any()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", LLAMA),
        ("meta-llama/Llama-3.1-8B", LLAMA),
        ("/models/Llama-3.1-8B/", LLAMA),
        ("mistralai/Mistral-Nemo-Base-2407", "Mistral-Nemo-Base-2407"),
        ("meta-llama/Llama-3.1-8B-Instruct", None),
        ("Llama-3.1-8B-Q4_K_M.gguf", None),
        ("mini", None),
    ],
)
def test_models_are_told_by_their_own_name(tmp_path, name, found):
    run = read(write_run(tmp_path, {}, model={"name": name}))
    assert model_of(run) == found


def llama_run(folder, gain=0.0, **scores):
    """A run of the authors' model on XNLI with planted changes."""
    rng = np.random.default_rng(3)
    made = scores_table(
        rng, LANGUAGES, tasks=("xnli",), values=("zero", "mean", "P10"), gain=gain, **scores
    )
    made["metric"] = "accuracy"
    trained = finetuning_table(LANGUAGES).query("task == 'mini-nli'").assign(task="xnli")
    units = {"none": "none", "english": "lape:en", "random": "random:lape:hi"}
    trained["units"] = [
        units.get(name, f"lape:{name.partition(':')[2]}") for name in trained["adapter"]
    ]
    sets = neurons_table(rng, LANGUAGES, sets=("lape",))
    return write_run(
        folder,
        {
            "scores": made,
            "finetuning": trained,
            "neurons": sets,
            "overlap": overlap_table(sets, rng),
            "perplexity": perplexity_table(rng, LANGUAGES, draws=3),
        },
        model={"name": "meta-llama/Llama-3.1-8B"},
        languages=list(LANGUAGES),
        parameters={
            "neurons": {
                "lape": {"method": "lape"},
                "activation_probability": {"method": "activation_probability"},
            }
        },
    )


def test_cells_are_matched_by_what_they_are(tmp_path):
    run = read(llama_run(tmp_path))
    assert task_name("xnli-dev") == task_name("XNLI") == "xnli"
    kinds = adapters_of(run)
    assert kinds["xnli", "none", "hi"] == "none"
    assert kinds["xnli", "english", "hi"] == "english"
    assert kinds["xnli", "target:hi", "hi"] == "target"
    assert ("xnli", "target:hi", "ur") not in kinds
    assert ("xnli", "random", "hi") not in kinds
    data = compared(run, LLAMA)
    found = {tuple(row) for row in data[["language", "adapter", "method", "value"]].values}
    assert ("hi", "none", "", "none") in found
    assert ("hi", "target", "", "none") in found
    assert ("vi", "none", "lape", "P10") in found
    assert not any(method == "activation_probability" for *_, method, _ in found)
    assert not any(language == "en" for language, *_ in found)  # not published
    row = data[(data["language"] == "ur") & (data["value"] == "zero")].iloc[0]
    assert row["published"] == pytest.approx(68.53 - 70.03)
    own = run.table("scores")
    own = own[(own["language"] == "ur") & (own["intervention"] == "zero") & (own["units"] == "own")]
    assert row["own"] == pytest.approx(own["difference"].item())
    assert row["difference"] == pytest.approx(row["own"] - row["published"])
    error = 196 * math.sqrt((0.6853 * 0.3147 + 0.7003 * 0.2997) / 5008)
    half = own["difference"].item() - own["difference_low"].item()
    expected = row["difference"] - math.hypot(half, error)
    assert row["difference_low"] == pytest.approx(expected, abs=0.01)
    text = numbers(data, LLAMA).shown()
    assert len(text) == len(data)


def verdicts(run) -> dict[str, str]:
    return {finding.claim.split()[0]: finding.verdict for finding in findings(run)}


def test_no_change_is_reproduced_only_where_it_would_have_been_seen(tmp_path):
    fine = read(llama_run(tmp_path / "fine"))
    assert verdicts(fine)["Overwriting"] == "reproduced"
    coarse = read(llama_run(tmp_path / "coarse"))
    coarse.tables["scores"]["mde"] = 30.0
    assert verdicts(coarse)["Overwriting"] == "open"
    low = read(llama_run(tmp_path / "low", level=33.0))
    assert verdicts(low)["Overwriting"] == "open"  # every score at chance


def test_a_gain_beyond_random_neurons_is_not_the_papers_finding(tmp_path):
    run = read(llama_run(tmp_path, gain=6.0))
    assert verdicts(run)["Overwriting"] == "not reproduced"
    both = read(llama_run(tmp_path / "both", gain=6.0, control_gain=6.5))
    assert verdicts(both)["Overwriting"] == "reproduced"  # random neurons do as well


def test_low_values_against_zero(tmp_path):
    run = read(llama_run(tmp_path))
    assert verdicts(run)["Writing"] == "open"  # nothing harms
    scores = run.tables["scores"]
    for value, change, verdict in (("P10", -20.0, "reproduced"), ("zero", -40.0, "not reproduced")):
        rows = (scores["intervention"] == value) & (scores["units"] == "own")
        columns = ["difference", "difference_low", "difference_high"]
        scores.loc[rows, columns] = [change, change - 1, change + 1]
        scores.loc[rows, "p_holm"] = 0.001
        assert verdicts(run)["Writing"] == verdict


def test_other_findings(tmp_path):
    run = read(llama_run(tmp_path))
    said = verdicts(run)
    assert said["Setting"] == "reproduced"
    rows = run.tables["perplexity"]
    few = rows[(rows["kind"] == "own") | (rows["seed"] == 0)]
    run.tables["perplexity"] = few
    assert verdicts(run)["Setting"] == "open"  # one random draw says too little
    flat = rows.assign(ratio=1.0, low=0.99, high=1.01)
    run.tables["perplexity"] = flat
    assert verdicts(run)["Setting"] == "not reproduced"
    assert said["LAPE"] == "the paper says both"
    assert said["Fine-tuning"] in ("reproduced", "open")
    assert len(table(findings(run)).rows) == len(findings(run))


def test_findings_without_tables_are_left_out(tmp_path):
    run = read(write_run(tmp_path, {"neurons": neurons_table(np.random.default_rng(0))}))
    assert findings(run) == []
    assert not {"paper", "layout"} & {section.name for section in compose(run).sections}


def test_section_of_an_authors_model_and_of_another(tmp_path):
    page = report(llama_run(tmp_path / "llama")).read_text(encoding="utf-8")
    assert 'id="fig-paper_beside_accuracy"' in page
    assert 'id="tab-paper_numbers"' in page
    assert "here they are the official ones" in page
    folder = llama_run(tmp_path / "other")
    info = (folder / "run.json").read_text(encoding="utf-8")
    (folder / "run.json").write_text(info.replace("Llama-3.1-8B", "other"), encoding="utf-8")
    page = report(folder).read_text(encoding="utf-8")
    assert 'id="tab-paper_findings"' in page
    assert 'id="tab-paper_numbers"' not in page
    assert "other is none of the authors" in page


def test_ppxc_is_a_difference_by_definition():
    rows = perplexity_table(np.random.default_rng(0), LANGUAGES, draws=1)
    made = paper_tables.ppxc(rows, "lape", "zero")
    own = rows[rows["kind"] == "own"].set_index(["row", "column"])
    for line in made.data.to_dict("records"):
        for lang in LANGUAGES:
            cell = own.loc[(line["row"], lang)]
            assert line[lang] == pytest.approx(cell["perplexity"] - cell["baseline"])


def test_papers_tables_have_its_layout():
    scores = scores_table(
        np.random.default_rng(0), LANGUAGES, tasks=("xnli",), values=("P90", "zero")
    )
    scores["metric"] = "accuracy"
    made = paper_tables.interventions(scores, "xnli", "accuracy", ["en"])
    assert made.shown()["intervention"].tolist() == ["no intervention", "Int. P90", "Int. 0"]
    assert list(made.shown().columns) == ["neurons", "intervention", "vi", "hi", "ur"]
    plain = scores[(scores["adapter"] == "none") & (scores["intervention"] == "none")]
    expected = plain.set_index("language")["value"]
    assert made.data.loc[0, "score:hi"] == pytest.approx(expected["hi"])
    lora = paper_tables.lora(scores, "xnli", "accuracy", ["en"])
    assert lora.shown()["MLP units trained"].tolist() == ["none", "target", "english", "random"]
    target = scores[(scores["adapter"] == "target:ur") & (scores["language"] == "ur")]
    line = lora.data[lora.data["units"] == "target"].iloc[0]
    assert line["score:ur"] == pytest.approx(target["value"].item())
    one = scores[scores["adapter"] == "none"]
    assert paper_tables.lora(one, "xnli", "accuracy", []) is None
    none = one[one["intervention"] == "none"]
    assert paper_tables.interventions(none, "xnli", "accuracy", []) is None


def test_tables_of_half_measured_grids_keep_their_gaps():
    scores = scores_table(
        np.random.default_rng(0), LANGUAGES, tasks=("xnli",), values=("P90", "zero")
    )
    scores["metric"] = "accuracy"
    cut = scores[~((scores["language"] == "hi") & (scores["intervention"] == "zero"))]
    made = paper_tables.interventions(cut, "xnli", "accuracy", ["en"])
    assert made.shown()["hi"].tolist()[-1] == "–"
    assert made.shown()["ur"].tolist()[-1] != "–"
