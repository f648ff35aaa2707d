"""Findings on tasks: chance, simple rules, and overwriting at test time."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from langneurons.parts.tasks.comparisons import (
    baselines,
    control_changes,
    interventions,
    over_seeds,
    primary,
)
from langneurons.reporting.aggregate import extreme
from langneurons.reporting.numbers import count, listing, number, with_interval
from langneurons.reporting.sentences import Sentence, Tone, counted, detectable, places, points


def chance(scores: pd.DataFrame) -> list[Sentence]:
    """Which scores without intervention cannot be told from guessing.

    Args:
        scores: The ``scores`` table.
    """
    table = baselines(primary(over_seeds(scores)))
    table = table[table["chance"].notna()]
    said: list[Sentence] = []
    for task, group in table.groupby("task", sort=False):
        guess = f"{number(group['chance'].iloc[0], 1)} %"
        per = group.groupby("language", sort=False)["at_chance"].all()
        low = [str(lang) for lang, bad in per.items() if bad]
        if low and len(low) == len(per):
            text = (
                f"{task}: in every language the score is at chance "
                f"(its interval does not lie above {guess})."
            )
            said.append(Sentence(text, "caution"))
        elif low:
            text = (
                f"{task}: at chance (interval not above {guess}) in {listing(low)}; "
                "nothing can be read from a change there."
            )
            said.append(Sentence(text, "caution"))
        else:
            said.append(Sentence(f"{task}: every language lies above chance ({guess}).", "finding"))
    return said


def rules(scores: pd.DataFrame, table: pd.DataFrame) -> list[Sentence]:
    """How far the model lies above the best simple rule, on all examples.

    Args:
        scores: The ``scores`` table.
        table: The ``rules`` table.
    """
    best = baselines(primary(over_seeds(scores)))
    if best.empty:
        return []
    best = best.loc[best.groupby(["task", "language"], sort=False)["value"].idxmax()]
    simple = table[table["subset"] == "all"]
    said: list[Sentence] = []
    for task, group in best.groupby("task", sort=False):
        gaps = []
        for _, row in group.iterrows():
            same = simple[
                (simple["task"] == task)
                & (simple["language"] == row["language"])
                & (simple["metric"] == row["metric"])
            ]
            if len(same):
                top = extreme(same, "value", largest=True)
                gaps.append((row, top, row["low"] > top["value"]))
        if not gaps:
            continue
        above = [str(row["language"]) for row, _, ok in gaps if ok]
        row, top, _ = max(gaps, key=lambda gap: gap[0]["value"])
        text = (
            f"{task}: the best score is {_percent(row)} ({row['language']}), beside "
            f"{number(top['value'], 1)} % for the best simple rule there "
            f"({str(top['rule']).replace('_', ' ')}); the score lies above the best rule, "
            f"interval included, in {len(above)} of {count(len(gaps), 'language')}"
            f"{' (' + listing(above) + ')' if above and len(above) < len(gaps) else ''}."
        )
        said.append(Sentence(text, "finding" if above else "caution"))
    return said


def _percent(row: pd.Series) -> str:
    return with_interval(row["value"], row["low"], row["high"], 1) + " %"


def overwriting(scores: pd.DataFrame, trained_on: Collection[str] = ()) -> list[Sentence]:
    """What overwriting the neurons at test time does to the tasks.

    Args:
        scores: The ``scores`` table.
        trained_on: Languages of the training data, counted apart: they are no transfer.
    """
    table = interventions(scores, trained_on)
    if table.empty:
        return _at_home(scores, trained_on)
    readable = table[~table["at_chance"]]
    said: list[Sentence] = []
    at_chance = len(table) - len(readable)
    if readable.empty:
        text = (
            f"None of the {count(len(table), 'comparison')} with an overwrite can be read: "
            "every score without intervention is at chance."
        )
        return [Sentence(text, "caution"), *_at_home(scores, trained_on)]
    gains = readable[readable["significant"] & (readable["difference"] > 0)]
    losses = readable[readable["significant"] & (readable["difference"] < 0)]
    text = (
        f"Of {count(len(readable), 'comparison')} of overwriting a language's own neurons with "
        f"leaving them alone, {counted(gains, 'gain')} and {counted(losses, 'loss', 'losses')} are "
        "significant after Holm's correction."
    )
    tone: Tone = "finding" if len(gains) or len(losses) else "none"
    said += [Sentence(text, tone), Sentence(_extremes(readable), tone)]
    said.extend(_controlled(readable, gains, losses, control_changes(scores, trained_on)))
    said.extend(_at_home(scores, trained_on))
    said.extend(detectable(readable[~readable["significant"]]))
    full = readable[readable["no_room"]]
    if len(full):
        text = (
            f"{count(len(full), 'comparison')} ({places(full)}) start from a score so near 100 % "
            "that no gain large enough to be found is left."
        )
        said.append(Sentence(text, "caution"))
    if at_chance:
        said.append(
            Sentence(
                f"{count(at_chance, 'further comparison')} start from a score at chance and are "
                "not counted.",
                "caution",
            )
        )
    return said


def _at_home(scores: pd.DataFrame, trained_on: Collection[str]) -> list[Sentence]:
    """Own neurons overwritten in the languages of the training data, which are no transfer."""
    table = interventions(scores)
    table = table[table["language"].isin(list(trained_on)) & ~table["at_chance"]]
    if table.empty:
        return []
    found = table[table["significant"]]
    gains, losses = found[found["difference"] > 0], found[found["difference"] < 0]
    text = (
        f"In {listing(list(dict.fromkeys(table['language'])))}, trained on and therefore not "
        f"counted above: of {count(len(table), 'comparison')} {counted(gains, 'gain')} and "
        f"{counted(losses, 'loss', 'losses')}. {_extremes(table)}"
    )
    return [Sentence(text, "finding" if len(found) else "none")]


def _controlled(
    readable: pd.DataFrame, gains: pd.DataFrame, losses: pd.DataFrame, draws: pd.DataFrame
) -> list[Sentence]:
    controlled = readable[readable["controls"] > 0]
    if controlled.empty:
        return [
            Sentence(
                "No random neurons were given the same treatment, so no change can be credited "
                "to the choice of neurons.",
                "caution",
            )
        ]
    ends = [_draw(extreme(draws, "difference", largest=flag)) for flag in (False, True)]
    moved = draws[draws["significant"]]
    text = (
        f"Random neurons given the same treatment changed the scores by {ends[0]} to {ends[1]} "
        f"points ({count(len(draws), 'draw')}, {len(moved)} of them significant"
        f"{': ' + places(moved) if len(moved) else ''})"
    )
    more, worse = gains[gains["beyond_controls"]], losses[losses["beyond_controls"]]
    if len(gains) or len(losses):
        text += (
            f"; beyond every draw for the same comparison lie {len(more)} of "
            f"{count(len(gains), 'gain')} and {len(worse)} of "
            f"{count(len(losses), 'loss', 'losses')}"
        )
    said = [Sentence(text + ".", "finding" if len(more) or len(worse) else "none")]
    alone = len(readable) - len(controlled)
    if alone:
        said.append(Sentence(f"{count(alone, 'comparison')} had no random control.", "caution"))
    return said


def _draw(row: pd.Series) -> str:
    """A draw's change and where it was seen."""
    where = f"{row['task']}, {row['language']}, {row['intervention']}"
    at_home = ", trained on" if row["trained"] else ""
    return f"{number(row['difference'], 1, signed=True)} ({where}{at_home})"


def _extremes(table: pd.DataFrame) -> str:
    best, worst = (extreme(table, "difference", largest=flag) for flag in (True, False))

    def where(row: pd.Series) -> str:
        return (
            f"{points(row, 'difference_low', 'difference_high')} "
            f"({row['task']}, {row['language']}, {row['neurons']}, {row['intervention']})"
        )

    if len(table) == 1:
        return f"The change is {where(best)}."
    return f"The most favourable change is {where(best)}, the least favourable {where(worst)}."
