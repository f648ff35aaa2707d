"""Controls of experts: as many others of the layer, to which as many tokens are routed."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.errors import InputError
from langneurons.identification import NeuronSet, Units
from langneurons.identification.controls import NEAR_LOADS, _nearest
from langneurons.statistics import Statistics

TOKENS = 10_000


def routed(loads):
    """Statistics of one layer's loads by language."""
    counts = {lang: torch.tensor([[int(TOKENS * x) for x in row]]) for lang, row in loads.items()}
    return Statistics.from_counts(counts, dict.fromkeys(loads, TOKENS), site="moe.router")


def experts(**chosen):
    shape = (1, 8)
    sets = {lang: Units.from_pairs([(0, e) for e in own]) for lang, own in chosen.items()}
    return NeuronSet(sets, shape, site="moe.router")


LOADS = {
    "en": [0.40, 0.39, 0.37, 0.36, 0.20, 0.10, 0.10, 0.08],
    "hi": [0.05, 0.10, 0.15, 0.20, 0.25, 0.35, 0.45, 0.45],
}


def test_an_expert_is_drawn_among_the_three_of_nearest_load():
    stats, own = routed(LOADS), experts(en=[0], hi=[7])
    drawn = {
        lang: {
            int(own.random_like(s, matched="load", statistics=stats)[lang].indices[0])
            for s in range(40)
        }
        for lang in own
    }
    assert drawn == {"en": {1, 2, 3}, "hi": {6, 5, 4}}
    plain = {int(own.random_like(s)["en"].indices[0]) for s in range(60)}
    assert plain == {1, 2, 3, 4, 5, 6}  # and hi's own expert is avoided


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_what_is_drawn_is_among_the_nearest_free_ones(data):
    """Also where others near the unit are taken already, on one side of it alone."""
    size, near = data.draw(st.integers(4, 14)), data.draw(st.integers(1, 4))
    rates = np.array(data.draw(st.lists(st.integers(0, 20), min_size=size, max_size=size))) / 20
    count = data.draw(st.integers(1, size // 2))
    wanted, pool = np.arange(count), np.arange(count, size)
    seed = data.draw(st.integers(0, 99))
    picked = _nearest(rates, wanted, pool, np.random.default_rng(seed), near)
    order = np.random.default_rng(seed).permutation(count)
    free = set(pool.tolist())
    for position in order:
        gaps = {unit: abs(rates[unit] - rates[wanted[position]]) for unit in free}
        assert gaps[int(picked[position])] <= sorted(gaps.values())[:near][-1] + 1e-12
        free.remove(int(picked[position]))


def test_another_language_s_experts_may_be_drawn():
    own = experts(en=[0], hi=[1, 2, 3])
    found = {
        int(own.random_like(s, matched="load", statistics=routed(LOADS))["en"].indices[0])
        for s in range(40)
    }
    assert found == {1, 2, 3}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_loads_are_as_near_as_the_layer_allows(seed, count):
    rng = np.random.default_rng(seed)
    loads = np.minimum(rng.dirichlet(np.ones(8)) * 2, 1)
    stats = routed({"en": loads, "hi": loads[::-1]})
    wanted = rng.choice(8, count, replace=False).tolist()
    own = experts(en=wanted, hi=[])
    if count > 4:
        with pytest.raises(InputError, match="too few others are left"):
            own.random_like(seed, matched="load", statistics=stats)
        return
    control = own.random_like(seed, matched="load", statistics=stats)
    drawn = control["en"].indices.tolist()
    assert len(set(drawn)) == count
    assert not set(drawn) & set(wanted)
    rates = stats.prob_positive("en")[0].numpy()
    free = [e for e in range(8) if e not in wanted]
    if count == 1:  # by definition, in one draw: among the nearest three
        order = sorted(free, key=lambda e: abs(rates[e] - rates[wanted[0]]))
        assert abs(rates[drawn[0]] - rates[wanted[0]]) <= abs(
            rates[order[NEAR_LOADS - 1]] - rates[wanted[0]]
        )
    gaps = [
        np.abs(rates[wanted] - rates[list(pick)]).mean()
        for pick in itertools.permutations(free, count)
    ]
    told = control.parameters["mean_load_difference"]["en"]
    assert min(gaps) - 1e-12 <= told <= max(gaps) + 1e-12
    assert control.method == "random_load"


def test_only_experts_have_a_load():
    own = NeuronSet({"en": Units.from_pairs([(0, 0)])}, (1, 8))
    with pytest.raises(InputError, match=r"'load' is for experts .* use matched='rate'"):
        own.random_like(0, matched="load", statistics=routed(LOADS))
    with pytest.raises(InputError, match="matched='load' needs the statistics"):
        experts(en=[0]).random_like(0, matched="load")
    with pytest.raises(InputError, match="unknown kind of matching 'size'"):
        experts(en=[0]).random_like(0, matched="size")
