"""The Triton kernel in Triton's interpreter against the plain version."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.statistics.moments import summarize

pytest.importorskip("triton", reason="Triton comes with PyTorch for GPUs only")

from langneurons.statistics import fused

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@settings(max_examples=20, deadline=None)
@given(
    tokens=st.integers(1, 100),
    units=st.integers(1, 200),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    masked=st.booleans(),
    kept=st.integers(0, 5),
    shifted=st.booleans(),
)
def test_kernel_equals_the_plain_version(
    tokens: int, units: int, dtype: torch.dtype, masked: bool, kept: int, shifted: bool
) -> None:
    generator = torch.Generator().manual_seed(tokens * 1000 + units)
    x = torch.randn(tokens, units, generator=generator).to(DEVICE, dtype)
    used = torch.arange(0, tokens, 2 if masked else 1, device=DEVICE)
    chosen = used[torch.randperm(len(used), generator=generator)[:kept].to(DEVICE)]
    shift = torch.randn(units, generator=generator).to(DEVICE) if shifted else None
    found, rows = fused.summarize_and_keep(x, used if masked else None, shift, chosen)
    expected = summarize(x, used, found.shift)
    for name in ("positive", "minimum", "maximum"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    for name in ("total", "square", "absolute"):
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-3
        )
    assert torch.equal(rows, x[chosen])


def test_self_check_passes_here() -> None:
    assert fused.works_on(DEVICE)
