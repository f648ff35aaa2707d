"""Applying interventions while the model runs."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langneurons.errors import InputError, RunError
from langneurons.identification import Units
from langneurons.intervention.interventions import Change, Intervention, as_interventions
from langneurons.intervention.range import warn_out_of_range
from langneurons.intervention.steering import Along, Steering
from langneurons.intervention.tokens import Watch
from langneurons.models import hook_experts, hook_router, hook_site

if TYPE_CHECKING:
    from langneurons.intervention.values import Value
    from langneurons.models import LanguageModel, Site
    from langneurons.models.expert_units import Routed


@contextlib.contextmanager
def intervene(
    lm: LanguageModel,
    what: Units | Change | Sequence[Change] | None,
    value: Value | float | None = None,
    mode: str | None = None,
    site: str | None = None,
    scope: str | None = None,
    **options: Any,
) -> Iterator[LanguageModel]:
    """Overwrite units in every forward pass of the block; the model is as before afterwards.

    Works in plain forward passes, generation with a key-value cache, training (also with gradient
    checkpointing, as long as ``backward`` runs inside the block) and on PEFT-wrapped models.
    Weights are never touched. Several interventions on one site act in the order given, so the
    last wins where they overlap; sites follow each other as in the model. Blocks may be nested: the
    inner ones act after the outer ones. The hooks act in whichever thread runs the model; a second
    thread that enters while another is inside is refused, as the two would mix.

    Args:
        lm: The model.
        what: Units, an :class:`Intervention`, a :class:`Steering`, several of them in order, or
            None for no change.
        value: With units: what to write, default 0.
        mode: With units: ``set`` (default), ``add``, ``multiply``, ``steer``, or of experts
            ``force``.
        site: With units: where they live, default where they were found, else ``mlp.act``.
        scope: With units: ``all`` (default), ``prompt``, ``generated``, ``last``, ``rest``,
            ``text`` or ``padding``.
        **options: With units: further fields of :class:`Intervention`.

    Yields:
        The model.

    Raises:
        InputError: If units lie outside the site, a value belongs to another model or site, or the
            model is compiled.
        RunError: If another thread is intervening on the same model.

    Example:
        >>> with ln.intervene(lm, neurons["hi"], ln.Value.mean(stats, "hi")):  # doctest: +SKIP
        ...     lm.model.generate(**inputs)
    """
    given = {"value": value, "mode": mode, "site": site, "scope": scope}
    options |= {key: item for key, item in given.items() if item is not None}
    interventions = as_interventions(what, **options)
    if not interventions:
        yield lm
        return
    plans = [(item, _plan(lm, item)) for item in interventions]
    for item in interventions:
        if isinstance(item, Intervention):
            warn_out_of_range(lm, item)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_one_thread(lm))
        watch: Watch | None = None
        if not all(item.every_token for item in interventions):
            watch = Watch(lm)
            stack.enter_context(watch.watching())
        for item, writers in plans:
            _attach(stack, lm, item, writers, None if item.every_token else watch)
        yield lm


def _attach(
    stack: contextlib.ExitStack,
    lm: LanguageModel,
    item: Change,
    writers: Mapping[int, _Writer | Along],
    watch: Watch | None,
) -> None:
    if isinstance(item, Intervention) and item.what.source is not None:
        layer, index = item.what.source
        taken = _Taken(layer, index)
        for writer in writers.values():
            assert isinstance(writer, _Writer)
            writer.taken = taken
        stack.enter_context(hook_site(lm, item.site, taken.take, [layer]))

    def everywhere(layer: int, activation: Tensor) -> Tensor:
        return writers[layer].write(activation)

    def somewhere(layer: int, activation: Tensor) -> Tensor | None:
        assert watch is not None
        chosen = watch.selection(item)
        if isinstance(chosen, Tensor):
            return writers[layer].write_where(activation, chosen)
        return writers[layer].write(activation) if chosen else None

    def where_routed(layer: int, routed: Routed) -> Tensor | None:
        chosen = True if watch is None else watch.selection(item)
        if isinstance(chosen, bool):
            return inside[layer].write(routed, None) if chosen else None
        return inside[layer].write(routed, chosen)

    change = everywhere if watch is None else somewhere
    if item.site == "moe.router":
        stack.enter_context(hook_router(lm, change, sorted(writers)))
    elif (inner := lm.sites[item.site].inner) is not None:
        widths = lm.sites[item.site].widths
        inside = {
            n: _Inside(w, widths[n], inner) for n, w in writers.items() if isinstance(w, _Writer)
        }
        stack.enter_context(hook_experts(lm, item.site, where_routed, sorted(writers)))
    else:
        stack.enter_context(hook_site(lm, item.site, change, sorted(writers)))


class _Taken:
    """The value of one unit in the running pass, for others to be set to."""

    def __init__(self, layer: int, index: int) -> None:
        self.layer, self.index = layer, index
        self.value: Tensor | None = None

    def take(self, _layer: int, activation: Tensor) -> None:
        # A copy: the activation may be overwritten in place right after.
        self.value = activation[..., self.index : self.index + 1].clone()


class _Writer:
    """Writes the units of one layer.

    Index and values are moved and spread to the activation's device, type and shape when these
    change, not in every pass: in one-token decoding that would cost more than the writing.
    """

    def __init__(self, index: Tensor, mode: str, low: Tensor | None, high: Tensor | None) -> None:
        self.index, self.mode, self.low, self.high = index, mode, low, high
        self.taken: _Taken | None = None
        self._source: Tensor | None = None
        self._fits: tuple[torch.Size, torch.device, torch.dtype] | None = None

    def write(self, activation: Tensor) -> Tensor:
        """Change the units at every token; in place where autograd allows it."""
        if self._fits != (activation.shape, activation.device, activation.dtype):
            self._fit(activation)
        in_place = not (torch.is_grad_enabled() and activation.requires_grad)
        if self.mode == "add" and self._source is not None:
            if in_place:
                return activation.index_add_(-1, self.index, self._source)
            return activation.index_add(-1, self.index, self._source)
        new = self._new(activation)
        if in_place:
            return activation.index_copy_(-1, self.index, new)
        return activation.index_copy(-1, self.index, new)

    def write_where(self, activation: Tensor, chosen: Tensor) -> Tensor:
        """Change the units at the tokens of a mask (batch, sequence) or (1, sequence)."""
        if self._fits != (activation.shape, activation.device, activation.dtype):
            self._fit(activation)
        old = activation.index_select(-1, self.index)
        touched = chosen.to(activation.device).unsqueeze(-1)
        new = self._new(activation)
        new = torch.where(touched, old + new if self.mode == "add" else new, old)
        if torch.is_grad_enabled() and activation.requires_grad:
            return activation.index_copy(-1, self.index, new)
        return activation.index_copy_(-1, self.index, new)

    def _fit(self, activation: Tensor) -> None:
        self._fits = (activation.shape, activation.device, activation.dtype)
        self.index = self.index.to(activation.device)
        if self.low is not None:
            self.low = self.low.to(activation.device, activation.dtype)
            self._source = self.low.expand(*activation.shape[:-1], -1)
        if self.high is not None:
            self.high = self.high.to(activation.device, activation.dtype)

    def _new(self, activation: Tensor) -> Tensor:
        """The new values (batch, sequence, n); for ``add`` what is to be added."""
        if self.taken is not None:
            assert self.taken.value is not None
            shape = (*activation.shape[:-1], len(self.index))
            return self.taken.value.to(activation.device).expand(shape)
        assert self._source is not None
        if self.high is not None:
            return activation.index_select(-1, self.index).clamp(self.low, self.high)
        if self.mode in ("multiply", "steer"):
            old = activation.index_select(-1, self.index)
            return old * self._source if self.mode == "multiply" else old + old.abs() * self._source
        return self._source


class _Inside:
    """Writes the units inside experts of one layer, on the tokens routed to them.

    Args:
        writer: Which units, how, and their values.
        units: Units of the layer.
        inner: Units in each expert.
    """

    def __init__(self, writer: _Writer, units: int, inner: int) -> None:
        self._mode = writer.mode
        shape = (units // inner, inner)
        self._mask = torch.zeros(units, dtype=torch.bool)
        self._mask[writer.index] = True
        self._mask = self._mask.view(shape)
        self._low, self._high = (
            None if v is None else torch.zeros(units).index_copy(0, writer.index, v).view(shape)
            for v in (writer.low, writer.high)
        )

    def write(self, routed: Routed, chosen: Tensor | None) -> Tensor | None:
        """New values (n, inner), or None where nothing is touched.

        Args:
            routed: The rows.
            chosen: Tokens to touch, bool (batch or 1, sequence); None for all.
        """
        values, experts = routed.values, routed.experts
        device, dtype = values.device, values.dtype
        self._mask = self._mask.to(device)
        touched = self._mask.any(1)[experts]
        if chosen is not None:
            sequence = chosen.shape[1]
            line = routed.tokens // sequence if len(chosen) > 1 else torch.zeros_like(experts)
            touched &= chosen.to(device)[line, routed.tokens % sequence]
        rows = touched.nonzero()[:, 0]
        if not len(rows):
            return None
        expert, old = experts[rows], values[rows]
        assert self._low is not None
        self._low = self._low.to(device, dtype)
        new = self._low[expert]
        if self._high is not None:
            self._high = self._high.to(device, dtype)
            new = old.clamp(new, self._high[expert])
        elif self._mode == "add":
            new = old + new
        elif self._mode == "multiply":
            new = old * new
        elif self._mode == "steer":
            new = old + old.abs() * new
        return values.index_copy(0, rows, torch.where(self._mask[expert], new, old))


def _plan(lm: LanguageModel, item: Change) -> Mapping[int, _Writer | Along]:
    """One writer per layer that changes, after all checks."""
    return item.writers(lm) if isinstance(item, Steering) else _writers(lm, item)


def _writers(lm: LanguageModel, item: Intervention) -> dict[int, _Writer]:
    place = lm.sites[item.site]
    shape = (lm.layers, place.widest)
    units = item.chosen
    item.check(lm)
    place.check(units)
    low = high = None
    if place.inner is not None and item.what.source is not None:
        raise InputError(
            f"another unit's value cannot be taken at {item.site!r}: its expert does not run on "
            "every token. Use a number or a statistic."
        )
    if item.what.kind != "unit":
        low = item.what.resolve(shape)
    if item.what.kind == "clip":
        high = item.what.resolve_high(shape)
    if item.what.source is not None:
        layer, unit = item.what.source
        first = int(units.layers.min()) if len(units) else lm.layers
        if not 0 <= layer < lm.layers or not 0 <= unit < place.widths[layer]:
            raise InputError(
                f"no unit ({layer}, {unit}): choose within the {lm.layers} layers of up to "
                f"{place.widest} units that {lm.name} has at {item.site!r}."
            )
        if layer > first:
            raise InputError(
                f"unit ({layer}, {unit}) lies behind layer {first}, which is to take its value: "
                "choose a unit of the same or an earlier layer."
            )
    for bound in (low, high):
        missing = None if bound is None else bound[units.layers, units.indices].isnan().nonzero()
        if missing is not None and len(missing):
            layer, unit = units.pairs()[int(missing[0])]
            raise InputError(
                f"the value {item.what.name!r} of unit ({layer}, {unit}) is not known: no token of "
                "that text was routed to its expert. Leave the unit out, or write a number."
                if place.inner is not None
                else f"the value {item.what.name!r} of unit ({layer}, {unit}) is no number: leave "
                "the unit out, or collect its statistics again."
            )
    if item.site == "moe.router" and item.mode == "set":
        _check_left(lm, place, units)
        low = torch.full(shape, -torch.inf)  # of the logit
    if item.mode == "force":
        _check_forced(lm, place, units)
        low = torch.full(shape, torch.inf)
    writers = {}
    for layer, index in enumerate(units.by_layer(lm.layers)):
        if len(index):
            writers[layer] = _Writer(
                index,
                "set" if item.mode == "force" else item.mode,
                None if low is None else low[layer, index].clone(),
                None if high is None else high[layer, index].clone(),
            )
    return writers


def _check_left(lm: LanguageModel, place: Site, off: Units) -> None:
    """Refuse to switch off so many experts that fewer than the router chooses are left."""
    for layer in place.layers:
        experts = place.experts[layer]
        number = int((off.layers == layer).sum())
        if experts is not None and experts.count - number < experts.chosen:
            raise InputError(
                f"{number} experts off in layer {layer} of {lm.name} leave "
                f"{experts.count - number}, but each token is sent to {experts.chosen} of "
                f"{experts.count}: choose fewer."
            )


def _check_forced(lm: LanguageModel, place: Site, forced: Units) -> None:
    """Refuse to force more experts than the router chooses."""
    for layer in place.layers:
        experts = place.experts[layer]
        number = int((forced.layers == layer).sum())
        if experts is not None and number > experts.chosen:
            raise InputError(
                f"{number} experts forced in layer {layer} of {lm.name}, but each token is sent to "
                f"{experts.chosen} of {experts.count}: choose fewer."
            )


_inside: weakref.WeakKeyDictionary[Any, tuple[int, int]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@contextlib.contextmanager
def _one_thread(lm: LanguageModel) -> Iterator[None]:
    """Refuse a second thread while one is inside; the same thread may enter again."""
    key, me = lm.backbone, threading.get_ident()
    with _lock:
        owner, depth = _inside.get(key, (me, 0))
        if owner != me:
            raise RunError(
                f"another thread is intervening on {lm.name}: use one model per thread, or one "
                "after the other."
            )
        _inside[key] = (me, depth + 1)
    try:
        yield
    finally:
        with _lock:
            owner, depth = _inside[key]
            if depth == 1:
                del _inside[key]
            else:
                _inside[key] = (owner, depth - 1)
