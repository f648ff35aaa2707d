"""Translations, scored by chrF++ of sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langneurons.data.tasks import TranslationExample, encode_example
from langneurons.errors import InputError
from langneurons.evaluation.qa import generate
from langneurons.evaluation.rows import max_positions

if TYPE_CHECKING:
    from langneurons.data.tasks import Example, Task
    from langneurons.models import LanguageModel
    from langneurons.progress import Bar

MAX_NEW_TOKENS = 128


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
        InputError: If ``max_new_tokens`` leaves no room for the prompt, or sacrebleu is missing.
    """
    chrf("a", "a")  # missing software is said before the model works
    new = max_new_tokens or task.max_answer_tokens or MAX_NEW_TOKENS
    longest = max_positions(lm)
    if longest is not None and longest <= new:
        raise InputError(
            f"max_new_tokens={new} leaves no room for a prompt in the model's {longest} positions: "
            "lower it."
        )
    room = None if longest is None else longest - new
    encoded = [encode_example(task, example, lm.tokenizer, room) for example in examples]
    written = generate(
        lm,
        [item.ids for item in encoded],
        stop=task.stop,
        max_new_tokens=new,
        batch_size=batch_size,
        bar=bar,
    )
    rows = []
    for example, answer, item in zip(examples, written, encoded, strict=True):
        assert isinstance(example, TranslationExample)
        rows.append(
            {
                "id": example.id,
                "group": example.group,
                "prediction": answer.text,
                "gold": example.reference,
                "chrf": chrf(answer.text, example.reference),
                "stopped": answer.stopped,
                "cut": item.cut,
            }
        )
    return rows
