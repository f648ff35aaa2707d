"""A run's answer to the question whether a language's own neurons help it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from langneurons.parts.adapters.comparisons import References, adapters, compared_with
from langneurons.parts.interventions.figures import carried, learnt
from langneurons.parts.tasks.comparisons import interventions, trained_on
from langneurons.reporting.aggregate import extreme
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing, number, with_interval
from langneurons.reporting.sections import Answer
from langneurons.reporting.sentences import Sentence, places

QUESTION = (
    "Can a language's own neurons be used to improve zero-shot transfer to that language, either "
    "by overwriting their activations at test time or by fine-tuning only them?"
)


def answer(run: Run) -> Answer | None:
    """The answer and the figure that carries it, from the run's tables.

    Args:
        run: The run. Where it was to measure tasks and holds no scores, that is said; where it
            measures none, there is no answer.
    """
    scores, tasks = run.table("scores"), [str(task) for task in run.info.get("tasks") or ()]
    if scores is None:
        if not tasks:
            return None
        text = (
            f"This run was to measure {listing(tasks)} and holds no score, so it cannot answer "
            "the question."
        )
        return Answer(QUESTION, Sentence(text, "failure"))
    known, base, paired = trained_on(run), compared_with(run), run.table("adapters")
    seen = see(scores, paired, known, base)
    said = verdict(seen)
    picture = None
    if said.tone != "caution":
        # The figure is of what the verdict speaks of: overwrites, unless only adapters gain.
        if len(seen.tests) and (len(seen.gains) or seen.up.empty):
            picture = carried(scores, known)
        else:
            picture = learnt(scores, paired, base, known)
    return Answer(QUESTION, said, more(seen), picture)


@dataclass(frozen=True)
class Seen:
    """What can be read of a run on languages it was not trained on.

    Attributes:
        any: Whether anything was overwritten or fine-tuned there at all.
        tests: Overwrites of own neurons whose untouched score lies above chance.
        gains: Significant gains among them.
        losses: Significant losses among them.
        credited: Gains beyond every draw of random neurons.
        tuned: Adapters of own neurons against the reference.
        up: Significant gains among them.
        control: What the reference learns: ``random units``, or ``no units``.
    """

    any: bool
    tests: pd.DataFrame
    gains: pd.DataFrame
    losses: pd.DataFrame
    credited: pd.DataFrame
    tuned: pd.DataFrame
    up: pd.DataFrame
    control: str


def see(
    scores: pd.DataFrame,
    paired: pd.DataFrame | None = None,
    trained_on: Collection[str] = (),
    compared_with: References | None = None,
) -> Seen:
    """Read a run's tables for its answer.

    Args:
        scores: The ``scores`` table.
        paired: The ``adapters`` table, where there is one.
        trained_on: Languages of the training data, left out.
        compared_with: Names of the reference adapters.
    """
    base = compared_with or References()
    tests, control = interventions(scores, trained_on), "random units"
    tuned = adapters(scores, base.random or base.matched, paired, trained_on)
    if tuned.empty:
        tuned, control = adapters(scores, base.none, paired, trained_on), "no units"
    tuned = tuned[~tuned["adapter"].isin(base.names())]
    known, learnt = tests[~tests["at_chance"]], tuned[~tuned["at_chance"]]
    found = known[known["significant"]]
    gains = found[found["difference"] > 0]
    return Seen(
        any=len(tests) + len(tuned) > 0,
        tests=known,
        gains=gains,
        losses=found[found["difference"] < 0],
        credited=gains[gains["beyond_controls"]],
        tuned=learnt,
        up=learnt[learnt["significant"] & (learnt["difference"] > 0)],
        control=control,
    )


def verdict(seen: Seen) -> Sentence:
    """The run's answer in one sentence, with size and place.

    Args:
        seen: What :func:`see` returns.
    """
    if not seen.any:
        return Sentence(
            "This run neither overwrote nor fine-tuned neurons on a language it was not trained "
            "on, so it cannot answer the question.",
            "caution",
        )
    if seen.tests.empty and seen.tuned.empty:
        return Sentence(
            "The question cannot be answered from this run: every score it would have to be "
            "read from is at chance.",
            "caution",
        )
    cost = _cost(seen.losses)
    if len(seen.credited):
        best = extreme(seen.credited, "difference", largest=True)
        text = f"In part: {_effect(best, 'gains')}, more than random neurons do"
        text += _among(seen.credited, seen.tests, "gain")
        return Sentence(f"{text}{cost}.", "finding")
    if len(seen.up) and seen.control == "random units":
        text = f"In part: {_learnt(seen.up)}, more than fine-tuning random ones"
        text += _among(seen.up, seen.tuned, "gain")
        return Sentence(f"{text}{cost}.", "finding")
    if len(seen.gains):
        best = extreme(seen.gains, "difference", largest=True)
        why = "random neurons do as much" if best["controls"] else "no random neurons were tried"
        text = f"Not shown to be the neurons' doing: {_effect(best, 'gains')}, but {why}"
        return Sentence(f"{text}{cost}.", "none")
    if len(seen.up):
        text = f"Not shown to be the neurons' doing: {_learnt(seen.up)}, but no random ones learnt"
        return Sentence(f"{text}{cost}.", "none")
    return Sentence(f"No gain shown in any language{cost}.", "none")


def _effect(row: pd.Series, verb: str) -> str:
    """``zero written over own neurons costs hi 14.3 [12.1, 16.5] points on mini-nli``."""
    sign = 1 if row["difference"] >= 0 else -1
    low, high = sorted(sign * row[name] for name in ("difference_low", "difference_high"))
    size = with_interval(abs(row["difference"]), low, high, 1)
    what = f"{row['intervention']} written over own neurons {verb}"
    return f"{what} {row['language']} {size} points on {row['task']}"


def _learnt(up: pd.DataFrame) -> str:
    """The largest gain of an adapter."""
    best = extreme(up, "difference", largest=True)
    size = with_interval(best["difference"], best["low"], best["high"], 1)
    return f"fine-tuning only them gains {best['language']} {size} points on {best['task']}"


def _among(found: pd.DataFrame, tests: pd.DataFrame, what: str) -> str:
    """Whether the one named is the only one of its kind, or the largest of several."""
    if len(found) == 1:
        return f" (the one {what} in {count(len(tests), 'comparison')})"
    return f" (the largest of {len(found)} {what}s in {count(len(tests), 'comparison')})"


def _cost(losses: pd.DataFrame) -> str:
    """What overwriting costs where it costs most, and whether random neurons cost as much."""
    if losses.empty:
        return ""
    worst = extreme(losses, "difference", largest=False)
    text = f"; {_effect(worst, 'costs')}"
    if worst["beyond_controls"]:
        text += ", more than random neurons do"
    elif worst["controls"]:
        text += ", and random neurons do as much"
    return f"{text} (the largest of {len(losses)} losses)" if len(losses) > 1 else text


def more(seen: Seen) -> list[Sentence]:
    """Behind the verdict: how many comparisons, where, and what could have been found.

    Args:
        seen: What :func:`see` returns.
    """
    said = []
    if len(seen.tests):
        gains, losses = seen.gains, seen.losses
        text = (
            f"Overwriting them improved {len(gains)} of {count(len(seen.tests), 'comparison')}"
            + (f" ({places(gains)})" if len(gains) else "")
            + (f", {_of_these(seen.credited, gains)} beyond random neurons" if len(gains) else "")
            + (f", and worsened {len(losses)} ({places(losses)})" if len(losses) else "")
        )
        full = int(seen.tests["no_room"].sum())
        if full and not len(gains):
            text += f"; {full} of them start too near 100 % to show a gain"
        said.append(Sentence(text + ".", "finding" if len(gains) or len(losses) else "none"))
    if len(seen.tuned):
        text = (
            f"Fine-tuning only them improved {len(seen.up)} of "
            f"{count(len(seen.tuned), 'comparison')} against {seen.control}"
            + (f" ({places(seen.up)})" if len(seen.up) else "")
        )
        said.append(Sentence(text + ".", "finding" if len(seen.up) else "none"))
    reach = seen.tests.loc[(seen.tests["mde"] > 0) & ~seen.tests["significant"], "mde"]
    if len(reach) and not len(seen.credited):
        text = (
            "That is no proof that there is none: a change smaller than about "
            f"{number(reach.median(), 1)} points would mostly have gone unseen."
        )
        said.append(Sentence(text, "caution"))
    return said


def _of_these(credited: pd.DataFrame, gains: pd.DataFrame) -> str:
    """How many of the gains are credited to the choice of neurons, and where unless all are."""
    where = f" ({places(credited)})" if 0 < len(credited) < len(gains) else ""
    return f"{len(credited)} of these{where}"
