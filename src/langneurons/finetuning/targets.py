"""Which weights learn: from units to rows and columns of the model's linear modules."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from langneurons.errors import InputError, unknown
from langneurons.finetuning import experts
from langneurons.finetuning.rows import Target
from langneurons.identification import Units

if TYPE_CHECKING:
    from langneurons.finetuning.recipe import Recipe
    from langneurons.identification import NeuronSet
    from langneurons.models import LanguageModel

_log = logging.getLogger(__name__)

Side = Literal["rows", "columns"]
MLP_SITES = ("mlp.act", "mlp.pre", "mlp.out")


@dataclass(frozen=True)
class Choice:
    """Chosen units, as plain values.

    Attributes:
        kind: ``"none"``, ``"all"`` or ``"units"``.
        site: Where the units are.
        layers: Layer of each unit, int64 (n,); empty unless ``kind`` is ``"units"``.
        indices: Index of each unit in its layer, int64 (n,).
    """

    kind: Literal["none", "all", "units"]
    site: str
    layers: Tensor
    indices: Tensor

    def by_layer(self, lm: LanguageModel) -> list[Tensor]:
        """Sorted unit numbers of each layer."""
        if self.kind == "all":
            return [torch.arange(width) for width in lm.sites[self.site].widths]
        return [self.indices[self.layers == layer].sort().values for layer in range(lm.layers)]

    def describe(self) -> dict[str, Any]:
        """The choice as JSON values."""
        return {
            "choice": self.kind,
            "site": self.site,
            "layers": self.layers.tolist(),
            "indices": self.indices.tolist(),
        }


def choose(
    lm: LanguageModel, neurons: Units | NeuronSet | str | None, site: str | None = None
) -> Choice:
    """Check what the user chose.

    Args:
        lm: The model.
        neurons: Units, a neuron set (the union of its languages), ``"all"``, ``"none"`` or None.
        site: Where the units are; None: where they were found, else ``"mlp.act"``, and
            ``"moe.act"`` for ``"all"`` of a mixture whose only units are inside its experts.

    Raises:
        InputError: If the units are none, of another model, or of a site that has no weights of
            its own.
    """
    empty = torch.empty(0, dtype=torch.long)
    if neurons is None or isinstance(neurons, str):
        kind = neurons or "none"
        if kind not in ("none", "all"):
            raise unknown("choice of units", kind, ("none", "all"))
        site = site or (_of_all(lm) if kind == "all" else "mlp.act")
        return Choice(kind, _site(lm, site), empty, empty)  # type: ignore[arg-type]
    if isinstance(neurons, Mapping):
        neurons.check(lm)
        site = site or neurons.site
        parts: Iterable[Any] = neurons.values()
    else:
        site = site or neurons.site or "mlp.act"
        neurons.check_origin(lm, site)
        parts = [neurons]
    site = _site(lm, site or "mlp.act")
    pairs = {
        (layer, index)
        for part in parts
        for layer, index in zip(part.layers.tolist(), part.indices.tolist(), strict=True)
    }
    if not pairs:
        raise InputError(
            "the set of units is empty: choose a language that has neurons, or pass 'none' to "
            "train without the MLP."
        )
    chosen = torch.tensor(sorted(pairs))
    place = lm.sites[site]
    if len(set(place.widths)) > 1:
        place.check(Units.from_pairs(pairs))  # layers differ, or some have no such units
    width = place.widest
    deepest, widest = int(chosen[:, 0].max()), int(chosen[:, 1].max())
    if deepest >= lm.layers or widest >= width or int(chosen.min()) < 0:
        raise InputError(
            f"the units are not of this model: they reach layer {deepest}, unit {widest}, but "
            f"{lm.name} has {lm.layers} layers of {width} units at {site!r}; find them on it."
        )
    return Choice("units", site, chosen[:, 0].clone(), chosen[:, 1].clone())


def _of_all(lm: LanguageModel) -> str:
    """Where all units are: in the MLPs, or inside the experts of a model that has no others.

    A mixture with shared experts or dense layers has both; the caller is told what is left out.
    """
    if not is_mixture(lm):
        return "mlp.act"
    try:
        _ = lm.sites["mlp.act"]
    except InputError:
        return "moe.act"
    _log.warning(
        "all units of %s are those of its dense layers and shared experts: its routed experts "
        "learn nothing. To train the units inside them instead give site='moe.act'.",
        lm.name,
    )
    return "mlp.act"


def is_mixture(lm: LanguageModel) -> bool:
    """Whether a layer of the model has experts."""
    return any(plan.experts for plan in lm.sites.plans)


def _site(lm: LanguageModel, site: str) -> str:
    attention = ("attn.out", "attn.head", "attn.q", "attn.k", "attn.v")
    known = (*MLP_SITES, *attention, *experts.SITES)
    if site not in known:
        raise unknown("site to train", site, known)
    return site


@dataclass(frozen=True)
class Plan:
    """What is trained in every linear module.

    Attributes:
        dense: Names (below the backbone) of modules with plain LoRA.
        sparse: Name -> rows or columns that learn.
        stacks: Name of a parameter of a mixture's experts, router or MLP -> what of it learns.
        conv: Whether the modules keep their weights transposed (GPT-2).
    """

    dense: tuple[str, ...]
    sparse: Mapping[str, Target]
    conv: bool
    stacks: Mapping[str, experts.Stack] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All adapted modules, sorted."""
        return sorted({*self.dense, *self.sparse})

    @property
    def empty(self) -> bool:
        """Whether nothing is trained."""
        return not self.names and not self.stacks


