"""Size of a model, from its own files and without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Size:
    """Size of a model.

    Attributes:
        parameters: Weights.
        layers: Layers.
        units: Inner width of the MLP, or experts in a layer where their statistics are collected.
        hidden: Width of the residual stream.
        body: Weights of the layers; None where only the sum is known, and then all of them.
        output: Weights of the projection onto the vocabulary. In small models of many languages it
            has more than the layers, and only predicting every token multiplies with it.
        active: Weights that a token passes, in a mixture of experts; None where all are.
    """

    parameters: float
    layers: int
    units: int
    hidden: int
    body: float | None = None
    output: float = 0.0
    active: float | None = None

    def operations(self, predicts: bool) -> float:
        """Floating-point operations a token, where the next one is predicted or not."""
        if self.active is not None:
            return 2 * self.active
        if self.body is None:
            return 2 * self.parameters
        return 2 * (self.body + (self.output if predicts else 0.0))


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
    body = parameters - sum(ends.values())
    return Size(parameters, layers, units, hidden, body, float(max(ends.values(), default=0)))


def _of_gguf(path: Path) -> Size | None:
    try:
        from gguf import GGUFReader
    except ImportError:
        return None
    reader = GGUFReader(path)
    family = reader.fields["general.architecture"].contents()
    found = {
        key: reader.fields.get(f"{family}.{key}")
        for key in ("block_count", "feed_forward_length", "embedding_length")
    }
    if any(item is None for item in found.values()):
        return None
    layers, units, hidden = (int(item.contents()) for item in found.values() if item is not None)
    elements = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    ends = [elements[name] for name in ("token_embd.weight", "output.weight") if name in elements]
    parameters = sum(elements.values())
    return Size(parameters, layers, units, hidden, parameters - sum(ends), max(ends, default=0))
