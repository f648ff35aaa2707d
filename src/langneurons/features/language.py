"""Language features: SAE-LAPE, monolinguality, and what switching them off does.

A feature's activity is counted as a unit's is, so that every method of identification that reads
counts works on features; their layer in the set is the place of the autoencoder.

Sources: SAE-LAPE arXiv 2507.11230; monolinguality (mean activation in a language minus the mean
over the others) arXiv 2505.05111.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from langneurons.data import Blocks, batches
from langneurons.errors import InputError
from langneurons.evaluation import PerplexityResult, loss_ratio
from langneurons.evaluation.residual import streams
from langneurons.evaluation.together import Change, changed_perplexities
from langneurons.evaluation.token_loss import find_head
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.intervening import Mode, by_layer, check, features_changed
from langneurons.progress import track
from langneurons.statistics import Statistics

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.models import LanguageModel

SITE = "features"


def feature_statistics(
    lm: LanguageModel,
    blocks: Mapping[str, Blocks],
    site: str,
    coders: Mapping[int, Autoencoder],
) -> tuple[Statistics, dict[str, Tensor]]:
    """Count how often each feature is on in each language.

    Args:
        lm: The model.
        blocks: Language to text.
        site: Where the autoencoders read.
        coders: Layer to autoencoder, all with the same number of features.

    Returns:
        Statistics of shape (autoencoders, features) at the site ``features``, and the mean
        activation of every feature: language to float64 (autoencoders, features).

    Raises:
        InputError: If the numbers of features differ, or one does not fit the site.
    """
    check(lm, site, coders)
    sizes = {item.features for item in coders.values()}
    if len(sizes) != 1:
        raise InputError("features of several layers need autoencoders of one size.")
    shape = (len(coders), sizes.pop())
    counts, means, tokens = {}, {}, {}
    total = sum(item.tokens for item in blocks.values())
    with track("activity of features", total, "tokens") as bar:
        for language, item in blocks.items():
            count = torch.zeros(shape, dtype=torch.int64)
            mean = torch.zeros(shape, dtype=torch.float64)
            for batch in batches(item, batch_tokens=1024):
                rows = streams(lm, batch, site)
                for place, (layer, coder) in enumerate(coders.items()):
                    z = coder.encode(rows[layer])
                    count[place] += (z > 0).sum(0)
                    mean[place] += z.double().sum(0)
                bar.advance(int(batch.counted.sum()))
            counts[language], tokens[language] = count, item.tokens
            means[language] = mean / item.tokens
    return Statistics.from_counts(counts, tokens, lm.fingerprint, SITE), means


def monolinguality(means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean activation in a language minus its mean over the other languages (arXiv 2505.05111)."""
    total = torch.stack(list(means.values())).sum(0)
    others = max(len(means) - 1, 1)
    return {name: item - (total - item) / others for name, item in means.items()}


def feature_perplexity(
    lm: LanguageModel,
    features: NeuronSet,
    blocks: Mapping[str, Blocks],
    site: str,
    coders: Mapping[int, Autoencoder],
    stats: Statistics,
    *,
    value: float = 0.0,
    mode: Mode = "set",
    random: int = 2,
    matched: int = 2,
    seed: int = 0,
    level: float = 0.95,
    baseline: MutableMapping[str, PerplexityResult] | None = None,
) -> pd.DataFrame:
    """Change each language's features in turn and measure every language's perplexity.

    Args:
        lm: A causal model.
        features: Features by language, as :func:`langneurons.identify` finds them on ``stats``.
        blocks: Held-out text by language; each is a column.
        site: Where the autoencoders read.
        coders: Layer to autoencoder.
        stats: What :func:`feature_statistics` gives.
        value: What is written.
        mode: How.
        random: Draws of as many features of the same layers.
        matched: Draws of features that are on as often.
        seed: First seed.
        level: Level of the intervals.
        baseline: Untouched perplexities by language that are known already; missing ones are put
            there.

    Returns:
        The columns of a perplexity matrix: ``row``, ``column``, ``kind``, ``seed``, ``units``,
        ``ratio``, ``low``, ``high``, ``tokens``, ``documents``. Controls are measured on the
        row's own language. A language without features has no row.
    """
    head, layers = find_head(lm), list(coders)
    known: MutableMapping[str, PerplexityResult] = {} if baseline is None else baseline
    sets = {("own", 0): features}
    for number in range(seed, seed + random):
        sets["random", number] = features.random_like(number)
    for number in range(seed, seed + matched):
        sets["matched", number] = features.random_like(number, matched="rate", statistics=stats)
    rows = [lang for lang in features if len(features[lang]) and lang in blocks]
    cells = [
        (row, column, kind, number)
        for row in rows
        for kind, number in sets
        for column in (blocks if kind == "own" else [row])
    ]

    def change(row: str, kind: str, number: int) -> Change:
        what = by_layer(sets[kind, number][row], layers, value, mode)
        return Change(min(what), lambda: features_changed(lm, site, coders, what))

    here = {lang: [cell for cell in cells if cell[1] == lang] for lang in blocks}
    total = len(cells) + sum(lang not in known for lang in blocks)
    with track("features changed", total, "cells") as bar:
        changes = {
            lang: [change(row, kind, number) for row, _, kind, number in items]
            for lang, items in here.items()
        }
        results = changed_perplexities(lm, blocks, changes, known, head=head, advance=bar.advance)
    touched = {
        cell: result
        for lang, items in here.items()
        for cell, result in zip(items, results[lang], strict=True)
    }
    return pd.DataFrame(
        {
            "row": row,
            "column": column,
            "kind": kind,
            "seed": number,
            "units": len(sets[kind, number][row]),
            **loss_ratio(touched[row, column, kind, number], known[column], level=level),
        }
        for row, column, kind, number in cells
    )
