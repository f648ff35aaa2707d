"""Words of the command line that have changed: the old ones still work, and name the new."""

from __future__ import annotations

from collections.abc import Sequence

from langneurons.cli.options import say

_OPTIONS = {
    ("collect", "--what-if"): "--dry-run",
    ("finetune", "--lang"): "--languages",
    ("sweep", "--lang"): "--languages",
}
"""(command, old option) to its new name."""


def renewed(arguments: Sequence[str]) -> list[str]:
    """The same words with the old ones replaced, each said in a line.

    Args:
        arguments: What was typed after `langneurons`.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    found = []
    for word in arguments:
        name, equals, value = word.partition("=")
        new = _OPTIONS.get((command, name))
        if new is not None:
            say(f"{name} is now {new}; the old word goes with the next version.")
            word = f"{new}{equals}{value}"
        found.append(word)
    return found
