"""Interventions that are linear in the weights, written into the weights.

A baked model needs no hook: saved, it gives the same outputs in any engine.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from langneurons.errors import InputError
from langneurons.identification import Units
from langneurons.intervention.baking_experts import bake_inside, bake_router
from langneurons.intervention.biases import switch_on
from langneurons.intervention.interventions import Change, Intervention, as_interventions
from langneurons.models import LanguageModel
from langneurons.models.handles import strip
from langneurons.models.plain import plain_model
from langneurons.models.projection import is_transposed, matrix

if TYPE_CHECKING:
    from langneurons.intervention.values import Value

_INPUT_SITES = ("mlp.act", "mlp.out", "attn.out", "attn.head")
_OUTPUT_SITES = ("attn.q", "attn.k", "attn.v")
_ATTENTION = "attn.out"
_INSIDE = ("moe.act", "moe.out")


def bake(
    lm: LanguageModel,
    what: Units | Intervention | Sequence[Intervention],
    value: Value | float | None = None,
    mode: str | None = None,
    site: str | None = None,
) -> LanguageModel:
    """A copy of the model whose weights do what the intervention does.

    Possible for setting units to 0 and for multiplying them, at every token, at the sites
    ``mlp.act``, ``mlp.out``, ``attn.out``, ``attn.head``, and ``moe.act``, ``moe.out`` in each
    expert (columns of the projection behind them are scaled) and ``attn.q``, ``attn.k``, ``attn.v``
    (rows and biases of the projection itself are).
    In a gated MLP the activation is multiplied by the up projection before the down projection, so
    scaling a column of the latter scales the activation.

    Other constants, set or added, are possible where a bias can hold them: that of the projection
    behind the site (``mlp.out``, ``attn.out``, and ``mlp.act`` in an MLP without a gate), that of
    the projection itself (``attn.q``, ...), or, at ``mlp.act``, that of the gate: its row becomes
    0 and its bias the number that the activation function turns into the constant. A model without
    such biases whose class can have them (Llama with ``mlp_bias``) gets them, all 0 but these.

    An expert that is off (0 at ``moe.router``) is possible where a bias of the router alone decides
    the choice, which is tried: it becomes minus infinity.

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
    interventions = _of_units(as_interventions(what, **options))
    routers = [item for item in interventions if item.site == "moe.router"]
    maps = _composed(lm, [item for item in interventions if item.site != "moe.router"])
    if hasattr(lm.model, "get_base_model"):
        raise InputError("merge the adapter first (merge_and_unload of PEFT), then bake.")
    plain = plain_model(lm.model)
    memo = {id(tensor): tensor for tensor in [*plain.parameters(), *plain.buffers()]}
    for module in plain.modules():  # states that a layer keeps between calls
        kept = [item for item in vars(module).values() if isinstance(item, Tensor)]
        memo |= {id(tensor): tensor.detach() for tensor in kept}
    model = copy.deepcopy(plain, memo)
    strip(model)
    switch_on(model, _needing_a_bias(lm, plain, maps))
    baked = LanguageModel(model, lm.tokenizer, lm.name, revision=lm.revision)
    for item in routers:
        bake_router(lm, baked, item)
    for layer in sorted({layer for _, layer in maps}):
        mlp = [maps.get((site, layer)) for site in ("mlp.act", "mlp.out")]
        if any(mlp):
            _bake_mlp(baked, layer, *mlp)
        # The later one first: its constants meet the columns as they are.
        for site in reversed(_INSIDE):
            if (site, layer) in maps:
                what_is_done = maps[site, layer]
                bake_inside(baked, site, layer, what_is_done.scale, what_is_done.shift)
        for site in (_ATTENTION, *_OUTPUT_SITES):
            if (site, layer) in maps:
                (_bake_output if site == _ATTENTION else _bake_rows)(
                    baked, site, layer, maps[site, layer]
                )
    return baked


def _of_units(given: Sequence[Change]) -> list[Intervention]:
    found = [item for item in given if isinstance(item, Intervention)]
    if len(found) < len(given):
        raise InputError("a direction cannot be baked: use intervene, which changes no weights.")
    return found


def _needing_a_bias(
    lm: LanguageModel, plain: nn.Module, maps: Mapping[tuple[str, int], _Affine]
) -> list[str]:
    """Names of the modules whose bias is to hold what is set or added."""
    found: list[nn.Module] = []
    for (site, layer), what in maps.items():
        if not what.moves or site in _INSIDE:
            continue
        if site in _OUTPUT_SITES:
            found.append(lm.sites[site].modules[layer])
        elif site == _ATTENTION:
            found.append(lm.sites.outputs[layer])
        elif site == "mlp.act" and (mlp := lm.sites.mlps[layer]).up is not None:
            found += [] if mlp.into is None else [mlp.into.module]
        else:
            found.append(lm.sites.downs[layer])
    names = {id(module): name for name, module in plain.named_modules()}
    return [names[id(module)] for module in found]


