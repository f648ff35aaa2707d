"""Sites: the places in every layer where units live, found by structure.

========== ====================================================== =========================
site       where                                                  units per layer
========== ====================================================== =========================
mlp.act    output of the activation function                      inner width of the MLP
mlp.pre    its input                                              inner width of the MLP
mlp.out    input of the down projection                           inner width of the MLP
attn.out   input of the attention output projection               heads x head size
attn.head  L2 norm of each head's slice of ``attn.out``           heads
attn.q     output of the query projection                         heads x head size
attn.k     output of the key projection                           key heads x head size
attn.v     output of the value projection                         key heads x head size
resid      output of the decoder layer (the residual stream)      hidden size
========== ====================================================== =========================

No list of model names is used: one layer is traced (:mod:`langneurons.models.trace`), the
activation function is the weightless module between an up and a down projection, and its width is
that of the down projection's input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor, nn

from langneurons.errors import InputError, unknown
from langneurons.models.attention import projection_columns
from langneurons.models.trace import Call, same_storage, trace_layer

SITES = (
    *("mlp.act", "mlp.pre", "mlp.out"),
    *("attn.out", "attn.head", "attn.q", "attn.k", "attn.v"),
    "resid",
)


@dataclass(frozen=True)
class Site:
    """One place in every layer.

    Attributes:
        name: One of :data:`SITES`.
        modules: The hooked module of each layer.
        side: Whether the units are the module's input or its output.
        width: Units per layer.
        columns: Columns of the tensor that are the units, int64 (width,), for projections that
            compute several things at once; None where all columns are.
        heads: Number of heads whose norms are the units (``attn.head``), else None.
        flat: Whether the model hands the module (batch x sequence, units) instead of
            (batch, sequence, units), as OPT does.
    """

    name: str
    modules: tuple[nn.Module, ...]
    side: Literal["input", "output"]
    width: int
    columns: Tensor | None = None
    heads: int | None = None
    flat: bool = False


@dataclass(frozen=True)
class Projection:
    """Rows of a linear map: the part of the weights that makes the units of a layer.

    Attributes:
        module: The linear module (``nn.Linear``, ``Conv1D`` or a wrapper around one).
        path: Its name relative to the decoder layer.
        start: First output coordinate.
        stop: One behind the last.
    """

    module: nn.Module
    path: str
    start: int
    stop: int


@dataclass(frozen=True)
class LayerPlan:
    """Names of the parts of a decoder layer, relative to it, as the trace showed them."""

    activation: Call
    down: Call
    into: Call
    start: int
    up: Call | None
    up_start: int
    output: Call | None
    projections: tuple[Call, ...]


def decoder_layers(backbone: nn.Module, count: int) -> Sequence[nn.Module]:
    """The list of the ``count`` decoder layers of ``backbone``.

    Raises:
        InputError: If no list of that many modules is there; names the lists seen.
    """
    lists = {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    fitting: list[nn.ModuleList] = [m for m in lists.values() if len(m) == count]
    if not fitting:
        seen = ", ".join(f"{name} ({len(module)})" for name, module in lists.items()) or "none"
        raise InputError(
            f"{type(backbone).__name__} has no list of {count} decoder layers; lists of modules "
            f"seen: {seen}. Use a decoder-only model."
        )
    sizes = [_size(module) for module in fitting]
    return list(fitting[sizes.index(max(sizes))])


def holder(backbone: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    """The module within ``backbone`` whose child is the list of decoder layers."""
    for module in backbone.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList) and len(child) and child[0] is layers[0]:
                return module
    return backbone


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _experts(layers: Sequence[nn.Module]) -> str | None:
    for number, layer in enumerate(layers):
        for name, module in layer.named_modules():
            kind = type(module).__name__
            if name.rpartition(".")[2] == "experts" or kind.endswith(
                ("MoE", "MoeBlock", "Experts")
            ):
                return f"layer {number}: {name} ({type(module).__name__})"
    return None


def _seen(calls: Sequence[Call]) -> str:
    return (
        ", ".join(
            f"{call.path} ({type(call.module).__name__} {call.width_in} to {call.width_out})"
            for call in calls
        )
        or "none"
    )


def _offset(part: Tensor, whole: Tensor) -> int:
    """Column of ``whole`` at which its view ``part`` starts."""
    return int((part.storage_offset() - whole.storage_offset()) % whole.shape[-1])


def plan_layer(calls: Sequence[Call]) -> LayerPlan:
    """Read the roles of a layer's modules from its trace.

    Raises:
        InputError: If there is no activation module between an up and a down projection, or more
            than one; names the modules seen.
    """
    found: list[tuple[int, Call, Call, Call]] = []
    for index, call in enumerate(calls):
        if not call.is_activation:
            continue
        before = [c for c in calls[:index] if c.is_projection and c.parent == call.parent]
        behind = [c for c in calls[index + 1 :] if c.is_projection and c.parent == call.parent]
        into = next((c for c in before if same_storage(c.result, call.source)), None)
        down = next((c for c in reversed(behind) if c.width_in == call.width_in), None)
        if into is not None and down is not None and into.width_in == down.width_out:
            found.append((index, call, into, down))
    if len(found) != 1:
        what = "no module" if not found else f"{len(found)} modules"
        raise InputError(
            f"found {what} between an up and a down projection, so where the neurons are is not "
            f"clear; modules that ran in layer 0: {_seen(calls)}. Use a model with an ordinary "
            "MLP, unfused."
        )
    _, activation, into, down = found[0]
    start = _offset(activation.source, into.result)
    others = [
        c
        for c in calls
        if c.is_projection
        and c.parent == down.parent
        and c.path not in (into.path, down.path)
        and c.width_out == activation.width_in
    ]
    up, up_start = (others[0], 0) if others else (None, 0)
    if up is None and into.width_out == 2 * activation.width_in:
        up, up_start = into, activation.width_in - start
    attention = [c for c in calls if c.is_projection and c.parent != down.parent]
    output = next((c for c in reversed(attention) if c.width_out == down.width_out), None)
    siblings = tuple(
        c
        for c in attention
        if output is not None and c.parent == output.parent and c.path != output.path
    )
    return LayerPlan(activation, down, into, start, up, up_start, output, siblings)


class Sites(Mapping[str, Site]):
    """The sites of one model by name; resolved when first asked for.

    Args:
        backbone: Model without its head.
        layers: Its decoder layers.
        config: The text model's configuration (for the number of heads).
    """

    def __init__(self, backbone: nn.Module, layers: Sequence[nn.Module], config: Any) -> None:
        self._backbone, self._layers, self._config = backbone, layers, config
        self._sites: dict[str, Site] = {}

    @cached_property
    def plan(self) -> LayerPlan:
        """Roles of the modules of layer 0 (the others are checked to be alike).

        Raises:
            InputError: If the modules of the MLP cannot be told apart.
        """
        experts = _experts(self._layers)
        if experts is not None:
            raise InputError(
                f"{type(self._backbone).__name__} is a mixture of experts ({experts}), which is "
                "not supported: its units are not the same for every token. Use a dense model."
            )
        return plan_layer(trace_layer(self._backbone, self._layers[0]))

    def __getitem__(self, name: str) -> Site:
        if name not in SITES:
            raise unknown("site", name, SITES)
        if name not in self._sites:
            self._sites[name] = self._resolve(name)
        return self._sites[name]

    def __iter__(self) -> Iterator[str]:
        return iter(SITES)

    def __len__(self) -> int:
        return len(SITES)

    def __contains__(self, name: object) -> bool:
        return name in SITES

    def in_every_layer(self, path: str) -> tuple[nn.Module, ...]:
        """The module called ``path`` of each decoder layer.

        Raises:
            InputError: If a layer has none.
        """
        modules = []
        for number, layer in enumerate(self._layers):
            try:
                modules.append(layer.get_submodule(path))
            except AttributeError as error:
                names = ", ".join(name for name, _ in layer.named_children())
                raise InputError(
                    f"layer {number} of {type(self._backbone).__name__} has no {path!r} as layer "
                    f"0 has; it holds: {names}. Use a model whose layers are alike."
                ) from error
        return tuple(modules)

    @cached_property
    def gates(self) -> tuple[Projection, ...]:
        """Per layer, the rows of the projection whose output the activation function reads."""
        plan = self.plan
        stop = plan.start + plan.activation.width_in
        return tuple(
            Projection(module, plan.into.path, plan.start, stop)
            for module in self.in_every_layer(plan.into.path)
        )

    @cached_property
    def ups(self) -> tuple[Projection, ...] | None:
        """Per layer, the rows multiplied with the activation; None where the MLP is not gated."""
        plan = self.plan
        if plan.up is None:
            return None
        stop = plan.up_start + plan.activation.width_in
        return tuple(
            Projection(module, plan.up.path, plan.up_start, stop)
            for module in self.in_every_layer(plan.up.path)
        )

    @cached_property
    def downs(self) -> tuple[nn.Module, ...]:
        """Per layer, the down projection of the MLP."""
        return self.in_every_layer(self.plan.down.path)

    @cached_property
    def outputs(self) -> tuple[nn.Module, ...]:
        """Per layer, the attention output projection."""
        return self.in_every_layer(self._output().path)

    def _output(self) -> Call:
        if self.plan.output is None:
            raise InputError(
                f"{type(self._backbone).__name__} has no attention output projection; modules of "
                f"layer 0: {', '.join(name for name, _ in self._layers[0].named_children())}. "
                "Use a site of the MLP."
            )
        return self.plan.output

    def _resolve(self, name: str) -> Site:
        plan = self.plan
        match name:
            case "mlp.act":
                return self._site(name, plan.activation, "output")
            case "mlp.pre":
                return self._site(name, plan.activation, "input")
            case "mlp.out":
                return self._site(name, plan.down, "input")
            case "resid":
                return Site(name, tuple(self._layers), "output", plan.down.width_out)
            case "attn.out":
                return self._site(name, self._output(), "input")
            case "attn.head":
                output = self._output()
                heads = int(self._config.num_attention_heads)
                if output.width_in % heads:
                    raise InputError(
                        f"the attention output projection reads {output.width_in} values, which "
                        f"{heads} heads do not share evenly. Use the site 'attn.out'."
                    )
                return self._site(name, output, "input", width=heads, heads=heads)
            case _:
                return self._projected(name)

    def _site(self, name: str, call: Call, side: Literal["input", "output"], **extra: Any) -> Site:
        tensor = call.source if side == "input" else call.result
        extra.setdefault("width", int(tensor.shape[-1]))
        flat = tensor.ndim == 2
        return Site(name, self.in_every_layer(call.path), side, flat=flat, **extra)

    def _projected(self, name: str) -> Site:
        self._output()
        call, columns = projection_columns(name, self.plan.projections, self._config)
        width = call.width_out if columns is None else len(columns)
        return self._site(name, call, "output", width=width, columns=columns)
