"""Interventions that are linear in the weights, written into the weights.

A baked model needs no hook: saved, it gives the same outputs in any engine.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from langneurons.errors import InputError
from langneurons.identification import Units
from langneurons.intervention.interventions import Intervention, as_interventions
from langneurons.models import LanguageModel
from langneurons.models.hooks import strip
from langneurons.models.language_model import plain_model

if TYPE_CHECKING:
    from langneurons.intervention.values import Value

_INPUT_SITES = ("mlp.act", "mlp.out", "attn.out", "attn.head")
_OUTPUT_SITES = ("attn.q", "attn.k", "attn.v")


def bake(
    lm: LanguageModel,
    what: Units | Intervention | Sequence[Intervention],
    value: Value | float | None = None,
    mode: str | None = None,
    site: str | None = None,
) -> LanguageModel:
    """A copy of the model whose weights do what the intervention does.

    Possible for setting units to 0 and for multiplying them, at every token, at the sites
    ``mlp.act``, ``mlp.out``, ``attn.out``, ``attn.head`` (columns of the projection behind them are
    scaled) and ``attn.q``, ``attn.k``, ``attn.v`` (rows and biases of the projection itself are).
    In a gated MLP the activation is multiplied by the up projection before the down projection, so
    scaling a column of the latter scales the activation.

    Args:
        lm: The model; it is not changed.
        what: Units, one or several interventions.
        value: With units: default 0.
        mode: With units: ``set`` (default) or ``multiply``.
        site: With units: default where they were found, else ``mlp.act``.

    Returns:
        The baked copy; ``.model.save_pretrained`` writes an ordinary checkpoint. Only the scaled
        weights take new memory.

    Raises:
        InputError: If an intervention is not linear in the weights, or the weights are quantised.
    """
    given = {"value": value, "mode": mode, "site": site}
    options = {key: item for key, item in given.items() if item is not None}
    interventions = as_interventions(what, **options)
    scales = [_scale(lm, item) for item in interventions]
    if hasattr(lm.model, "get_base_model"):
        raise InputError("merge the adapter first (merge_and_unload of PEFT), then bake.")
    plain = plain_model(lm.model)
    memo = {id(tensor): tensor for tensor in [*plain.parameters(), *plain.buffers()]}
    model = copy.deepcopy(plain, memo)
    strip(model)
    baked = LanguageModel(model, lm.tokenizer, lm.name, revision=lm.revision)
    for item, scale in zip(interventions, scales, strict=True):
        for layer in sorted(set(item.chosen.layers.tolist())):
            _apply(baked, item.site, layer, scale[layer])
    return baked


def _scale(lm: LanguageModel, item: Intervention) -> Tensor:
    """Factor of each unit, float32 (layers, units)."""
    if item.site not in (*_INPUT_SITES, *_OUTPUT_SITES):
        raise InputError(
            f"an intervention at {item.site!r} cannot be written into weights: no linear map alone "
            "lies in front of it or behind it. Use 'mlp.act' or 'mlp.out'."
        )
    if not item.every_token:
        raise InputError(
            f"{item.name!r} touches some tokens only and cannot be written into weights: use "
            "scope='all', start=0, probability=1."
        )
    shape = (lm.layers, lm.sites[item.site].width)
    units = item.chosen
    units.check(shape)
    item.check(lm)
    if item.what.kind != "tensor":
        raise InputError(
            f"{item.name!r} is not a factor and cannot be written into weights: use 0, or multiply."
        )
    values = item.what.resolve(shape)[units.layers, units.indices]
    linear = item.mode == "multiply" or (item.mode == "set" and bool((values == 0).all()))
    if not linear:
        raise InputError(
            f"{item.name!r} cannot be written into weights: use 0 or multiply, as only "
            "setting to 0 and multiplying are linear in them."
        )
    scale = torch.ones(shape)
    scale[units.layers, units.indices] = values
    return scale


def _apply(lm: LanguageModel, site: str, layer: int, scale: Tensor) -> None:
    place = lm.sites[site]
    if site in _OUTPUT_SITES:
        module = place.modules[layer]
        rows = place.columns if place.columns is not None else torch.arange(place.width)
        _scale_rows(module, rows, scale)
        return
    module = lm.sites.downs[layer] if site.startswith("mlp") else lm.sites.outputs[layer]
    if place.heads is not None:
        width = _matrix(module).shape[1] if not _transposed(module) else _matrix(module).shape[0]
        scale = scale.repeat_interleave(width // place.heads)
    weight = _matrix(module)
    factor = scale.to(weight.device, torch.float32)
    factor = factor.unsqueeze(1) if _transposed(module) else factor.unsqueeze(0)
    _replace(module, "weight", (weight.float() * factor).to(weight.dtype))


def _scale_rows(module: nn.Module, rows: Tensor, scale: Tensor) -> None:
    weight = _matrix(module)
    size = weight.shape[1] if _transposed(module) else weight.shape[0]
    factor = torch.ones(size)
    factor[rows] = scale
    factor = factor.to(weight.device)
    shaped = factor.unsqueeze(0) if _transposed(module) else factor.unsqueeze(1)
    _replace(module, "weight", (weight.float() * shaped).to(weight.dtype))
    bias = getattr(module, "bias", None)
    if isinstance(bias, Tensor):
        _replace(module, "bias", (bias.float() * factor).to(bias.dtype))


def _matrix(module: nn.Module) -> Tensor:
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.ndim != 2:
        raise InputError(
            f"the weights of {type(module).__name__} are quantised and cannot be scaled: load the "
            "model unquantised, bake, then quantise."
        )
    return weight


def _transposed(module: nn.Module) -> bool:
    """Whether the matrix is (inputs, outputs), as in GPT-2's ``Conv1D``."""
    return type(module).__name__ == "Conv1D"


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    """A new parameter: the old tensor is shared with the model that was not to be changed."""
    setattr(module, name, nn.Parameter(value, requires_grad=False))
