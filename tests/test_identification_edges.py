"""Definitions at their edges: ties, few candidates, other sites, padding, wrong values."""

from __future__ import annotations

import inspect
import math
import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bars
import tiny
from identification_make import statistics_of
from langneurons.data import make_blocks
from langneurons.errors import InputError, RunError
from langneurons.identification import METHODS, NeuronSet, Stability, Units, identify
from langneurons.identification.methods import dln as dln_module
from langneurons.identification.methods.dln import histogram
from langneurons.identification.ranking import Ranked
from langneurons.statistics import Statistics
from test_identification_model import slopes

quick = settings(deadline=None, max_examples=30)
TEXTS = {
    "a": ["the cat and the dog", "a dog", "and the cat that sat on the dog"],
    "b": ["xyz zyx qqq xyz", "zzz qqq", "qqq xyz zyx yyx zzz"],
}


def counts_of(values: dict[str, list[int]], tokens: int = 100) -> Statistics:
    counts = {name: torch.tensor([row]) for name, row in values.items()}
    return Statistics.from_counts(counts, dict.fromkeys(values, tokens))


# ------------------------------------------------------------------ LAPE


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("top", [9, 8, 5, 3])
def test_value_cutoff_with_fewer_candidates_takes_them_all(top: int) -> None:
    generator = np.random.default_rng(0)
    counts = {name: generator.integers(0, 60, 10).tolist() for name in ("a", "b", "c")}
    statistics = counts_of(counts)
    rules = {"filter": 0.9, "bar": 0.0}
    by_value = identify(statistics, top=top, cutoff="value", **rules)
    by_count = identify(statistics, top=top, **rules)
    found = by_value.parameters["found"]
    assert found["candidates"] <= 3
    assert by_value.union() == by_count.union()
    assert len(by_value.union()) == found["candidates"]
    assert math.isfinite(found["entropy_cutoff"])


def test_value_cutoff_includes_the_unit_at_the_value() -> None:
    statistics = counts_of({"a": [1, 2, 3, 4], "b": [9, 7, 6, 5]})
    found = identify(
        statistics, top=4, filter=0.0, bar=0.0, cutoff="value", percentile="interpolated"
    )
    # At the quantile 1 lies the unit of largest entropy itself.
    assert (0, 3) in found.union()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_units_of_no_language_are_counted() -> None:
    found = identify(counts_of({"a": [9, 8, 1, 1], "b": [0, 0, 1, 9]}), top=4, filter=0.1, bar=1.0)
    assert found.parameters["found"]["of_no_language"] == found.parameters["found"]["candidates"]
    some = identify(counts_of({"a": [9, 8, 1, 1], "b": [0, 0, 1, 9]}), top=3, filter=0.1, bar=0.7)
    assert some.parameters["found"]["of_no_language"] == 3 - len(some.union())


@quick
@given(st.integers(0, 500), st.integers(2, 4))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_entropy_lambda_search_by_definition(seed: int, languages: int) -> None:
    generator = np.random.default_rng(seed)
    counts = {f"l{k}": generator.integers(0, 100, 40).tolist() for k in range(languages)}
    found = identify(
        counts_of(counts), "entropy_lambda", top=12, bar=0.6, search_limit=2.0, search_step=0.1
    )
    p = np.array([counts[name] for name in counts], dtype=np.float64) / 100
    q = p / np.maximum(p.sum(0), 1e-300)
    spread = -np.where(q > 0, q * np.log(np.where(q > 0, q, 1)), 0).sum(0) / math.log(languages)
    spread[p.sum(0) == 0] = 1.0
    most = p.max(0) / (sum(1 / j for j in range(1, languages + 1)) / languages)
    flat = np.sort(p.ravel())
    bar = flat[max(round(len(flat) * 0.6), 1) - 1]

    def taken(weight: float) -> set[int]:
        return set(np.argsort(spread - weight * most, kind="stable")[:12].tolist())

    def shared(weight: float) -> int:
        return sum(bool((p[:, u] > bar).all()) for u in taken(weight))

    low, high = 0.0, 2.0
    while high - low > 0.1:
        middle = (low + high) / 2
        low, high = (low, middle) if shared(middle) else (middle, high)
    assert found.parameters["found"]["lambda"] == low
    assert found.parameters["found"]["shared_by_all"] == shared(low)
    union = {u for u in taken(low) if (p[:, u] > bar).any()}
    assert set(found.union().indices.tolist()) == union
    assert found.parameters["found"]["of_no_language"] == 12 - len(union)


# ------------------------------------------------------------------ dln


@quick
@given(
    st.integers(0, 200),
    st.sampled_from([3, 32, 200]),
    st.sampled_from([1, 7, 400]),
    st.integers(1, 90),
)
def test_a_histogram_does_not_depend_on_its_neighbours(
    seed: int, rows: int, bins: int, cut: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, 4000, generator=generator).to(torch.bfloat16)
    low = torch.randn(4000, generator=generator) - 2
    high = low + torch.rand(4000, generator=generator) * 4
    whole = histogram(values, low, high, bins)
    part = slice(-cut, None)
    assert torch.equal(whole[part], histogram(values[:, part], low[part], high[part], bins))


