"""A run's answer to the question."""

from __future__ import annotations

from langneurons.reporting import answer
from langneurons.reporting.about import compared_with, trained_on
from langneurons.reporting.answer import Sentence
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import listing


def verdict(run: Run) -> Sentence:
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
        return Sentence(text, "failure")
    return answer.verdict(scores, run.table("adapters"), trained_on(run), compared_with(run))
