"""Mixtures of experts: which module routes, which one holds the experts, found by structure.

Transformers 5 has one shape for nearly all: a router gives, for each token, the numbers of the
chosen experts and their weights, and one module with stacked weights is called with both. Llama 4
gives one weight for each expert instead, 0 for those not chosen. No list of model names is used.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from langneurons.errors import RunError
from langneurons.models.handles import holding, replacing
from langneurons.models.trace import same_storage, tiny_ids


@dataclass(frozen=True)
class Experts:
    """The experts of a layer and what routes to them.

    Attributes:
        path: Name of the module with the experts, relative to the decoder layer.
        module: The module.
        router: The module that computes a logit for each expert.
        count: Number of experts.
        chosen: Experts that each token is sent to.
        listed: Whether ``module`` is called with the chosen experts and their weights; false where
            ``router`` gives (tokens, experts), 0 for those not chosen.
    """

    path: str
    module: nn.Module
    router: nn.Module
    count: int
    chosen: int
    listed: bool


@dataclass(frozen=True)
class _Call:
    path: str
    module: nn.Module
    took: tuple[Tensor, ...]
    gave: tuple[Tensor, ...]


def find_experts(backbone: nn.Module, layers: Sequence[nn.Module]) -> tuple[Experts | None, ...]:
    """The experts of each layer, None where it has none of a shape that is known.

    A model without stacked weights is not run.

    Args:
        backbone: Model without its head.
        layers: Its decoder layers.
    """
    if not any(_stacked(module) for layer in layers for module in layer.modules()):
        return (None,) * len(layers)
    return tuple(_listed(calls) or _dense(calls) for calls in _trace(backbone, layers))


def routing_arguments(
    args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[int | str, int | str] | None:
    """Where the chosen experts and their weights are among a module's arguments.

    Returns:
        Position or name of the int64 (tokens, k) and of the floating (tokens, k); None where the
        module is not called so.
    """
    found: tuple[tuple[int | str, Any], ...] = (*enumerate(args), *kwargs.items())
    flat = [(key, item) for key, item in found if isinstance(item, Tensor) and item.ndim == 2]
    for key, index in flat:
        if index.is_floating_point() or index.dtype == torch.bool:
            continue
        for other, weights in flat:
            if weights.is_floating_point() and weights.shape == index.shape:
                return key, other
    return None


def spread(index: Tensor, weights: Tensor, count: int) -> Tensor:
    """Weights (tokens, k) of the chosen experts as (tokens, ``count``), 0 for the others.

    An expert that is chosen twice (DeepSeek V4's table of tokens may) has the sum of its weights.
    """
    # Expert-parallel plans send what other processes hold to one number beyond the last.
    wide = weights.new_zeros((*index.shape[:-1], count + 1))
    return wide.scatter_add(-1, index.clamp(0, count).long(), weights)[..., :count]


@torch.no_grad()
def routing_of(experts: Experts, hidden: Tensor) -> Tensor:
    """Routing weights (tokens, experts), 0 for those not chosen, by running the router alone.

    Args:
        experts: The layer's experts.
        hidden: What the router reads, (tokens, hidden size).
    """
    output = _tensors(experts.router(hidden))
    keys = routing_arguments(output, {}) if experts.listed else None
    if keys is None:
        return output[0]
    return spread(output[int(keys[0])], output[int(keys[1])], experts.count)


def rerouting(experts: Experts, change: Callable[[Tensor], Tensor | None]) -> Any:
    """A pre-hook on the module with the experts: ``change`` on its routing weights, spread out.

    A tensor that ``change`` returns gives the chosen experts new weights; what it says of others
    has no effect, as they do not run.

    Raises:
        RunError: From the forward pass, if the module is not called with the chosen experts.
    """

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        keys = routing_arguments(args, kwargs)
        if keys is None:
            raise RunError(
                f"{experts.path!r} was called without the chosen experts and their weights: load "
                "the model without kernels of its own."
            )
        given: dict[int | str, Any] = dict(enumerate(args))
        given.update(kwargs.items())
        index, weights = given[keys[0]], given[keys[1]]
        whole = spread(index, weights, experts.count)
        changed = change(whole.clone())
        if changed is None:
            return None
        place = index.clamp(0, experts.count - 1).long()
        whole = whole.gather(-1, place)
        share = torch.where(whole != 0, weights / whole, 1)  # below 1 if chosen more than once
        given[keys[1]] = (changed.gather(-1, place) * share).to(weights.dtype)
        return tuple(given[n] for n in range(len(args))), {name: given[name] for name in kwargs}

    return before


def _stacked(module: nn.Module) -> bool:
    """Whether a module itself holds a weight for each of several experts."""
    return any(weight.ndim >= 3 for weight in module.parameters(recurse=False))


def _listed(calls: Sequence[_Call]) -> Experts | None:
    for number, call in enumerate(calls):
        keys = routing_arguments(call.took, {})
        if keys is None or not _stacked(call.module):
            continue
        index = call.took[int(keys[0])]
        sizes = _sizes(call.module)
        for before in reversed(calls[:number]):
            rows = _rows(before)
            gives = any(same_storage(item, index) for item in before.gave)
            if rows is not None and (gives or rows in sizes):
                k = index.shape[-1]
                return Experts(call.path, call.module, before.module, rows, k, listed=True)
    return None


def _dense(calls: Sequence[_Call]) -> Experts | None:
    for number, call in enumerate(calls):
        if not _stacked(call.module):
            continue
        for before in reversed(calls[:number]):
            rows = _rows(before)
            if rows is None or rows not in _sizes(call.module) or len(before.gave) < 2:
                continue
            used = (before.gave[0] != 0).sum(-1).unique()
            if before.gave[0].shape[-1] == rows and len(used) == 1 and 0 < int(used) < rows:
                args = call.path, call.module, before.module, rows, int(used)
                return Experts(*args, listed=False)
    return None


def _sizes(module: nn.Module) -> set[int]:
    return {weight.shape[0] for weight in module.parameters(recurse=False) if weight.ndim >= 3}


def _rows(call: _Call) -> int | None:
    """Rows of a module's matrix, if it reads its columns and gives a number for each row."""
    for weight in call.module.parameters(recurse=False):
        if weight.ndim != 2 or not call.took or not call.gave:
            continue
        fits = call.took[0].shape[-1] == weight.shape[1]
        if fits and any(item.shape[-1] == weight.shape[0] for item in call.gave if item.ndim):
            return int(weight.shape[0])
    return None


def _tensors(value: Any) -> tuple[Tensor, ...]:
    items = value if isinstance(value, list | tuple) else (value,)
    return tuple(item for item in items if isinstance(item, Tensor))


def _trace(backbone: nn.Module, layers: Sequence[nn.Module]) -> list[list[_Call]]:
    """Calls of all modules inside each layer, in the order of their ends."""
    calls: list[list[_Call]] = [[] for _ in layers]
    with contextlib.ExitStack() as stack, torch.no_grad():
        for number, layer in enumerate(layers):
            for path, module in layer.named_modules():

                def note(
                    module: nn.Module, args: Any, kwargs: Any, output: Any,
                    number: int = number, path: str = path,
                ) -> None:  # fmt: skip
                    took = _tensors((*args, *kwargs.values()))
                    calls[number].append(_Call(path, module, took, _tensors(output)))

                if path:
                    hook = module.register_forward_hook(note, with_kwargs=True)
                    stack.enter_context(holding(hook))
        backbone(input_ids=tiny_ids(backbone), use_cache=False)
    return calls


_changes: weakref.WeakKeyDictionary[nn.Module, list[Callable[[Tensor], Tensor]]] = (
    weakref.WeakKeyDictionary()
)


@contextlib.contextmanager
def changing_logits(experts: Experts, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Apply ``change`` to a router's logits while the block runs, before its own choice.

    The router's own forward runs: only the result of its linear map is replaced, as PyTorch's
    function modes allow. An expert whose logit becomes -inf is never chosen, also where the choice
    is by other numbers than the logits (DeepSeek adds a bias to their sigmoid). One whose logit
    becomes +inf is always chosen, and keeps the weight that its own logit gives it. Blocks may be
    nested: the inner ones act after the outer ones.

    Args:
        experts: The layer's experts.
        change: Logits (tokens, experts) to logits of the same shape; may work in place.

    Raises:
        RunError: From the forward pass, if the router computes its logits in no linear map, chooses
            by something else, or fewer experts are left than it chooses.
    """
    router = experts.router
    active = _changes.setdefault(router, [])
    active.append(change)
    try:
        if len(active) > 1:
            yield
            return
        inner = router.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            mode = _Logits(experts, tuple(active))
            with mode:
                output = inner(*args, **kwargs)
            if not mode.seen:
                raise RunError(
                    f"the router of {experts.path!r} computes no logit for each expert in one "
                    "linear map, so they cannot be changed: use other sites."
                )
            mode.refuse_chosen(output)
            mode.refuse_left_out(output)
            return output

        with replacing(router, "forward", forward):
            yield
    finally:
        active.remove(change)


_LINEAR = (nn.functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__)
_CHOOSING = (torch.topk, Tensor.topk)


class _Logits(TorchFunctionMode):
    """Changes the first (tokens, experts) that a linear map gives, and what is chosen by."""

    def __init__(self, experts: Experts, changes: Sequence[Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.experts, self.changes = experts, changes
        self.seen = False
        self.off: Tensor | None = None
        self.forced: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _CHOOSING and self.off is not None and args[0].shape == self.off.shape:
            scores = args[0]
            args = (scores.masked_fill(self.off, -torch.inf), *args[1:])
            if self.forced is not None:
                args = (args[0].masked_fill(self.forced, torch.inf), *args[1:])
                index = func(*args, **(kwargs or {}))[1]
                return torch.return_types.topk((scores.gather(-1, index), index))
        result = func(*args, **(kwargs or {}))
        if not self.seen and func in _LINEAR and result.shape[-1] == self.experts.count:
            self.seen = True
            return self._change(result)
        return result

    def refuse_chosen(self, output: Any) -> None:
        """Raise :class:`RunError` if an expert that is off was chosen all the same."""
        if self.off is None or not isinstance(output, tuple):
            return
        for index in output:
            if isinstance(index, Tensor) and index.dtype in (torch.int64, torch.int32):
                place = index.clamp(0, self.experts.count - 1).long()
                if bool(self.off.gather(-1, place).any()):
                    raise RunError(
                        f"the router of {self.experts.path!r} chose an expert that is off: it "
                        "chooses by more than its logits (a table of tokens, or groups with too "
                        "few experts left). Use other layers, or choose fewer."
                    )

    def refuse_left_out(self, output: Any) -> None:
        """Raise :class:`RunError` if an expert that is forced was not chosen."""
        if self.forced is None:
            return
        chosen = torch.zeros_like(self.forced)
        for item in output if isinstance(output, tuple) else ():
            if isinstance(item, Tensor) and item.dtype in (torch.int64, torch.int32):
                chosen.scatter_(-1, item.clamp(0, self.experts.count - 1).long(), True)
        if not self.experts.listed:
            chosen = output[0] != 0
        if bool((self.forced & ~chosen).any()):
            raise RunError(
                f"the router of {self.experts.path!r} did not choose an expert that is forced: it "
                "does not take the highest of its scores. Use mode 'add' with a large value."
            )

    def _change(self, logits: Tensor) -> Tensor:
        off = torch.zeros_like(logits, dtype=torch.bool)
        forced = torch.zeros_like(off)
        for change in self.changes:
            own = logits.clone()
            logits = change(logits)
            always = logits.isposinf()
            forced |= always
            logits = torch.where(always, own, logits)
            off |= logits.isneginf()
            logits = logits.masked_fill(off, -torch.inf)  # off stays off: -inf times 0 is no number
        left = self.experts.count - self.experts.chosen
        if len(self.changes) > 1 and int(off.sum(-1).max()) > left:
            raise RunError(
                f"the experts off in {self.experts.path!r} leave fewer than the "
                f"{self.experts.chosen} of {self.experts.count} that each token is sent to: "
                "choose fewer."
            )
        forced &= ~off
        if bool(forced.any()):
            self.forced = forced
        self.off = off
        return logits
