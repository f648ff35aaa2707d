"""The dtype a device is good at: measured by a small matrix product, not looked up by name."""

from __future__ import annotations

import functools
import time
from typing import Any

import torch

WORTH = 1.4
"""How many times as fast as float32 bfloat16 must be to be taken: it keeps 8 bits of 24."""
_TRIES, _PATIENCE = 5, 0.1


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it clearly faster than float32, else float32.

    Measured once a process and kind of device; takes some hundredths of a second.
    """
    return torch.bfloat16 if bf16_gain(device.type) >= WORTH else torch.float32


@functools.cache
def bf16_gain(kind: str) -> float:
    """Time of a matrix product in float32 by that in bfloat16 on a kind of device ("cpu", ...)."""
    rows, width = (64, 1024) if kind == "cpu" else (4096, 4096)
    try:
        slow, fast = (
            _seconds(kind, rows, width, dtype) for dtype in (torch.float32, torch.bfloat16)
        )
    except (RuntimeError, TypeError):
        return 0.0  # the device has no product in bfloat16
    return slow / fast


def _seconds(kind: str, rows: int, width: int, dtype: torch.dtype) -> float:
    """The best of a few tries: other work on the machine only ever adds time."""
    # Values of every size: zeros and ones are cheaper on some devices.
    a = torch.linspace(-1, 1, rows * width, device=kind).reshape(rows, width).to(dtype)
    b = torch.linspace(-1, 1, width * width, device=kind).reshape(width, width).to(dtype)
    found: list[float] = []
    # The first one warms up, unless it is so slow that more would only cost time.
    while len(found) <= _TRIES and sum(found) < _PATIENCE:
        start = time.perf_counter()
        float((a @ b)[0, 0])  # waits for an accelerator
        found.append(time.perf_counter() - start)
    return min(found)


def auto_dtype(config: Any, device: torch.device, *, quantised_file: bool = False) -> Any:
    """The dtype that ``dtype="auto"`` loads a model in.

    Weights stored in float32 stay float32. Those stored in 16 bits, or in fewer in a file
    (``.gguf``), are computed in the device's :func:`fast_dtype`; where that is float32 and would
    not fit into the device's memory, they stay as stored. A model that is quantised in memory
    is left to Transformers.

    Args:
        config: The model's configuration, as stored.
        device: Where it goes.
        quantised_file: Whether the weights come from a file of fewer bits.

    Returns:
        A ``torch.dtype``, or ``"auto"`` (as stored).
    """
    if getattr(config, "quantization_config", None) is not None:
        return "auto"
    stored = getattr(config, "dtype", None) or torch.float32
    if stored not in (torch.bfloat16, torch.float16) and not quantised_file:
        return "auto"
    wanted = fast_dtype(device)
    if wanted == torch.float32 and 4 * parameters(config) > memory(device):
        return "auto"
    return wanted


def parameters(config: Any) -> int:
    """Number of weights of a causal model, by its configuration; 0 where that cannot be known."""
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception:  # code of its own, a class without a causal model: said when it is loaded
        return 0
    return sum(parameter.numel() for parameter in model.parameters())


def memory(device: torch.device) -> int:
    """Bytes of memory that a device has: what is free of it would change from run to run."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    import psutil

    return int(psutil.virtual_memory().total)
