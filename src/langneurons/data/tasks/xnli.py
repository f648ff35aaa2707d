"""XNLI: does the premise entail, contradict or leave open the hypothesis? 15 languages.

Conneau et al. 2018, "XNLI: Evaluating Cross-lingual Sentence Representations"; CC BY-NC 4.0.
"""

from __future__ import annotations

from langneurons.data.tasks.base import TASKS
from langneurons.data.tasks.pairs import PairTask

_LANGUAGES = "ar bg de el en es fr hi ru sw th tr ur vi zh"


@TASKS.register("xnli")
class XNLI(PairTask):
    """XNLI from ``dev.<lang>.tsv`` and ``test.<lang>.tsv`` or the Hub; see :class:`PairTask`."""

    name = "xnli"
    labels = ("entailment", "neutral", "contradiction")
    words = (0, 1, 2)
    languages = tuple(_LANGUAGES.split())
    default_repo = "facebook/xnli"
    default_template = "{premise} Question: {hypothesis} True, False, or Neither? Answer:"
