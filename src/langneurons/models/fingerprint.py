"""What a model is, by content: so that neurons of one model are not written into another.

Two questions, two answers. :func:`weights_digest`: which model is it, adapters left out; what
neurons, values and adapters belong to. :func:`marks` and :func:`sample_digest`: has it been changed
since, asked often and answered in no time. What else decides what runs now, such as an active
adapter or a hook, is in :mod:`langneurons.models.running`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
_WRAPPED = re.compile(r"\.(base_layer|original_module)(?=\.)")


def weights_digest(backbone: nn.Module, config: Any) -> str:
    """SHA-256 over the configuration and the weights of ``backbone``, without adapters.

    Every weight enters as bfloat16, so that one model has one digest whether it is loaded in
    float32, bfloat16, or (as far as its weights came from there) float16. Per tensor the digest
    takes name, shape, the wrapping sum of the bit patterns of all elements, and a strided sample of
    at most 1024 of them: one pass at the speed of memory, yet a single changed weight shows.
    What PEFT put around the weights does not enter. Of the configuration only what differs from the
    defaults of its class enters, so that a key that a later library adds changes nothing. Weights
    that Accelerate keeps on disk or elsewhere while they are not needed are fetched one at a time.
    """
    parts = digest_parts(backbone, own_tensors(backbone))
    return digest(_config(config), *parts)


def digest_parts(backbone: nn.Module, tensors: Mapping[str, torch.Tensor]) -> list[Any]:
    """Name, shape, sum and sample of tensors of ``backbone``; see :func:`weights_digest`."""
    parts: list[Any] = []
    for name, tensor in tensors.items():
        flat = _fetched(backbone, name, tensor).detach().reshape(-1)
        total = 0
        for start in range(0, flat.numel(), _CHUNK):
            total += _sum(_bits(flat[start : start + _CHUNK]))
        parts += [_WRAPPED.sub("", name), list(tensor.shape), total, _sampled(flat)]
    return parts


def own_tensors(backbone: nn.Module) -> dict[str, torch.Tensor]:
    """The state of ``backbone`` by name, without what PEFT put around its modules."""
    state = {
        name: tensor
        for name, tensor in backbone.state_dict().items()
        if isinstance(tensor, torch.Tensor)
    }
    foreign = adapter_names(state)
    return {name: tensor for name, tensor in state.items() if name not in foreign}


def adapter_names(state: Mapping[str, torch.Tensor]) -> set[str]:
    """Names of tensors that lie in a wrapper, beside the module it wraps."""
    wrapped = [name for name in state if ".base_layer." in name or ".original_module." in name]
    wrappers = {name[: found.start()] for name in wrapped for found in _WRAPPED.finditer(name)}
    return {
        name
        for name in state
        for wrapper in wrappers
        if name.startswith(f"{wrapper}.")
        and not name.startswith((f"{wrapper}.base_layer.", f"{wrapper}.original_module."))
    }


def _config(config: Any) -> dict[str, Any]:
    """What a configuration says beyond the defaults of its class."""
    kept = {key: value for key, value in config.to_dict().items() if key not in _IGNORED_CONFIG}
    try:
        default = type(config)().to_dict()
    except (TypeError, ValueError, AttributeError):  # a class that cannot be built from nothing
        default = {}
    return {**_beyond(kept, default), "model_type": kept.get("model_type")}


def _beyond(values: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        usual = default.get(key)
        if isinstance(value, Mapping) and isinstance(usual, Mapping):
            rest = _beyond({str(name): item for name, item in value.items()}, usual)
            if rest:
                found[key] = rest
        elif value != usual:
            found[key] = value
    return found


def marks(backbone: nn.Module) -> tuple[Any, ...]:
    """Address and version of every weight of the model itself: equal while nobody writes to them.

    Costs microseconds a tensor and no read. Integers (quantised weights) are left out, as their
    libraries move them about.
    """
    named = dict((*backbone.named_parameters(), *backbone.named_buffers()))
    foreign = adapter_names(named)
    return tuple(
        (_WRAPPED.sub("", name) if foreign else name, _address(tensor), tensor.dtype,
         _version(tensor))
        for name, tensor in named.items()
        if name not in foreign and tensor.is_floating_point() and not tensor.is_meta
    )  # fmt: skip


def _address(tensor: torch.Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # a tensor around others, as sharded and quantised weights are
        return id(tensor)


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else int(tensor._version)


def sample_digest(backbone: nn.Module, config: Any) -> str:
    """SHA-256 over configuration, names, shapes and at most 1024 elements of every weight.

    Milliseconds for any model. It shows what :func:`marks` cannot, such as ``weight.data``
    multiplied by a number; a single changed element it may miss.
    """
    parts: list[Any] = []
    for name, tensor in own_tensors(backbone).items():
        sampled = b"" if tensor.is_meta else _sampled(tensor.detach().reshape(-1))
        parts += [_WRAPPED.sub("", name), list(tensor.shape), sampled]
    return digest(_config(config), *parts)


def same_model(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two fingerprints are of one model; also where one of them is not known."""
    known = [item["sha256"] for item in (one, other) if item and item.get("sha256")]
    return len(set(known)) < 2


def _fetched(backbone: nn.Module, name: str, tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_meta:
        return tensor
    from accelerate.utils import align_module_device

    parent, _, own = name.rpartition(".")
    module = backbone.get_submodule(parent)
    with align_module_device(module, "cpu"):
        fetched: torch.Tensor = module.state_dict()[own]
        return fetched


def _sampled(flat: torch.Tensor) -> bytes:
    step = max(1, -(-flat.numel() // _SAMPLE))
    return bytes(_bits(flat[::step]).cpu().numpy().tobytes())


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
