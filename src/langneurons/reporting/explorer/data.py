"""The explorer's data for the page: what the browser reads, as plain JSON values.

Keys are short because the page carries thousands of these records; ``templates/explorer.js`` reads
them, and nothing else does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd

from langneurons.reporting.aggregate import records
from langneurons.reporting.columns import UnitFact
from langneurons.reporting.explorer.stored import Explored
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import number

PART = 64
"""Units in one file of the explorer's data beside the page."""

Unit = tuple[int, int]


@dataclass(frozen=True)
class UnitSet:
    """One neuron set for the explorer.

    Attributes:
        name: Its name.
        languages: All languages it has distributions of, in order.
        members: (layer, index) to the languages the unit belongs to and its score there.
        order: The units, those a reader should see first in front.
        details: What is shown of each unit.
        sizes: How much a unit matters, where that was measured (the largest of its effects).
    """

    name: str
    languages: tuple[str, ...]
    members: Mapping[Unit, Mapping[str, float | None]]
    order: tuple[Unit, ...]
    details: Mapping[Unit, Mapping[str, Any]]
    sizes: Mapping[Unit, float] = field(default_factory=dict)


def unit_sets(run: Run, explored: Mapping[str, Explored]) -> list[UnitSet]:
    """The neuron sets of a run that the explorer can show.

    Args:
        run: The run, for what its tables say of single units.
        explored: What there is to show, by neuron set.
    """
    return [_unit_set(name, one, run) for name, one in explored.items()]


def _unit_set(name: str, explored: Explored, run: Run) -> UnitSet:
    members: dict[Unit, dict[str, float | None]] = {}
    ranked: list[tuple[int, Unit]] = []
    for language, group in explored.units.groupby("language", sort=False):
        best = group.sort_values("score", ascending=False, kind="stable")
        for rank, row in enumerate(records(best)):
            unit = (int(row["layer"]), int(row["index"]))
            members.setdefault(unit, {})[str(language)] = _round(row["score"])
            ranked.append((rank, unit))
    named = [*explored.distributions["language"], *explored.units["language"]]
    languages = tuple(str(lang) for lang in dict.fromkeys(named))
    spoken = [lang for lang in map(str, run.info.get("languages", ())) if lang in languages]
    languages = (*spoken, *(lang for lang in languages if lang not in spoken))
    place = {lang: at for at, lang in enumerate(languages)}
    details: dict[Unit, dict[str, Any]] = {unit: {"d": [], "p": [], "n": []} for unit in members}
    for row in records(explored.distributions):
        detail = details.get((int(row["layer"]), int(row["index"])))
        if detail is not None:
            detail["r"] = [_round(row["low"]), _round(row["high"])]
            detail["d"].append(_distribution(row, place[str(row["language"])]))
    for row in records(explored.passages):
        detail = details.get((int(row["layer"]), int(row["index"])))
        if detail is not None:
            detail["p"].append(
                [
                    place[str(row["language"])],
                    _round(row["activation"]),
                    *(str(row[part]) for part in ("before", "token", "after")),
                    *_levels(row),
                ]
            )
    for row in records(explored.neighbours):
        detail = details.get((int(row["layer"]), int(row["index"])))
        if detail is not None:
            other = (int(row["other_layer"]), int(row["other_index"]))
            theirs = [place[lang] for lang in members.get(other, ()) if lang in place]
            detail["n"].append([*other, _round(row["correlation"]), theirs])
    sizes: dict[Unit, float] = {}
    for unit, facts in _facts(run, name).items():
        if unit in details:
            details[unit]["f"] = [[fact.what, fact.result] for fact in facts]
            measured = [fact.size for fact in facts if fact.size is not None]
            if measured:
                sizes[unit] = max(measured)
    first = {unit: rank for rank, unit in sorted(ranked, reverse=True)}
    # Units with facts of their own come first, the largest effect before all: that is what one
    # looks up.
    order = sorted(
        details,
        key=lambda unit: ("f" not in details[unit], -sizes.get(unit, -1), first[unit], unit),
    )
    return UnitSet(name, languages, members, tuple(order), details, sizes)


