"""Two numbers that should be one."""

from __future__ import annotations

from torch import Tensor


class WrongError(Exception):
    """A number is not what it should be."""


def same(what: str, found: Tensor, expected: Tensor, share: float = 2e-4) -> None:
    """Raise :class:`WrongError` unless two tensors agree up to rounding in float32."""
    scale = float(expected.abs().max().clamp_min(1e-3))
    apart = float((found - expected).abs().max()) if found.numel() else 0.0
    if found.shape != expected.shape or not apart <= share * scale:
        raise WrongError(f"{what}: off by {apart:.3g} on a scale of {scale:.3g}")
