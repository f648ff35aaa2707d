"""Which layers of a model are looked at."""

from __future__ import annotations

from langneurons.errors import InputError


def chosen_layers(chosen: list[int] | None, count: int) -> list[int]:
    """The layers looked at: those named, or the first, the middle one and the last but one.

    Raises:
        InputError: If one is named that the model does not have.
    """
    if chosen is None:
        return sorted({0, count // 2, max(count - 2, 0)})
    wrong = [layer for layer in chosen if not 0 <= layer < count]
    if wrong:
        raise InputError(f"no layer {wrong[0]}: the model has layers 0 to {count - 1}.")
    return sorted(set(chosen))
