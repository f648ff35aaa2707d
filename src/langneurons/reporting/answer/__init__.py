"""The findings in words: pure functions from tables to sentences.

A sentence never says more than its table carries: every number stands with its interval, a score
that cannot be told from guessing is called that, and "no difference" stands beside the smallest
difference the data could have shown.
"""

from langneurons.reporting.answer.base import QUESTION, Sentence, Tone
from langneurons.reporting.answer.finetuning import among_sets, finetuned, over_seeds, verdict
from langneurons.reporting.answer.neurons import neurons, overlaps
from langneurons.reporting.answer.perplexity import perplexity, sweep
from langneurons.reporting.answer.planning import planned
from langneurons.reporting.answer.tasks import chance, overwriting, rules

__all__ = [
    "QUESTION",
    "Sentence",
    "Tone",
    "among_sets",
    "chance",
    "finetuned",
    "neurons",
    "over_seeds",
    "overlaps",
    "overwriting",
    "perplexity",
    "planned",
    "rules",
    "sweep",
    "verdict",
]
