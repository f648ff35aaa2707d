"""Sets of units against Python's own sets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.errors import InputError
from langneurons.identification import Units

SHAPE = (4, 9)
pairs = st.lists(st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1)), max_size=30)


@settings(deadline=None)
@given(pairs, pairs)
def test_algebra_is_that_of_sets(a, b):
    left, right = Units.from_pairs(a), Units.from_pairs(b)
    assert left.pairs() == sorted(set(a))
    assert (left & right).pairs() == sorted(set(a) & set(b))
    assert (left | right).pairs() == sorted(set(a) | set(b))
    assert (left - right).pairs() == sorted(set(a) - set(b))
    assert (left ^ right).pairs() == sorted(set(a) ^ set(b))
    assert left.isin(right).tolist() == [pair in set(b) for pair in sorted(set(a))]
    assert (left == right) == (set(a) == set(b))
    assert all(pair in left for pair in a)


@settings(deadline=None)
@given(pairs)
def test_mask_and_layers_round_trip(a):
    units = Units.from_pairs(a)
    assert Units.from_mask(units.mask(SHAPE)) == units
    assert int(units.mask(SHAPE).sum()) == len(units)
    layers = units.by_layer(SHAPE[0])
    assert len(layers) == SHAPE[0]
    assert Units.from_layers(layers) == units


def test_last_layers_without_a_unit_keep_their_place():
    assert [len(item) for item in Units([0], [3]).by_layer(4)] == [1, 0, 0, 0]
    assert [len(item) for item in Units.empty().by_layer(2)] == [0, 0]


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="count from 0"):
        Units([0], [-1])
    with pytest.raises(InputError, match="1 layers, 2 indices"):
        Units([0], [1, 2])
    with pytest.raises(InputError, match="integers"):
        Units(torch.tensor([0.5]), torch.tensor([1.0]))
    with pytest.raises(InputError, match="another model"):
        Units([5], [1]).mask((2, 4))
    with pytest.raises(InputError, match="another model"):
        Units([5], [1]).by_layer(2)
