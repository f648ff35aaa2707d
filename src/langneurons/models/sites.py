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
moe.router routing weight of each expert, 0 where not chosen      experts
moe.pre    what an expert's activation function reads             experts x inner width
moe.act    its output                                             experts x inner width
moe.out    input of the expert's down projection                  experts x inner width
========== ====================================================== =========================

No list of model names is used: the model is traced once (:mod:`langneurons.models.trace`) and each
layer read by itself (:mod:`langneurons.models.roles`): the activation function is the module
between an up and a down projection, and its width is that of the down projection's input. Layers
may differ: in width, or in having an MLP or an attention at all, as in hybrids with state-space
layers. In a mixture of experts (:mod:`langneurons.models.experts`) the routers are a site, and so
are the units inside the routed experts (:mod:`langneurons.models.expert_units`), which have values
on the tokens routed to their expert only; unit i of expert e has index e x inner width + i. Its
dense layers and shared experts are ``mlp.*``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from torch import Tensor, nn

from langneurons.errors import InputError, unknown
from langneurons.models.attention import Columns, projection_columns
from langneurons.models.expert_units import inner_width, unlike, unreadable
from langneurons.models.experts import Experts, find_experts
from langneurons.models.projection import Projection
from langneurons.models.roles import MLP, Attention, LayerPlan, Part, plan_layer
from langneurons.models.site import ROUTED, SITES, Parts, Site
from langneurons.models.trace import Call, trace_layers


