"""Baking into the weights of experts: their units, and experts that are never chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from langneurons.errors import InputError
from langneurons.models.expert_units import down_is_transposed, scales
from langneurons.models.experts import Experts, changing_logits, routing_of

if TYPE_CHECKING:
    from langneurons.intervention.interventions import Intervention
    from langneurons.models import LanguageModel


def bake_inside(lm: LanguageModel, site: str, layer: int, scale: Tensor, shift: Tensor) -> None:
    """Scale the columns that read an expert's units, each expert's own.

    Args:
        lm: The copy to change.
        site: ``moe.act`` or ``moe.out``.
        layer: Which layer.
        scale: Factors, float32 (units,).
        shift: What is added behind, float32 (units,).

    Raises:
        InputError: If something lies between the units and the down projection, or a constant has
            no bias that could hold it.
    """
    place = lm.sites[site]
    experts = place.experts[layer]
    assert experts is not None
    assert place.inner is not None
    module: Any = experts.module
    if site == "moe.act" and not scales(experts):
        raise InputError(
            f"an intervention at 'moe.act' cannot be written into the weights of {lm.name}: in "
            f"layer {layer} something that is not linear lies between the activation and the down "
            "projection. Use 'moe.out'."
        )
    down = module.down_proj
    factor, held = (
        part.view(experts.count, place.inner).to(down.device) for part in (scale, shift)
    )
    if bool(shift.any()):
        bias = getattr(module, "down_proj_bias", None)
        if site != "moe.out" or bias is None:
            raise InputError(
                f"a constant at {site!r} cannot be written into the weights of {lm.name}: layer "
                f"{layer} has no bias that could hold it. Use 0, multiply, or intervene."
            )
        how = "eih,ei->eh" if down_is_transposed(experts) else "ehi,ei->eh"
        made = bias.double() + torch.einsum(how, down.double(), held.double())
        _replace(module, "down_proj_bias", made.to(bias.dtype))
    spread = factor.unsqueeze(2) if down_is_transposed(experts) else factor.unsqueeze(1)
    exact = down.to(torch.promote_types(down.dtype, torch.float32))
    _replace(module, "down_proj", (exact * spread).to(down.dtype).contiguous())


def bake_router(lm: LanguageModel, baked: LanguageModel, item: Intervention) -> None:
    """Keep experts from ever being chosen by a bias of minus infinity.

    Which tensor of a router that is, and whether it does what the intervention does, is tried.

    Args:
        lm: The model as it is.
        baked: The copy to change.
        item: The intervention.

    Raises:
        InputError: If no bias does so, or the intervention is another one.
    """
    if item.mode != "set" or not item.every_token:
        raise InputError(
            f"{item.name!r} at 'moe.router' cannot be written into weights: only experts that are "
            "off (value 0) at every token can. Use intervene."
        )
    item.check(lm)
    lm.sites["moe.router"].check(item.chosen)
    for layer, off in enumerate(item.chosen.by_layer(lm.layers)):
        if len(off) and not _bake_off(lm, baked, layer, off):
            raise InputError(
                f"experts of {lm.name} cannot be switched off by weights: the router of layer "
                f"{layer} has no bias that alone decides the choice. Use intervene."
            )


def _bake_off(lm: LanguageModel, baked: LanguageModel, layer: int, off: Tensor) -> bool:
    """Whether some bias of the router did it; nothing is changed where none does."""
    place, copy = lm.sites["moe.router"].experts[layer], baked.sites["moe.router"].experts[layer]
    assert place is not None
    assert copy is not None
    router = copy.router
    tensors = (*router.named_parameters(recurse=False), *router.named_buffers(recurse=False))
    hidden = _trial(place)
    expected = _off(place, hidden, off)
    for name, tensor in tensors:
        if tensor.shape != (copy.count,):
            continue
        made = tensor.detach().clone()
        made[off.to(made.device)] = -torch.inf
        _replace(router, name, made)
        if torch.allclose(routing_of(copy, hidden), expected, atol=1e-6):
            return True
        _replace(router, name, tensor)
    return False


_TOKENS = 1024


def _trial(experts: Experts) -> Tensor:
    """Vectors of several sizes that a router may read, (tokens, hidden size)."""
    weight = next(p for p in experts.router.parameters() if p.ndim == 2)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(_TOKENS, weight.shape[1], generator=generator)
    sizes = torch.logspace(-1, 1, _TOKENS).unsqueeze(1)
    return (hidden * sizes).to(weight.device, weight.dtype)


def _off(experts: Experts, hidden: Tensor, off: Tensor) -> Tensor:
    """Routing weights while the experts are off by an intervention."""

    def change(logits: Tensor) -> Tensor:
        logits[:, off.to(logits.device)] = -torch.inf
        return logits

    with changing_logits(experts, change):
        return routing_of(experts, hidden)


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    """A tensor of its own: the old one is shared with the model that was not to be changed."""
    if name in module._buffers:
        module._buffers[name] = value
    else:
        setattr(module, name, nn.Parameter(value, requires_grad=False))