def make_plan(lm: LanguageModel, choice: Choice, recipe: Recipe) -> Plan:
    """Turn a choice of units into rows and columns of modules.

    Units of the MLP select rows of the gate and up projections and columns of the down projection,
    as ``recipe.projections`` says; units of ``attn.q``, ``attn.k`` and ``attn.v`` rows of those
    projections; units of ``attn.out`` columns of the output projection; units of ``attn.head``
    everything of the head: its query rows, its output columns, and the key and value rows it
    reads (in grouped-query attention those serve the other heads of its group too). Units inside
    experts select rows and columns of their expert alone, experts rows of the router.

    Raises:
        InputError: If the model lacks a projection that is asked for, the rank is above the number
            of units, or nothing would be trained.
    """
    names = {id(module): name for name, module in lm.backbone.named_modules()}
    modules: dict[str, nn.Module] = {}
    taken: dict[str, tuple[Side, list[Tensor]]] = {}
    if choice.site in experts.SITES:
        stacks = experts.expert_targets(lm, choice.site, choice.by_layer(lm), recipe)
        return replace(make_plan(lm, _none(), recipe), stacks=stacks)
    chosen = choice.by_layer(lm)
    size = _head_size(lm, "attn.q") if choice.site == "attn.head" else 1
    rows_chosen = len(choice.layers) * size
    if choice.kind == "units" and recipe.method == "lora" and rows_chosen < recipe.rank:
        raise InputError(
            f"rank {recipe.rank} is above the number of selected units ({rows_chosen}): "
            f"choose rank {rows_chosen} or lower, or more units."
        )
    for layer, index in enumerate(chosen):
        if not len(index):
            continue
        for module, side, where in _weights(lm, choice.site, layer, index, recipe):
            name = names[id(module)]
            modules[name] = module
            taken.setdefault(name, (side, []))[1].append(where)
    by_name = recipe.method != "weights"  # which has no need of PEFT
    if taken and by_name and choice.site in MLP_SITES and is_mixture(lm):
        named = {
            name: (modules[name], Target(side, torch.cat(parts).unique()))
            for name, (side, parts) in taken.items()
        }
        stacks = experts.matrices(lm, choice.site, named, recipe)
        return replace(make_plan(lm, _none(), recipe), stacks=stacks)
    dense: list[str] = []
    sparse: dict[str, Target] = {}
    for name, (side, parts) in taken.items():
        index = torch.cat(parts).unique()
        inputs, outputs = _sizes(modules[name])
        whole = len(index) == (outputs if side == "rows" else inputs)
        if whole and recipe.method == "lora":
            dense.append(name)
        else:
            sparse[name] = Target(side, index, direct=recipe.method in ("rows", "weights"))
    if recipe.attention:
        for module in _attention(lm):
            if (name := names[id(module)]) not in sparse:
                modules[name] = module
                dense.append(name)
    return Plan(
        tuple(sorted(set(dense))),
        sparse,
        conv=any(isinstance(module, Conv1D) for module in modules.values()),
    )


