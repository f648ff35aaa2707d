"""Which of a layer's modules are its MLP and its attention, told by what they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from langneurons.errors import InputError
from langneurons.models.experts import Experts
from langneurons.models.trace import Call, close, same_storage


@dataclass(frozen=True)
class Part:
    """A module of a layer with the widths it was seen with.

    Attributes:
        path: Name relative to the decoder layer.
        module: The module.
        width_in: Last dimension of its input.
        width_out: Last dimension of its output.
        flat: Whether it reads (batch x sequence, units) instead of (batch, sequence, units).
    """

    path: str
    module: nn.Module
    width_in: int
    width_out: int
    flat: bool

    @classmethod
    def of(cls, call: Call) -> Part:
        """A call without its tensors."""
        return cls(call.path, call.module, call.width_in, call.width_out, call.flat)


@dataclass(frozen=True)
class MLP:
    """The MLP of a layer.

    Attributes:
        activation: The module of the activation function; None where it is a plain function.
        into: The projection before it; None where several could be.
        start: Column of ``into`` at which the activation's input begins.
        up: The projection whose output is multiplied with the activation; None where there is none
            or where it cannot be told.
        up_start: Column of ``up`` at which that begins.
        down: The projection behind it.
        direct: Whether the down projection reads exactly the activation, or the activation times
            ``up``; false where something else lies between (a norm, an adapter).
        plain: Whether the activation reads the output of ``into`` as it is, not a multiple of it.
        norm: The module that reads the down projection's output before it is added to the residual
            stream (Gemma 2 and 3, OLMo 2, GLM 4); None where it is added as it is.
    """

    activation: Part | None
    into: Part | None
    start: int
    up: Part | None
    up_start: int
    down: Part
    direct: bool
    plain: bool = True
    norm: Part | None = None

    @property
    def width(self) -> int:
        """Number of units."""
        return self.down.width_in


@dataclass(frozen=True)
class Attention:
    """The attention of a layer: its output projection and the projections before it."""

    output: Part
    projections: tuple[Part, ...]


@dataclass(frozen=True)
class LayerPlan:
    """What a layer is made of.

    Attributes:
        mlp: Its MLP, or None.
        attention: Its attention, or None.
        seen: The modules that ran in it, for messages.
        stream: Width of what it gives, (batch, sequence, width); 0 where that has another shape or
            the layer does not run on ids alone.
        experts: Its experts, or None.
    """

    mlp: MLP | None
    attention: Attention | None
    seen: str
    stream: int
    experts: Experts | None = None


_FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    functional.silu,
    functional.gelu,
    lambda x: functional.gelu(x, approximate="tanh"),
    functional.relu,
    lambda x: functional.relu(x).square(),
)


def plan_layer(layer: nn.Module, calls: Sequence[Call], output: Tensor | None) -> LayerPlan:
    """Read the roles of a layer's modules from the trace of its calls.

    Raises:
        InputError: If several places could be the MLP, or several modules the attention.
    """
    mlp = _mlp(calls)
    down = next((c for c in calls if mlp is not None and c.path == mlp.down.path), None)
    if mlp is not None and down is not None:
        mlp = replace(mlp, norm=_norm(calls, down))
    stream = output.shape[-1] if output is not None and output.ndim == 3 else 0
    return LayerPlan(mlp, _attention(layer, calls, down), describe(calls), stream)


def _norm(calls: Sequence[Call], down: Call) -> Part | None:
    behind = calls[[c.path for c in calls].index(down.path) + 1 :]
    reading = (
        c for c in behind
        if same_storage(c.source, down.result) and not same_storage(c.source, c.result)
        and c.width_out == c.width_in and not c.is_projection
    )  # fmt: skip
    found = next(reading, None)
    return None if found is None else Part.of(found)


def describe(calls: Sequence[Call]) -> str:
    """The modules that ran, with their widths."""
    return (
        ", ".join(
            f"{call.path} ({type(call.module).__name__} {call.width_in} to {call.width_out})"
            for call in calls
        )
        or "none"
    )


def _mlp(calls: Sequence[Call]) -> MLP | None:
    found = list(_with_module(calls))
    # The activation alone, or times a projection, before anything else: Gemma 3n and 4 pass a gate
    # on the layer's own embedding through an activation too, which is no MLP.
    exact = [mlp for mlp in found if mlp.direct]
    found = exact or found or list(_with_function(calls))
    if len(found) > 1:
        raise InputError(
            f"found {len(found)} modules between an up and a down projection, so where the neurons "
            f"are is not clear; modules that ran in the layer: {describe(calls)}. Use another "
            "model, or a site of the attention."
        )
    return found[0] if found else None


def _with_module(calls: Sequence[Call]) -> Iterator[MLP]:
    for index, call in enumerate(calls):
        if not call.is_activation or not _by_element(call):
            continue
        width = call.width_in
        near = [c for c in calls if c.is_projection and c.parent == call.parent]
        before = [c for c in calls[:index] if c.is_projection]
        behind = [c for c in calls[index + 1 :] if c.is_projection]
        down = next((c for c in behind if c in near and c.width_in == width), None)
        if down is None:  # BERT and its like keep the projections in modules of their own
            down = next((c for c in behind if same_storage(c.source, call.result)), None)
        feeding = [c for c in before if same_storage(c.result, call.source)][-1:]
        ways = feeding or [c for c in before if c in near and c.width_out in (width, 2 * width)]
        if down is None or not ways or all(c.width_in != down.width_out for c in ways):
            continue
        yield _read(call, ways, near, down)


def _by_element(call: Call) -> bool:
    """Whether each output depends on its own input alone; in norms it depends on all."""
    other = call.read.clone()
    other[..., 0] += 1
    # `forward`, not a call: a hook on the module must not see this.
    again = call.module.forward(other)
    # A weight that is NaN is for the statistics to report, at its unit.
    return torch.allclose(again[..., 1:], call.gave[..., 1:], rtol=1e-3, atol=1e-6, equal_nan=True)


def _read(call: Call, ways: Sequence[Call], near: Sequence[Call], down: Call) -> MLP:
    width = call.width_in
    activation, whole = Part.of(call), close(call.gave, down.read)
    up: tuple[Call, int] | None = None
    if not whole:
        for other in near:
            starts = {width: (0,), 2 * width: (0, width)}.get(other.width_out, ())
            for start in starts:
                if other.path == down.path or not _alike(call.gave, other.gave):
                    continue
                times = call.gave * other.gave[..., start : start + width]
                if close(times, down.read):
                    up = (other, start)
    into, start = _into(call, ways, up)
    return MLP(
        activation,
        None if into is None else Part.of(into),
        start,
        None if up is None else Part.of(up[0]),
        0 if up is None else up[1],
        Part.of(down),
        direct=whole or up is not None,
        plain=into is not None and same_storage(into.result, call.source),
    )


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape[:-1] == b.shape[:-1]


def _into(call: Call, ways: Sequence[Call], up: tuple[Call, int] | None) -> tuple[Call | None, int]:
    """The projection that the activation function reads, and the column where that begins."""
    if len(ways) == 1 and same_storage(ways[0].result, call.source):
        offset = call.source.storage_offset() - ways[0].result.storage_offset()
        return ways[0], int(offset % ways[0].width_out)
    left = [c for c in ways if up is None or c.path != up[0].path or c.width_out > call.width_in]
    if len(left) != 1:
        return None, 0
    if left[0].width_out == call.width_in:
        return left[0], 0
    # Both halves of one projection: where the other is known, this is what is left.
    if up is not None and up[0].path == left[0].path:
        return left[0], call.width_in - up[1]
    return None, 0


def _with_function(calls: Sequence[Call]) -> Iterator[MLP]:
    """MLPs whose activation is called as a function: the numbers alone tell which it is."""
    projections = [c for c in calls if c.is_projection]
    for down in projections:
        near = [c for c in projections if c.parent == down.parent and c.path != down.path]
        near = [c for c in near if c.width_in == down.width_out and _alike(c.gave, down.read)]
        for gate in near:
            if gate.width_out != down.width_in:
                continue
            ups = [c for c in near if c.path != gate.path and c.width_out == gate.width_out]
            yield from _applied(gate, ups, down)


def _applied(gate: Call, ups: Sequence[Call], down: Call) -> Iterator[MLP]:
    into, out = Part.of(gate), Part.of(down)
    for function in _FUNCTIONS:
        act = function(gate.gave)
        if close(act, down.read):
            yield MLP(None, into, 0, None, 0, out, direct=True)
            return
        for up in ups:
            if close(act * up.gave, down.read):
                yield MLP(None, into, 0, Part.of(up), 0, out, direct=True)
                return


def _attention(layer: nn.Module, calls: Sequence[Call], down: Call | None) -> Attention | None:
    groups: dict[str, list[Call]] = {}
    for call in calls:
        root = _attention_root(layer, call.path, None if down is None else down.path)
        if root is not None and call.is_projection:
            groups.setdefault(root, []).append(call)
    found = []
    for group in groups.values():
        output = group[-1]
        others = {c.path: Part.of(c) for c in group if c.path != output.path}
        if others:
            found.append(Attention(Part.of(output), tuple(others.values())))
    if len(found) > 1:
        raise InputError(
            f"found {len(found)} attention modules in a layer ({', '.join(groups)}), so which one "
            "is meant is not clear: use a site of the MLP."
        )
    return found[0] if found else None


def _attention_root(layer: nn.Module, path: str, down: str | None) -> str | None:
    """Path of the outermost module around ``path`` that is called an attention, without the MLP."""
    names = path.split(".")[:-1]
    for stop in range(1, len(names) + 1):
        root = ".".join(names[:stop])
        kind = type(layer.get_submodule(root)).__name__.lower()
        if ("attention" in kind or "attn" in kind) and not f"{down}.".startswith(f"{root}."):
            return root
    return None
