"""A second module tree around the same weights, so that adapters never touch the user's model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification

_HEAD_STD = 0.02
_QUANTISED = (
    "is_loaded_in_4bit",
    "is_loaded_in_8bit",
    "is_quantized",
    "quantization_method",
    "hf_quantizer",
)


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy of the module tree whose parameters and buffers are the very same tensors.

    PEFT replaces modules in place. Done on the copy, the original keeps its modules, and no weight
    is held twice.

    Args:
        model: Any module.

    Returns:
        New modules around the old tensors. Writing to a weight writes to both.
    """
    memo: dict[int, Any] = {
        id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]
    }
    return copy.deepcopy(model, memo)


def classification_model(
    causal: PreTrainedModel, labels: Sequence[str], *, pad: int, seed: int = 0
) -> PreTrainedModel:
    """A sequence classification model around the modules of a causal model.

    The class is the one Transformers registers for the architecture, so its adapter loads with
    ``AutoModelForSequenceClassification`` and PEFT alone; where there is none (Cohere, XGLM), it is
    Transformers' generic one. The head reads the last token that is not ``pad``.

    Args:
        causal: Model with a language modelling head; its backbone modules are used, not copied.
        labels: Names of the classes, in the order of their ids.
        pad: Padding id; the last token that differs from it is read.
        seed: Of the head's initial weights (normal, standard deviation 0.02).

    Returns:
        The model, in evaluation mode, on the device and in the dtype of the backbone; the new head
        is float32.
    """
    config = copy.deepcopy(causal.config)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.pad_token_id = pad
    config.get_text_config().pad_token_id = pad
    with torch.device("meta"):
        model = classification_class(causal)(config)
    for name in _QUANTISED:  # PEFT goes by these marks of the model
        if hasattr(causal, name):
            setattr(model, name, getattr(causal, name))
    backbone = getattr(causal, causal.base_model_prefix)
    setattr(model, model.base_model_prefix, backbone)
    device = next(backbone.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    for name, module in list(model.named_modules()):
        for key, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                value = torch.zeros(parameter.shape)
                if parameter.dim() > 1:
                    value.normal_(0.0, _HEAD_STD, generator=generator)
                elif "norm" in name:
                    value.fill_(1.0)
                setattr(module, key, nn.Parameter(value.to(device), requires_grad=False))
    return cast("PreTrainedModel", model.eval())


def classification_class(causal: PreTrainedModel) -> type[PreTrainedModel]:
    """The class of Transformers for the architecture, else its generic one for this family."""
    known = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(causal.config), None)
    if known is not None:
        return cast("type[PreTrainedModel]", known)
    family = next(
        kind
        for kind in type(causal).__mro__
        if kind.__name__.endswith("PreTrainedModel") and kind is not PreTrainedModel
    )
    name = type(causal).__name__.replace("ForCausalLM", "ForSequenceClassification")
    prefix = {"base_model_prefix": causal.base_model_prefix}
    return type(name, (GenericForSequenceClassification, family), prefix)


def head_names(model: PreTrainedModel) -> list[str]:
    """Names of the direct children of a classification model that are not its backbone."""
    return [name for name, _ in model.named_children() if name != model.base_model_prefix]
