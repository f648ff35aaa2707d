"""Grids: short keys of a study that stand for many sets, trainings and draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What the paper's protocol collects, where a study says nothing else; see
# `langneurons.statistics.options.PROTOCOLS`, from which the rest follows.
_PAPER_STATISTICS = {"site": "mlp.pre", "block": 512}

_SETS = ("perplexity", "effects", "interventions")
"""Sections that take a list of neuron sets."""

_SET = ("sweep", "forcing", "fallback")
"""Sections that take one neuron set."""


def expand(data: Any) -> Any:
    """Spell out the grids of a study; what is spelt out already stays as it is.

    - ``methods: [a, b]`` (or ``{a: {parameter: value}}``) makes a neuron set of each method, with
      ``language_sets`` one of each method and language set, named ``METHOD@SET``. A section that
      names no neuron set takes all of these (``sweep``, ``forcing`` and ``fallback`` the first).
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
        for section in (*_SETS, *_SET):
            part = study.get(section)
            if isinstance(part, Mapping) and "neurons" not in part:
                names = list(sets)
                study[section] = {**part, "neurons": names if section in _SETS else names[0]}
    if isinstance(study.get("seeds"), int):
        _repeat(study, study["seeds"])
    if study.get("protocol") == "paper":
        part = study.get("statistics") or {}
        if isinstance(part, Mapping):
            study["statistics"] = {**_PAPER_STATISTICS, **part}
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


def _repeat(study: dict[str, Any], seeds: int) -> None:
    adapters = study.get("adapters")
    if isinstance(adapters, Mapping):
        study["adapters"] = {
            name: {"seeds": seeds, **spec} if isinstance(spec, Mapping) else spec
            for name, spec in adapters.items()
        }
    part = study.get("interventions")
    if isinstance(part, Mapping):
        study["interventions"] = {"random": seeds, **part}
