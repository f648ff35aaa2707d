"""Grids: short keys of a study that stand for many sets, trainings and draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langneurons.interface.part import Part, ordered

# What the paper's protocol collects, where a study says nothing else; see
# `langneurons.statistics.options.PROTOCOLS`, from which the rest follows.
_PAPER_STATISTICS = {"site": "mlp.pre", "block": 512}


def expand(data: Any) -> Any:
    """Spell out the grids of a study; what is spelt out already stays as it is.

    - ``methods: [a, b]`` (or ``{a: {parameter: value}}``) makes a neuron set of each method, with
      ``language_sets`` one of each method and language set, named ``METHOD@SET``. A part that
      names no neuron set takes all of these (the first, where it takes one).
    - ``seeds: n`` trains every adapter n times and draws random units n times, where the study
      does not say how often.
    - ``protocol: paper`` sets what is collected.

    Args:
        data: The study as read. Anything that is not as a study should be is left to the schema.

    Returns:
        The study, spelt out; expanding it again changes nothing.
    """
    if not isinstance(data, Mapping):
        return data
    study = dict(data)
    sets = _neuron_sets(study.get("methods"), study.get("language_sets"))
    given = study.get("neurons")
    if sets and (given is None or isinstance(given, Mapping)):
        study["neurons"] = {**sets, **(given or {})}
        for part in ordered():
            section, default = study.get(part.word), _default_sets(part)
            if default is not None and isinstance(section, Mapping) and "neurons" not in section:
                names = list(sets)
                chosen = names if isinstance(default, list) else names[0]
                study[part.word] = {**section, "neurons": chosen}
    if isinstance(study.get("seeds"), int):
        for part in ordered():
            if part.repeat is not None and part.word in study:
                study[part.word] = part.repeat(study[part.word], study["seeds"])
    if study.get("protocol") == "paper":
        statistics = study.get("statistics") or {}
        if isinstance(statistics, Mapping):
            study["statistics"] = {**_PAPER_STATISTICS, **statistics}
    return study


def _neuron_sets(methods: Any, language_sets: Any) -> dict[str, dict[str, Any]]:
    if isinstance(methods, list):
        methods = {name: {} for name in methods if isinstance(name, str)}
    if isinstance(language_sets, list):
        language_sets = {name: name for name in language_sets if isinstance(name, str)}
    if not isinstance(methods, Mapping) or not methods:
        return {}
    sets: dict[str, dict[str, Any]] = {}
    for method, parameters in methods.items():
        one = {"method": method, "parameters": parameters or {}}
        if isinstance(language_sets, Mapping) and language_sets:
            sets |= {
                f"{method}@{name}": {**one, "languages": languages}
                for name, languages in language_sets.items()
            }
        else:
            sets[method] = one
    return sets


def _default_sets(part: Part) -> list[str] | str | None:
    """The neuron sets that a part takes where it names none; None where it takes none."""
    if part.spec is None or part.many or "neurons" not in part.spec.model_fields:
        return None
    default: list[str] | str | None = part.spec.model_fields["neurons"].default
    return default
