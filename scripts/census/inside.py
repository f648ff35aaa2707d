"""Units inside routed experts, worked out from each expert's own weights."""

from __future__ import annotations

from typing import Any

import torch
from scripts.census.comparing import same
from torch import Tensor, nn

from langneurons.models import LanguageModel
from langneurons.models.experts import Experts, routing_arguments

SITES = ("moe.pre", "moe.act", "moe.out")
"""Sites inside experts; a unit has a value where its expert runs, and 0 stands elsewhere."""


def values(lm: LanguageModel, site: str, layer: int, ids: Tensor, **more: Tensor) -> Tensor:
    """What a layer's units hold: (batch, sequence, experts x units), 0 where an expert is not run.

    Every token goes through each expert's matrices and its module's own gate; the layer's output
    made of them must be the one that the module gave.
    """
    experts = lm.sites[site].experts[layer]
    assert experts is not None
    given, weights, output = _run(lm, experts, ids, more)
    found, made = [], []
    for expert in range(experts.count):
        # Experts that are given all tokens get them weighed, one block for each expert.
        hidden = given if experts.listed else given.reshape(experts.count, len(weights), -1)[expert]
        stages = _stages(experts.module, _linear(experts, "up", expert, hidden))
        after = _linear(experts, "down", expert, stages["moe.out"])
        if getattr(experts.module, "has_post_expert_norm", False):
            after = experts.module.post_expert_norm(after)  # type: ignore[operator]
        made.append(after * weights[:, expert, None] if experts.listed else after)
        found.append(torch.where(weights[:, expert, None] != 0, stages[site], 0.0))
    whole = torch.stack(made).sum(0) if experts.listed else torch.cat(made)
    same(f"experts of layer {layer} by hand", whole, output.reshape(whole.shape))
    return torch.cat(found, -1).reshape(*ids.shape, -1)


def routed(lm: LanguageModel, site: str, layer: int, ids: Tensor, **more: Tensor) -> Tensor:
    """Where a unit's expert runs: bool (batch, sequence, experts x units)."""
    place = lm.sites[site]
    experts = place.experts[layer]
    assert experts is not None
    assert place.inner is not None
    _, weights, _ = _run(lm, experts, ids, more)
    return (weights != 0).repeat_interleave(place.inner, -1).reshape(*ids.shape, -1)


def scaled(module: nn.Module, factor: Tensor) -> None:
    """Multiply the columns of every expert's down projection in place.

    Args:
        module: The experts.
        factor: (experts x units,).
    """
    down: Any = module.down_proj
    by_rows = bool(getattr(module, "is_transposed", True))  # stored as (experts, units, hidden)
    factor = factor.reshape(len(down), -1)
    down.mul_(factor.unsqueeze(-1) if by_rows else factor.unsqueeze(1))


def _run(
    lm: LanguageModel, experts: Experts, ids: Tensor, more: dict[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """What goes in, routing weights (tokens, experts) and what comes out, by plain hooks."""
    took: list[Tensor] = []
    gave: list[Tensor] = []
    routed: list[Any] = []
    handles = [
        experts.module.register_forward_pre_hook(
            lambda _m, args, kwargs: took.extend([*args, *kwargs.values()]), with_kwargs=True
        ),
        experts.module.register_forward_hook(lambda _m, _a, out: gave.append(out)),
        experts.router.register_forward_hook(lambda _m, _a, out: routed.extend(out)),
    ]
    lm.model(input_ids=ids, use_cache=False, **more)
    for handle in handles:
        handle.remove()
    if not experts.listed:
        return took[0], routed[0], gave[0]
    keys = routing_arguments(took, {})
    assert keys is not None
    index, weights = took[int(keys[0])], took[int(keys[1])]
    hidden = next(t for n, t in enumerate(took) if n not in keys and isinstance(t, Tensor))
    each = [(weights * (index == expert)).sum(-1) for expert in range(experts.count)]
    return hidden.reshape(len(index), -1), torch.stack(each, -1), gave[0]


def _linear(experts: Experts, which: str, expert: int, rows: Tensor) -> Tensor:
    module: Any = experts.module
    name = "down_proj"
    if which == "up":
        name = "gate_up_proj" if getattr(module, "has_gate", True) else "up_proj"
    weight = getattr(module, name)[expert]
    made: Tensor = rows @ (weight if getattr(module, "is_transposed", True) else weight.T)
    bias = getattr(module, f"{name}_bias", None)
    return made if bias is None else made + bias[expert]


def _stages(module: Any, up: Tensor) -> dict[str, Tensor]:
    """Gate, activation and what the down projection reads, (rows, units) each."""
    if not getattr(module, "has_gate", True):
        act = module.act_fn(up)
        return {"moe.pre": up, "moe.act": act, "moe.out": act}
    halves = up.chunk(2, -1) if getattr(module, "is_concatenated", True) else (
        up[..., 0::2], up[..., 1::2]
    )  # fmt: skip
    pre = halves[0]
    if not hasattr(module, "_apply_gate"):
        act = module.act_fn(pre)
        return {"moe.pre": pre, "moe.act": act, "moe.out": act * halves[1]}
    if not hasattr(module, "act_fn"):  # written out, as in gpt-oss
        limit = module.swiglu_limit if hasattr(module, "swiglu_limit") else module.limit
        alpha = getattr(module, "swiglu_alpha", getattr(module, "alpha", 1.0))
        held = pre.clamp(max=limit)
        out = module._apply_gate(up)
        return {"moe.pre": pre, "moe.act": held * (alpha * held).sigmoid(), "moe.out": out}
    seen: list[Tensor] = []
    handle = module.act_fn.register_forward_hook(lambda _m, _a, out: seen.append(out))
    out = module._apply_gate(up)
    handle.remove()
    return {"moe.pre": pre, "moe.act": seen[0], "moe.out": out}
