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
from langneurons.models.projection import is_transposed, matrix

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
    scales = [_factors(lm, item) for item in interventions]
    if hasattr(lm.model, "get_base_model"):
        raise InputError("merge the adapter first (merge_and_unload of PEFT), then bake.")
    plain = plain_model(lm.model)
    memo = {id(tensor): tensor for tensor in [*plain.parameters(), *plain.buffers()]}
    for module in plain.modules():  # states that a layer keeps between calls
        kept = [item for item in vars(module).values() if isinstance(item, Tensor)]
        memo |= {id(tensor): tensor.detach() for tensor in kept}
    model = copy.deepcopy(plain, memo)
    strip(model)
    baked = LanguageModel(model, lm.tokenizer, lm.name, revision=lm.revision)
    for item, scale in zip(interventions, scales, strict=True):
        for layer in sorted(set(item.chosen.layers.tolist())):
            _apply(baked, item.site, layer, scale[layer])
    return baked


def _factors(lm: LanguageModel, item: Intervention) -> Tensor:
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
    place = lm.sites[item.site]
    shape = (lm.layers, place.widest)
    units = item.chosen
    place.check(units)
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
    scale = scale[: place.widths[layer]]
    if site in _OUTPUT_SITES:
        module, columns = place.modules[layer], place.layer_columns[layer]
        _alone(lm, site, layer, place.modules.items)
        factor = scale
        if columns is not None:
            factor = torch.ones(matrix(module).shape[0]).index_copy(0, columns, scale)
        _scale(module, factor.unsqueeze(1))
        bias = getattr(module, "bias", None)
        if isinstance(bias, Tensor):
            _replace(module, "bias", (bias.float() * factor.to(bias.device)).to(bias.dtype))
        return
    if site == "mlp.act" and not lm.sites.mlps[layer].direct:
        raise InputError(
            f"an intervention at 'mlp.act' cannot be written into the weights of {lm.name}: in "
            f"layer {layer} something that is not linear, as a norm, lies between the activation "
            "and the down projection. Use 'mlp.out'."
        )
    behind = lm.sites.downs if site.startswith("mlp") else lm.sites.outputs
    _alone(lm, site, layer, behind.items)
    if place.heads is not None:
        scale = scale.repeat_interleave(matrix(behind[layer]).shape[1] // place.heads)
    _scale(behind[layer], scale.unsqueeze(0))


def _alone(lm: LanguageModel, site: str, layer: int, modules: Sequence[nn.Module | None]) -> None:
    """Refuse weights that serve other layers too, in one module or tied."""
    own = matrix(modules[layer])  # type: ignore[arg-type]
    present = [matrix(module).data_ptr() for module in modules if module is not None]
    if present.count(own.data_ptr()) > 1:
        raise InputError(
            f"layer {layer} of {lm.name} shares the weights behind {site!r} with other layers, so "
            "they cannot be changed for one: use intervene instead."
        )


def _scale(module: nn.Module, factor: Tensor) -> None:
    """Multiply the weights, as (outputs, inputs), by a factor that spreads over them."""
    weight = matrix(module)
    made = (weight.float() * factor.to(weight.device, torch.float32)).to(weight.dtype)
    made = made.t() if is_transposed(module) else made
    _replace(module, "weight", made.contiguous())


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    """A new parameter: the old tensor is shared with the model that was not to be changed."""
    setattr(module, name, nn.Parameter(value, requires_grad=False))
