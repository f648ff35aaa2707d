"""Fallback: which language a model writes when languages are switched off one after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from langneurons.errors import InputError
from langneurons.evaluation.forcing import force
from langneurons.evaluation.matrix import control_sets
from langneurons.intervention import Intervention, Value
from langneurons.intervention.interventions import Mode

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics


def fallback(
    lm: LanguageModel,
    prompts: Sequence[str],
    start: str,
    languages: Sequence[str],
    neurons: NeuronSet,
    values: Mapping[str, tuple[Value | float, Mode]] | None = None,
    *,
    steps: int = 3,
    controls: Mapping[str, int] | None = None,
    stats: Statistics | None = None,
    seed: int = 0,
    max_new_tokens: int = 32,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Switch off the language of the prompts, then each language the model writes instead.

    Greedy: what is switched off next is the language most often written at the last step among
    those that are still on and have units; where the model has not left the languages switched
    off, the next one in the order of ``languages``. Controls follow the same order: for every
    language that is off, as many random units in the same layers.

    Args:
        lm: A causal model.
        prompts: Beginnings of texts in the language ``start``.
        start: The language switched off first.
        languages: Languages the detector chooses from, in the order of ties.
        neurons: Units by language.
        values: Language to the value written over its units, and the mode; None sets all to 0.
        steps: Languages switched off in the end, at most.
        controls: Kind of control to number of draws, as in
            :func:`~langneurons.evaluation.perplexity_change`.
        stats: Statistics, which matched controls need.
        seed: First seed of the controls.
        max_new_tokens: Length of a continuation, greedy.
        batch_size: Prompts in a batch; None goes by the number of tokens.

    Returns:
        One row a continuation: ``step`` (languages off), ``removed`` (them, in order, with
        commas), ``kind`` (own, random, matched), ``seed``, ``prompt``, ``continuation``,
        ``language_detected``.

    Raises:
        InputError: If the set has no unit for ``start``, or a control cannot be made.
    """
    if start not in neurons or not len(neurons[start]):
        raise InputError(
            f"the neuron set has no unit for {start}: choose a language that has some."
        )
    if not prompts:
        raise InputError(f"no prompt in {start}: give at least one.")
    sets = {("own", 0): neurons, **control_sets(neurons, controls or {}, seed, stats)}

    def write(found: NeuronSet, removed: Sequence[str]) -> pd.DataFrame:
        done = []
        for lang in removed:
            value, mode = (values or {}).get(lang, (0.0, "set"))
            done.append(Intervention(found[lang], value, mode, neurons.site))
        return force(
            lm, prompts, languages, done or None, max_new_tokens=max_new_tokens,
            batch_size=batch_size,
        )  # fmt: skip

    able = [lang for lang in languages if lang in neurons and len(neurons[lang])]
    removed: list[str] = []
    tables = [write(neurons, removed).assign(step=0, removed="", kind="own", seed=0)]
    chosen: str | None = start
    while chosen is not None and len(removed) < steps:
        removed.append(chosen)
        for (kind, number), found in sets.items():
            table = write(found, removed)
            tables.append(
                table.assign(step=len(removed), removed=", ".join(removed), kind=kind, seed=number)
            )
            if kind == "own":
                chosen = next_language(table["language_detected"], removed, able)
    return pd.concat(tables, ignore_index=True)


def next_language(
    written: Iterable[str], removed: Sequence[str], languages: Sequence[str]
) -> str | None:
    """The language to switch off next, see :func:`fallback`; None where none is left.

    Example:
        >>> next_language(["en", "es", "en", "es", "es"], ["es"], ["de", "en", "es"])
        'en'
        >>> next_language(["es", "es"], ["es"], ["de", "en", "es"])
        'de'
    """
    left = [lang for lang in languages if lang not in removed]
    if not left:
        return None
    counts = Counter(written)
    return max(left, key=lambda lang: counts[lang])  # the first of equals
