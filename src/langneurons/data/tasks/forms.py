"""Input texts: what a model reads of an example, and how long it may be."""

from __future__ import annotations

import string
from collections.abc import Collection
from dataclasses import dataclass

from langneurons.errors import InputError, unknown

END = "\ufdd0"
"""Stands for the tokenizer's end token in an input text until the text becomes tokens.

A code point that no text may hold (a Unicode noncharacter), so that it is never one of the data.
"""

EOS = "eos"
"""How a template names the end token: ``{eos}``."""


@dataclass(frozen=True)
class Form:
    """An input text with a name.

    Attributes:
        template: The text, with the example's fields and ``{eos}``, the end token, in braces.
        stop: What ends an answer (``{eos}`` for the end token); None leaves the task's own.
        max_answer_tokens: Longest answer in tokens; None leaves the task's own.
        max_tokens: Examples whose text has more tokens are left out; None: none is.
    """

    template: str
    stop: str | None = None
    max_answer_tokens: int | None = None
    max_tokens: int | None = None


def check_template(template: str, context: str, known: Collection[str]) -> None:
    """Refuse a template that cannot be filled in, or whose context cannot be shortened.

    Args:
        template: The text.
        context: Name of the field that may be shortened.
        known: All fields of an example.

    Raises:
        InputError: Naming what is wrong.
    """
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InputError(f"template {template!r} cannot be read: {error}.") from error
    if names.count(context) != 1:
        raise InputError(f"template {template!r} must hold {{{context}}} exactly once.")
    for name in names:
        if name != EOS and name not in known:
            raise unknown("field", name, [*known, EOS], f"in template {template!r}")
