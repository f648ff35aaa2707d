"""Neuron sets: algebra, chance, controls, use on a model, files."""

import json
import math
import warnings

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tiny
from identification_make import statistics_of
from langneurons.errors import ArtifactError, InputError, RunError
from langneurons.identification import (
    NeuronSet,
    Units,
    compare,
    identify,
    overlap,
    read_counts,
    resolve_languages,
    write_counts,
)
from langneurons.statistics import Statistics

SHAPE = (3, 20)


def units(*pairs):
    return Units.from_pairs(pairs)


@pytest.fixture
def neurons():
    return NeuronSet(
        {"hi": units((0, 1), (1, 7), (2, 3)), "ur": units((1, 7), (2, 3)), "na": Units.empty()},
        SHAPE,
        method="lape",
        parameters={"top": 0.1},
        model={"name": "model-a", "sha256": "aa"},
        statistics="s",
        scores={"hi": torch.tensor([0.5, -1.0, 2.0]), "ur": torch.tensor([1.0, 3.0])},
    )


def test_a_language_without_units_stays_and_an_unknown_one_is_named(neurons):
    assert list(neurons) == ["hi", "ur", "na"]
    assert len(neurons["na"]) == 0
    with pytest.raises(InputError, match="no neurons for language 'xx': this set holds hi, ur, na"):
        neurons["xx"]
    assert neurons.get("xx") is None


