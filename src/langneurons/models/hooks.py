"""The one file that hooks models: read or replace the units of a site while the model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langneurons.errors import InputError, RunError
from langneurons.models.expert_units import Routed, probing
from langneurons.models.experts import changing_logits, rerouting
from langneurons.models.handles import holding, replacing
from langneurons.models.plain import plain_model

if TYPE_CHECKING:
    from langneurons.models.language_model import LanguageModel
    from langneurons.models.site import Site

SiteFunction = Callable[[int, Tensor], Tensor | None]
RoutedFunction = Callable[[int, Routed], Tensor | None]


@contextlib.contextmanager
def hook_site(
    lm: LanguageModel, site: str, fn: SiteFunction, layers: Sequence[int] | None = None
) -> Iterator[None]:
    """Call ``fn`` on the units of ``site`` in every forward pass of the block.

    Hooks are PyTorch's own and act in whichever thread runs the model. They are removed by handle
    when the block ends, also after an exception; other hooks on the same modules stay. Nested and
    repeated use is fine: functions on one site run in the order their blocks were entered.

    Args:
        lm: The model.
        site: Name of the site.
        fn: Called as ``fn(layer, activation)`` with activation (batch, sequence, units), the
            tensor the model itself computed. Return None to leave it (it may be changed in place
            only where the site is a whole tensor, i.e. ``Site.columns`` and ``Site.heads`` are
            None, and not at ``moe.*``), or a tensor of the same shape to replace it. At ``moe.act``
            and its like units of experts that a token is not routed to are 0, and what is said of
            them has no effect; :func:`hook_experts` needs no such tensor.
        layers: Layer numbers; None for all that have the site.

    Raises:
        InputError: If the model lacks the site or a layer, or a part of it is compiled by
            ``torch.compile`` in any of its ways.
        RunError: From the first forward pass, if a hooked module was not called in it (fused
            kernels that replace the forward of the module's parent do that), or if a compiler
            traces a function around the model.
    """
    refuse_compiled(lm)
    place = lm.sites[site]
    chosen = _chosen(lm, place, layers)
    running = _Running()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_never_compiled(lm))
        if place.flat or place.shared:
            for layer in place.layers:
                stack.enter_context(holding(running.follow(lm.layer_modules[layer], layer)))
        if place.inner is not None:
            spread = _spread_out(place, fn, running)
            for layer in chosen:
                stack.enter_context(_attach_inside(place, layer, spread, running))
        else:
            for layer in chosen:
                stack.enter_context(holding(_attach(place, layer, fn, running)))
        if chosen:
            check = _check_fired(lm.decoder, site, frozenset(chosen), running.fired)
            stack.enter_context(holding(check))
        yield


def _chosen(lm: LanguageModel, place: Site, layers: Sequence[int] | None) -> list[int]:
    """The layers to hook, after a look whether they have the site."""
    chosen = list(place.layers) if layers is None else list(layers)
    wrong = [layer for layer in chosen if not 0 <= layer < lm.layers]
    if wrong:
        raise InputError(f"no layer {wrong[0]}: {lm.name} has layers 0 to {lm.layers - 1}.")
    lacking = [layer for layer in chosen if layer not in place.layers]
    if lacking:
        raise InputError(
            f"layer {lacking[0]} of {lm.name} has no {place.name!r}: choose among its layers "
            f"{', '.join(map(str, place.layers))}."
        )
    return chosen


@contextlib.contextmanager
def hook_experts(
    lm: LanguageModel, site: str, fn: RoutedFunction, layers: Sequence[int] | None = None
) -> Iterator[None]:
    """Call ``fn`` on the units inside routed experts in every forward pass of the block.

    The rows are tokens as they were routed, so that no (tokens, experts x units) tensor is made, as
    :func:`hook_site` does at the same sites.

    Args:
        lm: The model.
        site: ``moe.act``, ``moe.pre`` or ``moe.out``.
        fn: Called as ``fn(layer, routed)`` with a :class:`~langneurons.models.expert_units.Routed`
            that holds all rows of the layer; returns None, or new values (n, inner). Must not
            change them in place.
        layers: Layer numbers; None for all that have the site.

    Raises:
        InputError: See :func:`hook_site`.
        RunError: From the first forward pass, as for :func:`hook_site`, or if the experts run by a
            kernel that calls no gate.
    """
    refuse_compiled(lm)
    place = lm.sites[site]
    chosen = _chosen(lm, place, layers)
    running = _Running()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_never_compiled(lm))
        for layer in chosen:
            # Also for others to see that something acts on the model.
            stack.enter_context(holding(running.follow(lm.layer_modules[layer], layer)))
            stack.enter_context(_attach_inside(place, layer, fn, running))
        if chosen:
            check = _check_fired(lm.decoder, site, frozenset(chosen), running.fired)
            stack.enter_context(holding(check))
        yield


def _attach_inside(
    place: Site, layer: int, fn: RoutedFunction, running: _Running
) -> contextlib.AbstractContextManager[None]:
    experts = place.experts[layer]
    assert experts is not None
    stage: Any = place.name.partition(".")[2]

    def probe(routed: Routed) -> Tensor | None:
        running.fired.add(layer)
        _refuse_tracing()
        return fn(layer, routed)

    return probing(experts, stage, probe)


DENSE_ELEMENTS = 1 << 28
"""Most elements of (tokens, experts x units) that :func:`hook_site` makes of a layer."""


def _spread_out(place: Site, fn: SiteFunction, running: _Running) -> RoutedFunction:
    """``fn`` on all units of all experts, 0 where a token is not routed to them."""
    inner = place.inner
    assert inner is not None

    def rows(layer: int, routed: Routed) -> Tensor | None:
        batch, sequence = running.shape
        units = place.widths[layer]
        if batch * sequence * units > DENSE_ELEMENTS:
            raise RunError(
                f"{batch * sequence} tokens of {units} units at {place.name!r}, most of them in "
                "experts that do not run, are too many to be held at once: use 'moe.router', a "
                "smaller batch, or what reads experts as they run (statistics, interventions)."
            )
        values = routed.values
        where = routed.tokens, routed.experts
        whole = values.new_zeros((batch * sequence, units // inner, inner))
        whole = whole.index_put(where, values)
        given = whole.view(batch, sequence, units)
        changed = fn(layer, given)
        if changed is None and not (torch.is_grad_enabled() and given.requires_grad):
            return None
        changed = given if changed is None else changed
        return changed.reshape(whole.shape)[where]

    return rows


@contextlib.contextmanager
def hook_router(lm: LanguageModel, fn: SiteFunction, layers: Sequence[int]) -> Iterator[None]:
    """Call ``fn`` on the logits of routers in every forward pass of the block.

    Where :func:`hook_site` at ``moe.router`` sees the weights of the experts that were chosen, this
    changes what they are chosen by; see :func:`langneurons.models.experts.changing_logits`.

    Args:
        lm: The model.
        fn: Called as ``fn(layer, logits)`` with logits (batch, sequence, experts); returns None, or
            a tensor of the same shape. May change them in place.
        layers: Layers that have a router.

    Raises:
        InputError: If a part of the model is compiled.
        RunError: From the first forward pass, as for :func:`hook_site`.
    """
    refuse_compiled(lm)
    place = lm.sites["moe.router"]
    running = _Running()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_never_compiled(lm))
        for layer in place.layers:
            stack.enter_context(holding(running.follow(lm.layer_modules[layer], layer)))
        for layer in layers:
            experts = place.experts[layer]
            assert experts is not None

            def change(logits: Tensor, layer: int = layer) -> Tensor:
                running.fired.add(layer)
                _refuse_tracing()
                changed = fn(layer, logits.view(*running.shape, -1))
                return logits if changed is None else changed.reshape(logits.shape)

            stack.enter_context(changing_logits(experts, change))
        if layers:
            check = _check_fired(lm.decoder, "moe.router", frozenset(layers), running.fired)
            stack.enter_context(holding(check))
        yield


def refuse_compiled(lm: LanguageModel) -> None:
    """Raise :class:`InputError` if any part of the model is compiled: it may ignore hooks."""
    for name, module in lm.model.named_modules():
        if _is_compiled(module):
            where = f"{lm.name} ({name})" if name else lm.name
            raise InputError(
                f"{where} is compiled by torch.compile, which ignores hooks: use the model as it "
                "was before, or bake the intervention into the weights first."
            )


def _is_compiled(module: torch.nn.Module) -> bool:
    """Compiled by ``torch.compile`` (as a whole, in place, or its forward) or by TorchScript."""
    if hasattr(module, "_orig_mod") or isinstance(module, torch.jit.ScriptModule):
        return True
    if getattr(module, "_compiled_call_impl", None) is not None:
        return True
    # Wrappers around wrappers: functools, Accelerate, bound methods.
    waiting: list[Any] = [module.forward]
    seen: list[Any] = []
    while waiting:
        forward = waiting.pop()
        if hasattr(forward, "_torchdynamo_orig_callable"):
            if not getattr(forward, "_torchdynamo_disable", False):
                return True
        elif not any(forward is item for item in seen):
            seen.append(forward)
            inner = (getattr(forward, name, None) for name in ("__wrapped__", "func", "__func__"))
            waiting.extend(item for item in inner if item is not None)
    return False


@contextlib.contextmanager
def _never_compiled(lm: LanguageModel) -> Iterator[None]:
    """Keep ``generate`` from compiling the model by itself, as it does with a static cache."""

    def refuse(*_: Any, **__: Any) -> None:
        raise InputError(
            f"generate would compile {lm.name}, which then ignores hooks: pass "
            "disable_compile=True to generate."
        )

    with replacing(plain_model(lm.model), "get_compiled_call", refuse):
        yield


@contextlib.contextmanager
def read_outputs(
    modules: Sequence[torch.nn.Module], fn: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """Call ``fn(number, output)`` with what each of the modules returns; nothing is changed.

    Args:
        modules: The modules; of a tuple that one returns the first entry is passed on.
        fn: Called with the module's number in ``modules`` and its output tensor.
    """
    with contextlib.ExitStack() as stack:
        for number, module in enumerate(modules):

            def after(_module: Any, _args: Any, output: Any, number: int = number) -> None:
                fn(number, output[0] if isinstance(output, tuple) else output)

            stack.enter_context(holding(module.register_forward_hook(after)))
        yield


def _check_fired(
    module: torch.nn.Module, site: str, expected: frozenset[int], fired: set[int]
) -> Any:
    """After the first pass through the decoder, refuse to go on if a hook was silent."""

    def hook(module: torch.nn.Module, *_: Any) -> None:
        _refuse_tracing()
        handle.remove()
        missed = sorted(expected - fired)
        # In training a model may drop whole layers on purpose.
        if missed and not module.training:
            raise RunError(
                f"the module of site {site!r} in layer {missed[0]} was not called although the "
                "model ran: the model leaves that layer out, or a fused kernel replaces it. Use "
                "other layers, or load the model without the kernel."
            )

    handle = module.register_forward_hook(hook)
    return handle


def _refuse_tracing() -> None:
    if torch.compiler.is_compiling():
        raise RunError(
            "a function around the model is compiled by torch.compile, which would keep or lose "
            "the hooks: run the model outside it."
        )


class _Running:
    """What is known of the running pass: the layer, its (batch, sequence), layers that had a say.

    Followed where needed only: in sites whose modules see neither, or serve several layers.
    """

    def __init__(self) -> None:
        self.layer = -1
        self.shape = torch.Size()
        self.fired: set[int] = set()

    def follow(self, module: torch.nn.Module, layer: int) -> Any:
        def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            self.layer, self.shape = layer, hidden.shape[:2]

        return module.register_forward_pre_hook(hook, with_kwargs=True)


def _attach(site: Site, layer: int, fn: SiteFunction, running: _Running) -> Any:
    """Hook one layer's module."""
    module = site.modules[layer]
    change = _changing(site, layer, fn, running)
    experts = site.experts[layer] if site.experts else None
    if experts is not None and experts.listed:
        return module.register_forward_pre_hook(rerouting(experts, change), with_kwargs=True)
    if site.side == "output":

        def after(_module: Any, _args: Any, output: Any) -> Any:
            # Some layers return several things, of which the hidden states are the first.
            if not isinstance(output, tuple | list):
                return change(output)
            changed = change(output[0])
            return None if changed is None else type(output)((changed, *output[1:]))

        return module.register_forward_hook(after)

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            changed = change(args[0])
            return None if changed is None else ((changed, *args[1:]), kwargs)
        name = next(iter(kwargs))
        changed = change(kwargs[name])
        return None if changed is None else (args, {**kwargs, name: changed})

    return module.register_forward_pre_hook(before, with_kwargs=True)


def _changing(
    site: Site, layer: int, fn: SiteFunction, running: _Running
) -> Callable[[Tensor], Tensor | None]:
    """``fn`` on the units within the tensor that the hooked module takes or gives."""
    columns, heads, fired = site.layer_columns[layer], site.heads, running.fired

    def whole(tensor: Tensor) -> Tensor | None:
        # The shortest way, as it is walked once per layer and decoded token.
        fired.add(layer)
        _refuse_tracing()
        return fn(layer, tensor)

    def part(tensor: Tensor) -> Tensor | None:
        if site.shared and running.layer != layer:
            return None
        flat = site.flat and tensor.ndim == 2
        full = tensor.unflatten(0, running.shape) if flat else tensor
        if columns is not None:
            index = columns.to(full.device)
            changed = whole(full.index_select(-1, index))
            changed = None if changed is None else full.index_copy(-1, index, changed)
        elif heads is not None:
            fired.add(layer)
            _refuse_tracing()
            changed = _change_norms(layer, full, heads, fn)
        else:
            changed = whole(full)
        return None if changed is None else changed.reshape(tensor.shape)

    return (
        whole if columns is None and heads is None and not site.flat and not site.shared else part
    )


def _change_norms(layer: int, whole: Tensor, heads: int, fn: SiteFunction) -> Tensor | None:
    """Give ``fn`` the L2 norm of each head's slice; scale the slices to the norms it returns.

    A slice of norm 0 has no direction and stays 0.
    """
    slices = whole.unflatten(-1, (heads, -1))
    norms = torch.linalg.vector_norm(slices, dim=-1)
    wanted = fn(layer, norms.clone())
    if wanted is None:
        return None
    # Also for the sake of the gradient no norm of 0 is divided by.
    scale = torch.where(norms > 0, wanted / norms.where(norms > 0, 1), 0)
    scaled: Tensor = slices * scale.unsqueeze(-1)
    return scaled.flatten(-2)
