"""Which values a unit can take at all: those its activation function can give."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from langneurons.intervention.interventions import Intervention
    from langneurons.models import LanguageModel

_FAR = 1e4
_SLACK = 0.005  # relative: statistics taken in bfloat16 are rounded by up to 0.4 %


class OutOfRangeWarning(UserWarning):
    """Values are written that the activation function can never give."""


def activation_range(module: nn.Module) -> tuple[float, float]:
    """Smallest and largest value of an activation function, found on a fine grid.

    Args:
        module: The activation module; run in float64 on the CPU.

    Returns:
        (low, high), where an unbounded side is infinite. SiLU: (-0.2785, inf).
    """
    grid = torch.linspace(-30, 30, 12_001, dtype=torch.float64)
    ends = torch.tensor([-_FAR, _FAR], dtype=torch.float64)
    with torch.no_grad():
        # `forward`, not a call: a hook on the module must not see this.
        inner, outer = module.forward(grid), module.forward(ends)
    low, high = float(inner.min()), float(inner.max())
    if float(outer.min()) < low - 1:
        low = -math.inf
    if float(outer.max()) > high + 1:
        high = math.inf
    return low, high


def share_out_of_range(lm: LanguageModel, intervention: Intervention) -> float:
    """Share of the intervention's values that its units can never take by themselves.

    Only for values set at ``mlp.act``; 0 for everything else, as there is no such bound there.
    """
    units = intervention.chosen
    if intervention.site != "mlp.act" or intervention.mode != "set" or len(units) == 0:
        return 0.0
    if intervention.what.kind != "tensor":
        return 0.0
    site = lm.sites["mlp.act"]
    values = intervention.what.resolve((lm.layers, site.widest))[units.layers, units.indices]
    outside = torch.zeros(len(units), dtype=torch.bool)
    for layer in units.layers.unique().tolist():
        here = units.layers == layer
        low, high = _range_of(lm, layer)
        too_low = values[here] < low - _SLACK * abs(low)
        outside[here] = too_low | (values[here] > high + _SLACK * abs(high))
    return float(outside.double().mean())


def _range_of(lm: LanguageModel, layer: int) -> tuple[float, float]:
    return activation_range(lm.sites["mlp.act"].modules[layer])


def warn_out_of_range(lm: LanguageModel, intervention: Intervention) -> None:
    """Warn when values lie outside the activation function's range; names their share."""
    share = share_out_of_range(lm, intervention)
    if share > 0:
        low, high = _range_of(lm, int(intervention.chosen.layers[0]))
        warnings.warn(
            f"{share:.0%} of the values written by {intervention.name!r} lie outside what the "
            f"activation function can give ({low:.4g} to {high:.4g}).",
            OutOfRangeWarning,
            stacklevel=4,
        )
