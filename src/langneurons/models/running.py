"""What besides its own weights decides what a model gives now: adapters, hooks, the head.

Statistics and scores of another state are other statistics and scores.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from langneurons.artifacts import digest
from langneurons.models.fingerprint import adapter_names, digest_parts
from langneurons.models.plain import plain_model

if TYPE_CHECKING:
    from langneurons.models.language_model import LanguageModel

_OWN = __name__.partition(".")[0]  # a module's whole name in a string would count as an import
_QUIET_HOOKS = ("transformers.", "accelerate.", "peft.", "torch.", f"{_OWN}.finetuning.")
"""Packages whose own hooks move, capture or record tensors but change none, or follow from what is
recorded elsewhere (a loaded head's dtype and length)."""

_PROCESS = uuid.uuid4().hex


def running_state(lm: LanguageModel) -> dict[str, str]:
    """What besides the model's own weights decides what a pass gives now; empty if nothing does.

    Returns:
        ``weights``: digest of weights that are not those of :attr:`LanguageModel.fingerprint` (a
        fully tuned model); ``adapter``: of the adapters that are active; ``autocast``: its dtype;
        ``hooks``: a value of its own for every set of hooks on the model (``intervene`` and others
        set them), never the same in two processes, as nobody can know what a hook does.
    """
    state = {}
    if (own := lm.own_digest()) != lm.fingerprint["sha256"]:
        state["weights"] = own
    if (adapter := adapter_digest(lm.backbone)) is not None:
        state["adapter"] = adapter
    if torch.is_autocast_enabled(lm.device.type):
        state["autocast"] = str(torch.get_autocast_dtype(lm.device.type)).removeprefix("torch.")
    if hooks := [*_hooks_everywhere(), *_hooks(lm.backbone.named_modules())]:
        state["hooks"] = digest(_PROCESS, hooks)
    return state


def adapter_digest(backbone: nn.Module) -> str | None:
    """SHA-256 over the adapters that act in ``backbone`` now; None where none does."""
    acting = _acting(backbone.named_modules())
    if not acting:
        return None
    state = {
        name: tensor
        for name, tensor in backbone.state_dict().items()
        if isinstance(tensor, torch.Tensor)
    }
    foreign = adapter_names(state)
    parts = digest_parts(backbone, {name: state[name] for name in sorted(foreign)})
    return digest(acting, *parts)


def _acting(modules: Iterable[tuple[str, Any]]) -> list[Any]:
    """Name, adapters and their scaling of the modules that run an adapter now."""
    return [
        [name, list(module.active_adapters), _scaling(module)]
        for name, module in modules
        if hasattr(module, "disable_adapters")
        and not module.disable_adapters
        and module.active_adapters
        and not getattr(module, "merged", False)
    ]


def head_digest(lm: LanguageModel) -> str | None:
    """SHA-256 over what lies outside the backbone; None where that is the embedding's weights.

    Weights, acting adapters and hooks, as of the head and of the whole model. Neither the
    fingerprint nor :func:`running_state` holds them, as statistics of given text do not depend on
    them; scores and what the model writes do.
    """
    counted = set(lm.backbone.modules())
    around = [item for item in lm.model.named_modules() if item[1] not in counted]
    acting, hooks = _acting(around), list(_hooks(around))
    state = [acting, *([_PROCESS, hooks] if hooks else [])] if acting or hooks else []
    inside = {id(tensor) for tensor in lm.backbone.state_dict(keep_vars=True).values()}
    whole = plain_model(lm.model)
    outside = {
        name: tensor
        for name, tensor in whole.state_dict(keep_vars=True).items()
        if isinstance(tensor, torch.Tensor) and id(tensor) not in inside
    }
    return digest(*digest_parts(whole, outside), *state) if outside or state else None


def _scaling(module: nn.Module) -> dict[str, float]:
    scaling = getattr(module, "scaling", None)
    if not isinstance(scaling, Mapping):
        return {}
    return {str(name): float(value) for name, value in scaling.items()}


def _hooks(modules: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[str, str, int]]:
    for name, module in modules:
        yield from _loud(name, "before", module._forward_pre_hooks)
        yield from _loud(name, "after", module._forward_hooks)


def _hooks_everywhere() -> Iterator[tuple[str, str, int]]:
    from torch.nn.modules import module as everywhere

    yield from _loud("", "before", everywhere._global_forward_pre_hooks)
    yield from _loud("", "after", everywhere._global_forward_hooks)


def _loud(name: str, kind: str, table: Mapping[int, Any]) -> Iterator[tuple[str, str, int]]:
    """Hooks of one table that may change a tensor."""
    for number, hook in table.items():
        function = getattr(hook, "func", hook)  # of functools.partial
        home = getattr(function, "__module__", None) or type(function).__module__
        if not f"{home}.".startswith(_QUIET_HOOKS):
            yield name, kind, number
