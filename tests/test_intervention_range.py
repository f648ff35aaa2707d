"""What an activation function can give."""

import math

import pytest
from torch import nn

from langneurons.intervention.range import activation_range


@pytest.mark.parametrize(
    ("module", "low", "high"),
    [(nn.SiLU(), -0.27846, math.inf), (nn.GELU(), -0.16997, math.inf), (nn.ReLU(), 0, math.inf),
     (nn.Hardtanh(), -1, 1), (nn.Identity(), -math.inf, math.inf)],
)  # fmt: skip
def test_ranges_of_known_functions(module, low, high):
    assert activation_range(module) == pytest.approx((low, high), abs=1e-4)
