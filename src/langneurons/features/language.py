"""Language features: SAE-LAPE, monolinguality, and what switching them off does.

A feature's activity is counted as a unit's is, so that every method of identification that reads
counts works on features; their layer in the set is the place of the autoencoder.

Sources: SAE-LAPE arXiv 2507.11230; monolinguality (mean activation in a language minus the mean
over the others) arXiv 2505.05111.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from langneurons.data import Blocks, batches
from langneurons.errors import InputError
from langneurons.evaluation import loss_ratio, perplexity
from langneurons.evaluation.residual import streams
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

    Returns:
        The columns of a perplexity matrix: ``row``, ``column``, ``kind``, ``seed``, ``units``,
        ``ratio``, ``low``, ``high``, ``tokens``, ``documents``. Controls are measured on the
        row's own language. A language without features has no row.
    """
    head, layers = find_head(lm), list(coders)
    plain = {lang: perplexity(lm, item, head=head) for lang, item in blocks.items()}
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
    found = []
    with track("features changed", len(cells), "cells") as bar:
        for row, column, kind, number in cells:
            units = sets[kind, number][row]
            with features_changed(lm, site, coders, by_layer(units, layers, value, mode)):
                touched = perplexity(lm, blocks[column], head=head)
            found.append(
                {
                    "row": row,
                    "column": column,
                    "kind": kind,
                    "seed": number,
                    "units": len(units),
                    **loss_ratio(touched, plain[column], level=level),
                }
            )
            bar.advance()
    return pd.DataFrame(found)
