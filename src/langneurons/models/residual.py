"""What an MLP adds to the residual stream, found by running the layers with it and without."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from langneurons.errors import InputError
from langneurons.models.handles import holding
from langneurons.models.trace import first_tensor, tiny_ids

if TYPE_CHECKING:
    from langneurons.models.language_model import LanguageModel

_ROWS = 3
_FAR = 16
"""How far above the stream the numbers lie that are put in."""


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

    One pass over three equal rows of three tokens: every layer gets the last row's input in all
    rows; in the first the module gives nothing, in the second numbers far above the stream, so that
    rounding in low precision hides nothing. The outputs' difference is compared with those.

    Raises:
        InputError: If a layer has no MLP, or what it does to the stream is no multiple of what the
            module gives (a learned rate for each coordinate, something behind it).
    """
    mlps = [lm.sites.mlps[layer] for layer in range(lm.layers)]
    modules = [(mlp.norm or mlp.down).module for mlp in mlps]
    given: dict[int, Tensor] = {}
    factors: dict[int, float] = {}

    def begin(layer: int) -> Any:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            hidden = hidden[..., -1:, :, :].expand_as(hidden).clone()
            if hidden.ndim == 3:
                given[layer] = _FAR * (hidden[0].abs() + 1)
            if args:
                return (hidden, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": hidden}

        return hook

    def replace(layer: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            rows = output.clone().reshape(_ROWS, -1, output.shape[-1])
            rows[0] = 0
            if layer in given and given[layer].shape == rows[1].shape:
                rows[1] = given[layer].to(rows.dtype)
            return rows.reshape(output.shape)

        return hook

    def compare(layer: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            whole = first_tensor(output)
            assert whole is not None
            factors[layer] = _factor(lm, layer, whole, given.get(layer))

        return hook

    with contextlib.ExitStack() as stack, torch.no_grad():
        for layer, (module, owner) in enumerate(zip(modules, lm.layer_modules, strict=True)):
            start = owner.register_forward_pre_hook(begin(layer), with_kwargs=True)
            stack.enter_context(holding(start))
            stack.enter_context(holding(module.register_forward_hook(replace(layer))))
            stack.enter_context(holding(owner.register_forward_hook(compare(layer))))
        lm.backbone(input_ids=tiny_ids(lm.backbone, _ROWS), use_cache=False)
    return tuple(
        Written(module, mlp.norm is not None, factors[layer])
        for layer, (module, mlp) in enumerate(zip(modules, mlps, strict=True))
    )


def _factor(lm: LanguageModel, layer: int, whole: Tensor, added: Tensor | None) -> float:
    coarse = whole.dtype in (torch.float16, torch.bfloat16)
    if added is not None and whole.ndim == 3:
        added = added.double()
        ratio = (whole[1].double() - whole[0].double()) / added
        # Of a coordinate that outgrows its type nothing is left to see.
        seen = ratio[ratio.isfinite()]
        enough = len(seen) >= 0.9 * ratio.numel()
        factor = float(seen.median()) if enough else 0.0
        few = float((seen - factor).abs().quantile(0.98)) if enough else 0.0
        if factor != 0 and few <= (3e-2 if coarse else 1e-3) * abs(factor):
            # A number of few digits in the configuration, seen through rounding.
            plain = float(f"{factor:.2g}" if coarse else f"{factor:.3g}")
            near = abs(plain - factor) <= (5e-3 if coarse else 1e-4) * abs(factor)
            return plain if near else factor
    raise InputError(
        f"what the MLP of layer {layer} of {lm.name} adds to the residual stream is no multiple of "
        "what its down projection or the norm behind it gives: use another method or model."
    )