def _levels(row: Mapping[str, Any]) -> list[Any]:
    """[signs of each token, strength of each as a digit: tenths of the marked token's]; or nothing.

    Runs of earlier versions hold no strengths.
    """
    values, lengths = row.get("strengths"), row.get("lengths")
    most = float(row["activation"])
    if values is None or lengths is None or len(values) != len(lengths) or not most > 0:
        return []
    tenths = [0 if math.isnan(one) else max(0, min(9, int(10 * one / most))) for one in values]
    return [[int(one) for one in lengths], "".join(map(str, tenths))] if tenths else []


def _distribution(row: Mapping[str, Any], language: int) -> list[Any]:
    """[language, counts, share above 0, mean, std, minimum, maximum, five quantiles]."""
    facts = ("positive", "mean", "std", "minimum", "maximum")
    quantiles = ("q05", "q25", "q50", "q75", "q95")
    return [
        language,
        [int(count) for count in row["counts"]],
        *(_round(row[key]) for key in (*facts, *quantiles)),
    ]


def _round(value: float | None) -> float | None:
    """Four digits; JSON has no infinities, and nobody reads more."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.4g}")


def _facts(run: Run, name: str) -> dict[Unit, list[UnitFact]]:
    """What other parts of the run measured of single units."""
    found: dict[Unit, list[UnitFact]] = {}
    for key, table in run.tables.items():
        if not {"layer", "index"} <= set(table.columns):
            continue
        rows = table[table["neurons"] == name] if "neurons" in table.columns else table
        known = run.columns.get(key)
        say = known.unit if known is not None and known.unit is not None else partial(_fact, key)
        for row in records(rows):
            fact = say(row)
            if fact is not None:
                unit = (int(row["layer"]), int(row["index"]))
                found.setdefault(unit, []).append(fact)
    return found


def _fact(key: str, row: Mapping[str, Any]) -> UnitFact:
    language = f", {row['language']}" if isinstance(row.get("language"), str) else ""
    shown = [
        f"{column.replace('_', ' ')} {_say(value)}"
        for column, value in row.items()
        if column not in ("layer", "index", "neurons", "language") and not _missing(value)
    ]
    return UnitFact(f"{key.replace('_', ' ')}{language}", "; ".join(shown))


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _say(value: object) -> str:
    return number(value, 3) if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Payload:
    """The explorer's data, cut to what fits.

    Attributes:
        text: JSON for the page.
        parts: File name to JSON of the units that are not in the page.
        inside: Number of units whose details are in the page.
        total: Number of units.
    """

    text: str
    parts: Mapping[str, str]
    inside: int
    total: int


def payload(sets: Sequence[UnitSet], size: int) -> Payload:
    """Cut the explorer's data into the page's own share and files beside it.

    Args:
        sets: The sets.
        size: Bytes the page may give to details; the index of all units always is in the page.
    """
    index, parts, inside = [], {}, 0
    left = size
    for number_, one in enumerate(sets):
        share = left // (len(sets) - number_)
        texts = {unit: _json(one.details[unit]) for unit in one.order}
        kept, used = [], 0
        for unit in one.order:
            cost = len(texts[unit].encode()) + 16
            if used + cost > share:
                break
            used += cost
            kept.append(unit)
        left -= used
        rest = sorted(one.order[len(kept) :])
        home = {unit: at // PART for at, unit in enumerate(rest)}
        for start in range(0, len(rest), PART):
            chunk = {_key(unit): one.details[unit] for unit in rest[start : start + PART]}
            parts[f"{number_}-{start // PART}.json"] = _json(chunk)
        place = {lang: at for at, lang in enumerate(one.languages)}
        index.append(
            {
                "name": one.name,
                "languages": one.languages,
                "units": [
                    [
                        *unit,
                        [[place[lang], score] for lang, score in one.members[unit].items()],
                        home.get(unit, -1),
                        _round(one.sizes.get(unit)),
                    ]
                    for unit in sorted(one.order)
                ],
                "details": {_key(unit): one.details[unit] for unit in kept},
            }
        )
        inside += len(kept)
    return Payload(_json(index), parts, inside, sum(len(one.order) for one in sets))


def _key(unit: Unit) -> str:
    return f"{unit[0]}.{unit[1]}"


def _json(value: object) -> str:
    """JSON that can stand in a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
