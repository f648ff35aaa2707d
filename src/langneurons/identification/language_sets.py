"""The language sets of the paper, by name (arXiv 2503.17456)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from langneurons.errors import InputError, unknown

LANGUAGE_SETS: Mapping[str, tuple[str, ...]] = {
    "set1": ("en", "fr", "es", "vi", "id", "ja", "zh"),
    "set2": ("en", "fr", "vi", "zh", "bn", "hi", "te", "mr"),
    "set3": ("bn", "hi", "ta", "te", "mr", "ur", "kn", "ml", "pa"),
    "set4": ("en", "fr", "es", "vi", "id", "ja", "zh", "bn", "hi", "te"),
    "set5": (
        *("en", "fr", "es", "vi", "id", "ja", "zh"),
        *("bn", "hi", "ta", "te", "mr", "ur", "kn", "ml", "pa"),
    ),
    "set6": ("en", "bn", "hi", "ta", "te", "mr", "ur", "kn", "ml", "pa"),
    "set_xnli": ("en", "fr", "es", "vi", "zh", "ur", "hi"),
}
"""Name of a set to its languages, in the paper's order."""


def resolve_languages(
    wanted: str | Iterable[str] | None, available: Iterable[str]
) -> tuple[str, ...]:
    """Turn a language set's name or a list of languages into languages that were collected.

    Args:
        wanted: A name of :data:`LANGUAGE_SETS`, languages, or None for all collected ones.
        available: The collected languages.

    Returns:
        The languages, in the wanted order, each once.

    Raises:
        InputError: If a language was not collected, or the set's name is not known.
    """
    collected = tuple(available)
    if wanted is None:
        return collected
    if isinstance(wanted, str):
        if wanted in LANGUAGE_SETS:
            wanted = LANGUAGE_SETS[wanted]
        elif wanted in collected:
            wanted = (wanted,)
        else:
            raise unknown("language or language set", wanted, [*LANGUAGE_SETS, *collected])
    languages = tuple(dict.fromkeys(wanted))
    missing = [language for language in languages if language not in collected]
    if missing:
        raise InputError(
            f"no statistics for language {', '.join(missing)} (collected: "
            f"{', '.join(collected)}): collect it, or leave it out of the languages."
        )
    if not languages:
        raise InputError("no language is named: give at least one.")
    return languages
