"""Translations, scored by chrF++ of sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langneurons.data.tasks import TranslationExample
from langneurons.errors import InputError
from langneurons.evaluation.qa import answers

if TYPE_CHECKING:
    from langneurons.data.tasks import Example, Task
    from langneurons.models import LanguageModel
    from langneurons.progress import Bar


def chrf(prediction: str, reference: str) -> float:
    """chrF++ (character n-grams to 6, word n-grams to 2) of one sentence, 0 to 1.

    Popovic 2017, "chrF++: words helping character n-grams". The mean over sentences is what a
    table shows; the corpus value of sacrebleu pools the counts and differs a little.

    Raises:
        InputError: If sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise InputError(
            "translations are scored by sacrebleu: pip install 'langneurons[translation]'."
        ) from error
    score = CHRF(word_order=2, eps_smoothing=False).sentence_score(prediction, [reference])
    return float(score.score) / 100


def translation_rows(
    lm: LanguageModel,
    task: Task,
    lang: str,
    examples: Sequence[Example],
    *,
    batch_size: int | None,
    max_new_tokens: int | None,
    bar: Bar,
) -> list[dict[str, Any]]:
    """Rows of :class:`~langneurons.evaluation.scores.Scores` from generated translations.

    Raises:
        InputError: See :func:`~langneurons.evaluation.qa.answers`; or sacrebleu is missing.
    """
    chrf("a", "a")  # missing software is said before the model works
    written = answers(
        lm, task, examples, batch_size=batch_size, max_new_tokens=max_new_tokens, bar=bar
    )
    rows = []
    for example, (answer, prompt) in zip(examples, written, strict=True):
        assert isinstance(example, TranslationExample)
        rows.append(
            {
                "id": example.id,
                "group": example.group,
                "prediction": answer.text,
                "gold": example.reference,
                "chrf": chrf(answer.text, example.reference),
                "stopped": answer.stopped,
                "cut": prompt.cut,
            }
        )
    return rows
