"""Each method that reads statistics against a plain reference by definition."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from identification_make import statistics_of
from langneurons.errors import InputError
from langneurons.identification import METHODS, Units, bootstrap, identify, resample, resampling
from langneurons.identification.methods.dln import best_split, histogram, pair_overlaps
from langneurons.identification.ranking import Ranked
from langneurons.identification.selection import entropy, highest, lowest, percentile, take
from langneurons.statistics import Statistics

quick = settings(deadline=None, max_examples=40)


def random_rows(seed, languages=3, layers=2, n=40, units=7, dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"l{k}": (
            torch.randn(layers, n, units, generator=generator)
            + torch.randn(layers, 1, units, generator=generator)
        ).to(dtype)
        for k in range(languages)
    }


# ------------------------------------------------------------------ shared pieces


@quick
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, math.inf]), min_size=1), st.integers(0, 12))
def test_lowest_takes_the_first_of_equals_and_nothing_infinite(values, count):
    score = torch.tensor(values, dtype=torch.float64)
    order = sorted((i for i, v in enumerate(values) if v < math.inf), key=lambda i: (values[i], i))[
        :count
    ]
    assert torch.nonzero(lowest(score, count)).flatten().tolist() == sorted(order)
    assert torch.equal(highest(-score, count), lowest(score, count))


@quick
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50), st.floats(0, 1))
def test_percentiles_by_both_rules(values, share):
    tensor = torch.tensor(values, dtype=torch.float64)
    k = min(max(round(len(values) * share), 1), len(values))
    assert percentile(tensor, share) == sorted(values)[k - 1]
    assert percentile(tensor, share, "interpolated") == pytest.approx(np.quantile(values, share))


@quick
@given(st.lists(st.lists(st.floats(0, 10), min_size=3, max_size=3), min_size=1))
def test_entropy_by_definition(weights):
    found = entropy(torch.tensor(weights, dtype=torch.float64).T)
    for unit, value in zip(weights, found.tolist(), strict=True):
        total = sum(unit)
        if total == 0:
            assert value == pytest.approx(math.log(3))
        else:
            shares = [w / total for w in unit if w / total > 0]
            assert value == pytest.approx(-sum(p * math.log(p) for p in shares), abs=1e-9)


def test_quotas():
    scores = torch.tensor([[3.0, 1.0, -math.inf], [2.0, 5.0, 4.0]])
    assert Units.from_mask(take(scores, per_language=2)).pairs() == [(1, 1), (1, 2)]
    assert Units.from_mask(take(scores, per_layer=1)).pairs() == [(0, 0), (1, 1)]
    assert Units.from_mask(take(scores, per_layer=2, per_language=3)).pairs() == [
        (0, 0), (1, 1), (1, 2),
    ]  # fmt: skip
    assert int(take(scores, per_layer=3).sum()) == 5  # never one that is not eligible


# ------------------------------------------------------------------ methods on counts


def lape_by_definition(p, top, filter_share, bar_share, interpolated):
    """p: languages -> list of units; loops over units."""
    flat = sorted(itertools.chain(*p.values()))
    units = len(next(iter(p.values())))

    def at(share):
        if interpolated:
            return float(np.quantile(flat, share))
        return flat[max(round(len(flat) * share), 1) - 1]

    spread = []
    for u in range(units):
        total = sum(row[u] for row in p.values())
        spread.append(math.inf)
        if any(row[u] > at(filter_share) for row in p.values()):
            q = [row[u] / total for row in p.values()]
            spread[u] = -sum(x * math.log(x) for x in q if x > 0)
    if interpolated:
        with np.errstate(invalid="ignore"):
            limit = np.quantile(spread, round(top * units) / units)
        taken = {u for u in range(units) if spread[u] < math.inf and spread[u] <= limit}
    else:
        order = sorted((u for u in range(units) if spread[u] < math.inf), key=lambda u: spread[u])
        taken = set(order[: round(top * units)])
    return {k: {u for u in taken if row[u] > at(bar_share)} for k, row in p.items()}


@quick
@given(st.integers(0, 10_000), st.booleans(), st.integers(2, 5))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lape_by_definition(seed, interpolated, languages):
    generator = np.random.default_rng(seed)
    tokens = {f"l{k}": 100_000 + 13 * k for k in range(languages)}
    counts = {
        name: torch.from_numpy(generator.integers(0, total, (2, 50)))
        for name, total in tokens.items()
    }
    statistics = Statistics.from_counts(counts, tokens)
    rule = {"percentile": "interpolated", "cutoff": "value"} if interpolated else {}
    found = identify(statistics, "lape", top=0.1, filter=0.8, bar=0.7, **rule)
    p = {name: (counts[name].flatten() / tokens[name]).double().tolist() for name in tokens}
    p = {name: [c / tokens[name] for c in counts[name].flatten().tolist()] for name in tokens}
    expected = lape_by_definition(p, 0.1, 0.8, 0.7, interpolated)
    for name in tokens:
        got = {layer * 50 + index for layer, index in found[name].pairs()}
        assert got == expected[name]


def test_mutual_information_by_definition():
    generator = np.random.default_rng(0)
    counts = {k: torch.from_numpy(generator.integers(0, 101, (1, 30))) for k in ("a", "b", "c")}
    found = identify(
        Statistics.from_counts(counts, dict.fromkeys(counts, 100)),
        "mutual_information", top=30, both_signs=True,
    )  # fmt: skip
    p = {k: counts[k][0].numpy() / 100 for k in counts}
    for u, score in zip(found["a"].indices.tolist(), found.scores["a"].tolist(), strict=True):
        own, other = p["a"][u], (p["b"][u] + p["c"][u]) / 2
        joint = np.array([[own, 1 - own], [other, 1 - other]]) / 2
        outer = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
        kept = joint > 0
        assert score == pytest.approx((joint[kept] * np.log(joint[kept] / outer[kept])).sum())


# ------------------------------------------------------------------ methods on rows


@quick
@given(
    st.integers(0, 1000),
    st.integers(1, 4),
    st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
    st.booleans(),
)
def test_ranking_measures_equal_scikit_learn(seed, languages, dtype, coarse):
    rows = [x[0] for x in random_rows(seed, languages, 1, 11, 3, torch.float32).values()]
    rows = [(x.round() * 0.0 if seed % 7 == 0 else x.round() if coarse else x) for x in rows]
    rows = [x.to(dtype) for x in rows]
    ranked = Ranked(rows)
    if languages == 1:
        assert np.isnan(ranked.auroc()).all()
        assert (ranked.average_precision() == 1).all()
        return
    values = torch.cat(rows).double().numpy()
    for k in range(languages):
        truth = np.repeat(np.arange(languages) == k, 11)
        for unit in range(3):
            assert ranked.auroc()[k, unit] == pytest.approx(roc_auc_score(truth, values[:, unit]))
            assert ranked.average_precision()[k, unit] == pytest.approx(
                average_precision_score(truth, values[:, unit])
            )


@pytest.mark.parametrize("name", ["average_precision", "auroc"])
def test_detectors_take_the_best_of_all_layers(name):
    rows = random_rows(3, languages=2, layers=2, n=30, units=5)
    found = identify(statistics_of(rows), name, top=3)
    score = average_precision_score if name == "average_precision" else roc_auc_score
    truth = np.repeat([1, 0], 30)
    reference = np.array(
        [
            [
                score(truth, torch.cat([rows["l0"][a, :, u], rows["l1"][a, :, u]]).double())
                for u in range(5)
            ]
            for a in range(2)
        ]
    )
    best = np.argsort(-reference.ravel(), kind="stable")[:3]
    assert found["l0"].pairs() == sorted((int(i) // 5, int(i) % 5) for i in best)
    assert sorted(found.scores["l0"].tolist()) == pytest.approx(sorted(reference.ravel()[best]))


def threshold_by_definition(rows, language, threshold, q):
    def centre(values):
        return values.mean(0) if q == "mean" else np.quantile(values, q, axis=0)

    own = rows[language]
    if threshold == "own":
        return centre(own)
    if threshold == "layer":
        return np.full(own.shape[1], centre(own).mean())
    chosen = rows.values()
    if threshold == "others":
        chosen = [item for name, item in rows.items() if name != language]
    return centre(np.concatenate(list(chosen)))


@pytest.mark.parametrize("threshold", ["own", "pooled", "others", "layer"])
@pytest.mark.parametrize("q", [0.75, 0.9, "mean"])
def test_activation_probability_by_definition(threshold, q):
    rows = random_rows(5, dtype=torch.float32)
    found = identify(
        statistics_of(rows), "activation_probability", threshold=threshold, q=q, top=14
    )
    for layer in range(2):
        plain = {name: item[layer].double().numpy() for name, item in rows.items()}
        for name, own in plain.items():
            expected = (own > threshold_by_definition(plain, name, threshold, q)).mean(0)
            at = found[name].layers == layer
            assert found.scores[name][at].tolist() == pytest.approx(expected.tolist())


def test_own_threshold_is_degenerate_and_says_so():
    rows = random_rows(1, languages=2, layers=2, n=400, units=200, dtype=torch.float32)
    statistics = statistics_of(rows)
    own = identify(statistics, "activation_probability", threshold="own", top=0.05)
    for language in own:
        assert torch.allclose(own.scores[language], torch.tensor(0.1).double())
    shifted = {name: item - item.mean(1, keepdim=True) for name, item in rows.items()}
    shifted["l0"][:, :, :10] += 3
    pooled = identify(statistics_of(shifted), "activation_probability", top=0.05)
    noise = identify(
        statistics_of(shifted), "activation_probability", threshold="own", batches=8, top=0.05
    )
    stable = pooled.parameters["found"]["split_half_jaccard"]["l0"]
    unstable = noise.parameters["found"]["split_half_jaccard"]["l0"]
    assert stable > 0.6
    assert unstable < 0.2
    assert noise.parameters["found"]["chance_jaccard"] == pytest.approx(0.05 / 1.95)


def test_absolute_mean():
    rows = random_rows(2, dtype=torch.float32)
    found = identify(statistics_of(rows), "activation_probability", score="absolute_mean", top=14)
    expected = rows["l1"].double().abs().mean(1)[found["l1"].layers, found["l1"].indices]
    assert torch.allclose(found.scores["l1"], expected)


def test_difference_by_definition():
    rows = random_rows(4, dtype=torch.float32)
    found = identify(statistics_of(rows), "difference", top=14)
    pooled = torch.cat([rows["l1"], rows["l2"]], dim=1).double()
    own = rows["l0"].double()
    gap = own.mean(1) - pooled.mean(1)
    scale = ((own.var(1, correction=0) + pooled.var(1, correction=0)) / 2).sqrt()
    units = found["l0"]
    assert torch.allclose(found.scores["l0"], (gap / scale)[units.layers, units.indices])


# ------------------------------------------------------------------ distribution overlap


@quick
@given(st.integers(0, 1000), st.integers(1, 30))
def test_histogram_by_definition(seed, bins):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(-40, 40, (50, 4), generator=generator) / 8  # exact in float32 and bins
    low, high = torch.full((4,), -2.0), torch.full((4,), -2.0 + bins / 4)
    found = histogram(rows, low, high, bins)
    edges = np.array([-np.inf, *(-2 + np.arange(bins + 1) / 4), np.inf])
    for unit in range(4):
        inside = np.digitize(rows[:, unit].numpy(), edges[1:-1])
        expected = np.bincount(inside, minlength=bins + 2)
        assert found[unit].tolist() == expected.tolist()


def test_histogram_of_a_constant_unit_counts_every_row():
    found = histogram(torch.ones(9, 1), torch.ones(1), torch.ones(1), 5)
    assert int(found.sum()) == 9
    assert int((found > 0).sum()) == 1


@quick
@given(st.integers(2, 6), st.integers(0, 1000))
def test_best_split_is_the_cheapest_of_all_splits(k, seed):
    generator = torch.Generator().manual_seed(seed)
    pairs = k * (k - 1) // 2
    overlaps, means = torch.rand(pairs, 5, generator=generator), torch.rand(k, 5)
    cost, group = best_split(overlaps, means)
    order = [tuple(x) for x in torch.triu_indices(k, k, 1).T.tolist()]
    for unit in range(5):
        costs = {}
        for mask in range(1, 2 ** (k - 1)):
            inside = {0} | {i + 1 for i in range(k - 1) if not mask >> i & 1}
            across = [
                float(overlaps[n, unit])
                for n, (a, b) in enumerate(order)
                if (a in inside) != (b in inside)
            ]
            costs[frozenset(inside)] = max(across)
        cheapest = min(costs, key=costs.get)
        assert float(cost[unit]) == pytest.approx(costs[cheapest])
        got = {i for i in range(k) if group[i, unit]}
        assert got in (set(cheapest), set(range(k)) - cheapest)
        assert 2 * len(got) <= k
        if 2 * len(got) == k:
            other = [i for i in range(k) if i not in got]
            assert means[sorted(got), unit].mean() >= means[other, unit].mean()


def test_pair_overlaps_by_definition():
    counts = torch.tensor([[[5, 5, 0]], [[0, 5, 5]], [[10, 0, 0]]], dtype=torch.int32)
    assert torch.allclose(pair_overlaps(counts, 10), torch.tensor([[0.5], [0.5], [0.0]]))


def test_dln_end_to_end():
    rows = random_rows(8, languages=4, layers=1, n=300, units=60)
    torch.manual_seed(8)
    base = torch.randn(1, 300, 60)
    rows = {name: (base[:, torch.randperm(300)]).to(torch.bfloat16) for name in rows}
    rows["l2"][:, :, 3] += 8  # one language
    rows["l1"][:, :, 5] += 8  # two languages
    rows["l3"][:, :, 5] += 8
    found = identify(statistics_of(rows), "dln", tau=0.03, bins=50)
    assert found["l2"].pairs() == [(0, 3)]
    assert found["l1"].pairs() == found["l3"].pairs() == [(0, 5)]
    assert len(found["l0"]) == 0
    assert found.parameters["found"]["single_language_units"] == 1
    assert found.parameters["found"]["multi_language_units"] == 1
    assert identify(statistics_of(rows), "dln", tau=0.03, bins=50, single=True).sizes()["l1"] == 0


# ------------------------------------------------------------------ degenerate input

STATISTICAL = [name for name in METHODS.names() if METHODS.get(name).needs != "model"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", STATISTICAL)
@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(["dead", "constant", "ties", "nan", "unequal", "one_row"]),
    st.integers(2, 4),
    st.integers(0, 100),
)
def test_degenerate_input_has_defined_behaviour(name, kind, languages, seed):
    rows = random_rows(seed, languages, 2, 12, 40)
    if kind == "dead":
        rows = {k: torch.full_like(v, -1.0) for k, v in rows.items()}
    elif kind == "constant":
        rows = {k: torch.full_like(v, 2.0) for k, v in rows.items()}
    elif kind == "ties":
        rows = {k: v.sign() for k, v in rows.items()}
    elif kind == "nan":
        rows["l0"][0, 3, 5] = math.nan
    elif kind == "unequal":
        rows["l0"] = rows["l0"][:, :3]
    elif kind == "one_row":
        rows = {k: v[:, :1] for k, v in rows.items()}
    try:
        found = identify(statistics_of(rows), name)
    except InputError as error:
        assert "no unit exceeds the filter" in str(error)  # noqa: PT017
        assert name in ("lape", "lape_pooled")
        return
    assert list(found) == list(rows)
    for language, units in found.items():
        assert torch.isfinite(found.scores[language]).all()
        if kind == "nan" and METHODS.get(name).needs != "counts":
            assert (0, 5) not in units
        if kind == "dead" and name in ("lape", "entropy_lambda", "mutual_information"):
            assert len(units) == 0


def test_a_threshold_that_nothing_passes_is_a_clear_error():
    statistics = Statistics.from_counts(
        {"a": torch.zeros(1, 9).long(), "b": torch.zeros(1, 9).long()}, {"a": 5, "b": 5}
    )
    with pytest.raises(InputError, match="no unit exceeds the filter"):
        identify(statistics, "lape", top=1)
    with pytest.raises(InputError, match="stands for 0 of 9 units"):
        identify(statistics, "lape", top=0)
    with pytest.raises(InputError, match="share between 0 and 1"):
        identify(statistics, "lape", top=1, bar=95)


def test_counts_alone_say_what_is_missing():
    counts = {"a": torch.ones(1, 9).long(), "b": torch.ones(1, 9).long()}
    statistics = Statistics.from_counts(counts, {"a": 5, "b": 5})
    for name in ("dln", "difference", "auroc"):
        with pytest.raises(InputError, match="Collect statistics from text"):
            identify(statistics, name)


def test_the_last_language_without_a_unit_keeps_its_place():
    counts = {
        "a": torch.tensor([[90, 1, 1, 1, 2, 3, 4, 5, 6, 7]]),
        "z": torch.tensor([[1, 1, 1, 1, 2, 3, 4, 5, 6, 7]]),
    }
    statistics = Statistics.from_counts(counts, {"a": 100, "z": 100})
    with pytest.warns(UserWarning, match="no unit for language z"):
        found = identify(statistics, "lape", top=1)
    assert found.sizes() == {"a": 1, "z": 0}


def test_nan_is_named():
    rows = random_rows(0)
    rows["l1"][0, 0, 2] = math.nan
    with pytest.warns(UserWarning, match="'difference', language 'l1': 1 units have no defined"):
        identify(statistics_of(rows), "difference", top=2)


# ------------------------------------------------------------------ stability


def test_resampled_statistics_are_those_of_the_rows():
    rows = random_rows(1, languages=1, dtype=torch.float32)
    index = torch.tensor([0, 0, 3, 7, 7, 7])
    found = resample(statistics_of(rows), {"l0": index})
    picked = rows["l0"][:, index].double()
    assert found.tokens == {"l0": 6}
    assert torch.equal(found.count_positive["l0"], (picked > 0).sum(1))
    assert torch.allclose(found.mean("l0"), picked.mean(1))
    assert torch.allclose(found.std("l0"), picked.std(1, correction=0))
    assert torch.equal(found.rows("l0", 1), rows["l0"][1, index])


def test_bootstrap_tells_signal_from_noise():
    rows = random_rows(6, languages=3, layers=1, n=200, units=100, dtype=torch.float32)
    rows = {k: v - v.mean(1, keepdim=True) for k, v in rows.items()}
    rows["l1"][:, :, :4] += 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = bootstrap(statistics_of(rows), "difference", top=4, replicates=20)
        again = bootstrap(statistics_of(rows), "difference", top=4, replicates=20)
    assert torch.equal(found.frequency["l0"], again.frequency["l0"])
    assert found.frequency["l1"][0, :4].tolist() == pytest.approx([1, 1, 1, 1])
    assert found.jaccard["l1"] == pytest.approx(1)
    assert found.jaccard["l0"] < 0.7
    for frequency in found.frequency.values():
        assert float(frequency.sum()) == pytest.approx(4)
    assert found.stable(0.9)["l1"].pairs() == [(0, 0), (0, 1), (0, 2), (0, 3)]
    table = found.table()
    assert table[table["language"] == "l1"]["frequency"].tolist() == pytest.approx([1] * 4)
    with pytest.raises(InputError, match="cannot be resampled"):
        bootstrap(statistics_of(rows), "gradient")


@pytest.mark.parametrize("name", ["lape", "difference", "dln", "auroc"])
@pytest.mark.parametrize("together", [1, 1 << 29])
def test_one_pass_by_weights_is_drawing_each_replicate(name, together, monkeypatch):
    rows = random_rows(9, languages=3, layers=2, n=60, units=40)
    statistics = statistics_of(rows)
    options = {"filter": 0.5, "bar": 0.5} if name == "lape" else {}
    monkeypatch.setattr(resampling, "_REPLICATED_BYTES", together)
    monkeypatch.setattr(resampling, "_WEIGHTED_AT_ONCE", 60 * 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = bootstrap(statistics, name, replicates=6, seed=4, **options)
        generator = np.random.default_rng(4)
        expected = {language: torch.zeros(2, 40, dtype=torch.float64) for language in rows}
        for _ in range(6):
            times = {
                language: resampling.draw(statistics.row_documents(language), generator)
                for language in rows
            }
            index = {k: torch.repeat_interleave(torch.arange(60), v) for k, v in times.items()}
            drawn = resample(statistics, index)
            made = next(resampling.replicated(statistics, [times], "rows"))
            for language in rows:
                assert torch.equal(made.count_positive[language], drawn.count_positive[language])
                for value in ("mean", "std", "abs_mean"):
                    one, other = (getattr(item, value)(language) for item in (made, drawn))
                    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
                assert torch.equal(made.rows(language, 1), drawn.rows(language, 1))
                assert made.tokens == drawn.tokens
            for language, units in identify(drawn, name, **options).items():
                expected[language] += units.mask((2, 40)) / 6
    for language in rows:
        torch.testing.assert_close(found.frequency[language], expected[language])
