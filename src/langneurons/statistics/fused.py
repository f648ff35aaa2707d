"""One kernel for a whole batch on a GPU: counts, moments and kept rows in one read.

The plain version is :func:`langneurons.statistics.moments.summarize`, which makes seven passes
over the activations; on a CPU they stay in the cache, on a GPU each costs a read of its own.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from langneurons.statistics.moments import Summary, first_shift, summarize

_BLOCK_TOKENS, _BLOCK_UNITS = 32, 128
_PARTS = 6  # positive, total, square, absolute, minimum, maximum
_PROGRAMS = 2048  # enough to fill any GPU


@triton.jit  # type: ignore[untyped-decorator]
def _reduce(  # type: ignore[no-untyped-def]
    activations,
    rows,
    slots,
    shift,
    partial,
    kept,
    tokens,
    units,
    tokens_each,
    HAS_ROWS: tl.constexpr,
    KEEP: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_UNITS: tl.constexpr,
):
    column = tl.program_id(0) * BLOCK_UNITS + tl.arange(0, BLOCK_UNITS)
    inside = column < units
    centre = tl.load(shift + column, mask=inside, other=0.0)
    first = tl.program_id(1) * tokens_each
    last = tl.minimum(first + tokens_each, tokens)
    positive = tl.zeros((BLOCK_UNITS,), tl.float32)
    total = tl.zeros((BLOCK_UNITS,), tl.float32)
    square = tl.zeros((BLOCK_UNITS,), tl.float32)
    absolute = tl.zeros((BLOCK_UNITS,), tl.float32)
    minimum = tl.full((BLOCK_UNITS,), float("inf"), tl.float32)
    maximum = tl.full((BLOCK_UNITS,), float("-inf"), tl.float32)
    for start in range(first, last, BLOCK_TOKENS):
        token = start + tl.arange(0, BLOCK_TOKENS)
        valid = token < last
        row = token.to(tl.int64)
        if HAS_ROWS:
            row = tl.load(rows + token, mask=valid, other=0)
        both = valid[:, None] & inside[None, :]
        place = row[:, None] * units + column[None, :]
        value = tl.load(activations + place, mask=both, other=0.0)
        x = value.to(tl.float32)
        d = tl.where(both, x - centre[None, :], 0.0)
        positive += tl.sum(tl.where(both & (x > 0), 1.0, 0.0), axis=0)
        total += tl.sum(d, axis=0)
        square += tl.sum(d * d, axis=0)
        absolute += tl.sum(tl.abs(x), axis=0)
        minimum = tl.minimum(minimum, tl.min(tl.where(both, x, float("inf")), axis=0))
        maximum = tl.maximum(maximum, tl.max(tl.where(both, x, float("-inf")), axis=0))
        if KEEP:
            slot = tl.load(slots + token, mask=valid, other=-1)
            target = slot[:, None] * units + column[None, :]
            tl.store(kept + target, value, mask=both & (slot[:, None] >= 0))
    out = partial + tl.program_id(1) * 6 * units + column
    tl.store(out, positive, mask=inside)
    tl.store(out + units, total, mask=inside)
    tl.store(out + 2 * units, square, mask=inside)
    tl.store(out + 3 * units, absolute, mask=inside)
    tl.store(out + 4 * units, minimum, mask=inside)
    tl.store(out + 5 * units, maximum, mask=inside)


def summarize_and_keep(
    activations: Tensor, rows: Tensor | None, shift: Tensor | None, chosen: Tensor
) -> tuple[Summary, Tensor]:
    """What :func:`summarize` gives, and the rows of the kept tokens, in one read.

    Args:
        activations: (tokens, units), contiguous; float32, bfloat16 or float16.
        rows: int64 indices of the tokens to use, ascending; None for all.
        shift: (units,) a value near the mean, or None.
        chosen: int64 (m,), tokens (among those used) whose rows are kept.

    Returns:
        The sums, and the kept rows (m, units) in the dtype of the activations. A NaN shows in the
        sums; whether it shows in the extremes is left to the hardware.
    """
    device, units = activations.device, activations.shape[1]
    tokens = activations.shape[0] if rows is None else len(rows)
    centre = (first_shift(activations, rows) if shift is None else shift).float().contiguous()
    columns = triton.cdiv(units, _BLOCK_UNITS)
    splits = max(1, min(triton.cdiv(tokens, _BLOCK_TOKENS), _PROGRAMS // columns))
    tokens_each = triton.cdiv(triton.cdiv(tokens, splits), _BLOCK_TOKENS) * _BLOCK_TOKENS
    splits = triton.cdiv(tokens, tokens_each)
    partial = torch.empty((splits, _PARTS, units), dtype=torch.float32, device=device)
    kept = torch.empty((len(chosen), units), dtype=activations.dtype, device=device)
    slots = torch.full((tokens,), -1, dtype=torch.int64, device=device)
    place = chosen if rows is None else torch.searchsorted(rows, chosen)
    slots[place] = torch.arange(len(chosen), device=device)
    _reduce[(columns, splits)](
        activations,
        rows if rows is not None else slots,
        slots,
        centre,
        partial,
        kept,
        tokens,
        units,
        tokens_each,
        HAS_ROWS=rows is not None,
        KEEP=len(chosen) > 0,
        BLOCK_TOKENS=_BLOCK_TOKENS,
        BLOCK_UNITS=_BLOCK_UNITS,
    )
    positive, total, square, absolute = partial[:, :4].sum(0)
    minimum, maximum = partial[:, 4].amin(0), partial[:, 5].amax(0)
    return Summary(positive, centre, total, square, absolute, minimum, maximum), kept


@lru_cache(maxsize=16)
def works_on(device: torch.device) -> bool:
    """Whether the kernel compiles on this device and agrees there with the plain version."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 300, generator=generator).to(device, torch.bfloat16)
    rows = torch.arange(0, 200, 3, device=device)
    chosen = torch.tensor([6, 33], device=device)
    try:
        found, kept = summarize_and_keep(x, rows, None, chosen)
    except Exception as error:  # whatever a compiler or a driver may raise
        warnings.warn(f"the fused kernel does not run on {device} ({error}).", stacklevel=2)
        return False
    expected = summarize(x, rows, found.shift)
    same: list[Any] = [
        torch.equal(found.positive, expected.positive),
        torch.equal(found.minimum, expected.minimum),
        torch.equal(found.maximum, expected.maximum),
        torch.allclose(found.total, expected.total, atol=1e-3),
        torch.allclose(found.square, expected.square, rtol=1e-4),
        torch.allclose(found.absolute, expected.absolute, rtol=1e-4),
        torch.equal(kept, x[chosen]),
    ]
    if not all(same):
        warnings.warn(f"the fused kernel is wrong on {device}: not used.", stacklevel=2)
    return all(same)
