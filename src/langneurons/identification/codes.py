"""Floating-point values as integers of the same order and width.

Integers of 16 bits are sorted and partitioned by numpy's vectorised kernels several times as fast
as 32-bit floats, and token rows are usually stored in 16 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Codes = npt.NDArray[Any]
"""int16 (of bfloat16 or float16) or int32 (of float32), any shape."""

_KINDS: dict[torch.dtype, torch.dtype] = {
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
    torch.float32: torch.int32,
}


def encode(values: Tensor) -> tuple[Codes, torch.dtype]:
    """Integers in the order of the values, the last dimension of each unit side by side.

    Args:
        values: (n, U) rows in any floating dtype; those wider than float32 are rounded to it.

    Returns:
        Contiguous integers (U, n), and the dtype to :func:`decode` with. -0 and +0 have the same
        code; NaN lies beyond both infinities.
    """
    if values.dtype not in _KINDS:
        values = values.float()
    kind = _KINDS[values.dtype]
    bits: Codes = np.array(values.contiguous().view(kind).numpy().T, order="C", copy=True)
    sign = bits >> (8 * bits.itemsize - 1)  # 0, or -1 where negative
    bits &= np.iinfo(bits.dtype).max
    bits ^= sign
    bits -= sign
    return bits, values.dtype


def decode(codes: Codes, dtype: torch.dtype) -> npt.NDArray[np.float64]:
    """The values behind integers of :func:`encode`, float64 of the same shape."""
    size = np.iinfo(codes.dtype)
    bits = np.where(codes < 0, -codes | size.min, codes).astype(codes.dtype)
    values = torch.from_numpy(bits).view(dtype)
    return np.asarray(values.double().numpy())


def floor_code(limit: npt.NDArray[np.float64], dtype: torch.dtype) -> Codes:
    """Code of the largest value of ``dtype`` that is not above a limit.

    ``value > limit`` is then ``code > floor_code(limit)``, exactly. NaN becomes the largest code,
    which nothing exceeds.
    """
    nearest = torch.from_numpy(np.asarray(limit, dtype=np.float64)).to(dtype)
    codes = encode(nearest[None])[0][:, 0]
    found = codes - (nearest.double().numpy() > limit)
    found[np.isnan(limit)] = np.iinfo(codes.dtype).max
    return found.astype(codes.dtype)


def has_nan(codes: Codes, dtype: torch.dtype) -> npt.NDArray[np.bool_]:
    """Whether any of a unit's values is NaN: codes (U, n) to bool (U,)."""
    infinity = int(encode(torch.full((1, 1), torch.inf, dtype=dtype))[0][0, 0])
    found: npt.NDArray[np.bool_] = (codes.max(1) > infinity) | (codes.min(1) < -infinity)
    return found


def quantile(codes: Codes, q: float, dtype: torch.dtype) -> npt.NDArray[np.float64]:
    """Quantile of each unit's values, interpolated linearly as by ``numpy.quantile``.

    Args:
        codes: (U, n), n at least 1, no NaN.
        q: 0 to 1.
        dtype: Dtype of the values behind the codes.

    Returns:
        float64 (U,).
    """
    last = codes.shape[1] - 1
    place = q * last
    below = min(int(place), last)
    rest = place - below
    parted = np.partition(codes, below, axis=1)
    low = decode(parted[:, below], dtype)
    if rest <= 0:
        return low
    high = decode(parted[:, below + 1 :].min(1), dtype)
    with np.errstate(invalid="ignore"):  # between two equal infinities
        between = low + (high - low) * rest
    return np.where(high == low, low, between)
