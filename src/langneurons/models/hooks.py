"""The one file that hooks models: read or replace the units of a site while the model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langneurons.errors import InputError, RunError

if TYPE_CHECKING:
    from langneurons.models.language_model import LanguageModel
    from langneurons.models.sites import Site

SiteFunction = Callable[[int, Tensor], Tensor | None]


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
            None), or a tensor of the same shape to replace it.
        layers: Layer numbers; None for all.

    Raises:
        InputError: If the model lacks the site or a layer, or is compiled by ``torch.compile``.
        RunError: From the first forward pass, if a hooked module was not called in it (fused
            kernels that replace the forward of the module's parent do that).
    """
    _refuse_compiled(lm)
    place = lm.sites[site]
    chosen = list(range(lm.layers)) if layers is None else list(layers)
    wrong = [layer for layer in chosen if not 0 <= layer < lm.layers]
    if wrong:
        raise InputError(f"no layer {wrong[0]}: {lm.name} has layers 0 to {lm.layers - 1}.")
    fired: set[int] = set()
    with contextlib.ExitStack() as stack:
        shapes: list[torch.Size] = []
        if place.flat and chosen:
            stack.callback(_note_shape(lm.layer_modules[min(chosen)], shapes).remove)
        for layer in chosen:
            stack.callback(_attach(place, layer, fn, fired, shapes).remove)
        if chosen:
            last = lm.layer_modules[max(chosen)]
            stack.callback(_check_fired(last, site, frozenset(chosen), fired).remove)
        yield


def _refuse_compiled(lm: LanguageModel) -> None:
    """Compiled code does not look at hooks added later: they would be ignored in silence."""
    compiled = hasattr(lm.model, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in lm.model.modules()
    )
    if compiled:
        raise InputError(
            f"{lm.name} is compiled by torch.compile, which ignores hooks: use the model as it was "
            "before, or bake the intervention into the weights first."
        )


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

            stack.callback(module.register_forward_hook(after).remove)
        yield


def _check_fired(
    module: torch.nn.Module, site: str, expected: frozenset[int], fired: set[int]
) -> Any:
    """After the first pass through the last hooked layer, refuse to go on if a hook was silent."""

    def hook(module: torch.nn.Module, *_: Any) -> None:
        handle.remove()
        missed = sorted(expected - fired)
        # In training a model may drop whole layers on purpose.
        if missed and not module.training:
            raise RunError(
                f"the module of site {site!r} in layer {missed[0]} was not called although the "
                "model ran: a fused or compiled kernel replaces it. Load the model without it."
            )

    handle = module.register_forward_hook(hook)
    return handle


def _note_shape(module: torch.nn.Module, shapes: list[torch.Size]) -> Any:
    def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        shapes[:] = [hidden.shape[:2]]

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _attach(
    site: Site, layer: int, fn: SiteFunction, fired: set[int], shapes: list[torch.Size]
) -> Any:
    columns = site.columns
    heads = site.heads
    whole_tensor = columns is None and heads is None and not site.flat

    def change(tensor: Tensor) -> Tensor | None:
        fired.add(layer)
        if whole_tensor:
            return fn(layer, tensor)
        whole = tensor.unflatten(0, shapes[0]) if site.flat else tensor
        if columns is not None:
            index = columns.to(whole.device)
            changed = fn(layer, whole.index_select(-1, index))
            changed = None if changed is None else whole.index_copy(-1, index, changed)
        elif heads is not None:
            changed = _change_norms(layer, whole, heads, fn)
        else:
            changed = fn(layer, whole)
        return None if changed is None else changed.reshape(tensor.shape)

    if site.name == "resid":
        # Some layers return a tuple that begins with the hidden states.
        def behind(_module: Any, _args: Any, output: Any) -> Any:
            several = isinstance(output, tuple)
            changed = change(output[0] if several else output)
            return (changed, *output[1:]) if several and changed is not None else changed

        return site.modules[layer].register_forward_hook(behind)

    if site.side == "output" and whole_tensor:
        # The shortest way, as it is walked once per layer and decoded token.
        def straight(_module: Any, _args: Any, output: Tensor) -> Tensor | None:
            fired.add(layer)
            return fn(layer, output)

        return site.modules[layer].register_forward_hook(straight)

    if site.side == "output":

        def after(_module: Any, _args: Any, output: Any) -> Tensor | None:
            return change(output)

        return site.modules[layer].register_forward_hook(after)

    def before(
        _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if args:
            changed = change(args[0])
            return None if changed is None else ((changed, *args[1:]), kwargs)
        name = next(iter(kwargs))
        changed = change(kwargs[name])
        return None if changed is None else (args, {**kwargs, name: changed})

    return site.modules[layer].register_forward_pre_hook(before, with_kwargs=True)


def _change_norms(layer: int, whole: Tensor, heads: int, fn: SiteFunction) -> Tensor | None:
    """Give ``fn`` the L2 norm of each head's slice; scale the slices to the norms it returns.

    A slice of norm 0 has no direction and stays 0.
    """
    slices = whole.unflatten(-1, (heads, -1))
    norms = torch.linalg.vector_norm(slices, dim=-1)
    wanted = fn(layer, norms.clone())
    if wanted is None:
        return None
    scale = torch.where(norms > 0, wanted / norms, torch.zeros_like(norms))
    scaled: Tensor = slices * scale.unsqueeze(-1)
    return scaled.flatten(-2)
