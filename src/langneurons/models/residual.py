"""What an MLP adds to the residual stream, found by running the layers with it and without."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from langneurons.errors import InputError
from langneurons.models.hooks import holding
from langneurons.models.trace import first_tensor, tiny_ids

if TYPE_CHECKING:
    from langneurons.models.language_model import LanguageModel

_ROWS = 3


@dataclass(frozen=True)
class Written:
    """What a layer's MLP adds to the residual stream: a module's output times a number.

    Attributes:
        module: The down projection, or the norm behind it.
        normed: Whether it is a norm.
        factor: The number (Granite, MiniCPM and Falcon-H1 scale what they add).
    """

    module: nn.Module
    normed: bool
    factor: float


def mlp_writes(lm: LanguageModel) -> tuple[Written, ...]:
    """What the MLP of each layer adds to the residual stream.

    One pass over three equal rows of three tokens: every layer gets the first row's input in all
    rows, its MLP adds nothing in the second, and the outputs' difference is compared with what the
    module gave.

    Raises:
        InputError: If a layer has no MLP, or what it does to the stream is no multiple of what the
            module gives (a learned rate for each coordinate, something behind it).
    """
    mlps = [lm.sites.mlps[layer] for layer in range(lm.layers)]
    modules = [(mlp.norm or mlp.down).module for mlp in mlps]
    given: dict[int, Tensor] = {}
    factors: dict[int, float] = {}

    def begin(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        hidden = hidden[..., :1, :, :].expand_as(hidden).clone()
        return (
            ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})
        )

    def silence(layer: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            rows = output.clone().reshape(_ROWS, -1, output.shape[-1])
            given[layer] = rows[0].clone()
            rows[1] = 0
            return rows.reshape(output.shape)

        return hook

    def compare(layer: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            whole = first_tensor(output)
            assert whole is not None
            factors[layer] = _factor(lm, layer, whole[..., 0, :, :], whole[..., 1, :, :], given)

        return hook

    with contextlib.ExitStack() as stack, torch.no_grad():
        for layer, (module, owner) in enumerate(zip(modules, lm.layer_modules, strict=True)):
            stack.enter_context(holding(owner.register_forward_pre_hook(begin, with_kwargs=True)))
            stack.enter_context(holding(module.register_forward_hook(silence(layer))))
            stack.enter_context(holding(owner.register_forward_hook(compare(layer))))
        lm.backbone(input_ids=tiny_ids(lm.backbone, _ROWS), use_cache=False)
    return tuple(
        Written(module, mlp.norm is not None, factors[layer])
        for layer, (module, mlp) in enumerate(zip(modules, mlps, strict=True))
    )


def _factor(
    lm: LanguageModel, layer: int, whole: Tensor, without: Tensor, given: dict[int, Tensor]
) -> float:
    coarse = whole.dtype in (torch.float16, torch.bfloat16)
    added = given.get(layer)
    moved = (whole.double() - without.double()) if whole.ndim == 2 else None
    if added is not None and moved is not None:
        added = added.double()
        factor = float((moved * added).sum() / added.square().sum().clamp_min(1e-30))
        apart = float((moved - factor * added).abs().max())
        scale = float(torch.stack([whole.double().abs().max(), moved.abs().max()]).max())
        if apart <= (3e-2 if coarse else 1e-4) * scale and factor != 0:
            # A number of few digits in the configuration, seen through rounding.
            plain = float(f"{factor:.3g}")
            return (
                plain if abs(plain - factor) <= (5e-3 if coarse else 1e-4) * abs(factor) else factor
            )
    raise InputError(
        f"what the MLP of layer {layer} of {lm.name} adds to the residual stream is no multiple of "
        "what its down projection or the norm behind it gives: use another method or model."
    )
