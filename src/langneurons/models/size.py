"""Size of a model, from its own files and without its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Size:
    """Size of a model.

    Attributes:
        parameters: Weights.
        layers: Layers.
        units: Inner width of the MLP; in a size that a study gives for a mixture, experts in a
            layer if their statistics are collected.
        hidden: Width of the residual stream.
        body: Weights of the layers; None where only the sum is known, and then all of them.
        output: Weights of the projection onto the vocabulary. In small models of many languages it
            has more than the layers, and only predicting every token multiplies with it.
        active: Weights that a token passes, in a mixture of experts; None where all are, or where
            ``body`` already leaves out those of the experts that do not run.
        experts: Experts in a layer; 0 in a dense model.
        chosen: Experts that a token is sent to.
        inner: Units in each expert.
    """

    parameters: float
    layers: int
    units: int
    hidden: int
    body: float | None = None
    output: float = 0.0
    active: float | None = None
    experts: int = 0
    chosen: int = 0
    inner: int = 0

    def operations(self, predicts: bool) -> float:
        """Floating-point operations a token, where the next one is predicted or not."""
        if self.active is not None:
            return 2 * self.active
        if self.body is None:
            return 2 * self.parameters
        return 2 * (self.body + (self.output if predicts else 0.0))

    def at(self, site: str) -> tuple[int, int]:
        """Units of a layer at a site, and how many of them have a value at a token."""
        if site == "moe.router":
            return (self.experts or self.units,) * 2
        if site.startswith("moe."):
            return (self.experts * self.inner or self.units, self.chosen * self.inner or self.units)
        if site == "resid" or site.startswith("attn."):
            return self.hidden, self.hidden  # up to the width of heads
        return self.units, self.units


def of_model(name: str, path: Path) -> Size | None:
    """Size of a model; None if it cannot be known without fetching anything.

    Args:
        name: What the model is called on the Hub.
        path: Where its files lie, if they do.
    """
    if path.suffix.lower() == ".gguf":
        return _of_gguf(path) if path.is_file() else None
    try:
        return _of_config(str(path) if path.is_dir() else name)
    except (OSError, ValueError, ImportError, AttributeError):
        return None


def _of_config(place: str) -> Size:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(place, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    units = next(
        (
            int(getattr(text, name))
            for name in ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
            if getattr(text, name, None)
        ),
        4 * int(text.hidden_size),
    )
    parameters = sum(item.numel() for item in model.parameters())
    layers, hidden = int(text.num_hidden_layers), int(text.hidden_size)
    ends = {}  # tied weights are one parameter, counted once
    for end in (model.get_input_embeddings(), model.get_output_embeddings()):
        if end is not None:
            ends[id(end.weight)] = end.weight.numel()
    output = float(max(ends.values(), default=0))
    experts, inner, stacked = _experts(model, hidden)
    chosen = min(experts, _first(text, _CHOSEN))
    idle = stacked * (1 - chosen / experts) if chosen else 0.0
    body = parameters - sum(ends.values()) - idle
    return Size(
        parameters, layers, units, hidden, body, output,
        experts=experts, chosen=chosen, inner=inner,
    )  # fmt: skip


_CHOSEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_k",
    "num_selected_experts",
)


def _first(config: Any, names: Sequence[str]) -> int:
    """The first setting of these names that is there and above 0."""
    found = (getattr(config, name, None) for name in names)
    return next((item for item in found if isinstance(item, int) and item > 0), 0)


def _experts(model: nn.Module, hidden: int) -> tuple[int, int, int]:
    """Experts in a layer, units in each, and all weights of experts; zeros in a dense model."""
    stacks = {
        name: weight for name, weight in model.named_parameters()
        if weight.ndim == 3 and ".experts." in name
    }  # fmt: skip
    downs = [weight for name, weight in stacks.items() if name.endswith("down_proj")]
    if not downs:
        return 0, 0, 0
    count = int(downs[0].shape[0])
    return count, downs[0].numel() // (count * hidden), sum(w.numel() for w in stacks.values())


def _of_gguf(path: Path) -> Size | None:
    try:
        from gguf import GGUFReader
    except ImportError:
        return None
    reader = GGUFReader(path)
    family = reader.fields["general.architecture"].contents()

    def value(key: str) -> int:
        field = reader.fields.get(f"{family}.{key}")
        return 0 if field is None else int(field.contents())

    layers, hidden = value("block_count"), value("embedding_length")
    experts, chosen = value("expert_count"), value("expert_used_count")
    inner = value("expert_feed_forward_length") or (value("feed_forward_length") if experts else 0)
    units = value("feed_forward_length") or inner
    if not (layers and units and hidden):
        return None
    elements = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    ends = [elements[name] for name in ("token_embd.weight", "output.weight") if name in elements]
    parameters = sum(elements.values())
    stacked = sum(size for name, size in elements.items() if "_exps." in name)
    idle = stacked * (1 - chosen / experts) if experts else 0.0
    body = parameters - sum(ends) - idle
    return Size(
        parameters, layers, units, hidden, body, max(ends, default=0),
        experts=experts, chosen=chosen, inner=inner,
    )  # fmt: skip
