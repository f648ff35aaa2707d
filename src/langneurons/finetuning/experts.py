"""Adapters in which chosen units inside experts, or chosen rows of a router, learn.

The weights of experts are stacks of matrices and no modules, so that PEFT adapts them by
``target_parameters``: for each expert one product of two factors, whatever of it is to learn.
Factors are 0 outside the chosen units, and so are their gradients, so that they stay 0 and the
folder is PEFT's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor, nn

from langneurons.errors import InputError
from langneurons.finetuning.rows import ADAPTER, Target, lora_layers
from langneurons.models.expert_units import down_is_transposed, gate_columns
from langneurons.models.site import ROUTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peft import PeftModel

    from langneurons.finetuning.recipe import Recipe
    from langneurons.models import LanguageModel

SITES = (*ROUTED, "moe.router")
"""Sites whose weights are parameters and no modules."""


@dataclass(frozen=True)
class Stack:
    """What of a parameter learns.

    Attributes:
        rows: Whether units are rows of the stored matrices (else columns).
        chosen: bool (matrices, rows or columns).
        other: Size of the other side.
    """

    rows: bool
    chosen: Tensor
    other: int

    def weights(self, rank: int) -> int:
        """How many learn: the chosen part of one factor, and the other factor of each matrix."""
        return rank * (int(self.chosen.sum()) + int(self.chosen.any(1).sum()) * self.other)


def expert_targets(
    lm: LanguageModel, site: str, chosen: list[Tensor], recipe: Recipe
) -> dict[str, Stack]:
    """Parameters (named below the backbone) and what of each learns.

    Units inside experts select, as ``recipe.projections`` says, rows of gate and up projections and
    columns of down projections of their expert; experts select rows of the router.

    Args:
        lm: The model.
        site: One of :data:`SITES`.
        chosen: Units of each layer, int64 (n,).
        recipe: The recipe.

    Raises:
        InputError: If the recipe asks for what PEFT has no form for.
    """
    _check(lm, site, recipe)
    place = lm.sites[site]
    names = {id(module): name for name, module in lm.backbone.named_modules()}
    found: dict[str, Stack] = {}
    for layer, index in enumerate(chosen):
        experts = place.experts[layer] if len(index) else None
        if experts is None:
            continue
        if site == "moe.router":
            name = f"{names[id(experts.router)]}.weight"
            mask = torch.zeros(1, experts.count, dtype=torch.bool)
            mask[0, index] = True
            weight: Any = experts.router.weight
            found[name] = Stack(True, mask, int(weight.shape[1]))
            continue
        assert place.inner is not None
        mask = torch.zeros(experts.count * place.inner, dtype=torch.bool)
        mask[index] = True
        prefix = names[id(experts.module)]
        stored = down_is_transposed(experts)
        inside = _stacks(lm, experts.module, mask.view(experts.count, -1), stored, recipe)
        found |= {f"{prefix}.{name}": stack for name, stack in inside.items()}
    return found


def matrices(
    lm: LanguageModel, site: str, targets: Mapping[str, tuple[nn.Module, Target]], recipe: Recipe
) -> dict[str, Stack]:
    """Rows and columns of the linear modules of a mixture's MLPs, as parameters.

    PEFT takes names of such modules (``mlp.gate_proj``) in many mixtures for those of the routed
    experts, as older versions of Transformers called them, and would train these.

    Args:
        lm: The model.
        site: Where the units are.
        targets: Name below the backbone -> the module, and which of its rows or columns learn.
        recipe: The recipe.

    Raises:
        InputError: If the recipe asks for what PEFT has no form for.
    """
    _check(lm, site, recipe)
    found = {}
    for name, (module, target) in targets.items():
        outputs, inputs = module.weight.shape  # type: ignore[misc]
        rows = target.side == "rows"
        mask = torch.zeros(1, outputs if rows else inputs, dtype=torch.bool)
        mask[0, target.index] = True
        found[f"{name}.weight"] = Stack(rows, mask, int(inputs if rows else outputs))
    return found


def _check(lm: LanguageModel, site: str, recipe: Recipe) -> None:
    if recipe.method != "lora" or recipe.dropout:
        raise InputError(
            f"units of {lm.name} at {site!r} learn by method='lora' without dropout only, the one "
            "form in which PEFT loads parameters of a mixture of experts again: use such a recipe."
        )


def _stacks(
    lm: LanguageModel, module: nn.Module, mask: Tensor, transposed: bool, recipe: Recipe
) -> dict[str, Stack]:
    """Parameters of the experts of one layer, from the chosen units (experts, inner)."""
    gated = bool(getattr(module, "has_gate", True))
    up_name = "gate_up_proj" if gated else "up_proj"
    found = {}
    both = torch.zeros(len(mask), mask.shape[1] * (2 if gated else 1), dtype=torch.bool)
    gate = torch.zeros(both.shape[1], dtype=torch.bool)
    gate[gate_columns(module, mask.shape[1])] = True
    if "gate" in recipe.projections:
        both[:, gate] = mask
    if "up" in recipe.projections:
        if not gated:
            raise InputError(
                f"the experts of {lm.name} are not gated, so there is no up projection: leave 'up' "
                "out of projections."
            )
        both[:, ~gate] = mask
    if bool(both.any()):
        found[up_name] = Stack(not transposed, both, _other(module, up_name, not transposed))
    if "down" in recipe.projections:
        found["down_proj"] = Stack(transposed, mask, _other(module, "down_proj", transposed))
    return found


def _other(module: nn.Module, name: str, rows: bool) -> int:
    shape = getattr(module, name).shape
    return int(shape[2] if rows else shape[1])


def confine(model: PeftModel, targets: Mapping[str, Stack]) -> None:
    """Let only the chosen part of each parameter learn.

    Args:
        model: PEFT model with plain LoRA on these parameters.
        targets: Name of the parameter below the PEFT model's base model -> what learns there.

    Raises:
        InputError: If PEFT made no adapter for one of them, so that nothing there would be trained.
    """
    left = dict(targets)
    for name, layer in lora_layers(model):
        if not isinstance(layer, ParamWrapper):
            continue
        whole = f"{name.replace('.base_layer', '')}.{layer.parameter_name}"
        stack = left.pop(whole, None)
        if stack is not None:
            _confine(layer, stack)
    if left:
        raise InputError(
            f"PEFT made no adapter for {next(iter(left))!r}, so nothing would be trained there: "
            "use another site, or a newer PEFT."
        )


def _confine(layer: ParamWrapper, stack: Stack) -> None:
    """Masks over both factors; which of them holds the units follows from how PEFT reads them.

    A matrix's change is B A where PEFT takes it as (outputs, inputs), as it does any but those
    whose module says that they are stored the other way: then it is (B A) transposed.
    """
    straight = layer.num_experts == 1 or layer._did_swap_in_out_features
    experts, units = stack.chosen, stack.chosen.any(1)
    first: Any = layer.lora_A[ADAPTER].weight
    second: Any = layer.lora_B[ADAPTER].weight
    matrices = layer.num_experts
    whole = units[:, None, None]
    in_b = stack.rows == straight
    mask_a = whole if in_b else experts[:, None, :]
    mask_a = mask_a.expand(matrices, first.shape[0] // matrices, first.shape[1])
    mask_b = (experts if in_b else units[:, None]).T[:, None, :]
    mask_b = mask_b.expand(second.shape[0], second.shape[1] // matrices, matrices)
    for factor, mask in ((first, mask_a), (second, mask_b)):
        _hold(factor, mask.reshape(factor.shape).to(factor.device))


@torch.no_grad()
def _hold(factor: nn.Parameter, mask: Tensor) -> None:
    """Zero outside the mask, now and after every step (weight decay leaves zeros alone)."""
    factor.mul_(mask)
    factor.register_hook(lambda gradient: gradient * mask)
    factor.__dict__["learning"] = int(mask.sum())


def learning(model: nn.Module) -> int:
    """Number of weights that learn."""
    return sum(p.__dict__.get("learning", p.numel()) for p in model.parameters() if p.requires_grad)
