"""Biases that a model lacks and its class allows: switched on at 0, they change nothing.

No list of model names is used: a switch is a field of the configuration with which the class makes
biases, and nothing else, beside the parameters that it makes without it. A checkpoint with the
field set is an ordinary one of that class.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_BIAS = ".bias"


def switch_on(model: Any, wanted: Iterable[str]) -> None:
    """Give modules a bias of 0 wherever the class can make one; others stay without.

    Args:
        model: A model of Transformers; its configuration and modules are changed, no parameter is.
        wanted: Names of modules that need a bias.
    """
    missing = {name for name in wanted if getattr(model.get_submodule(name), "bias", None) is None}
    if not missing:
        return
    plain = _parameters(model, model.config)
    for field in _switches(model.config):
        config = copy.deepcopy(model.config)
        setattr(config, field, True)
        made = _parameters(model, config)
        new = made.keys() - plain.keys()
        only_biases = plain.keys() <= made.keys() and all(name.endswith(_BIAS) for name in new)
        if not only_biases or not missing & {name.removesuffix(_BIAS) for name in new}:
            continue
        setattr(model.config, field, True)
        for name in new:
            module = model.get_submodule(name.removesuffix(_BIAS))
            zero = torch.zeros(made[name], dtype=module.weight.dtype, device=module.weight.device)
            module.bias = nn.Parameter(zero, requires_grad=False)
            missing.discard(name.removesuffix(_BIAS))
        if not missing:
            return
        plain = _parameters(model, model.config)


def _switches(config: Any) -> list[str]:
    """Fields of a configuration that may stand for biases."""
    found = vars(config).items()
    return [name for name, value in found if "bias" in name and value in (False, None)]


def _parameters(model: Any, config: Any) -> dict[str, torch.Size]:
    """Shapes of the parameters that the model's class makes of a configuration; none are kept."""
    with torch.device("meta"):
        made = type(model)(config)
    return {name: parameter.shape for name, parameter in made.named_parameters()}
