"""Experts of languages: the published rule, routing divergence, usage entropy."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import langneurons as ln
from langneurons.errors import InputError
from langneurons.identification.routing import (
    routing_divergence,
    routing_shares,
    usage_entropy,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "moe-mgsm"


@pytest.fixture(scope="module")
def qwen():
    if not DATA.exists():
        pytest.skip("reference data moe-mgsm is not here")
    tensors = load_file(DATA / "counts.safetensors")
    expected = json.loads((DATA / "expected.k15-thr0.4.json").read_text())
    languages = expected["languages"]
    tokens = dict(zip(languages, tensors["total_tokens"].tolist(), strict=True))
    counts = {lang: tensors[f"tokens.{lang}"] for lang in languages}
    return ln.Statistics.from_counts(counts, tokens, site="moe.router"), expected


def layers_of(units):
    found = {}
    for layer, index in units.pairs():
        found.setdefault(str(layer), []).append(index)
    return found


@pytest.mark.filterwarnings("ignore:counts of")
def test_the_published_experts_come_out_exactly(qwen):
    statistics, expected = qwen
    found = ln.identify(statistics, "expert_share")
    assert {lang: layers_of(found[lang]) for lang in found} == expected["exclusive"]
    assert found.site == "moe.router"
    shared = ln.identify(statistics, "expert_share", take="shared")
    union = shared["bn"]
    for lang in shared:
        union = union | shared[lang]
    assert layers_of(union) == expected["shared"]
    assert found.parameters["found"]["shared"] == len(union)


def test_counts_that_miss_the_top_k_are_said_and_used(qwen):
    statistics, _ = qwen
    with pytest.warns(
        UserWarning, match=r"layer \d+ sum to 8\.00\d+ experts a token.* goes to 8"
    ) as got:
        ln.identify(statistics, "expert_share")
    assert len(got) == 1


def planted(loads, tokens=1000, site="moe.router"):
    """Statistics of counts {language: (L, E) list}."""
    counts = {lang: torch.tensor(load) for lang, load in loads.items()}
    return ln.Statistics.from_counts(counts, dict.fromkeys(loads, tokens), site=site)


def test_even_counts_give_no_warning_and_other_sites_none():
    even = {"en": [[1000, 600, 400]], "de": [[500, 700, 800]]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ln.identify(planted(even), "expert_share", k=2, threshold=0.5)
        ln.identify(planted({"en": [[7, 9]], "de": [[9, 7]]}, site="mlp.act"), "expert_share", k=1)


def test_the_edges_of_the_rule():
    """At the threshold an expert is neither exclusive nor shared; one nobody keeps is neither."""
    statistics = planted({"en": [[600, 400, 0, 0]], "de": [[400, 500, 100, 0]]})
    exclusive = ln.identify(statistics, "expert_share", k=2, threshold=0.6)
    with pytest.warns(UserWarning, match="no unit"):
        both = ln.identify(statistics, "expert_share", k=1, threshold=0.5, take="shared")
    assert both.sizes() == {"en": 0, "de": 0}
    assert not len(exclusive["en"])
    assert ln.identify(statistics, "expert_share", k=2, threshold=0.59)["en"].pairs() == [(0, 0)]
    shared = ln.identify(statistics, "expert_share", k=2, threshold=0.6, take="shared")
    assert shared["en"].pairs() == shared["de"].pairs() == [(0, 1)]


def test_a_layer_of_fewer_experts_keeps_them_all():
    statistics = planted({"en": [[600, 300, 100]], "de": [[100, 300, 600]]})
    assert ln.identify(statistics, "expert_share")["de"].pairs() == [(0, 1), (0, 2)]
    with pytest.raises(InputError, match="k must be at least 1"):
        ln.identify(statistics, "expert_share", k=0)


loads = st.lists(st.integers(0, 50), min_size=4, max_size=4)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(loads, loads), min_size=1, max_size=4))
def test_divergence_and_entropy_by_definition(layers):
    """Against sums over experts in plain Python."""
    en, de = [a for a, _ in layers], [b for _, b in layers]
    statistics = planted({"en": en, "de": de}, tokens=100)
    found, spread = routing_divergence(statistics, "en"), usage_entropy(statistics)
    assert list(found) == ["de"]

    def h(p):
        return -sum(x * math.log(x) for x in p if x > 0)

    for layer, (a, b) in enumerate(layers):
        if not sum(a) or not sum(b):
            assert np.isnan(float(found["de"][layer]))
            continue
        p, q = [x / sum(a) for x in a], [x / sum(b) for x in b]
        m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
        kl = sum(x * math.log(x / z) for x, z in zip(p, m, strict=True) if x > 0) / 2
        kl += sum(y * math.log(y / z) for y, z in zip(q, m, strict=True) if y > 0) / 2
        expected = kl / h(m) if h(m) > 0 else 0
        assert float(found["de"][layer]) == pytest.approx(expected, abs=1e-12)
        assert float(spread["de"][layer]) == pytest.approx(h(q) / math.log(4), abs=1e-12)


def test_divergence_of_the_real_counts(qwen):
    """Bengali and Swahili are routed least like English, German and French most alike."""
    statistics, _ = qwen
    found = routing_divergence(statistics, "en")
    mean = {lang: float(values.mean()) for lang, values in found.items()}
    assert all(0 < value < 1 for value in mean.values())
    assert mean["bn"] > 2 * mean["fr"]
    assert torch.allclose(routing_shares(statistics)["sw"].sum(1), torch.ones(48).double())


def test_divergence_needs_a_language_that_is_there():
    with pytest.raises(InputError, match="language 'xx'"):
        routing_divergence(planted({"en": [[1, 1]], "de": [[1, 1]]}), "xx")
    with pytest.raises(InputError, match="counts only"):
        usage_entropy(planted({"en": [[1, 1]], "de": [[1, 1]]}), weighted=True)
