"""Whether questions were answered rightly in another language, and in which script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from langneurons.data.tasks.quality import is_romanised, latin_share, not_latin
from langneurons.errors import InputError
from langneurons.evaluation.scores import Scores
from langneurons.evaluation.squad import best, f1

EITHER, LATIN, OWN_SCRIPT = "f1_either", "latin", "own_script"


def answer_language(scores: Scores, answers: Mapping[str, Sequence[str]], lang: str) -> Scores:
    """Hold answers against the gold answers in another language to the same questions.

    A model that answers rightly in the wrong language scores 0 by F1 like one that answers
    wrongly; XQuAD and MLQA have the same questions in several languages and can tell the two
    apart. Figures are the same in all languages: an answer such as ``2008`` is right in each.

    Args:
        scores: Scores of a question answering task.
        answers: Question id to the gold answers in the other language, as
            ``{item.id: item.answers for item in task.examples(lang, split)}``; a question that is
            not among them counts as not known (nan).
        lang: The other language, whose rules of F1 apply.

    Returns:
        The same rows with the metrics ``f1``, ``f1_LANG`` (against ``answers``) and ``f1_either``
        (the larger), and for languages not written in Latin letters ``latin`` (more than half of
        the answer's letters are Latin) and ``own_script`` (it has letters, and half or more are
        not); answers without a letter, such as figures, are neither. Compared like any scores.

    Raises:
        InputError: If the scores are not of questions, not one of them is in ``answers``, or an
            answer is a text instead of a list of texts.
    """
    if "f1" not in scores.rows.columns:
        raise InputError(f"{scores.task} has no answers: give scores of a question answering task.")
    rows, other = scores.rows, f"f1_{lang}"
    if any(isinstance(gold, str) for gold in answers.values()):
        raise InputError("answers has a text where a list of texts is wanted: give ['two'].")
    if not set(rows["id"]) & set(answers):
        raise InputError(
            f"none of the {len(rows)} questions of {scores.task} has an answer in {lang!r}: give "
            "the answers of the same data in that language, by question id."
        )
    pairs = zip(rows["id"], rows["prediction"], strict=True)
    there = [best(f1, text, answers.get(key, ()), lang) for key, text in pairs]
    found: dict[str, ArrayLike] = {
        other: there,
        EITHER: np.fmax(rows["f1"].to_numpy(dtype=np.float64), there),
    }
    if not_latin(scores.lang):
        latin = np.array([is_romanised(text, scores.lang) for text in rows["prediction"]])
        letters = np.array([latin_share(text) is not None for text in rows["prediction"]])
        found |= {LATIN: latin.astype(float), OWN_SCRIPT: (letters & ~latin).astype(float)}
    return replace(scores, metrics=("f1", *found), rows=rows.assign(**found), guess={})
