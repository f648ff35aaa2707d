"""True deactivation: a sweep of values, each joined with the range its units really have.

Writing 0 is not "off" for a unit that is hardly ever 0. A replacement value is therefore shown
beside where it lies in the unit's own distribution on the language's text, whether the activation
function can give it at all, and what it does to the stream the next layer reads.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch

from langneurons.errors import InputError
from langneurons.evaluation import loss_ratio, perplexity
from langneurons.evaluation.language_modelling import PerplexityResult
from langneurons.evaluation.residual import residual_change
from langneurons.evaluation.token_loss import find_head
from langneurons.intervention import Intervention, OutOfRangeWarning, share_out_of_range
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.identification import NeuronSet, Units
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

CENTRAL = (0.01, 0.99)
"""Quantiles of a unit's own activation between which a written value counts as usual."""


@dataclass(frozen=True)
class Deactivation:
    """What a sweep of values gives.

    Attributes:
        table: One row a value, kind of units and seed: ``value``, ``kind``, ``seed``, ``count``
            (units), ``ratio``, ``low``, ``high`` (perplexity to untouched, interval over
            documents), ``below``, ``above`` (shares of units written below the smallest or above
            the largest value seen on the language's text), ``unusual`` (outside their own P1 to
            P99), ``impossible`` (outside what the activation function gives), ``distance`` (mean
            of |written - own mean| / own standard deviation), ``tokens``, ``documents``.
        residual: See :func:`~langneurons.evaluation.residual.residual_change`, with ``value``,
            ``kind`` and ``seed`` for its label.
    """

    table: pd.DataFrame
    residual: pd.DataFrame


def deactivate(
    lm: LanguageModel,
    neurons: NeuronSet,
    language: str,
    blocks: Blocks,
    changes: Mapping[str, Mapping[str, object]],
    stats: Statistics,
    *,
    random: int = 2,
    matched: int = 2,
    residual_blocks: int = 8,
    baseline: PerplexityResult | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Deactivation:
    """Overwrite a language's units with each of several values, and look at all that follows.

    Args:
        lm: A causal model.
        neurons: Units by language; controls avoid all of them.
        language: Whose units are overwritten, on whose text.
        blocks: Held-out text of the language.
        changes: Name of a value to fields of an intervention: ``value`` and, where it is not
            ``set``, ``mode``.
        stats: Statistics at the site of ``neurons``, with moments and token rows.
        random: Draws of as many units of the same layers.
        matched: Draws of units of the same activity.
        residual_blocks: Blocks on which the residual stream is compared.
        baseline: Untouched perplexity on ``blocks``, if known already.
        seed: First seed of the controls.
        level: Level of the intervals.

    Raises:
        InputError: If the language has no unit in ``neurons``.
    """
    chosen = draws(neurons, language, stats, random=random, matched=matched, seed=seed)
    head = find_head(lm)
    plain = baseline or perplexity(lm, blocks, head=head)
    rows, labels, interventions = [], {}, {}
    with (
        warnings.catch_warnings(),
        track("deactivation", len(chosen) * len(changes), "cells") as bar,
    ):
        # How many values are out of range is a column of the result.
        warnings.simplefilter("ignore", OutOfRangeWarning)
        for (kind, number), units in chosen.items():
            for name, fields in changes.items():
                bar.note(f"{name} {kind}")
                done = Intervention(units=units, site=neurons.site, name=name, **fields)  # type: ignore[arg-type]
                touched = perplexity(lm, blocks, intervention=done, head=head)
                label = f"{name}|{kind}|{number}"
                labels[label] = {"value": name, "kind": kind, "seed": number}
                interventions[label] = done
                rows.append(
                    {
                        **labels[label],
                        "count": len(units),
                        **loss_ratio(touched, plain, level=level),
                        **place_in_range(lm, done, stats, language),
                    }
                )
                bar.advance()
        few = blocks[: min(residual_blocks, len(blocks))]
        stream = residual_change(lm, few, interventions, level=level)
    keys = pd.DataFrame([labels[label] for label in stream["label"]])
    # The column called value holds the number there, the written value is its name.
    stream = stream.rename(columns={"value": "change"}).drop(columns="label")
    return Deactivation(pd.DataFrame(rows), pd.concat([keys, stream], axis=1))


def draws(
    neurons: NeuronSet, language: str, stats: Statistics, *, random: int, matched: int, seed: int
) -> dict[tuple[str, int], Units]:
    """A language's units and their controls, by kind (own, random, matched) and seed.

    Raises:
        InputError: If the language has no unit.
    """
    if not len(neurons[language]):
        raise InputError(f"{neurons.method} has no unit for {language}: raise its share (`top`).")
    found = {("own", 0): neurons[language]}
    for number in range(seed, seed + random):
        found["random", number] = neurons.random_like(number)[language]
    for number in range(seed, seed + matched):
        control = neurons.random_like(number, matched="rate", statistics=stats)
        found["matched", number] = control[language]
    return found


def place_in_range(
    lm: LanguageModel, done: Intervention, stats: Statistics, language: str
) -> dict[str, float]:
    """Where the values an intervention sets lie in the units' own distributions.

    Returns:
        The columns ``below``, ``above``, ``unusual``, ``impossible`` and ``distance`` of
        :class:`Deactivation`; NaN for an intervention that sets no fixed numbers. A unit that
        never varies has no distance and is left out of the mean.
    """
    names = ("below", "above", "unusual", "impossible", "distance")
    if done.mode != "set" or done.what.kind != "tensor":
        return dict.fromkeys(names, float("nan"))
    where = (done.chosen.layers, done.chosen.indices)
    written = done.what.resolve((lm.layers, lm.sites[done.site].width))[where].double()
    low, high = stats.minimum(language)[where], stats.maximum(language)[where]
    first, last = stats.quantile(language, CENTRAL)[:, where[0], where[1]]
    spread = stats.std(language)[where]
    distance = (written - stats.mean(language)[where]).abs() / spread
    kept = distance[torch.isfinite(distance)]
    # A quantile is stored as float32: next to an extreme it may be rounded past it.
    slack = 1e-6 * torch.maximum(low.abs(), high.abs())
    return {
        "below": float((written < low - slack).double().mean()),
        "above": float((written > high + slack).double().mean()),
        "unusual": float(((written < first - slack) | (written > last + slack)).double().mean()),
        "impossible": share_out_of_range(lm, done),
        "distance": float(kept.mean()) if len(kept) else float("nan"),
    }
