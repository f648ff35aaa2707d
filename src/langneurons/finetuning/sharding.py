"""Frozen weights spread over processes (FSDP), as Accelerate's own configuration asks for."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils import str_to_bool
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from langneurons.errors import InputError
from langneurons.finetuning.recipe import Recipe


def sharding_asked_for() -> bool:
    """Whether ``accelerate launch`` started this process with FSDP, among others."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return several and bool(str_to_bool(os.environ.get("ACCELERATE_USE_FSDP", "false")))


def sharding_settings(recipe: Recipe) -> FullyShardedDataParallelPlugin:
    """What Accelerate's configuration says of FSDP.

    Raises:
        InputError: If it, or the recipe, asks for what is not done here.
    """
    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise InputError(
            f"version {plugin.fsdp_version} of FSDP cannot keep trained weights apart from frozen "
            "ones: use version 2 (fsdp_version: 2 in Accelerate's configuration)."
        )
    if plugin.activation_checkpointing:
        raise InputError(
            "fsdp_activation_checkpointing is a setting of the recipe here: set it to false and "
            "train with gradient_checkpointing=True."
        )
    if recipe.method == "full":
        raise InputError(
            "method='full' trains every weight, and FSDP here spreads frozen weights only: use "
            "method 'lora' or 'rows', or launch without FSDP."
        )
    return plugin


def shard(
    model: nn.Module,
    layers: Sequence[nn.Module],
    device: torch.device,
    settings: FullyShardedDataParallelPlugin,
) -> None:
    """Leave in each process its share of every frozen weight of ``model``.

    A layer's weights are gathered while it computes. The trained weights, which for an adapter are
    few, stay whole in every process; so do packed (integer) weights of quantised models.

    The tensors of the model that ``model`` was made from are not touched: they stay whole, and
    where they were. To save memory on accelerators, that model is loaded on the CPU.

    Args:
        model: The model that is trained.
        layers: Its decoder layers.
        device: Where to compute.
        settings: Accelerate's.
    """
    _own_tensors(model)
    whole = {p for p in model.parameters() if p.requires_grad or not p.is_floating_point()}
    for parameter in whole:
        parameter.data = parameter.data.to(device)
    mesh = init_device_mesh(device.type, (int(os.environ["WORLD_SIZE"]),))
    again = bool(settings.reshard_after_forward)
    for layer in [*layers, model]:
        fully_shard(
            layer,
            mesh=mesh,
            reshard_after_forward=again if layer is not model else None,
            mp_policy=settings.mixed_precision_policy or MixedPrecisionPolicy(),
            offload_policy=settings.cpu_offload,
            ignored_params=whole,
        )


def _own_tensors(model: nn.Module) -> None:
    """Give ``model`` tensor objects of its own around the same memory.

    FSDP moves weights between devices in place; done on shared objects it would move the user's.
    """
    memo: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad and type(parameter) is nn.Parameter:
                fresh = nn.Parameter(parameter.data, requires_grad=False)
                setattr(module, name, memo.setdefault(id(parameter), fresh))
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = memo.setdefault(id(buffer), buffer.detach())