def rows_around(zero: float, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(1, 60, 30, generator=generator) * scale + zero
        for name, scale in (("a", 1.0), ("b", 1.2), ("c", 0.4))
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dln_floor_is_that_of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = statistics_of(rows_around(-1.0))
    elsewhere = Statistics("attn.out", statistics.shape, None, statistics.by_language)
    options = {"tau": 0.2, "bins": 12}

    def scores(at: Statistics, **more: float) -> list[torch.Tensor]:
        found = METHODS.get("dln").on_statistics(at, **options, **more)
        return list(found.scores.values())

    def equal(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))

    assert equal(scores(statistics), scores(statistics, floor=-0.4))
    assert equal(scores(elsewhere), scores(elsewhere, floor=-math.inf))
    assert not equal(scores(statistics), scores(elsewhere))
    # How much is binned at once changes nothing.
    monkeypatch.setattr(dln_module, "_BINNED_AT_ONCE", 1)
    assert equal(scores(elsewhere), scores(elsewhere, floor=-math.inf))
    one_at_a_time = scores(statistics)
    monkeypatch.undo()
    assert equal(scores(statistics), one_at_a_time)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dln_takes_the_unit_at_the_limit() -> None:
    rows = {name: item for name, item in rows_around(0.0).items() if name != "c"}
    rows = {name: item[:, :, :11].clone() for name, item in rows.items()}
    rows["a"][:, :, 4] += 6
    rows["a"][:, :20, 7] += 6
    # Two languages have one overlap a unit: the quantile 1/10 of eleven is the second smallest.
    found = identify(statistics_of(rows), "dln", tau=0.1, bins=20)
    assert found.union().indices.tolist() == [4, 7]


# ------------------------------------------------------------------ controls of combined sets


def test_no_control_holds_what_was_cut_from_a_combined_or_stable_set() -> None:
    shape = (1, 40)
    removed = Units([0] * 6, range(6))
    kept = Units([0] * 3, [10, 20, 30])
    whole = NeuronSet({"a": removed | kept}, shape, scores={"a": torch.arange(9.0)})
    cut = whole.without({"a": removed}, {})
    other = NeuronSet({"a": Units([0, 0], [10, 20])}, shape)
    frequency = torch.zeros(shape, dtype=torch.float64)
    frequency[0, [10, 20, 30]] = 1.0
    stable = Stability(whole, {"a": frequency}, {"a": 1.0}, 5).stable(0.8)
    assert stable["a"] == kept
    assert stable.scores["a"].tolist() == [6.0, 7.0, 8.0]
    assert stable.parameters["least_frequency"] == 0.8
    for found in (cut | other, cut & other, cut - other, whole & other, whole - other, stable):
        for seed in range(40):
            assert len(found.random_like(seed)["a"] & removed) == 0
    assert (whole - other).scores["a"].tolist() == [0, 1, 2, 3, 4, 5, 8]


# ------------------------------------------------------------------ padding on the left


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("family", ["gpt2", "xglm", "opt", "bloom", "llama"])
@pytest.mark.parametrize("method", ["gradient", "relevance", "transfer"])
def test_padding_on_the_left_changes_nothing(family: str, method: str) -> None:
    lm = tiny.lm(family)
    if family not in ("bloom", "xglm"):  # whose masks Transformers does not build in float64
        lm.model.double()
    everything = lm.layers * lm.sites["mlp.out"].width
    rules = {"filter": 0.0, "bar": 0.0} if method == "gradient" else {}

    def found(side: str) -> NeuronSet:
        texts = {
            name: make_blocks(item, lm.tokenizer, block=40, padding_side=side)
            for name, item in TEXTS.items()
        }
        return identify(method=method, model=lm, texts=texts, top=everything, **rules)

    left, right = found("left"), found("right")
    for language in right:
        assert len(right[language]) > 20
        both = left[language] & right[language]
        assert len(both) > 0.95 * len(right[language])
        for one, other in ((left, right), (right, left)):
            kept = one[language].isin(both)
            assert len(one[language]) - int(kept.sum()) < 0.05 * len(other[language])
        torch.testing.assert_close(
            left.scores[language][left[language].isin(both)],
            right.scores[language][right[language].isin(both)],
            rtol=1e-3, atol=1e-6,
        )  # fmt: skip


@pytest.mark.parametrize("method", ["gradient", "relevance", "transfer"])
def test_a_model_that_gives_nan_is_named(method: str) -> None:
    lm = tiny.lm()
    with torch.no_grad():
        lm.layer_modules[1].mlp.down_proj.weight[0, 0] = math.nan
    with pytest.raises(RunError, match=r"tiny-llama gives NaN or infinity in text of '(a|b)'"):
        identify(method=method, model=lm, texts=TEXTS, top=3)


