"""Forward passes that begin in the middle: what the layers below a point gave is kept and used.

Passes over the same tokens that differ only from some layer on have all layers below it in common.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from langneurons.models.handles import holding, replacing

if TYPE_CHECKING:
    from langneurons.models.language_model import LanguageModel


@contextlib.contextmanager
def keeping(lm: LanguageModel, layers: Sequence[int]) -> Iterator[dict[int, Any]]:
    """Keep what some layers return in the forward pass of the block.

    Args:
        lm: The model.
        layers: Numbers of decoder layers.

    Yields:
        Layer number to its output, filled by the pass. The tensors are the model's own.
    """
    kept: dict[int, Any] = {}
    with contextlib.ExitStack() as stack:
        for layer in layers:

            def after(_module: Any, _args: Any, output: Any, layer: int = layer) -> None:
                kept[layer] = output

            stack.enter_context(holding(lm.layer_modules[layer].register_forward_hook(after)))
        yield kept


@contextlib.contextmanager
def resuming(lm: LanguageModel, layer: int, output: Any) -> Iterator[None]:
    """Leave out the layers up to ``layer`` in the forward passes of the block.

    Args:
        lm: The model.
        layer: The last layer that is left out.
        output: What it returned for the same tokens, from :func:`keeping`; copied in every pass,
            since an intervention may write in place.
    """
    with contextlib.ExitStack() as stack:
        for number in range(layer + 1):
            fn = _returning(output, copied=number == layer)
            stack.enter_context(replacing(lm.layer_modules[number], "forward", fn))
        yield


def _returning(output: Any, *, copied: bool) -> Callable[..., Any]:
    def forward(*_args: Any, **_kwargs: Any) -> Any:
        return _copy(output) if copied else output

    return forward


def _copy(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, tuple):
        return tuple(map(_copy, output))
    return output


def free_of_hooks(lm: LanguageModel) -> bool:
    """Whether no hook in the decoder layers would be left out with them."""
    return not any(
        module._forward_hooks or module._forward_pre_hooks
        for layer in lm.layer_modules
        for module in layer.modules()
    )
