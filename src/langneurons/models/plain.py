"""A model without what is around it, and what its configuration says."""

from __future__ import annotations

from typing import Any


def plain_model(model: Any) -> Any:
    """The Transformers model inside PEFT's and ``torch.compile``'s wrappers."""
    model = getattr(model, "_orig_mod", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def positions(config: Any) -> int | None:
    """Positions in a decoder's table of them, by its configuration.

    Args:
        config: Configuration of the decoder.

    Returns:
        The number; None where positions are computed as needed (rotary embeddings, ALiBi), so
        that a longer text is no error.
    """
    computed = any(getattr(config, name, None) for name in ("rope_parameters", "alibi"))
    found = getattr(config, "max_position_embeddings", None)
    return None if computed or found is None else int(found)
