"""A study with fewer languages than its file names: parts that name the others are left out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from langneurons.interface.narrowing import Gone
from langneurons.interface.part import Part, ordered


def narrow(study: Mapping[str, Any], named: Any) -> dict[str, Any]:
    """Leave out what no longer makes sense once languages are taken away, and say so.

    A part that is about a language taken away goes, and what is built on it; of a list only the
    entries go. What that means for its words, each part says itself (``Part.narrow``).

    Args:
        study: The study as it will be checked, plain data.
        named: Languages that its file names, a list.

    Returns:
        The study; the same where no language was taken away.
    """
    left = study.get("languages")
    if not isinstance(named, list) or not isinstance(left, list):
        return dict(study)
    languages = frozenset(str(lang) for lang in named) - {str(lang) for lang in left}
    if not languages or not left:
        return dict(study)
    parts = [part for part in ordered() if part.spec is not None]
    gone = Gone(languages, {column: set() for part in parts for column in part.names})
    found, said = dict(study), list[str]()
    if isinstance(sets := found.get("language_sets"), Mapping):
        out = [name for name, one in sets.items() if gone.any_language(one)]
        found["language_sets"] = {name: one for name, one in sets.items() if name not in out}
        said += [f"language_sets.{name}" for name in out]
    # Those of which there are many come first: the others are built on these.
    for part in parts:
        given = found.get(part.word)
        if part.many and isinstance(given, Mapping):
            found[part.word] = _left(part, given, gone, said)
    single = {part.word: part for part in parts if not part.many}
    for word, given in list(found.items()):
        if word in single and isinstance(given, Mapping):
            rest = _narrowed(single[word], given, gone)
            if rest is None:
                del found[word]
                said.append(word)
            else:
                found[word] = rest
    if said:
        warnings.warn(
            f"without {', '.join(sorted(languages))} the study is run without {', '.join(said)}.",
            stacklevel=3,
        )
    return found


def _left(part: Part, given: Mapping[str, Any], gone: Gone, said: list[str]) -> dict[str, Any]:
    """Those of a part's many that are left; the others are written down."""
    kept: dict[str, Any] = {}
    for name, one in given.items():
        rest = _narrowed(part, one, gone) if isinstance(one, Mapping) else one
        if rest is None and one is not None:
            said.append(f"{part.word}.{name}")
            for column in part.names:
                gone.names[column].add(str(name))
        else:
            kept[name] = rest
    return kept


def _narrowed(part: Part, given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    return gone.rest(given) if part.narrow is None else part.narrow(given, gone)
