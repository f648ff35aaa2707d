"""A run's answer to the question whether a language's own neurons help it."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from langneurons.parts.adapters.comparisons import References, adapters, compared_with
from langneurons.parts.tasks.comparisons import interventions, trained_on
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing
from langneurons.reporting.sections import Answer
from langneurons.reporting.sentences import Sentence, places

QUESTION = (
    "Can a language's own neurons be used to improve zero-shot transfer to that language, either "
    "by overwriting their activations at test time or by fine-tuning only them?"
)


def answer(run: Run) -> Answer:
    """The answer in one sentence, from the run's tables.

    Args:
        run: The run. Where it was to measure tasks and holds no scores, that is said.
    """
    scores, tasks = run.table("scores"), [str(task) for task in run.info.get("tasks") or ()]
    if scores is None and tasks:
        text = (
            f"This run was to measure {listing(tasks)} and holds no score, so it cannot answer "
            "the question."
        )
        return Answer(QUESTION, Sentence(text, "failure"))
    said = verdict(scores, run.table("adapters"), trained_on(run), compared_with(run))
    return Answer(QUESTION, said)


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
    tuned = adapters(scores, base.random or base.matched, paired, trained_on)
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
            + (f" ({places(gains)})" if len(gains) else "")
            + (f", {_of_these(credited, gains)} beyond random neurons" if len(gains) else "")
            + (f", and worsened {len(losses)} ({places(losses)})" if len(losses) else "")
        )
    if len(trained):
        parts.append(
            f"fine-tuning only them improved {len(up)} of {count(len(trained), 'comparison')} "
            f"against {control}" + (f" ({places(up)})" if len(up) else "")
        )
    full = int(seen["no_room"].sum())
    if full and not len(gains):
        parts.append(f"{full} of the former start too near 100 % to show a gain")
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


def _of_these(credited: pd.DataFrame, gains: pd.DataFrame) -> str:
    """How many of the gains are credited to the choice of neurons, and where unless all are."""
    where = f" ({places(credited)})" if 0 < len(credited) < len(gains) else ""
    return f"{len(credited)} of these{where}"
