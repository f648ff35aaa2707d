"""A study with fewer languages than its file names: parts that name the others are left out."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

from langneurons.errors import InputError
from langneurons.intervention.words import parse

_LANGUAGES = ("languages", "task_languages", "starts")
"""Keys of a part that list languages."""


def narrow(study: Mapping[str, Any], named: Any) -> dict[str, Any]:
    """Leave out what no longer makes sense once languages are taken away, and say so.

    A part that is about a language taken away goes: a neuron set that compares it, an adapter
    that trains its units, and what is built on these. Of a list (of languages, pairs, values, sets)
    only its entries go; the part goes with the last of them.

    Args:
        study: The study as it will be checked, plain data.
        named: Languages that its file names, a list.

    Returns:
        The study; the same where no language was taken away.
    """
    left = study.get("languages")
    if not isinstance(named, list) or not isinstance(left, list):
        return dict(study)
    gone = {str(lang) for lang in named} - {str(lang) for lang in left}
    if not gone or not left:
        return dict(study)
    found, out = dict(study), _Out(gone)
    for kind in _NAMED:
        if isinstance(parts := found.get(kind), Mapping):
            found[kind] = out.group(kind, parts)
    for kind, part in list(found.items()):
        if isinstance(part, Mapping) and kind not in (*_NAMED, *_OTHERS):
            kept = out.part(kind, part)
            if kept is None:
                del found[kind]
            else:
                found[kind] = kept
    if out.said:
        warnings.warn(
            f"without {', '.join(sorted(gone))} the study is run without {', '.join(out.said)}.",
            stacklevel=3,
        )
    return found


_NAMED = ("language_sets", "neurons", "tasks", "adapters", "subspaces", "features")
"""Sections of named parts, those before that others are built on."""

_OTHERS = ("text", "budgets", "statistics", "finetune", "size", "ray", "methods")
"""Sections that are about no language, or whose keys are languages."""

_WHOLE = ("language_sets", "neurons", "adapters")
"""Sections whose parts go whole, since their names say which languages they are of."""


class _Out:
    """What was left out so far: languages, and names of neuron sets, tasks and adapters."""

    def __init__(self, gone: Collection[str]) -> None:
        self._gone = gone
        self._names: dict[str, set[str]] = {"neurons": set(), "tasks": set(), "adapters": set()}
        self.said: list[str] = []

    def group(self, kind: str, parts: Mapping[str, Any]) -> dict[str, Any]:
        """A section of named parts without those that go."""
        kept: dict[str, Any] = {}
        for name, part in parts.items():
            if kind in _WHOLE:
                rest = self._whole(kind, part)
            else:
                rest = self._rest(part) if isinstance(part, Mapping) else part
            if rest is None and part is not None:
                self._names.setdefault(kind, set()).add(str(name))
                self.said.append(f"{kind}.{name}")
            else:
                kept[name] = rest
        return kept

    def part(self, kind: str, part: Mapping[str, Any]) -> dict[str, Any] | None:
        """A section that is one part, or None if it goes."""
        rest = self._rest(part)
        if rest is None:
            self.said.append(kind)
        return rest

    def _whole(self, kind: str, part: Any) -> Any:
        """A neuron set, set of languages or adapter goes whole: its name says what it is."""
        if kind == "language_sets":
            return None if isinstance(part, list) and self._hit(part) else part
        if not isinstance(part, Mapping):
            return part
        if kind == "neurons":
            of_gone = isinstance(part.get("languages"), list) and self._hit(part["languages"])
            return None if of_gone or part.get("derive") in self._names["neurons"] else part
        held = part.get("hold")
        units = [part.get("neurons"), held.get("neurons") if isinstance(held, Mapping) else None]
        words = [word for item in units for word in (item if isinstance(item, list) else [item])]
        return None if any(self._unit(word) for word in words if word) else part

    def _unit(self, word: Any) -> bool:
        """Whether ``SET:LANGUAGE`` (a control's kind in front) names what is gone."""
        parts = str(word).split(":")
        if len(parts) < 2:
            return False
        return (
            parts[-1] in self._gone
            or ":".join(parts[:-1]).removeprefix("random:").removeprefix("matched:")
            in self._names["neurons"]
        )

    def _hit(self, languages: list[Any]) -> bool:
        return any(str(lang) in self._gone for lang in languages)

    def _rest(self, part: Mapping[str, Any]) -> dict[str, Any] | None:
        """A part with entries of its lists taken out; None where one of them ends empty."""
        kept = dict(part)
        lists = {key: lambda item: str(item) in self._gone for key in _LANGUAGES}
        lists |= {
            "pairs": lambda item: isinstance(item, list) and self._hit(item),
            "moves": lambda item: isinstance(item, list) and self._hit(item),
            "values": lambda item: _language(item) in self._gone,
            "neurons": lambda item: str(item) in self._names["neurons"],
            "adapter": lambda item: str(item) in self._names["adapters"],
            "task": lambda item: str(item) in self._names["tasks"],
            "value": lambda item: _language(item) in self._gone,
        }
        for key, goes in lists.items():
            value = kept.get(key)
            if isinstance(value, list):
                kept[key] = [item for item in value if not goes(item)]
                if value and not kept[key] and key != "moves":
                    return None
            elif isinstance(value, str) and goes(value):
                return None
        return kept


def _language(value: object) -> str | None:
    """Whose statistic a value is (``hi`` of ``mean@hi@last``); None for what is no such value."""
    try:
        return parse(str(value)).language
    except InputError:
        return None