@dataclass(frozen=True)
class _Affine:
    """What is done to the units of one layer: x becomes ``scale * x + shift``, float32 (units,)."""

    scale: Tensor
    shift: Tensor

    def then(self, scale: Tensor, shift: Tensor) -> _Affine:
        """This, followed by another."""
        return _Affine(self.scale * scale, self.shift * scale + shift)

    @property
    def moves(self) -> bool:
        """Whether anything is shifted."""
        return bool(self.shift.any())


def _composed(
    lm: LanguageModel, interventions: Sequence[Intervention]
) -> dict[tuple[str, int], _Affine]:
    """What is done at each site of each layer, in the order given.

    ``attn.head`` scales what ``attn.out`` holds, so both are under that name.
    """
    found: dict[tuple[str, int], _Affine] = {}
    for item in interventions:
        scale, shift = _factors(lm, item)
        place = lm.sites[item.site]
        site = _ATTENTION if item.site == "attn.head" else item.site
        for layer in sorted(set(item.chosen.layers.tolist())):
            width = place.widths[layer]
            own = scale[layer, :width], shift[layer, :width]
            if item.site == "attn.head":
                size = lm.sites[_ATTENTION].widths[layer] // width
                own = own[0].repeat_interleave(size), own[1].repeat_interleave(size)
            nothing = _Affine(torch.ones_like(own[0]), torch.zeros_like(own[0]))
            found[site, layer] = found.get((site, layer), nothing).then(*own)
    return found


def _factors(lm: LanguageModel, item: Intervention) -> tuple[Tensor, Tensor]:
    """Factor and summand of each unit, float32 (layers, units) each."""
    if item.site not in (*_INPUT_SITES, *_INSIDE, *_OUTPUT_SITES):
        raise InputError(
            f"an intervention at {item.site!r} cannot be written into weights: no linear map alone "
            "lies in front of it or behind it. Use 'mlp.act' or 'mlp.out'."
        )
    if not item.every_token:
        raise InputError(
            f"{item.name!r} touches some tokens only and cannot be written into weights: use "
            "scope='all', start=0, probability=1, rows=None."
        )
    place = lm.sites[item.site]
    shape = (lm.layers, place.widest)
    units = item.chosen
    item.check(lm)
    place.check(units)
    if item.what.kind != "tensor":
        raise InputError(
            f"{item.name!r} is not a factor and cannot be written into weights: use 0, or multiply."
        )
    if item.mode == "steer":
        raise InputError(
            f"{item.name!r} depends on the sign of each value and cannot be written into weights: "
            "use mode 'set', 'add' or 'multiply'."
        )
    values = item.what.resolve(shape)[units.layers, units.indices]
    scale, shift = torch.ones(shape), torch.zeros(shape)
    if item.mode != "add":
        scale[units.layers, units.indices] = values if item.mode == "multiply" else 0.0
    if item.mode != "multiply":
        shift[units.layers, units.indices] = values
    if item.site == "attn.head" and bool(shift.any()):
        raise InputError(
            f"{item.name!r} at 'attn.head' cannot be written into weights: a norm that is set is "
            "not linear in them, use 0 or multiply."
        )
    return scale, shift


def _bake_mlp(lm: LanguageModel, layer: int, act: _Affine | None, out: _Affine | None) -> None:
    mlp, down = lm.sites.mlps[layer], lm.sites.downs[layer]
    matrix(down)  # quantised weights are refused first: their rounding hides what lies before them
    if act is not None and not mlp.direct:
        raise InputError(
            f"an intervention at 'mlp.act' cannot be written into the weights of {lm.name}: in "
            f"layer {layer} something that is not linear, as a norm, lies between the activation "
            "and the down projection. Use 'mlp.out'."
        )
    if act is not None and act.moves and (mlp.up is not None or _bias(down) is None):
        act = _held_by_the_gate(lm, layer, act)
    whole = act or out
    assert whole is not None
    if act is not None and out is not None:
        whole = act.then(out.scale, out.shift)
    _alone(lm, "mlp.act" if act is not None else "mlp.out", layer, lm.sites.downs.items)
    _bake_columns(lm, "mlp.out", layer, down, whole)


