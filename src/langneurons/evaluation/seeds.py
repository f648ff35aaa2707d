"""Several seeds: the spread between trainings, and which differences leave it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from langneurons.errors import InputError
from langneurons.evaluation.paired import holm
from langneurons.evaluation.power import detectable_over_seeds, multiplier
from langneurons.evaluation.scores import Scores


@dataclass(frozen=True)
class Spread:
    """Mean and spread over seeds.

    Attributes:
        mean: Mean over seeds.
        std: Standard deviation between seeds; nan for one seed.
        low: Lower end of the t interval of the mean over seeds.
        high: Upper end.
        seeds: Number of seeds.
    """

    mean: float
    std: float
    low: float
    high: float
    seeds: int


def spread(values: ArrayLike, level: float = 0.95) -> Spread:
    """Mean, spread and t interval of one number a seed.

    Raises:
        InputError: If there is none.
    """
    found = np.asarray(values, dtype=float)
    if not len(found):
        raise InputError("give at least one result.")
    mean, count = float(found.mean()), len(found)
    if count == 1:
        nan = float("nan")
        return Spread(mean, nan, nan, nan, 1)
    std = float(found.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * std / math.sqrt(count)
    return Spread(mean, std, mean - half, mean + half, count)


def across_seeds(
    results: Sequence[Scores], metric: str | None = None, level: float = 0.95
) -> Spread:
    """Spread of a metric, in %, over runs that differ in their seed only.

    Raises:
        InputError: If there is no run.
    """
    return spread([result.value(metric) for result in results], level)


@dataclass(frozen=True)
class AmongSets:
    """Whether any of several trainings differs from the others by more than the seeds do.

    Attributes:
        sets: Number of adapters compared.
        seeds: Number of seeds, the same for each.
        f: F statistic of the adapters in a two-way analysis of variance, adapter and seed.
        p_value: Of it; nan where nothing is left between equal seeds.
        std: Standard deviation of the difference between two adapters of one seed, pooled over all.
        df: Degrees of freedom of ``std``: (sets - 1) (seeds - 1).
        detectable: Smallest true difference between two adapters' means that a t test with ``std``
            and ``df`` finds at 5 %, uncorrected, with 80 % power.
    """

    sets: int
    seeds: int
    f: float
    p_value: float
    std: float
    df: int
    detectable: float


def among_sets(values: pd.DataFrame) -> AmongSets:
    """Compare several adapters at once over the same seeds (randomised blocks: a seed is a block).

    One spread is pooled over all pairs, which supposes that they have the same: three seeds leave a
    single pair 2 degrees of freedom, five adapters of three seeds together 8.

    Args:
        values: Columns ``adapter``, ``seed`` and ``value``, each pair once.

    Raises:
        InputError: If there are fewer than two adapters or seeds, or one was not trained with every
            seed.
    """
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    grid = values.pivot(index="adapter", columns="seed", values="value")
    sets, seeds = grid.shape
    if sets < 2 or seeds < 2 or bool(grid.isna().any(axis=None)):
        raise InputError("give two adapters or more, each trained with the same two seeds or more.")
    fitted = ols("value ~ C(adapter) + C(seed)", values).fit()
    variance, df = float(fitted.mse_resid), (sets - 1) * (seeds - 1)
    std = math.sqrt(2 * variance)
    # What rounding leaves is no spread.
    if std <= 1e-9 * max(1.0, float(grid.abs().to_numpy().max())):
        return AmongSets(sets, seeds, math.nan, math.nan, 0.0, df, math.nan)
    table = anova_lm(fitted)
    least = std / math.sqrt(seeds) * multiplier(df)
    f, p = (float(table.loc["C(adapter)", name]) for name in ("F", "PR(>F)"))
    return AmongSets(sets, seeds, f, p, std, df, least)


def differences_over_seeds(adapters: pd.DataFrame) -> pd.DataFrame:
    """Whether adapters differ from their references by more than the spread between seeds.

    The differences of equal seeds are taken (same first weights, same batches), and their mean is
    tested against 0 by a t test over seeds: it holds for another training, where an interval over
    examples holds for this one. Holm's correction runs over one task, metric and reference.

    Args:
        adapters: The ``adapters`` table of a run, one row a seed.

    Returns:
        One row a task, language, metric, adapter and reference with two seeds or more:
        ``difference``, ``std`` (of the difference, between seeds), ``low`` and ``high``,
        ``smallest`` and ``largest`` of the seeds, ``seeds``, ``p_value``, ``p_holm`` and
        ``detectable``; empty where no adapter was trained several times. Of two references that are
        compared with each other the pair stands once.
    """
    cell = ["task", "language", "metric", "adapter", "reference"]
    rows: list[dict[str, object]] = []
    seen: set[tuple[object, ...]] = set()
    for key, group in adapters.groupby(cell, sort=False) if len(adapters) else ():
        values = group["difference"].to_numpy(dtype=float)
        # A reference trained once is no sample of its kind.
        if group["seed"].nunique() < 2 or group["reference_seed"].nunique() < 2:
            continue
        # Two references stand against each other twice, once each way.
        *where, adapter, reference = key
        if (*where, reference, adapter) in seen:
            continue
        seen.add(key)
        found = spread(values)
        # Without any spread, not even between seeds, there is nothing to test with.
        p = stats.ttest_1samp(values, 0).pvalue if found.std > 0 else math.nan
        rows.append(
            {
                **dict(zip(cell, key, strict=True)),
                "seeds": found.seeds,
                "difference": found.mean,
                "std": found.std,
                "low": found.low,
                "high": found.high,
                "smallest": float(values.min()),
                "largest": float(values.max()),
                "p_value": float(p),
                "detectable": detectable_over_seeds(found.std, found.seeds),
            }
        )
    table = pd.DataFrame(rows)
    if len(table):
        family = table.groupby(["task", "metric", "reference"])["p_value"]
        table["p_holm"] = family.transform(holm)
    return table
