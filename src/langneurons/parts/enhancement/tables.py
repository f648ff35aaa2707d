"""Tables of trainings on raw text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from langneurons.interface.results import Results
from langneurons.parts.enhancement.spec import PLAIN

OWN, OTHERS = "own", "others"
_FILES = {"losses": "losses.parquet", "about": "about.parquet", "scores": "scores.parquet"}


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Perplexity after each training, the language's own units against each arm, and transfer."""
    rows = {name: results.rows("enhancement", file) for name, file in _FILES.items()}
    rates = results.rows("enhancement_rate", "rates.parquet")
    if not len(rows["losses"]):
        return {"enhancement_rates": rates} if len(rates) else {}
    found = {
        "enhancement": changes(rows["losses"], rows["about"], rates),
        "enhancement_against": against(rows["losses"]),
        "enhancement_seeds": seeds(rows["losses"], rows["about"]),
        "enhancement_rates": rates,
        "enhancement_items": rows["losses"],
    }
    if len(rows["scores"]):
        found["enhancement_transfer"] = transfer(rows["scores"])
    return found


def changes(losses: pd.DataFrame, about: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Perplexity after training as a ratio to before.

    Args:
        losses: Rows of documents: language (trained on), arm, seed, measured, document,
            loss_sum, before, tokens.
        about: One row a training.
        rates: The learning rates tried.

    Returns:
        One row a language, arm and measured language (``others``: all languages but the trained
        one, each with the same weight): ``ratio``; ``low`` and ``high`` over documents, of the mean
        over seeds; ``seeds_low`` and ``seeds_high`` over seeds (both t, of the logarithm).
    """
    edges = {(row["language"], row["arm"]) for _, row in rates[rates["chosen"]].iterrows()
             if row["edge"]}  # fmt: skip
    found = []
    for (language, arm), group in losses.groupby(["language", "arm"], sort=False):
        one = about[(about["language"] == language) & (about["arm"] == arm)].iloc[0]
        for column, cell in _columns(group, str(language)):
            found.append(
                {
                    **{"language": language, "arm": arm, "measured": column},
                    **_ratio(cell.assign(top=cell["loss_sum"] - cell["before"])),
                    "seeds": cell["seed"].nunique(),
                    "units": int(one["units"]),
                    "trained": int(one["trained"]),
                    "rate": float(one["rate"]),
                    "edge": (language, arm) in edges,
                }
            )
    return pd.DataFrame(found)


def against(losses: pd.DataFrame) -> pd.DataFrame:
    """The language's own units against every other arm.

    Returns:
        One row a language, arm and measured language: ``difference``, the mean loss after training
        own units less that after the arm, in nats a token (below 0: own units are better), with
        ``low`` and ``high`` over seeds (t, pairs of equal seeds), ``documents_low`` and
        ``documents_high`` over documents, ``p_value`` of the t test over seeds, ``p_holm`` over all
        languages and arms of a kind of column, and ``detectable``, the smallest true difference
        that it finds.
    """
    from scipy import stats

    from langneurons.evaluation.paired import holm
    from langneurons.evaluation.power import detectable_over_seeds
    from langneurons.evaluation.seeds import spread

    found: list[dict[str, Any]] = []
    key = ["measured", "seed", "document"]
    for language, group in losses.groupby("language", sort=False):
        own = group[group["arm"] == OWN]
        if own.empty:
            continue
        for arm, other in group[group["arm"] != OWN].groupby("arm", sort=False):
            both = own.merge(other[[*key, "loss_sum"]], on=key, suffixes=("", "_arm"))
            both["top"] = both["loss_sum"] - both["loss_sum_arm"]
            for column, cell in _columns(both, str(language)):
                values = _by_seed(cell)
                over = spread(values)
                ratio = _ratio(cell)
                several = over.seeds > 1 and over.std > 0
                found.append(
                    {
                        **{"language": language, "arm": arm, "measured": column},
                        **{"difference": over.mean, "low": over.low, "high": over.high},
                        "documents_low": math.log(ratio["low"]),
                        "documents_high": math.log(ratio["high"]),
                        "seeds": over.seeds,
                        "p_value": float(stats.ttest_1samp(values, 0).pvalue)
                        if several
                        else math.nan,
                        "detectable": detectable_over_seeds(over.std, over.seeds)
                        if several
                        else math.nan,
                    }
                )
    table = pd.DataFrame(found)
    if len(table):
        kind = np.where(table["measured"] == table["language"], "itself", table["measured"])
        kind = np.where(np.isin(kind, ["itself", OTHERS]), kind, "single")
        known = table["p_value"].notna()
        table.loc[known, "p_holm"] = table[known].groupby(kind[known])["p_value"].transform(holm)
    return table


def seeds(losses: pd.DataFrame, about: pd.DataFrame) -> pd.DataFrame:
    """Perplexity before and after, of every single training and language."""
    cell = ["language", "arm", "seed", "measured"]
    sums = losses.groupby(cell, sort=False)[["loss_sum", "before", "tokens"]].sum().reset_index()
    table = sums[cell].assign(
        before=np.exp(sums["before"] / sums["tokens"]),
        after=np.exp(sums["loss_sum"] / sums["tokens"]),
        tokens=sums["tokens"],
    )
    return table.merge(about.drop(columns="tokens"), on=["language", "arm", "seed"], how="left")


def transfer(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores after the task was learnt in the training language, less those without enhancement.

    Args:
        scores: Rows of examples: language, arm, seed, measured, id, group, score (in %).

    Returns:
        One row a language, arm and measured language: ``score``, ``plain`` (without),
        ``difference`` in points with ``low`` and ``high`` over seeds (t, pairs of equal seeds),
        ``examples_low`` and ``examples_high`` over groups of examples, and ``detectable`` over
        seeds.
    """
    from langneurons.evaluation.intervals import difference_interval
    from langneurons.evaluation.power import detectable_over_seeds
    from langneurons.evaluation.seeds import spread

    key = ["measured", "seed", "id"]
    plain = scores[scores["arm"] == PLAIN]
    found = []
    rest = scores[scores["arm"] != PLAIN]
    for (language, arm, column), group in rest.groupby(["language", "arm", "measured"], sort=False):
        both = group.merge(plain[[*key, "score"]], on=key, suffixes=("", "_plain"))
        if both.empty:
            continue
        both["change"] = both["score"] - both["score_plain"]
        over = spread(both.groupby("seed")["change"].mean())
        single = both.groupby(["id", "group"], sort=False)["change"].mean().reset_index()
        low, high = difference_interval(single["change"], single["group"], whole=100.0)
        found.append(
            {
                **{"language": language, "arm": arm, "measured": column},
                **{"metric": group["metric"].iloc[0], "score": both["score"].mean()},
                **{"plain": both["score_plain"].mean(), "difference": over.mean},
                **{"low": over.low, "high": over.high},
                **{"examples_low": low, "examples_high": high, "seeds": over.seeds},
                "examples": len(single),
                "detectable": detectable_over_seeds(over.std, over.seeds)
                if over.seeds > 1 and over.std > 0
                else math.nan,
            }
        )
    return pd.DataFrame(found)


def _columns(rows: pd.DataFrame, language: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each language, and of all but the trained one, each with the weight of its own."""
    yield from ((str(name), cell) for name, cell in rows.groupby("measured", sort=False))
    others = rows[rows["measured"] != language]
    if others["measured"].nunique() > 1:
        yield OTHERS, others


def _by_seed(cell: pd.DataFrame) -> pd.Series:
    """For each seed the mean of ``top`` a token, the mean of its languages."""
    sums = cell.groupby(["seed", "measured"], sort=False)[["top", "tokens"]].sum()
    return (sums["top"] / sums["tokens"]).groupby("seed").mean()


def _ratio(cell: pd.DataFrame) -> dict[str, float]:
    """E to the mean of ``top`` a token, with intervals over documents and over seeds.

    Documents are averaged over seeds first. With several languages the standard errors of their
    means, which have no document in common, add as squares; the degrees of freedom are those of the
    language with the fewest documents.
    """
    from scipy import stats

    from langneurons.evaluation.intervals import ratio_standard_error
    from langneurons.evaluation.seeds import spread

    over = spread(_by_seed(cell))
    mean = cell.groupby(["measured", "document"], sort=False)[["top", "tokens"]].mean()
    groups = [part for _, part in mean.groupby("measured", sort=False)]
    errors = [ratio_standard_error(part["top"], part["tokens"]) for part in groups]
    error = math.sqrt(sum(item**2 for item in errors)) / len(errors)
    fewest = min(map(len, groups))
    half = float(stats.t.ppf(0.975, fewest - 1)) * error if fewest > 1 else math.nan
    values = {
        "ratio": over.mean,
        "low": over.mean - half,
        "high": over.mean + half,
        "seeds_low": over.low,
        "seeds_high": over.high,
    }
    with np.errstate(over="ignore"):
        return {name: float(np.exp(value)) for name, value in values.items()}
