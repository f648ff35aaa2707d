"""What a model is, by content: so that neurons of one model are not written into another."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from langneurons.artifacts import digest

_SAMPLE = 1024
_CHUNK = 1 << 24
_IGNORED_CONFIG = frozenset(
    {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "quantization_config",
     "architectures", "use_cache", "id2label", "label2id", "problem_type", "pad_token_id"}
)  # fmt: skip


def weights_digest(backbone: nn.Module, config: Any) -> str:
    """SHA-256 over the configuration and the weights of ``backbone``.

    Every weight enters as bfloat16, so that one model has one digest whether it is loaded in
    float32, bfloat16, or (as far as its weights came from there) float16. Per tensor the digest
    takes name, shape, the wrapping sum of the bit patterns of all elements, and a strided sample of
    at most 1024 of them: one pass at the speed of memory, yet a single changed weight shows.
    Adapter weights (names with ``lora_``) do not enter. Weights that Accelerate keeps on disk or
    elsewhere while they are not needed are fetched one at a time.
    """
    parts: list[Any] = []
    for name, tensor in backbone.state_dict().items():
        if "lora_" in name or not isinstance(tensor, torch.Tensor):
            continue
        flat = _fetched(backbone, name, tensor).detach().reshape(-1)
        total = 0
        for start in range(0, flat.numel(), _CHUNK):
            total += _sum(_bits(flat[start : start + _CHUNK]))
        step = max(1, -(-flat.numel() // _SAMPLE))
        parts += [
            re.sub(r"\.base_layer\b", "", name),
            list(tensor.shape),
            total,
            _bits(flat[::step]).cpu().numpy().tobytes(),
        ]
    kept = {key: value for key, value in config.to_dict().items() if key not in _IGNORED_CONFIG}
    return digest(kept, *parts)


def _fetched(backbone: nn.Module, name: str, tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_meta:
        return tensor
    from accelerate.utils import align_module_device

    parent, _, own = name.rpartition(".")
    module = backbone.get_submodule(parent)
    with align_module_device(module, "cpu"):
        fetched: torch.Tensor = module.state_dict()[own]
        return fetched


def _sum(bits: torch.Tensor) -> int:
    """Wrapping sum of the bit patterns, eight bytes at a time (memory speed, any order)."""
    data = bits.view(torch.uint8)
    whole = data.numel() // 8 * 8
    total = int(data[:whole].view(torch.int64).sum()) if whole else 0
    return total + int(data[whole:].sum(dtype=torch.int64))


def _bits(values: torch.Tensor) -> torch.Tensor:
    if values.is_floating_point():
        return values.to(torch.bfloat16).contiguous().view(torch.int16)
    return values.contiguous()
