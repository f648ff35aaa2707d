"""The site question: statistics of the pre-activation, written over the activation.

The paper's released code records percentiles in front of the activation function and writes them
behind it. Readings of "the unit's P10" are run on the same units and text:

========= ================================================= =========================
reading   what is written                                   where
========= ================================================= =========================
strict    the statistic of ``mlp.act``                      ``mlp.act``
paper     the statistic of ``mlp.pre``                      ``mlp.act``
clipped   the same, moved to the nearest value the          ``mlp.act``
          activation function can give
inside    the statistic of ``mlp.pre``                      ``mlp.pre``
batches   the mean over batches of each batch's own         ``mlp.act``
          percentile of ``mlp.act``, where asked for
========= ================================================= =========================

``paper`` and ``clipped`` differ in nothing but values that are out of range, so the difference of
their losses is what those values do.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from langneurons.errors import InputError
from langneurons.evaluation import loss_ratio, perplexity, ratio_interval
from langneurons.evaluation.deactivation import draws
from langneurons.evaluation.language_modelling import PerplexityResult
from langneurons.evaluation.token_loss import find_head
from langneurons.intervention import (
    Intervention,
    OutOfRangeWarning,
    Value,
    activation_range,
    share_out_of_range,
)
from langneurons.progress import track

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langneurons.data import Blocks
    from langneurons.identification import NeuronSet, Units
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

READINGS = ("strict", "paper", "clipped", "inside")


def cross(
    lm: LanguageModel,
    neurons: NeuronSet,
    language: str,
    blocks: Blocks,
    values: Sequence[str],
    stats: Statistics,
    before: Statistics,
    *,
    random: int = 2,
    matched: int = 0,
    batched: Statistics | None = None,
    baseline: PerplexityResult | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Run the readings of each value on a language's units and on random ones.

    With L the loss on the same documents (nats a token) and L_0 the untouched one, ``beyond`` =
    L_paper - L_clipped is the damage of values out of range and ``share`` = beyond / (L_paper -
    L_0) their part of the whole damage. Intervals resample documents; a share of a damage whose
    own interval touches 0 means nothing and is NaN.

    Args:
        lm: A causal model.
        neurons: Units of ``mlp.act`` by language.
        language: Whose units, on whose text.
        blocks: Held-out text of the language.
        values: ``mean`` or quantiles, ``P10``.
        stats: Statistics of ``mlp.act``.
        before: Statistics of ``mlp.pre`` on the same text.
        random: Draws of as many random units of the same layers.
        matched: Draws of units of the same activity.
        batched: Statistics of ``mlp.act`` whose quantiles are means over batches, for the reading
            ``batches``.
        baseline: Untouched perplexity, if known.
        seed: First seed of the draws.
        level: Level of the intervals.

    Returns:
        One row a value, kind, seed and reading: ``value``, ``kind``, ``seed``, ``reading``,
        ``count``, ``ratio``, ``low``, ``high``, ``impossible`` (share of the values out of range),
        and on the rows of ``paper`` also ``beyond``, ``beyond_low``, ``beyond_high``, ``share``,
        ``share_low``, ``share_high``, ``against_strict``, ``against_strict_low`` and
        ``against_strict_high`` (L_paper - L_strict).

    Raises:
        InputError: If the units are of another site, or a value is no statistic.
    """
    if neurons.site != "mlp.act":
        raise InputError(f"the site question is about units of mlp.act, not of {neurons.site!r}.")
    chosen = draws(neurons, language, stats, random=random, matched=matched, seed=seed)
    head = find_head(lm)
    plain = baseline or perplexity(lm, blocks, head=head)
    rows = []
    readings = (*READINGS, *(("batches",) if batched is not None else ()))
    steps = len(chosen) * len(values) * len(readings)
    with warnings.catch_warnings(), track("site question", steps, "cells") as bar:
        warnings.simplefilter("ignore", OutOfRangeWarning)
        for value in values:
            here, front = statistic(stats, language, value), statistic(before, language, value)
            mean_of_batches = here if batched is None else statistic(batched, language, value)
            for (kind, number), units in chosen.items():
                bar.note(f"{value} {kind}")
                results = {}
                for reading in readings:
                    if reading == "batches":
                        done = Intervention(units, mean_of_batches, name=reading)
                    else:
                        done = _reading(lm, reading, units, here, front)
                    results[reading] = perplexity(lm, blocks, intervention=done, head=head)
                    row = {
                        "value": value,
                        "kind": kind,
                        "seed": number,
                        "reading": reading,
                        "count": len(units),
                        **loss_ratio(results[reading], plain, level=level),
                        "impossible": share_out_of_range(lm, done),
                    }
                    rows.append(row)
                    bar.advance()
                place = READINGS.index("paper") - len(readings)
                rows[place] |= _differences(results, plain, level)
    return pd.DataFrame(rows)


def statistic(stats: Statistics, language: str, name: str) -> Value:
    """``mean`` or a quantile ``P10`` as a value.

    Raises:
        InputError: If the name is neither.
    """
    if name == "mean":
        return Value.mean(stats, language)
    try:
        return Value.quantile(stats, language, float(name.removeprefix("P")) / 100)
    except ValueError as error:
        raise InputError(f"{name!r} is no statistic: give mean or a percentile as P10.") from error


def _reading(
    lm: LanguageModel, reading: str, units: Units, here: Value, front: Value
) -> Intervention:
    if reading == "strict":
        return Intervention(units, here, name=reading)
    if reading == "paper":
        return Intervention(units, front, protocol="paper", name=reading)
    if reading == "inside":
        return Intervention(units, front, site="mlp.pre", name=reading)
    low, high = activation_range(lm.sites["mlp.act"].modules[0])
    assert front.tensor is not None
    return Intervention(units, Value.of(front.tensor.clamp(low, high), reading), name=reading)


def _differences(
    results: dict[str, PerplexityResult], plain: PerplexityResult, level: float
) -> dict[str, float]:
    tokens = plain.rows["tokens"].to_numpy(dtype=np.float64)
    sums = {name: found.rows["loss_sum"].to_numpy() for name, found in results.items()}
    sums["plain"] = plain.rows["loss_sum"].to_numpy()
    found: dict[str, float] = {}
    for name, first, second in (
        ("beyond", "paper", "clipped"),
        ("against_strict", "paper", "strict"),
    ):
        difference = sums[first] - sums[second]
        low, high = ratio_interval(difference, tokens, level=level)
        mean = float(difference.sum() / tokens.sum())
        found |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    damage = sums["paper"] - sums["plain"]
    least, _ = ratio_interval(damage, tokens, level=level)
    share = dict.fromkeys(("share", "share_low", "share_high"), math.nan)
    if least > 0:
        low, high = ratio_interval(sums["paper"] - sums["clipped"], damage, level=level)
        part = float((sums["paper"] - sums["clipped"]).sum() / damage.sum())
        share = {"share": part, "share_low": low, "share_high": high}
    return found | share
