"""Moments and quantiles against a plain float64 reference by definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.statistics.language import quantiles_of
from langneurons.statistics.moments import Moments, summarize

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
EXACT = ("count", "minimum", "maximum")


def reference(x: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.double()
    return {
        "count": (x > 0).sum(0),
        "mean": x.mean(0),
        "squares": (x - x.mean(0)).square().sum(0),
        "absolute": x.abs().sum(0),
        "minimum": x.amin(0),
        "maximum": x.amax(0),
    }


def check(moments: Moments, x: torch.Tensor, relative: float) -> None:
    assert moments.tokens == len(x)
    expected = reference(x)
    scale = float(x.double().abs().max()) + 1e-30
    for name, tensor in moments.tensors().items():
        if name in EXACT:
            assert torch.equal(tensor.double(), expected[name].double()), name
        else:
            size = scale * (scale if name == "squares" else 1) * (1 if name == "mean" else len(x))
            torch.testing.assert_close(tensor, expected[name], rtol=relative, atol=relative * size)


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 200),
    units=st.integers(1, 40),
    dtype=st.sampled_from(DTYPES),
    offset=st.sampled_from([0.0, -3.0, 100.0]),
    pieces=st.integers(1, 5),
    masked=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_split_gives_the_moments_by_definition(
    tokens: int,
    units: int,
    dtype: torch.dtype,
    offset: float,
    pieces: int,
    masked: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(tokens, units, generator=generator) + offset).to(dtype)
    moments = Moments.empty((units,))
    for part in x.chunk(pieces):
        rows = None
        if masked:  # the same tokens among others that must not count
            rows = torch.arange(len(part)) * 2 + 1
            part = torch.stack([torch.full_like(part, 1e4), part], dim=1).flatten(0, 1)
        shift = moments.mean if moments.tokens else None
        n = len(part) if rows is None else len(rows)
        moments = moments.merge(Moments.of(summarize(part, rows, shift), n))
    check(moments, x, 1e-12 if dtype == torch.float64 else 2e-6)


@pytest.mark.parametrize("value", [0.0, -1.5, 3e4])
def test_constant_activations_have_no_variance(value: float) -> None:
    x = torch.full((1000, 3), value)
    moments = Moments.of(summarize(x, None, None), 1000)
    assert torch.equal(moments.squares, torch.zeros(3, dtype=torch.float64))
    assert moments.mean.tolist() == [value] * 3
    assert moments.count.tolist() == [1000 if value > 0 else 0] * 3


def test_squares_do_not_cancel_far_from_zero() -> None:
    x = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0)) * 0.01 + 1000
    moments = Moments.of(summarize(x, None, None), len(x))
    torch.testing.assert_close(moments.squares, reference(x)["squares"], rtol=1e-4, atol=0)


def test_chunked_reduction_of_wide_layers_covers_every_token() -> None:
    x = torch.randn(70, 14336, generator=torch.Generator().manual_seed(1)).bfloat16()
    check(Moments.of(summarize(x, None, None), 70), x, 2e-6)
    rows = torch.arange(0, 70, 3)
    check(Moments.of(summarize(x, rows, None), len(rows)), x[rows], 2e-6)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 30), min_size=3, max_size=3), seed=st.integers(0, 999))
def test_merge_is_commutative_and_associative(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for size in sizes:
        x = torch.randn(size, 5, generator=generator, dtype=torch.float64)
        summary = summarize(x, None, None) if size else None
        parts.append(Moments.of(summary, size) if summary else Moments.empty((5,)))
    a, b, c = parts
    forward, backward = a.merge(b), b.merge(a)
    for name, tensor in forward.tensors().items():
        assert torch.equal(tensor, backward.tensors()[name]), name
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    assert left.tokens == right.tokens == sum(sizes)
    for name, tensor in left.tensors().items():
        if name in EXACT:
            assert torch.equal(tensor, right.tensors()[name]), name
        else:
            torch.testing.assert_close(tensor, right.tensors()[name], rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 60),
    units=st.integers(1, 8),
    p=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_quantiles_equal_torch_quantile(
    rows: int, units: int, p: list[float], dtype: torch.dtype
) -> None:
    x = torch.randn(rows, units, generator=torch.Generator().manual_seed(rows)).to(dtype)
    expected = torch.quantile(x.double(), torch.tensor(p, dtype=torch.float64), dim=0)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    found = quantiles_of(x, p)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