def _unknown_experts(layers: Sequence[nn.Module], found: Sequence[Experts | None]) -> str | None:
    """Where a layer holds experts by the name of a module, and none whose shape is known."""
    for number, (layer, experts) in enumerate(zip(layers, found, strict=True)):
        for name, module in layer.named_modules() if experts is None else ():
            kind = type(module).__name__
            if name.rpartition(".")[2] == "experts" or kind.endswith(
                ("MoE", "MoeBlock", "Experts")
            ):
                return f"layer {number}: {name} ({type(module).__name__})"
    return None


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

    @property
    def _model(self) -> str:
        return type(self._backbone).__name__

    @cached_property
    def plans(self) -> tuple[LayerPlan, ...]:
        """What each layer is made of.

        Raises:
            InputError: If the modules of a layer cannot be told apart.
        """
        experts = find_experts(self._backbone, self._layers)
        strange = _unknown_experts(self._layers, experts)
        if strange is not None:
            raise InputError(
                f"{self._model} is a mixture of experts ({strange}) whose routing cannot be read: "
                "no module of stacked experts is called with the chosen ones and their weights. "
                "Use another model, or its version in Transformers 5."
            )
        plans = [LayerPlan(None, None, "none", 0)] * len(self._layers)

        def read(number: int, calls: Sequence[Call], output: Tensor | None) -> None:
            own = experts[number]
            if own is not None:  # what runs inside the experts runs on some tokens only
                calls = [call for call in calls if not call.path.startswith(f"{own.path}.")]
            try:
                plan = plan_layer(self._layers[number], calls, output)
                plans[number] = replace(plan, experts=own)
            except InputError as error:
                raise InputError(f"layer {number} of {self._model}: {error}") from error

        trace_layers(self._backbone, self._layers, read)
        return tuple(plans)

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

    @cached_property
    def mlps(self) -> Parts[MLP]:
        """Per layer, its MLP.

        Raises:
            InputError: If no layer has one.
        """
        found = [plan.mlp for plan in self.plans]
        mixed = next(((n, p.experts) for n, p in enumerate(self.plans) if p.experts), None)
        if not any(found) and mixed is not None:
            number, experts = mixed
            raise InputError(
                f"{self._model} is a mixture of experts (layer {number}: {experts.path}) without "
                "dense layers or shared experts: use 'moe.act', 'moe.pre' or 'moe.out', the units "
                "inside the experts, or 'moe.router', whose units are the experts."
            )
        if not any(found):
            raise InputError(
                f"found no module between an up and a down projection in {self._model}, so it has "
                f"no neurons (state-space layers have none); modules that ran in layer 0: "
                f"{self.plans[0].seen}. Use a model with an MLP, unfused."
            )
        return Parts(found, "MLP", self._model)

    @cached_property
    def attentions(self) -> Parts[Attention]:
        """Per layer, its attention.

        Raises:
            InputError: If no layer has one.
        """
        found = [plan.attention for plan in self.plans]
        if not any(found):
            raise InputError(
                f"{self._model} has no attention output projection; modules of "
                f"layer 0: {', '.join(name for name, _ in self._layers[0].named_children())}. "
                "Use a site of the MLP."
            )
        return Parts(found, "attention", self._model)

    @property
    def units(self) -> int:
        """Units of the widest MLP, 0 where there is none."""
        return max((plan.mlp.width for plan in self.plans if plan.mlp is not None), default=0)

    @cached_property
    def gates(self) -> Parts[Projection]:
        """Per layer, the rows of the projection whose output the activation function reads."""
        return self._rows("gate projection of its own", lambda mlp: (mlp.into, mlp.start))

    @cached_property
    def ups(self) -> Parts[Projection] | None:
        """Per layer, the rows multiplied with the activation; None where the MLP is not gated."""
        found = self._rows("up projection", lambda mlp: (mlp.up, mlp.up_start))
        return found if found.present else None

    @cached_property
    def downs(self) -> Parts[nn.Module]:
        """Per layer, the down projection of the MLP."""
        modules = [None if plan.mlp is None else plan.mlp.down.module for plan in self.plans]
        return Parts(modules, "MLP", self._model)

    @cached_property
    def outputs(self) -> Parts[nn.Module]:
        """Per layer, the attention output projection."""
        _ = self.attentions
        modules = [
            None if plan.attention is None else plan.attention.output.module for plan in self.plans
        ]
        return Parts(modules, "attention", self._model)

    @property
    def attention_modules(self) -> list[nn.Module]:
        """All projections of the attention, output and others, of all layers that have one."""
        return [
            part.module
            for attention in self.attentions.present
            for part in (attention.output, *attention.projections)
        ]

    def _rows(
        self, what: str, choose: Callable[[MLP], tuple[Part | None, int]]
    ) -> Parts[Projection]:
        _ = self.mlps
        rows: list[Projection | None] = []
        for plan in self.plans:
            part, start = (None, 0) if plan.mlp is None else choose(plan.mlp)
            stop = start + (0 if plan.mlp is None else plan.mlp.width)
            rows.append(None if part is None else Projection(part.module, part.path, start, stop))
        return Parts(rows, what, self._model)

    def _resolve(self, name: str) -> Site:
        if name == "resid":
            return self._residual()
        if name == "moe.router":
            return self._routing()
        if name in ROUTED:
            return self._inside(name)
        if name.startswith("attn."):
            _ = self.attentions
            return self._at_attention(name)
        _ = self.mlps
        return self._at_mlp(name)

    def _residual(self) -> Site:
        widths = tuple(plan.stream for plan in self.plans)
        if not any(widths):
            raise InputError(
                f"no layer of {self._model} gives one vector a token (batch, sequence, width) when "
                "run on text, so it has no 'resid': use another site."
            )
        found = [layer if wide else None for layer, wide in zip(self._layers, widths, strict=True)]
        modules = Parts(found, "output", self._model)
        return Site("resid", modules, "output", widths, (None,) * len(widths), model=self._model)

    def _experts(self, name: str) -> tuple[tuple[Experts | None, ...], list[Experts]]:
        """Experts of each layer, and those of the layers that have some."""
        found = tuple(plan.experts for plan in self.plans)
        present = [experts for experts in found if experts is not None]
        if not present:
            raise InputError(
                f"{self._model} is no mixture of experts, so it has no {name!r}: use a site of "
                "the MLP."
            )
        return found, present

    def _inside(self, name: str) -> Site:
        found, _ = self._experts(name)
        inner = self._inner
        return Site(
            name,
            Parts([None if e is None else e.module for e in found], "experts", self._model),
            "input",
            tuple(0 if e is None else e.count * inner for e in found),
            (None,) * len(found),
            flat=True,
            model=self._model,
            experts=found,
            inner=inner,
        )

    @cached_property
    def _inner(self) -> int:
        """Units in each expert, once it is known that they can be read."""
        found, _ = self._experts("moe.act")
        for number, experts in enumerate(found):
            reason = None if experts is None else unreadable(experts)
            if reason is not None:
                raise self._unread(number, reason)
        wrong = unlike(self._backbone, found)
        if wrong is not None:
            raise self._unread(*wrong)
        widths = {n: inner_width(e) for n, e in enumerate(found) if e is not None}
        if len(set(widths.values())) > 1:
            first, *rest = widths
            other = next(n for n in rest if widths[n] != widths[first])
            raise self._unread(other, f"they have {widths[other]} units, others {widths[first]}")
        return next(iter(widths.values()))

    def _unread(self, layer: int, reason: str) -> InputError:
        return InputError(
            f"units inside the experts of {self._model} (layer {layer}) cannot be read: {reason}. "
            "Use 'moe.router'."
        )

    def _routing(self) -> Site:
        found, present = self._experts("moe.router")
        listed = present[0].listed
        modules = [None if e is None else (e.module if listed else e.router) for e in found]
        return Site(
            "moe.router",
            Parts(modules, "experts", self._model),
            "input" if listed else "output",
            tuple(0 if experts is None else experts.count for experts in found),
            (None,) * len(found),
            flat=True,
            model=self._model,
            experts=found,
        )

    def _at_mlp(self, name: str) -> Site:
        parts: list[Part | None] = []
        side: Literal["input", "output"] = "output" if name == "mlp.act" else "input"
        for plan in self.plans:
            mlp = plan.mlp
            if mlp is None:
                parts.append(None)
            elif name == "mlp.out":
                parts.append(mlp.down)
            elif mlp.activation is not None:
                parts.append(mlp.activation)
            elif name == "mlp.pre":
                side = "output"  # of the gate: no module reads it
                parts.append(mlp.into)
            else:
                raise InputError(
                    f"the activation function of {self._model} is a plain function and no module, "
                    "so its output cannot be reached: use 'mlp.pre' (its input) or 'mlp.out'."
                )
        return self._site(name, parts, side)

    def _at_attention(self, name: str) -> Site:
        outputs = [None if p.attention is None else p.attention.output for p in self.plans]
        if name == "attn.out":
            return self._site(name, outputs, "input")
        if name == "attn.head":
            heads = int(getattr(self._config, "num_attention_heads", None) or 0)
            if not heads:
                raise InputError(
                    f"the configuration of {self._model} does not say how many heads it has: use "
                    "the site 'attn.out'."
                )
            odd = next((p for p in outputs if p is not None and p.width_in % heads), None)
            if odd is not None:
                raise InputError(
                    f"the attention output projection reads {odd.width_in} values, which "
                    f"{heads} heads do not share evenly. Use the site 'attn.out'."
                )
            return self._site(name, outputs, "input", heads=heads)
        role = name[-1]
        found = [places.get(role) for places in self._places]
        if not any(found):
            number = next(n for n, p in enumerate(self.plans) if p.attention is not None)
            attention = self.attentions[number]
            seen = ", ".join(part.path for part in attention.projections) or "none"
            raise InputError(
                f"the site {name!r} needs separate or fused query, key and value projections that "
                f"act as such; projections seen in layer {number}: {seen}. Use 'attn.out' or "
                "'attn.head'."
            )
        parts = [None if item is None else item[0] for item in found]
        columns = [None if item is None else item[1] for item in found]
        return self._site(name, parts, "output", columns=columns)

    @cached_property
    def _places(self) -> tuple[dict[str, tuple[Part, Columns]], ...]:
        """Per layer, role to projection and columns; tried once for layers that look alike."""
        known: dict[Any, dict[str, tuple[str, Columns]]] = {}
        places: list[dict[str, tuple[Part, Columns]]] = []
        for layer, plan in zip(self._layers, self.plans, strict=True):
            if plan.attention is None:
                places.append({})
                continue
            by_path = {part.path: part for part in plan.attention.projections}
            looks = tuple((p.path, p.width_in, p.width_out) for p in by_path.values())
            if looks not in known:
                tried = projection_columns(plan.attention, self._backbone, layer, self._config)
                known[looks] = {r: (part.path, columns) for r, (part, columns) in tried.items()}
            places.append({r: (by_path[path], c) for r, (path, c) in known[looks].items()})
        return tuple(places)

    def _site(
        self,
        name: str,
        parts: Sequence[Part | None],
        side: Literal["input", "output"],
        *,
        columns: Sequence[Columns] | None = None,
        heads: int | None = None,
    ) -> Site:
        present = [part for part in parts if part is not None]
        columns = columns or [None] * len(parts)
        widths = []
        for part, own in zip(parts, columns, strict=True):
            if part is None:
                widths.append(0)
            elif own is not None:
                widths.append(len(own))
            else:
                whole = part.width_in if side == "input" else part.width_out
                widths.append(whole if heads is None else heads)
        return Site(
            name,
            Parts([None if part is None else part.module for part in parts], name, self._model),
            side,
            tuple(widths),
            tuple(columns),
            heads=heads,
            flat=any(part.flat for part in present),
            model=self._model,
        )