def _none() -> Choice:
    empty = torch.empty(0, dtype=torch.long)
    return Choice("none", "mlp.act", empty, empty)


def _weights(
    lm: LanguageModel, site: str, layer: int, index: Tensor, recipe: Recipe
) -> list[tuple[nn.Module, Side, Tensor]]:
    found: list[tuple[nn.Module, Side, Tensor]] = []
    if site in MLP_SITES:
        if "gate" in recipe.projections:
            gate = lm.sites.gates[layer]
            found.append((gate.module, "rows", index + gate.start))
        if "up" in recipe.projections:
            if lm.sites.ups is None:
                raise InputError(
                    f"the MLP of {lm.name} is not gated, so there is no up projection: leave "
                    "'up' out of projections."
                )
            up = lm.sites.ups[layer]
            found.append((up.module, "rows", index + up.start))
        if "down" in recipe.projections:
            found.append((lm.sites.downs[layer], "columns", index))
    elif site == "attn.out":
        found.append((lm.sites.outputs[layer], "columns", index))
    elif site == "attn.head":
        heads = lm.sites["attn.head"].width
        found.append((lm.sites.outputs[layer], "columns", _spread(index, "attn.out", lm)))
        for name in ("attn.q", "attn.k", "attn.v"):
            groups = lm.sites[name].width // _head_size(lm, name)
            shared = heads // groups  # query heads that one key and value head serves
            where = _spread((index // shared).unique(), name, lm)
            found += _weights(lm, name, layer, where, recipe)
    else:
        place = lm.sites[site]
        where = index if place.columns is None else place.columns.cpu()[index]
        found.append((place.modules[layer], "rows", where))
    return found


def _head_size(lm: LanguageModel, site: str) -> int:
    """Coordinates of one head at ``site``; values may be of another size than queries and keys."""
    heads = lm.sites["attn.head"].width
    if site in ("attn.out", "attn.v"):
        size = lm.sites["attn.out"].width // heads
    else:
        size = lm.sites["attn.q"].width // heads
    if lm.sites[site].width % size:
        raise InputError(
            f"{site!r} of {lm.name} has {lm.sites[site].width} units, no multiple of the head "
            f"size {size}: choose units of 'attn.out', 'attn.q', 'attn.k' or 'attn.v' instead."
        )
    return size


def _spread(heads: Tensor, site: str, lm: LanguageModel) -> Tensor:
    """Coordinates of whole heads at ``site``, int64, ascending."""
    size = _head_size(lm, site)
    return (heads[:, None] * size + torch.arange(size)).flatten()


def _attention(lm: LanguageModel) -> list[nn.Module]:
    return lm.sites.attention_modules


def _sizes(module: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear module."""
    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    return int(module.in_features), int(module.out_features)  # type: ignore[arg-type]


def trainable_parameters(
    lm: LanguageModel,
    neurons: Units | NeuronSet | str | None,
    recipe: Recipe,
    *,
    labels: int = 0,
    site: str | None = None,
) -> int:
    """Number of weights a recipe trains, by formula.

    With r the rank and d_in, d_out a module's inputs and outputs: r (d_in + d_out) for each module
    with plain LoRA, r (d_in + n) for one with n chosen rows, r (n + d_out) for one with n chosen
    columns; trained directly n d_in and n d_out; the same for each expert with chosen units; and
    labels x hidden size for the head.

    Args:
        lm: The model.
        neurons: The choice of units, as for ``finetune``.
        recipe: The recipe, of any method but ``"full"``.
        labels: Number of classes; 0 where the task has no head.
        site: Where the units are.
    """
    plan = make_plan(lm, choose(lm, neurons, site), recipe)
    total = labels * int(lm.config.hidden_size)
    for name in plan.names:
        inputs, outputs = _sizes(lm.backbone.get_submodule(name))
        target = plan.sparse.get(name)
        if target is None:
            total += recipe.rank * (inputs + outputs)
            continue
        n = len(target.index)
        kept = outputs if target.side == "columns" else inputs
        total += n * kept if target.direct else recipe.rank * (n + kept)
    return total + sum(stack.weights(recipe.rank) for stack in plan.stacks.values())