def _held_by_the_gate(lm: LanguageModel, layer: int, act: _Affine) -> _Affine:
    """Set constants by the gate's bias; what is left to do behind the activation."""
    mlp = lm.sites.mlps[layer]
    bias = None if mlp.into is None else _bias(mlp.into.module)
    moved = act.shift != 0
    if bias is None or not mlp.plain or mlp.activation is None or bool(act.scale[moved].any()):
        raise InputError(
            f"a constant at 'mlp.act' cannot be written into the weights of {lm.name}: layer "
            f"{layer} has no bias that could hold it. Use 0, multiply, or intervene."
        )
    gate = lm.sites.gates[layer]
    _alone(lm, "mlp.act", layer, [None if g is None else g.module for g in lm.sites.gates.items])
    rows = moved.nonzero().flatten() + gate.start
    factor = torch.ones(matrix(gate.module).shape[0]).index_fill(0, rows, 0.0)
    before = _preimage(mlp.activation.module, act.shift[moved], lm.name)
    _scale(gate.module, factor.unsqueeze(1))
    made = bias.float().clone()
    made[rows.to(bias.device)] = before.to(bias.device)
    _replace(gate.module, "bias", made.to(bias.dtype))
    return _Affine(act.scale.masked_fill(moved, 1.0), act.shift.masked_fill(moved, 0.0))


def _preimage(function: nn.Module, values: Tensor, name: str) -> Tensor:
    """Numbers that an activation function turns into ``values``, by bisection, float32 (n,)."""
    first = next(function.parameters(), None)
    device = "cpu" if first is None else first.device
    wanted = values.double().to(device)
    ends = max(60.0, 2 * float(wanted.abs().max()))
    grid = torch.linspace(-ends, ends, 120_001, dtype=torch.float64, device=device)
    with torch.no_grad():
        curve = function.forward(grid)
        numbers = torch.arange(1, len(grid), device=device)
        # The last crossing: on the rising branch, where SiLU and GELU are steep.
        above = (curve >= one for one in wanted)
        last = [((one[1:] != one[:-1]) * numbers).max() for one in above]
        place = torch.stack(last)
        low, high = grid[(place - 1).clamp_min(0)], grid[place]
        for _ in range(60):
            middle = (low + high) / 2
            left = (function.forward(middle) >= wanted) == (function.forward(low) >= wanted)
            low, high = torch.where(left, middle, low), torch.where(left, high, middle)
        found = function.forward(high)
    if bool((place == 0).any()) or float((found - wanted).abs().max()) > 1e-6:
        raise InputError(
            f"a value lies outside what the activation function of {name} can give, so no bias "
            "leads to it: use a value within its range, or intervene."
        )
    return high.float().cpu()


def _bake_output(lm: LanguageModel, site: str, layer: int, what: _Affine) -> None:
    _alone(lm, site, layer, lm.sites.outputs.items)
    _bake_columns(lm, site, layer, lm.sites.outputs[layer], what)


def _bake_columns(
    lm: LanguageModel, site: str, layer: int, module: nn.Module, what: _Affine
) -> None:
    """Scale the columns that read the units; what they read besides goes into the bias."""
    if what.moves:
        bias = _bias(module)
        if bias is None:
            raise _without_a_bias(lm, site, layer)
        weight = matrix(module).double()
        held = weight @ what.shift.to(weight.device, torch.float64)
        _replace(module, "bias", (bias.double() + held).to(bias.dtype))
    _scale(module, what.scale.unsqueeze(0))


def _bake_rows(lm: LanguageModel, site: str, layer: int, what: _Affine) -> None:
    """Scale the rows that make the units, and their biases."""
    place = lm.sites[site]
    module, columns = place.modules[layer], place.layer_columns[layer]
    _alone(lm, site, layer, place.modules.items)
    size = matrix(module).shape[0]
    columns = torch.arange(size) if columns is None else columns
    scale = torch.ones(size).index_copy(0, columns, what.scale)
    shift = torch.zeros(size).index_copy(0, columns, what.shift)
    bias = _bias(module)
    if bias is None and what.moves:
        raise _without_a_bias(lm, site, layer)
    _scale(module, scale.unsqueeze(1))
    if bias is not None:
        made = bias.float() * scale.to(bias.device) + shift.to(bias.device)
        _replace(module, "bias", made.to(bias.dtype))


def _bias(module: nn.Module) -> Tensor | None:
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, Tensor) else None


def _without_a_bias(lm: LanguageModel, site: str, layer: int) -> InputError:
    return InputError(
        f"a constant at {site!r} cannot be written into the weights of {lm.name}: layer {layer} "
        "has no bias that could hold it. Use 0, multiply, or intervene."
    )


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
