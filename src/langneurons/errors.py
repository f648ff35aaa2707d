"""Errors meant for the person at the keyboard: one line, what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LangNeuronsError(Exception):
    """Base of every error raised on purpose; its message is one line for the user."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        # A library's own message may be quoted in it, and those come with line breaks.
        super().__init__(" ".join(message.split()))


class InputError(LangNeuronsError, ValueError):
    """The user's input cannot be used; nothing was started (exit code 2)."""

    exit_code = 2


class RunError(LangNeuronsError, RuntimeError):
    """A run failed although its input was usable (exit code 1)."""


class ArtifactError(RunError):
    """A file on disk is damaged, truncated or not what its name says."""


def unknown(kind: str, name: object, known: Iterable[str], where: str = "") -> InputError:
    """Error for a name that is not known, with the nearest known ones.

    Args:
        kind: What the name should be ("method", "task", "preset", ...).
        name: The user's value.
        known: All accepted names.
        where: Where the name stands ("in the study"), if that needs saying.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    place = f" {where}" if where else ""
    there = f"Known: {', '.join(names)}." if names else "There is none: add it, or take this out."
    return InputError(f"unknown {kind} {str(name)!r}{place}.{hint} {there}")
