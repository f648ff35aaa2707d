"""The decoder layers of a model: where they are, and which are looked at."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from langneurons.errors import InputError
from langneurons.models.trace import trace_names


def chosen_layers(chosen: list[int] | None, count: int) -> list[int]:
    """The layers looked at: those named, or the first, the middle one and the last but one.

    Raises:
        InputError: If one is named that the model does not have.
    """
    if chosen is None:
        return sorted({0, count // 2, max(count - 2, 0)})
    wrong = [layer for layer in chosen if not 0 <= layer < count]
    if wrong:
        raise InputError(f"no layer {wrong[0]}: the model has layers 0 to {count - 1}.")
    return sorted(set(chosen))


def decoder_layers(backbone: nn.Module, count: int) -> Sequence[nn.Module]:
    """The list of the ``count`` decoder layers of ``backbone``: the largest that runs on ids.

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
    if len(fitting) > 1:  # a model for images too may have as many layers for them
        names = {id(module): name for name, module in backbone.named_modules()}
        ran = trace_names(backbone)
        running = [m for m in fitting if any(names[id(layer)] in ran for layer in m)]
        fitting = running or fitting
    sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in fitting]
    return list(fitting[sizes.index(max(sizes))])


def holder(backbone: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    """The module within ``backbone`` whose child is the list of decoder layers."""
    for module in backbone.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList) and len(child) and child[0] is layers[0]:
                return module
    return backbone