def test_only_counted_tokens_are_predicted() -> None:
    lm = tiny.lm()
    lm.model.double()
    blocks = {}
    for name, item in TEXTS.items():
        made = make_blocks(item, lm.tokenizer, block=40)
        counted = made.counted.clone()
        counted[:, 1::3] = False  # also behind counted ones, whose activations they depend on
        blocks[name] = replace(made, counted=counted)
    found = identify(method="relevance", model=lm, texts=blocks, top=96, check=1)
    from langneurons.statistics import collect

    mean = collect(lm, blocks, rows=0).mean("b").double()
    item = blocks["a"]
    total = torch.zeros(2, tiny.UNITS, dtype=torch.float64)
    for row in range(len(item)):
        slope, value = slopes(lm, item, row)
        counted = item.counted[row][item.attention_mask[row]]
        assert not counted.all()
        total += (slope * (mean[:, None] - value))[:, counted].sum(1)
    total /= item.tokens
    units = found["a"]
    torch.testing.assert_close(
        found.scores["a"], total[units.layers, units.indices], atol=1e-6, rtol=1e-5
    )


# ------------------------------------------------------------------ wrong values


def wrong_values(kind: object) -> list[object]:
    """Values of a wrong type for an annotation."""
    options = typing.get_args(kind) if not isinstance(kind, type) else (kind,)
    values: list[object] = [object(), [1], {"a": 1}]
    if str not in options and not any(isinstance(word, str) for word in options):
        values.append("some")
    if bool not in options:
        values.append(True)
    if int in options and float not in options:
        values.append(1.5)
    return values


@pytest.mark.parametrize("name", METHODS.names())
def test_a_value_of_a_wrong_type_is_one_line(name: str) -> None:
    entry = METHODS.get(name)
    hints = typing.get_type_hints(entry.function)
    parameters = inspect.signature(entry.function).parameters
    tried = 0
    for parameter, default in entry.parameters.items():
        assert parameters[parameter].default is default
        entry.resolve({parameter: default})
        for value in wrong_values(hints[parameter]):
            tried += 1
            with pytest.raises(InputError, match=parameter) as caught:
                entry.resolve({parameter: value})
            assert "\n" not in str(caught.value)
    assert tried


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("dln", {"bins": -3}, "bins must be at least 1, not -3"),
        ("dln", {"bins": 1.5}, "bins must be a whole number, not 1.5"),
        ("activation_probability", {"batches": 0}, "batches must be at least 1"),
        ("gradient", {"block": 0}, "block must be at least 1"),
        ("gradient", {"tokens": 2.5}, "tokens must be a whole number or nothing"),
        ("relevance", {"check": -1}, "check must be at least 0"),
        ("transfer", {"layers": (0,)}, "layers must be 2 values, each a whole number or nothing"),
        ("transfer", {"layers": [0.5, 1]}, "layers must be 2 values"),
        ("transfer", {"site": "mlp.act"}, "unknown parameter of method 'transfer' 'site'"),
        ("lape", {"top": True}, "top must be a number, not True"),
    ],
)
def test_a_wrong_value_names_itself(method: str, options: dict[str, object], message: str) -> None:
    statistics = statistics_of(rows_around(0.0))
    more = {"model": tiny.lm(), "texts": TEXTS} if METHODS.get(method).needs == "model" else {}
    with pytest.raises(InputError, match=message):
        identify(statistics if not more else None, method, **more, **options)


# ------------------------------------------------------------------ what is said on the way


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name",
    ["activation_probability", "auroc", "average_precision", "dln", "lape_pooled", "subspace"],
)
def test_bars_of_methods_end_at_their_totals(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = {lang: torch.randn(3, 40, 7, generator=generator) for lang in ("a", "b", "c", "d")}
    with bars.heard():
        identify(statistics_of(rows), name)


def test_bars_of_methods_that_run_the_model_end_at_their_totals() -> None:
    for method in ("gradient", "transfer"):
        with bars.heard():
            identify(method=method, model=tiny.lm(), texts=TEXTS, top=3)


@pytest.mark.parametrize("method", ["lape", "gradient"])
def test_warnings_name_the_line_that_called(method: str) -> None:
    statistics = counts_of({"a": [90, 1, 1, 1, 2, 3, 4], "z": [1, 1, 1, 1, 2, 3, 4]})
    given = {"statistics": statistics} if method == "lape" else {"model": tiny.lm(), "texts": TEXTS}
    with pytest.warns(UserWarning, match="no unit for language") as seen:
        identify(method=method, top=1, bar=1.0, **given)
    assert {Path(warning.filename).name for warning in seen} == {Path(__file__).name}


def test_as_many_languages_are_ranked_as_there_are_labels() -> None:
    rows = [torch.tensor([[float(n)]]) for n in range(1024)]
    assert Ranked(rows).languages == 1024
    with pytest.raises(InputError, match="at most 1024 languages"):
        Ranked([*rows, rows[0]])
