"""Findings on fine-tuning only some units."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from langneurons.parts.adapters.comparisons import References, adapters, target_of
from langneurons.parts.tasks.comparisons import primary
from langneurons.reporting.aggregate import LEVEL, extreme, records
from langneurons.reporting.numbers import count, listing, number
from langneurons.reporting.sentences import Sentence, Tone, counted, detectable, places, points


def finetuned(
    scores: pd.DataFrame,
    paired: pd.DataFrame | None = None,
    trained_on: Collection[str] = (),
    compared_with: References | None = None,
) -> list[Sentence]:
    """What fine-tuning only the neurons does, against no units and against random units.

    Args:
        scores: The ``scores`` table.
        paired: The ``adapters`` table, where there is one.
        trained_on: Languages of the training data, left out.
        compared_with: Names of the reference adapters.
    """
    said: list[Sentence] = []
    unpaired = False
    base = compared_with or References()
    kinds = {
        "leaving the MLP alone": base.none,
        "random units": base.random,
        "random units of the same activity": base.matched,
    }
    for what, reference in kinds.items():
        table = adapters(scores, reference, paired, trained_on)
        table = table[~table["adapter"].isin(base.names())]
        if table.empty:
            continue
        readable = table[~table["at_chance"]]
        if readable.empty:
            said.append(
                Sentence(
                    f"Masked LoRA against {what}: every score is at chance, nothing can be read.",
                    "caution",
                )
            )
            continue
        up = readable[readable["significant"] & (readable["difference"] > 0)]
        down = readable[readable["significant"] & (readable["difference"] < 0)]
        best = extreme(readable, "difference", largest=True)
        worst = extreme(readable, "difference", largest=False)
        names = sorted(
            {
                target_of(a, lang)
                for a, lang in zip(readable["adapter"], readable["language"], strict=True)
            }
        )
        tone: Tone = "finding" if len(up) or len(down) else "none"
        lead = (
            f"Masked LoRA against {what}: {counted(up, 'gain')} and "
            f"{counted(down, 'loss', 'losses')} are significant, of "
            f"{count(len(readable), 'comparison')}."
        )
        more = (
            f"Against {what} ({listing(names)}; languages not trained on; 5 %, corrected for their "
            f"number): most favourable {_adapter(best)}, least favourable {_adapter(worst)}."
        )
        said += [Sentence(lead, tone), Sentence(more, tone)]
        said.extend(detectable(readable[~readable["significant"]]))
        unpaired = unpaired or not readable["paired"].all()
    if unpaired:
        said.append(
            Sentence(
                "These intervals are put together from the two scores' own intervals without "
                "using that both saw the same examples; they are wider than a paired "
                "comparison's.",
                "caution",
            )
        )
    return said


def over_seeds(seeds: pd.DataFrame, trained_on: Collection[str] = ()) -> list[Sentence]:
    """Whether any adapter differs from random units by more than the spread between seeds.

    Args:
        seeds: The ``adapter_seeds`` table.
        trained_on: Languages of the training data, left out.
    """
    table = primary(seeds) if len(seeds) else seeds
    table = table[~table["language"].isin(list(trained_on))]
    if table.empty:
        return []
    said = []
    moving = table[table["std"] > 0]
    number_of_seeds = count(int(table["seeds"].max()), "seed")
    if len(moving):
        found = moving[moving["p_holm"] < LEVEL]
        text = (
            f"Over {number_of_seeds}: of {count(len(moving), 'comparison')} on languages not "
            f"trained on {len(found)} {'leaves' if len(found) == 1 else 'leave'} the spread "
            f"between seeds{' (' + places(found) + ')' if len(found) else ''} (5 %, corrected for "
            f"their number); a true difference of {number(moving['detectable'].median(), 1)} "
            "points (median) would have been found four times in five."
        )
        said.append(Sentence(text, "finding" if len(found) else "none"))
    same = table[~(table["std"] > 0)]
    if len(same):
        text = (
            f"In {count(len(same), 'comparison')} ({places(same)}) the difference was the same "
            f"with each of {number_of_seeds}, as where scores stand at a floor or a ceiling: how "
            "far another training would lie from it cannot be told."
        )
        said.append(Sentence(text, "caution"))
    return said


def among_sets(sets: pd.DataFrame, trained_on: Collection[str] = ()) -> list[Sentence]:
    """Whether it matters whose units learn: all adapters of chosen units at once, over seeds.

    Args:
        sets: The ``adapter_sets`` table.
        trained_on: Languages of the training data, left out.
    """
    if sets.empty:
        return []
    table, said = primary(sets), []
    table = table[~table["language"].isin(list(trained_on))]
    for row in records(table[table["std"] > 0]):
        kind = "with" if row["attention"] else "without"
        text = (
            f"{row['task']}, {row['language']}: {count(row['sets'], 'adapter')} of chosen units "
            f"{kind} LoRA on attention at once, {count(row['seeds'], 'seed')} each: "
            f"p = {number(row['p_holm'], 3)} (analysis of variance, seeds as blocks, corrected for "
            f"their number); two of them would have to differ by {number(row['detectable'], 1)} "
            "points to be told apart four times in five."
        )
        said.append(Sentence(text, "finding" if row["p_holm"] < LEVEL else "none"))
    same = table[~(table["std"] > 0)]
    if len(same):
        text = (
            f"{places(same)}: every adapter of chosen units scored the same with each seed, as at "
            "a floor or a ceiling; nothing follows on whether it matters which units learn."
        )
        said.append(Sentence(text, "caution"))
    return said


def _adapter(row: pd.Series) -> str:
    name = target_of(row["adapter"], row["language"])
    return f"{points(row)} ({row['task']}, {row['language']}, {name})"