def test_algebra_keeps_scores_of_kept_units(neurons):
    assert neurons.top(2)["hi"] == units((0, 1), (2, 3))
    assert neurons.top(2).scores["hi"].tolist() == [0.5, 2.0]
    assert neurons.restrict([1, 2])["hi"] == units((1, 7), (2, 3))
    assert neurons.restrict([1, 2]).scores["hi"].tolist() == [-1.0, 2.0]
    assert neurons.exclusive()["hi"] == units((0, 1))
    assert len(neurons.exclusive()["ur"]) == 0
    assert neurons.union() == neurons["hi"]
    other = NeuronSet({"hi": units((0, 1), (0, 2))}, SHAPE)
    assert (neurons | other)["hi"] == units((0, 1), (0, 2), (1, 7), (2, 3))
    assert (neurons & other)["hi"] == units((0, 1))
    assert (neurons - other)["ur"] == neurons["ur"]
    assert list(neurons.select(["ur"])) == ["ur"]
    layers = neurons.per_layer()
    assert layers[layers["language"] == "hi"]["units"].tolist() == [1, 1, 1]
    with pytest.raises(InputError, match="layers 0 to 2"):
        neurons.restrict([3])
    with pytest.raises(InputError, match="have no unit in common"):
        neurons | NeuronSet({}, (3, 21))


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 100))
def test_overlap_by_definition(a, b, seed):
    torch.manual_seed(seed)
    left = units(*[(i // 5, i % 5) for i in torch.randperm(15)[:a].tolist()])
    right = units(*[(i // 5, i % 5) for i in torch.randperm(15)[:b].tolist()])
    found = overlap(left, right, (3, 5))
    shared = len(set(left.pairs()) & set(right.pairs()))
    tail = sum(
        math.comb(a, k) * math.comb(15 - a, b - k) for k in range(shared, min(a, b) + 1)
    ) / math.comb(15, b)
    assert found["shared"] == shared
    assert found["p_value"] == pytest.approx(tail, abs=1e-12)
    assert found["expected"] == pytest.approx(a * b / 15)
    by_layer = sum(len(left.in_layers([x])) * len(right.in_layers([x])) for x in range(3)) / 5
    assert found["expected_layers"] == pytest.approx(by_layer)
    if a + b:
        assert found["jaccard"] == pytest.approx(shared / (a + b - shared))
    else:
        assert math.isnan(found["jaccard"])


def test_tables_of_overlap(neurons):
    table = neurons.overlap()
    assert list(zip(table["language"], table["other"], strict=True)) == [
        ("hi", "ur"), ("hi", "na"), ("ur", "na"),
    ]  # fmt: skip
    assert table["jaccard"].iloc[0] == pytest.approx(2 / 3)
    table = compare({"a": neurons, "b": neurons.select(["ur", "hi"])})
    assert table["language"].tolist() == ["hi", "ur"]
    assert table["jaccard"].tolist() == [1, 1]
    with pytest.raises(InputError, match="at least two"):
        compare({"a": neurons})


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
@example(464)
def test_plain_control_has_the_sizes_and_no_shared_unit(seed):
    torch.manual_seed(seed)
    neurons = NeuronSet(
        {
            "a": Units.from_mask(torch.rand(3, 30) < 0.1),
            "b": Units.from_mask(torch.rand(3, 30) < 0.2),
        },
        (3, 30),
    )
    control = neurons.random_like(seed)
    assert control == neurons.random_like(seed)
    for language in neurons:
        assert [len(x) for x in control[language].by_layer(3)] == [
            len(x) for x in neurons[language].by_layer(3)
        ]
        for layer in range(3):
            own, all_ = neurons[language].in_layers([layer]), neurons.union().in_layers([layer])
            # Of the units of any language, where enough others are left; else of the own.
            avoided = all_ if 30 - len(all_) >= len(own) else own
            assert len(control[language].in_layers([layer]) & avoided) == 0
    assert control.select(["b"]) == neurons.select(["b", "a"]).random_like(seed).select(["b"])


def test_seeds_differ_and_a_full_layer_is_refused():
    neurons = NeuronSet({"a": units(*[(0, i) for i in range(6)])}, (1, 100))
    assert neurons.random_like(0) != neurons.random_like(1)
    with pytest.raises(InputError, match="too few others"):
        NeuronSet({"a": units(*[(0, i) for i in range(6)])}, (1, 10)).random_like(0)


@pytest.mark.parametrize("matched", [None, "rate"])
def test_units_taken_out_of_a_set_do_not_come_back_as_controls(matched):
    generator = torch.Generator().manual_seed(0)
    counts = {"a": torch.randint(0, 50, (2, 12), generator=generator)}
    statistics = Statistics.from_counts(counts, {"a": 50})
    removed = units((0, 0), (0, 1), (0, 2), (1, 3))
    whole = NeuronSet({"a": units((0, 5), (0, 6), (1, 1)) | removed}, (2, 12))
    kept = whole.without({"a": removed}, {"why": "too strong"})
    assert kept["a"] == units((0, 5), (0, 6), (1, 1))
    assert kept.parameters["why"] == "too strong"
    kept = NeuronSet.from_dict(kept.to_dict())  # a file keeps it
    for seed in range(20):
        control = kept.random_like(seed, matched=matched, statistics=statistics)
        assert len(control["a"] & (removed | kept["a"])) == 0
        assert [len(layer) for layer in control["a"].by_layer(2)] == [2, 1]


def test_rate_matched_control_has_the_same_activity():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 1000, (2, 2000), generator=generator)
    counts[:, :100] = torch.randint(900, 1000, (2, 100), generator=generator)
    statistics = Statistics.from_counts({"hi": counts}, {"hi": 1000})
    neurons = NeuronSet(
        {"hi": units(*[(layer, i) for layer in (0, 1) for i in range(50)])}, (2, 2000)
    )
    plain = neurons.random_like(3)
    matched = neurons.random_like(3, matched="rate", statistics=statistics)
    assert matched != neurons.random_like(4, matched="rate", statistics=statistics)
    rate = statistics.prob_positive("hi")

    def mean(item):
        return float(rate[item["hi"].layers, item["hi"].indices].mean())

    assert abs(mean(matched) - mean(neurons)) < 0.01
    assert abs(mean(plain) - mean(neurons)) > 0.3
    assert len(matched["hi"] & neurons["hi"]) == 0
    assert [len(x) for x in matched["hi"].by_layer(2)] == [50, 50]
    assert matched.parameters["mean_rate_difference"]["hi"] < 0.01
    with pytest.raises(InputError, match="needs the statistics"):
        neurons.random_like(0, matched="rate")
    with pytest.raises(InputError, match="kind of matching"):
        neurons.random_like(0, matched="size")


def test_a_set_from_another_model_is_refused_by_name():
    lm, other = tiny.lm("llama", seed=0), tiny.lm("llama", seed=1)
    shape = (lm.layers, lm.sites["mlp.act"].width)
    neurons = NeuronSet({"hi": units((0, 1))}, shape, model=lm.fingerprint)
    neurons.check(lm)
    with pytest.raises(InputError, match="'tiny-llama', whose weights differ"):
        neurons.check(other)
    with pytest.raises(InputError, match="found in model 'big' with 3 layers x 20 units"):
        NeuronSet({"hi": units((0, 1))}, SHAPE, model={"name": "big"}).check(lm)
    NeuronSet({"hi": units((0, 1))}, shape).check(lm)  # origin unknown, shape fits


def test_own_format_keeps_everything(neurons, tmp_path):
    neurons.save(tmp_path / "n.json")
    again = NeuronSet.load(tmp_path / "n.json")
    assert again == neurons
    for name in ("method", "parameters", "model", "statistics", "site", "fingerprint"):
        assert getattr(again, name) == getattr(neurons, name)
    assert again.scores["hi"].tolist() == [0.5, -1.0, 2.0]
    assert list(again) == ["hi", "ur", "na"]
    text = (tmp_path / "n.json").read_text()
    (tmp_path / "n.json").write_text(text.replace('"lape"', '"lapse"'))
    with pytest.raises(ArtifactError, match="checksum"):
        NeuronSet.load(tmp_path / "n.json")


@pytest.mark.parametrize("name", ["n.csv", "n.tsv", "n.parquet"])
def test_tables_round_trip(neurons, tmp_path, name):
    neurons.save(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = NeuronSet.load(tmp_path / name, shape=SHAPE, languages=["hi", "ur", "na"])
    assert again == neurons
    assert again.scores["ur"].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("layout", ["layers", "pairs"])
def test_plain_json_round_trips(neurons, tmp_path, layout):
    neurons.save(tmp_path / "n.json", layout=layout)
    again = NeuronSet.load(tmp_path / "n.json", shape=SHAPE)
    assert again == neurons
    with pytest.warns(UserWarning, match="assumed 3 layers x 8 units"):
        NeuronSet.load(tmp_path / "n.json")


def test_the_last_language_without_units_is_not_lost_in_pth(neurons, tmp_path):
    neurons.save(tmp_path / "n.pth")
    again = NeuronSet.load(tmp_path / "n.pth", shape=SHAPE, languages=["hi", "ur", "na"])
    assert again == neurons


def test_bad_lists_are_refused(tmp_path):
    path = tmp_path / "n.json"
    path.write_text(json.dumps({"a": [[0, 1], [1, 2]], "b": [[0, 3], [1, 1]]}))
    with pytest.raises(InputError, match="layout='layers' or layout='pairs'"):
        NeuronSet.load(path, shape=(2, 5))
    assert NeuronSet.load(path, shape=(2, 5), layout="pairs")["a"] == units((0, 1), (1, 2))
    assert len(NeuronSet.load(path, shape=(2, 5), layout="layers")["a"]) == 4
    path.write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        NeuronSet.load(path)
    with pytest.raises(InputError, match="no file"):
        NeuronSet.load(tmp_path / "absent.json")
    (tmp_path / "n.txt").write_text("x")
    with pytest.raises(InputError, match="ends in one of"):
        NeuronSet.load(tmp_path / "n.txt")
    (tmp_path / "n.csv").write_text("language,layer\nen,0\n")
    with pytest.raises(InputError, match="no column index"):
        NeuronSet.load(tmp_path / "n.csv")
    (tmp_path / "n.pth").write_bytes(b"not a file")
    with pytest.raises(ArtifactError, match="damaged"):
        NeuronSet.load(tmp_path / "n.pth")


class _Payload:
    def __reduce__(self):
        return print, ("run",)


def test_code_in_a_pth_is_never_run(tmp_path, capsys):
    torch.save([[_Payload()]], tmp_path / "n.pth")
    with pytest.raises(ArtifactError, match="not loaded"):
        NeuronSet.load(tmp_path / "n.pth", languages=["en"])
    assert capsys.readouterr().out == ""


def test_count_files_round_trip(tmp_path):
    counts = {"en": torch.randint(0, 9, (2, 5)), "hi": torch.randint(0, 9, (2, 5))}
    statistics = Statistics.from_counts(counts, {"en": 10, "hi": 12})
    again = read_counts(write_counts(statistics, tmp_path))
    assert again.tokens == {"en": 10, "hi": 12}
    assert torch.equal(again.count_positive["hi"], counts["hi"])
    torch.save([1], tmp_path / "activation.en.pth")
    with pytest.raises(InputError, match=r"needs the entries 'n' .or 'total_tokens'. and"):
        read_counts({"en": tmp_path / "activation.en.pth"})


def test_hub_layout_in_a_folder(neurons, tmp_path, monkeypatch):
    neurons.model["name"] = "owner/model"
    neurons.save_pretrained(tmp_path / "repo")
    assert NeuronSet.from_pretrained(tmp_path / "repo") == neurons
    card = (tmp_path / "repo" / "README.md").read_text()
    assert "base_model: owner/model" in card
    assert "| hi | 3 |" in card
    with pytest.raises(InputError, match=r"holds no neurons\.json"):
        NeuronSet.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="no repository name"):
        neurons.push_to_hub("a/b/c d")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match="could not upload"):
        neurons.push_to_hub("owner/name")


def test_language_sets_by_name():
    every = ["en", "fr", "es", "vi", "id", "ja", "zh", "ur", "hi"]
    assert resolve_languages("set1", every) == ("en", "fr", "es", "vi", "id", "ja", "zh")
    assert resolve_languages("set_xnli", every) == ("en", "fr", "es", "vi", "zh", "ur", "hi")
    with pytest.raises(InputError, match="no statistics for language bn, te, mr"):
        resolve_languages("set2", every)
    with pytest.raises(InputError, match="Did you mean 'set1'"):
        resolve_languages("set11", every)


def test_identify_refuses_what_it_does_not_know():
    statistics = statistics_of({"a": torch.randn(1, 8, 6), "b": torch.randn(1, 8, 6)})
    with pytest.raises(InputError, match="Did you mean 'lape'"):
        identify(statistics, "lapee")
    with pytest.raises(InputError, match="unknown parameter of method 'lape' 'topp'"):
        identify(statistics, "lape", topp=1)
    with pytest.raises(InputError, match=r"needs at least 2, got 1 \(a\)"):
        identify(statistics, "lape", ["a"])
    with pytest.raises(InputError, match=r"model=\.\.\. and texts="):
        identify(statistics, "gradient")
