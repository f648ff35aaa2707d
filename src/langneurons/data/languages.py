"""Language codes: one language under all the names that data sets give it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

_SCRIPTS = {"Hang": "Kore", "Hira": "Jpan", "Kana": "Jpan"}
"""Parts of a script that FLORES names for the whole."""


@cache
def plain_code(code: str) -> str:
    """The language alone, as ISO 639-1 has it where it can.

    Args:
        code: A code in any common form: ``en``, ``eng``, ``eng_Latn``, ``en-US``, ``cmn_Hans``.

    Returns:
        The code of the language (``en``, ``zh``); what is no such code comes back as it is.
    """
    return _parts(code)[0]


def script(code: str) -> str:
    """The script of a code (``Latn``), the language's usual one unless the code says another."""
    return _parts(code)[1]


@cache
def _parts(code: str) -> tuple[str, str]:
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        tag = langcodes.standardize_tag(code.replace("_", "-"), macro=True)
        found = langcodes.Language.get(tag).maximize()
    except LanguageTagError:
        return code, ""
    script = found.script or ""
    return found.language or code, _SCRIPTS.get(script, script)


def same_language(code: str, known: Iterable[str]) -> str | None:
    """Which of the known codes means the same language in the same script.

    Args:
        code: A code in any common form.
        known: Codes to choose from.

    Returns:
        The code itself if it is known, else the first that means the same, else None. A script
        that is not said is the language's usual one: ``zh`` is ``zho_Hans``, not ``zho_Hant``.
    """
    codes = list(known)
    if code in codes:
        return code
    return next((item for item in codes if _parts(item) == _parts(code)), None)
