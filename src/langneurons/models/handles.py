"""Hooks of this package: held while a block runs, and told from those of others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

_attached: set[int] = set()
"""Ids of the hooks that blocks of this package hold now (PyTorch counts them up, never again)."""


@contextlib.contextmanager
def holding(handle: Any) -> Iterator[None]:
    """Keep a hook while the block runs, known as one of this package's."""
    _attached.add(handle.id)
    try:
        yield
    finally:
        _attached.discard(handle.id)
        handle.remove()


@contextlib.contextmanager
def replacing(module: torch.nn.Module, name: str, fn: Callable[..., Any]) -> Iterator[None]:
    """Put ``fn`` in the place of a module's method while the block runs."""
    fn.__dict__["_langneurons"] = True
    before = module.__dict__.get(name)
    module.__dict__[name] = fn
    try:
        yield
    finally:
        if before is None:
            del module.__dict__[name]
        else:
            module.__dict__[name] = before


def strip(model: torch.nn.Module) -> None:
    """Take this package's hooks off a copy of a model that was made while they were on."""
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in _attached & hooks.keys():
                del hooks[key]
                for marks in (
                    module._forward_hooks_with_kwargs,
                    module._forward_hooks_always_called,
                    module._forward_pre_hooks_with_kwargs,
                ):
                    marks.pop(key, None)
        ours = [name for name, item in module.__dict__.items() if hasattr(item, "_langneurons")]
        for name in ours:
            del module.__dict__[name]
