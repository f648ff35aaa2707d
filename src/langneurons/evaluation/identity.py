"""What a score depends on, as plain values: two results of equal identity are one result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langneurons.evaluation.classification import reading_length
from langneurons.models.plain import plain_model
from langneurons.models.running import head_digest, running_state

if TYPE_CHECKING:
    from langneurons.models import LanguageModel


def identity(lm: LanguageModel) -> dict[str, Any]:
    """Which weights run, in which precision, and where a head reads.

    Beside the model's fingerprint: adapters however they came onto it (also merged, fully tuned or
    loaded before), the head, dtype and kind of device, and hooks that are active, also outside the
    backbone (they enter with the head).
    """
    lm.refresh()
    config = plain_model(lm.model).config
    return {
        "model": lm.fingerprint,
        **{"weights": None, "adapter": None, **running_state(lm)},
        "class": type(plain_model(lm.model)).__name__,
        "head": head_digest(lm),
        "reads": [getattr(config, "pad_token_id", None), reading_length(lm)],
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device": lm.device.type,
    }
