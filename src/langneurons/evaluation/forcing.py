"""Language forcing: which language does a model write when one is switched off, another on?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from langneurons.data.languages import plain_code
from langneurons.errors import InputError
from langneurons.evaluation.qa import generate
from langneurons.evaluation.touched import Interventions, intervened
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

UNSURE = "unsure"
"""Detected language of a text that is empty or fits none of the languages."""


def detect(texts: Sequence[str], languages: Sequence[str]) -> list[str]:
    """Name the language of each text, by the library lingua (n-gram models, offline).

    Args:
        texts: Texts.
        languages: Codes to choose from, in any common form, at least two.

    Returns:
        One of these codes a text, or :data:`UNSURE`.

    Raises:
        InputError: If lingua is not installed, or does not know one of the languages.
    """
    try:
        from lingua import IsoCode639_1, LanguageDetectorBuilder
    except ImportError as error:
        raise InputError(
            "naming the language of text needs lingua: pip install 'langneurons[language-id]'."
        ) from error
    codes = {}
    for code in languages:
        known = getattr(IsoCode639_1, plain_code(code).upper(), None)
        if known is None:
            raise InputError(f"lingua does not know the language {code!r}: leave it out.")
        codes[known] = code
    detector = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()
    found = []
    for text in texts:
        language = detector.detect_language_of(text) if text.strip() else None
        found.append(UNSURE if language is None else codes[language.iso_code_639_1])
    return found


def force(
    lm: LanguageModel,
    prompts: Sequence[str],
    languages: Sequence[str],
    intervention: Interventions = None,
    *,
    max_new_tokens: int = 32,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Continue prompts under an intervention and name the language of what was written.

    Args:
        lm: A causal model.
        prompts: Beginnings of texts.
        languages: Languages to choose from; without any the language is not named.
        intervention: What is written over which units, in order; None for none.
        max_new_tokens: Length of a continuation, greedy.
        batch_size: Prompts in a batch; None goes by the number of tokens.

    Returns:
        One row a prompt: ``prompt``, ``continuation``, ``language_detected``.
    """
    ids = [lm.tokenizer(prompt)["input_ids"] for prompt in prompts]
    with (
        intervened(lm, intervention, "generation"),
        track("continuing", len(prompts), "prompts") as bar,
    ):
        written = generate(
            lm, ids, stop="\n\n", max_new_tokens=max_new_tokens, batch_size=batch_size, bar=bar
        )
    texts = [item.text for item in written]
    table = pd.DataFrame({"prompt": list(prompts), "continuation": texts})
    return table.assign(language_detected=detect(texts, languages)) if languages else table
