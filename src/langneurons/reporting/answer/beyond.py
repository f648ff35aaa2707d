"""Findings on single units, forced output, deactivation, the site question, polysemanticity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from langneurons.reporting.aggregate import extreme, records
from langneurons.reporting.answer.base import Sentence, Tone
from langneurons.reporting.numbers import count, number, with_interval


def _tone(low: float, high: float, null: float) -> Tone:
    return "finding" if low > null or high < null else "none"


def _ratio(row: pd.Series) -> str:
    return "×" + with_interval(row["ratio"], row["low"], row["high"], 3)


def unit_effects(table: pd.DataFrame) -> Iterator[Sentence]:
    """The unit that matters most in each language.

    Args:
        table: The ``unit_effects`` table.
    """
    if not {"low", "high"} <= set(table.columns):
        return
    for language, group in table.groupby("language", sort=False):
        top = extreme(group, "ratio", largest=True)
        yield Sentence(
            f"The single unit that matters most to {language} is {top['index']} in layer "
            f"{top['layer']}: perplexity {_ratio(top)} (chosen for being the largest, so rather an "
            "overestimate).",
            _tone(top["low"], top["high"], 1),
        )


def forcing(table: pd.DataFrame) -> Iterator[Sentence]:
    """Whether output changes its language.

    Args:
        table: The ``forcing`` table.
    """
    if "intervention" not in table.columns:
        return
    for (off, on), group in table.groupby(["off", "on"], sort=False):
        shares = {}
        for name, rows in group.groupby("intervention", sort=False):
            found = rows[rows["language_detected"] == on]
            n = int(rows["n"].max())
            hits = 0.0 if found.empty else float(found["share"].iloc[0])
            shares[str(name)] = (hits, n, found)
        if not {"none", "off and on"} <= set(shares):
            continue
        (before, _, _), (after, n, found) = shares["none"], shares["off and on"]
        ends = ""
        if len(found) and {"low", "high"} <= set(found.columns):
            row = found.iloc[0]
            ends = f" [{number(100 * row['low'], 0)}, {number(100 * row['high'], 0)}]"
        low = float(found["low"].iloc[0]) if ends else after
        yield Sentence(
            f"With {off} neurons off and {on} neurons on, {number(100 * after, 0)} %{ends} of "
            f"{count(n, 'output')} are {on}; {number(100 * before, 0)} % are without intervention.",
            "finding" if low > before else "none",
        )


def fallback(table: pd.DataFrame) -> Iterator[Sentence]:
    """Which language takes over at each step, beside as many random units.

    Args:
        table: The ``fallback`` table.
    """
    for start, group in table.groupby("start", sort=False):
        own = group[group["kind"] == "own"]
        plain = extreme(own[own["step"] == 0], "share", largest=True)
        steps = [f"untouched {_written(plain)}"]
        left = False
        for step, rows in own[own["step"] > 0].groupby("step", sort=True):
            top = extreme(rows, "share", largest=True)
            said = f"with {top['removed']} off {_written(top)}"
            controls = group[(group["step"] == step) & (group["kind"] != "own")]
            same = controls[controls["language_detected"] == top["language_detected"]]["share"]
            if len(controls):
                most = 100 * float(same.max()) if len(same) else 0.0
                said += f" (controls: at most {number(most, 0)} %)"
                off = str(top["removed"]).split(", ")
                away = top["language_detected"] not in [*off, "unsure"]
                left |= bool(away and 100 * top["low"] > most)
            steps.append(said)
        yield Sentence(
            f"Continuing {start} prompts, the language written most is: {'; '.join(steps)}.",
            "finding" if left else "none",
        )


def _written(row: pd.Series) -> str:
    share = with_interval(100 * row["share"], 100 * row["low"], 100 * row["high"], 0)
    return f"{row['language_detected']} ({share} % of {number(float(row['n']), 0)})"


def deactivation(table: pd.DataFrame) -> Iterator[Sentence]:
    """Whether zero is the mildest value, and whether it is one the units ever have.

    Args:
        table: The ``deactivation`` table.
    """
    for (name, language), group in table.groupby(["neurons", "language"], sort=False):
        own = group[group["kind"] == "own"]
        if own.empty:
            continue
        best, worst = (extreme(own, "ratio", largest=flag) for flag in (False, True))
        text = (
            f"Of {count(len(own), 'value')} written over the {name} neurons of {language}, "
            f"{best['value']} is the mildest (perplexity {_ratio(best)}) and {worst['value']} the "
            f"harshest ({_ratio(worst)})"
        )
        zero = own[own["value"] == "zero"]
        if len(zero):
            row = zero.iloc[0]
            text += (
                f"; zero gives {_ratio(row)} and lies outside the usual range (P1 to P99) of "
                f"{number(100 * row['unusual'], 0)} % of the units"
            )
        yield Sentence(text + ".", _tone(worst["low"], worst["high"], 1))


def crossing(table: pd.DataFrame) -> Iterator[Sentence]:
    """How much of the damage of the paper's overwrite is values the unit can never have.

    Args:
        table: The ``crossing`` table.
    """
    rows = table[(table["reading"] == "paper") & (table["kind"] == "own")]
    for row in records(rows):
        head = (
            f"{row['neurons']}, {row['language']}, {row['value']}: the paper's reading (statistics "
            "from before the activation function, written behind it) writes "
            f"{number(100 * row['impossible'], 0)} % impossible values"
        )
        if pd.isna(row["share"]):
            yield Sentence(f"{head}; its damage cannot be told from none.", "none")
            continue
        share = with_interval(
            100 * row["share"], 100 * row["share_low"], 100 * row["share_high"], 0
        )
        yield Sentence(
            f"{head}, and these make {share} % of its damage{_random_share(table, row)}.",
            _tone(row["share_low"], row["share_high"], 0),
        )


def _random_share(table: pd.DataFrame, row: dict[str, Any]) -> str:
    """The same share for as many random units, over their draws."""
    same = (table[list(_CELL)] == [row[key] for key in _CELL]).all(axis=1)
    drawn = table[same & (table["reading"] == "paper") & (table["kind"] == "random")]["share"]
    known = 100 * drawn.dropna()
    if known.empty:
        return ""
    low, high = number(float(known.min()), 0), number(float(known.max()), 0)
    return f" (of as many random units': {low if low == high else f'{low} to {high}'} %)"


_CELL = ("neurons", "language", "value")


def polysemanticity(table: pd.DataFrame, harm: pd.DataFrame | None) -> Iterator[Sentence]:
    """Whether language neurons carry task information, and whether that costs anything.

    Args:
        table: The ``polysemanticity`` table.
        harm: The ``polysemanticity_harm`` table, where there is one.
    """
    for row in records(table[table["carries"] == "task"]):
        difference = with_interval(
            100 * row["difference"], 100 * row["low"], 100 * row["high"], 0, signed=True
        )
        yield Sentence(
            f"{number(100 * row['own'], 0)} % of the {row['neurons']} neurons of "
            f"{row['language']} carry information on the labels of {row['task']} (by chance 5 %), "
            f"{number(100 * row['matched'], 0)} % of equally active ones: {difference} points.",
            _tone(row["low"], row["high"], 0),
        )
    if harm is None:
        return
    chosen = harm[(harm["harm_with"] == "task_separation") & (harm["kind"] == "own")]
    for row in records(chosen[chosen["given"] != ""]):
        if pd.isna(row["rho"]):
            continue
        rho = with_interval(row["rho"], row["low"], row["high"], 2, signed=True)
        yield Sentence(
            f"{row['language']}: the harm of overwriting a unit goes with its task information at "
            f"a rank correlation of {rho}, its spread held constant ({row['units']} units).",
            _tone(row["low"], row["high"], 0),
        )
