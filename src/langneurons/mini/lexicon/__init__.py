"""The words and sentence patterns of the built-in world, one module per language."""

from __future__ import annotations

from langneurons.mini.lexicon import en, es, fr, hi, ur, vi, zh
from langneurons.mini.lexicon.schema import GROUPS, RELATIONS, SIZES, WOMEN, Language, Relation

LEXICON: dict[str, Language] = {
    module.LANGUAGE.code: module.LANGUAGE for module in (en, es, fr, vi, hi, ur, zh)
}
"""Every language of the world by its code, in the order of `langneurons.mini.LANGUAGES`."""

__all__ = ["GROUPS", "LEXICON", "RELATIONS", "SIZES", "WOMEN", "Language", "Relation"]
