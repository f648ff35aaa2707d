"""In which language questions were answered, by the gold answers of parallel data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from langneurons.data.tasks.quality import is_romanised
from langneurons.errors import InputError
from langneurons.evaluation.scores import Scores
from langneurons.evaluation.squad import best, f1

EITHER = "f1_either"
LATIN = "latin"


def answer_language(scores: Scores, answers: Mapping[str, Sequence[str]], lang: str) -> Scores:
    """Hold answers against the gold answers in another language to the same questions.

    A model that answers rightly in the wrong language scores 0 by F1 like one that answers
    wrongly; XQuAD and MLQA have the same questions in several languages and can tell the two
    apart.

    Args:
        scores: Scores of a question answering task.
        answers: Question id to the gold answers in the other language; questions without any are
            not known (nan).
        lang: The other language, whose rules of F1 apply.

    Returns:
        The same rows with the metrics ``f1``, ``f1_LANG`` (against ``answers``), ``f1_either`` (the
        larger: right in whichever language) and ``latin``: more than half of the answer's letters
        are Latin in a language of another script (always 0 in languages written in Latin letters).
        They can be compared like any scores.

    Raises:
        InputError: If the scores are not of questions.
    """
    if "f1" not in scores.rows.columns:
        raise InputError(f"{scores.task} has no answers: give scores of a question answering task.")
    rows, other = scores.rows, f"f1_{lang}"
    pairs = zip(rows["id"], rows["prediction"], strict=True)
    there = [best(f1, text, answers.get(key, ()), lang) for key, text in pairs]
    found = {
        other: there,
        EITHER: np.fmax(rows["f1"].to_numpy(dtype=np.float64), there),
        LATIN: [float(is_romanised(text, scores.lang)) for text in rows["prediction"]],
    }
    return replace(scores, metrics=("f1", *found), rows=rows.assign(**found), guess={})
