"""How good an autoencoder is: variance explained, L0, dead features, loss recovered."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from langneurons.data import Blocks, batches
from langneurons.evaluation import PerplexityResult, ratio_interval
from langneurons.evaluation.residual import streams
from langneurons.evaluation.together import Change, changed_perplexities
from langneurons.evaluation.token_loss import find_head
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.intervening import check, reconstructed
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

Floats = NDArray[np.float64]


def quality(
    lm: LanguageModel,
    blocks: Mapping[str, Blocks],
    site: str,
    coders: Mapping[int, Autoencoder],
    *,
    level: float = 0.95,
    baseline: MutableMapping[str, PerplexityResult] | None = None,
) -> pd.DataFrame:
    """Measure autoencoders on held-out text of every language, and on all of it.

    ``explained`` = 1 - sum |x - x'|^2 / sum |x - mean|^2 (the mean over all languages' tokens);
    ``l0`` = features on at a token, on average; ``dead`` = share of features on at no token;
    ``recovered`` = (L_0 - L_r) / (L_0 - L), L the loss untouched, L_r on reconstructions, L_0 with
    the site set to 0; its interval resamples documents.

    Args:
        lm: A causal model.
        blocks: Held-out text by language.
        site: Where the autoencoders read.
        coders: Layer to autoencoder.
        level: Level of the intervals.
        baseline: Untouched perplexities by language that are known already; missing ones are put
            there.

    Returns:
        One row a layer and language (``all`` for all): ``layer``, ``language``, ``explained``,
        ``l0``, ``dead``, ``tokens``, and per language ``recovered``, ``low``, ``high``, ``loss``,
        ``loss_reconstructed``, ``loss_zero`` (nats a token).

    Raises:
        InputError: If an autoencoder does not fit the site.
    """
    check(lm, site, coders)
    sums = {layer: _Sums(item) for layer, item in coders.items()}
    total = sum(item.tokens for item in blocks.values())
    with track("features on held-out text", total, "tokens") as bar:
        for language, item in blocks.items():
            for batch in batches(item, batch_tokens=1024):
                rows = streams(lm, batch, site)
                for layer in coders:
                    sums[layer].add(language, rows[layer])
                bar.advance(int(batch.counted.sum()))
    found = []
    head = find_head(lm)
    known: MutableMapping[str, PerplexityResult] = {} if baseline is None else baseline
    ways = {
        (layer, name): _replacing(lm, site, layer, coder, zero=name == "zero")
        for layer, coder in coders.items()
        for name in ("reconstructed", "zero")
    }
    with track("loss recovered", (2 * len(coders) + 1) * len(blocks), "cells") as bar:
        changes = dict.fromkeys(blocks, tuple(ways.values()))
        results = changed_perplexities(lm, blocks, changes, known, head=head, advance=bar.advance)
    losses = {
        language: {
            way: result.rows["loss_sum"].to_numpy() for way, result in zip(ways, item, strict=True)
        }
        for language, item in results.items()
    }
    for layer in coders:
        for language in blocks:
            untouched = known[language].rows
            loss, tokens = untouched["loss_sum"].to_numpy(), untouched["tokens"].to_numpy()
            instead, zero = (losses[language][layer, way] for way in ("reconstructed", "zero"))
            gained, whole = zero - instead, zero - loss
            low, high = ratio_interval(gained, whole, level=level)
            found.append(
                {
                    "layer": layer,
                    "language": language,
                    **sums[layer].of(language),
                    "loss": float(loss.sum() / tokens.sum()),
                    "loss_reconstructed": float(instead.sum() / tokens.sum()),
                    "loss_zero": float(zero.sum() / tokens.sum()),
                    "recovered": float(gained.sum() / whole.sum()) if whole.sum() else np.nan,
                    "low": low,
                    "high": high,
                }
            )
        found.append({"layer": layer, "language": "all", **sums[layer].of(None)})
    return pd.DataFrame(found)


def _replacing(
    lm: LanguageModel, site: str, layer: int, coder: Autoencoder, *, zero: bool
) -> Change:
    return Change(layer, lambda: reconstructed(lm, site, {layer: coder}, zero=zero))


@dataclass
class _Part:
    """Sums over the tokens of one language."""

    tokens: int
    error: float
    squares: float
    total: Floats
    on: Floats


class _Sums:
    """Running sums of one autoencoder by language."""

    def __init__(self, coder: Autoencoder) -> None:
        self._coder = coder
        self._parts: dict[str, _Part] = {}

    def add(self, language: str, x: torch.Tensor) -> None:
        z = self._coder.encode(x)
        wide = x.double()
        part = self._parts.setdefault(
            language,
            _Part(0, 0.0, 0.0, np.zeros(x.shape[1]), np.zeros(z.shape[1])),
        )
        part.tokens += len(x)
        part.error += float((wide - self._coder.decode(z).double()).square().sum())
        part.squares += float(wide.square().sum())
        part.total += wide.sum(0).numpy()
        part.on += (z > 0).sum(0).double().numpy()

    def of(self, language: str | None) -> dict[str, float]:
        """The measures of one language, None for all."""
        chosen = [part for name, part in self._parts.items() if language in (None, name)]
        every = list(self._parts.values())
        mean = np.sum([part.total for part in every], axis=0) / sum(p.tokens for p in every)
        tokens = sum(part.tokens for part in chosen)
        total = np.sum([part.total for part in chosen], axis=0)
        on = np.sum([part.on for part in chosen], axis=0)
        squares = sum(part.squares for part in chosen)
        variance = float(squares - 2 * (mean @ total) + tokens * (mean @ mean))
        error = sum(part.error for part in chosen)
        return {
            "explained": 1 - error / variance if variance > 0 else float("nan"),
            "l0": float(on.sum() / tokens),
            "dead": float((on == 0).mean()),
            "tokens": tokens,
        }
