"""The findings in words: pure functions from tables to sentences.

A sentence never says more than its table carries: every number stands with its interval, a score
that cannot be told from guessing is called that, and "no difference" stands beside the smallest
difference the data could have shown.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from langneurons.reporting.aggregate import (
    References,
    adapters,
    baselines,
    extreme,
    interventions,
    over_seeds,
    perplexity_rows,
    primary,
    same_language,
    target_of,
)
from langneurons.reporting.numbers import count, listing, number, with_interval

Tone = Literal["finding", "none", "caution"]

QUESTION = (
    "Can a language's own neurons be used to improve zero-shot transfer to that language, either "
    "by overwriting their activations at test time or by fine-tuning only them?"
)


@dataclass(frozen=True)
class Sentence:
    """One finding.

    Attributes:
        text: What is said.
        tone: "finding" for an effect, "none" where none was shown, "caution" for a limit.
    """

    text: str
    tone: Tone = "finding"


def neurons(table: pd.DataFrame) -> list[Sentence]:
    """How many neurons each set found, and in which layers they lie.

    Args:
        table: The ``neurons`` table.
    """
    said: list[Sentence] = []
    for name, group in table.groupby("neurons", sort=False):
        totals = group.groupby("language", sort=False)["units"].sum()
        layers = group.groupby("layer")["total"].first()
        empty = [str(lang) for lang, units in totals.items() if units == 0]
        fewest, most = totals.idxmin(), totals.idxmax()
        share = 100 * totals / layers.sum()
        third = max(1, len(layers) // 3)
        by_layer = group.groupby("layer")["units"].sum().sort_index()
        late = 100 * by_layer.iloc[-third:].sum() / max(1, by_layer.sum())
        early = 100 * by_layer.iloc[:third].sum() / max(1, by_layer.sum())
        if totals.sum() == 0:
            said.append(Sentence(f"{name} found no neurons for any language.", "none"))
            continue
        if totals.min() == totals.max():
            size = (
                f"{number(totals.min(), 0)} neurons for each of {len(totals)} languages "
                f"({number(share.min(), 2)} % of the {number(layers.sum(), 0)} units)"
            )
        else:
            size = (
                f"between {number(totals.min(), 0)} ({fewest}) and {number(totals.max(), 0)} "
                f"({most}) neurons a language ({number(share.min(), 2)} to "
                f"{number(share.max(), 2)} % of the {number(layers.sum(), 0)} units)"
            )
        where = (
            f"; {number(early, 0)} % of them lie in the first {count(third, 'layer')} and "
            f"{number(late, 0)} % in the last {count(third, 'layer')} of {len(layers)}"
            if len(layers) >= 2
            else ""
        )
        said.append(Sentence(f"{name} found {size}{where}."))
        if empty:
            said.append(Sentence(f"{name} found none for {listing(empty)}.", "caution"))
    return said


def overlaps(table: pd.DataFrame) -> list[Sentence]:
    """Whether two neuron sets agree on a language more than chance would make them.

    Args:
        table: The ``overlap`` table.
    """
    said: list[Sentence] = []
    for (a, b), group in same_language(table).groupby(["a", "b"], sort=False):
        mean, chance = group["jaccard"].mean(), group["expected_jaccard"].mean()
        above = int(group["above"].sum())
        text = (
            f"{a} and {b} share a Jaccard index of {number(mean, 3)} on average over "
            f"{count(len(group), 'language')} (from {number(group['jaccard'].min(), 3)} to "
            f"{number(group['jaccard'].max(), 3)}); sets of these sizes drawn by chance would "
            f"share {number(chance, 3)}. "
        )
        if above == 0:
            text += "For no language does the overlap exceed chance (5 %, Bonferroni)."
        else:
            text += (
                f"It exceeds chance (5 %, Bonferroni) for {above} of "
                f"{count(len(group), 'language')}."
            )
        said.append(Sentence(text, "finding" if above else "none"))
    return said


def perplexity(table: pd.DataFrame) -> list[Sentence]:
    """Whether a language's own neurons matter to that language, beside others and controls.

    Args:
        table: The ``perplexity`` table.
    """
    said: list[Sentence] = []
    rows = perplexity_rows(table)
    if rows.empty:
        return said
    for (name, value), group in rows.groupby(["neurons", "value"], sort=False):
        n = len(group)
        dominant = int(group["dominant"].sum())
        text = (
            f"Setting a language's {name} neurons to {value} raises that language's perplexity "
            f"more than any other's in {dominant} of {n} rows"
        )
        for kind, what in (("random", "random"), ("matched", "equally active random")):
            known = group[group[kind].notna()]
            if len(known):
                beyond = int(known[f"beyond_{kind}"].sum())
                draws = int(known[f"{kind}_draws"].min())
                text += (
                    f", and beyond the largest of {count(draws, 'draw')} of as many {what} "
                    f"neurons in {beyond} of {len(known)}"
                )
        high, low = (extreme(group, "ratio", largest=flag) for flag in (True, False))
        text += (
            f". The largest change is ×{_ratio(high)} ({high['language']}), "
            f"the smallest ×{_ratio(low)} ({low['language']})."
        )
        said.append(Sentence(text, "finding" if dominant * 2 > n else "none"))
        unclear = [str(x) for x in group.loc[~group["shown"], "language"]]
        if unclear:
            whom = "any language" if len(unclear) == n else listing(unclear)
            said.append(
                Sentence(
                    f"With {name} and {value}, no rise could be shown for {whom}: the interval "
                    "of the ratio reaches down to 1.",
                    "caution",
                )
            )
    return said


def _ratio(row: pd.Series) -> str:
    return with_interval(row["ratio"], row["low"], row["high"], 3 if row["ratio"] < 2 else 2)


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


def _points(row: pd.Series, low: str = "low", high: str = "high") -> str:
    return with_interval(row["difference"], row[low], row[high], 1, signed=True) + " points"


def overwriting(scores: pd.DataFrame, trained_on: Collection[str] = ()) -> list[Sentence]:
    """What overwriting the neurons at test time does to the tasks.

    Args:
        scores: The ``scores`` table.
        trained_on: Languages of the training data, left out: they are no transfer.
    """
    table = interventions(scores, trained_on)
    if table.empty:
        return []
    readable = table[~table["at_chance"]]
    said: list[Sentence] = []
    at_chance = len(table) - len(readable)
    if readable.empty:
        text = (
            f"None of the {count(len(table), 'comparison')} with an overwrite can be read: "
            "every score without intervention is at chance."
        )
        return [Sentence(text, "caution")]
    gains = readable[readable["significant"] & (readable["difference"] > 0)]
    losses = readable[readable["significant"] & (readable["difference"] < 0)]
    text = (
        f"Overwriting a language's own neurons was compared with leaving them alone "
        f"{count(len(readable), 'time')} (task, language, adapter, neuron set and value). "
        f"After Holm's correction, {_how_many(len(gains))} a gain and "
        f"{_how_many(len(losses))} a loss. {_extremes(readable)}"
    )
    said.append(Sentence(text, "finding" if len(gains) or len(losses) else "none"))
    said.extend(_controlled(readable, gains, losses))
    said.extend(_detectable(readable[~readable["significant"]]))
    if at_chance:
        said.append(
            Sentence(
                f"{count(at_chance, 'further comparison')} start from a score at chance and are "
                "not counted.",
                "caution",
            )
        )
    return said


def _controlled(
    readable: pd.DataFrame, gains: pd.DataFrame, losses: pd.DataFrame
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
    text = (
        "Random neurons given the same treatment changed the scores by "
        f"{number(controlled['control_worst'].min(), 1, signed=True)} to "
        f"{number(controlled['control_best'].max(), 1, signed=True)} points"
    )
    more, worse = gains[gains["beyond_controls"]], losses[losses["beyond_controls"]]
    if len(gains) or len(losses):
        text += (
            f"; beyond every draw of them lie {len(more)} of {count(len(gains), 'gain')} and "
            f"{len(worse)} of {count(len(losses), 'loss', 'losses')}"
        )
    said = [Sentence(text + ".", "finding" if len(more) or len(worse) else "none")]
    alone = len(readable) - len(controlled)
    if alone:
        said.append(Sentence(f"{count(alone, 'comparison')} had no random control.", "caution"))
    return said


def _how_many(found: int) -> str:
    return f"{found} {'shows' if found == 1 else 'show'}"


def _extremes(table: pd.DataFrame) -> str:
    best, worst = (extreme(table, "difference", largest=flag) for flag in (True, False))

    def where(row: pd.Series) -> str:
        return (
            f"{_points(row, 'difference_low', 'difference_high')} "
            f"({row['task']}, {row['language']}, {row['neurons']}, {row['intervention']})"
        )

    if len(table) == 1:
        return f"The change is {where(best)}."
    return f"The most favourable change is {where(best)}, the least favourable {where(worst)}."


def _detectable(table: pd.DataFrame) -> list[Sentence]:
    known = table["mde"].dropna()
    if known.empty:
        return []
    low, middle, high = (number(x, 1) for x in (known.min(), known.median(), known.max()))
    which = "the" if low == high else "the median"
    span = "" if low == high else f"; {low} to {high}"
    text = (
        f"Where no difference is shown, one smaller than about {middle} points ({which} minimum "
        f"detectable effect{span}) could have gone unseen."
    )
    return [Sentence(text, "caution")]


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
    for reference, what in ((base.none, "leaving the MLP alone"), (base.random, "random units")):
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
        text = (
            f"Masked LoRA ({listing(names)}) against {what}: of "
            f"{count(len(readable), 'comparison')} on languages not trained on, "
            f"{_how_many(len(up))} a gain and {_how_many(len(down))} a loss "
            f"(5 %, corrected for their number). Most favourable {_adapter(best)}, "
            f"least favourable {_adapter(worst)}."
        )
        said.append(Sentence(text, "finding" if len(up) or len(down) else "none"))
        said.extend(_detectable(readable[~readable["significant"]]))
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


def _adapter(row: pd.Series) -> str:
    name = target_of(row["adapter"], row["language"])
    return f"{_points(row)} ({row['task']}, {row['language']}, {name})"


def verdict(
    scores: pd.DataFrame | None,
    paired: pd.DataFrame | None = None,
    trained_on: Collection[str] = (),
    compared_with: References | None = None,
) -> Sentence:
    """The run's answer to the question in one sentence.

    Args:
        scores: The ``scores`` table, or None where no task was run.
        paired: The ``adapters`` table, where there is one.
        trained_on: Languages of the training data, left out.
        compared_with: Names of the reference adapters.
    """
    if scores is None:
        return Sentence("This run measured no task, so it cannot answer the question.", "caution")
    test = interventions(scores, trained_on)
    base = compared_with or References()
    tuned = adapters(scores, base.random, paired, trained_on)
    control = "random units"
    if tuned.empty:
        tuned, control = adapters(scores, base.none, paired, trained_on), "no units"
    tuned = tuned[~tuned["adapter"].isin(base.names())]
    if test.empty and tuned.empty:
        return Sentence(
            "This run neither overwrote nor fine-tuned neurons on a language it was not trained "
            "on, so it cannot answer the question.",
            "caution",
        )
    seen, trained = test[~test["at_chance"]], tuned[~tuned["at_chance"]]
    if seen.empty and trained.empty:
        return Sentence(
            "The question cannot be answered from this run: every score it would have to be "
            "read from is at chance.",
            "caution",
        )
    gains = seen[seen["significant"] & (seen["difference"] > 0)]
    losses = seen[seen["significant"] & (seen["difference"] < 0)]
    credited = gains[gains["beyond_controls"]]
    up = trained[trained["significant"] & (trained["difference"] > 0)]
    parts = []
    if len(seen):
        parts.append(
            f"overwriting them improved {len(gains)} of {count(len(seen), 'comparison')}"
            + (f", {len(credited)} of these beyond random neurons" if len(gains) else "")
            + (f", and worsened {len(losses)}" if len(losses) else "")
        )
    if len(trained):
        parts.append(
            f"fine-tuning only them improved {len(up)} of {count(len(trained), 'comparison')} "
            f"against {control}"
        )
    body = "; ".join(parts)
    if len(credited) or (len(up) and control == "random units"):
        return Sentence(f"In part, in this run: {body}.", "finding")
    if len(gains) or len(up):
        return Sentence(f"Not shown to be the neurons' doing: {body}.", "none")
    return Sentence(
        f"No improvement could be shown: {body}. This is no proof that there is none; the "
        "smallest change each comparison could have shown stands beside it.",
        "none",
    )
