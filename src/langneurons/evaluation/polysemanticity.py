"""Polysemanticity as a number: what a language's units say about a task, and what that costs.

The paper explains its negative result by polysemanticity: language neurons carry task information
too. That implies three things that can be measured. Units selected for a language carry
information about the label of a task *within* that language; more of them do than units of the
same activity; and the more a unit carries, the more the task suffers when it is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from langneurons.evaluation.examples import AnswerLoss, Pool, example_activations, labels_of
from langneurons.evaluation.information import (
    mutual_information,
    null_separation,
    pooled_rows,
    separation,
    within_groups,
)
from langneurons.evaluation.token_loss import find_head
from langneurons.identification import Units
from langneurons.identification.evidence import BalancedRows
from langneurons.intervention import Intervention, Value
from langneurons.intervention.interventions import Mode
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.data.tasks import Example, Task
    from langneurons.identification import NeuronSet
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

ROUNDS = 200
LEVEL = 0.95
RESAMPLES = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Polysemanticity:
    """What was measured.

    Attributes:
        units: One row a unit: ``kind`` (own, matched), ``seed``, ``layer``, ``index``, ``rate``
            (activation probability), ``language_separation``, ``language_bits``,
            ``task_separation``, ``task_bits``, ``task_null`` (95th percentile of the separation
            with the labels dealt out anew), ``carries_language``, ``carries_task``, ``both``, and
            where harm was measured ``harm`` (rise of the answer's loss, nats).
        shares: One row a property (``language``, ``task``, ``both``): ``own``, ``matched`` (shares
            of the units), ``difference``, ``low``, ``high``, ``units``, ``controls``.
        correlations: One row a pair of quantities: ``harm_with``, ``given``, ``rho`` (Spearman),
            ``low``, ``high``, ``units``; empty where no harm was measured.
    """

    units: pd.DataFrame
    shares: pd.DataFrame
    correlations: pd.DataFrame


def polysemanticity(
    lm: LanguageModel,
    neurons: NeuronSet,
    language: str,
    stats: Statistics,
    task: Task,
    seen: Sequence[Example],
    tested: Sequence[Example] = (),
    *,
    value: Value | float = 0.0,
    mode: Mode = "set",
    matched: int = 3,
    pool: Pool = "last",
    threshold: float = 0.2,
    harm_units: int = 40,
    seed: int = 0,
) -> Polysemanticity:
    """Measure language and task information of a language's units and of units like them.

    A unit carries language information where its separation of the language's tokens from the
    others' is at least ``threshold`` (with thousands of tokens any difference is significant, so
    its size counts), and task information where its separation of the labels within the language
    exceeds 95 % of the values it has with the labels dealt out anew. Where examples share a
    premise, activations are compared within it (minus the premise's mean) and labels are dealt
    within it. By chance 5 % of all units do: what counts is the difference to matched units, with
    its bootstrap interval over units.

    Args:
        lm: The model.
        neurons: Units by language, at the site of ``stats``.
        language: The language.
        stats: Statistics with token rows of several languages.
        task: A task of classes.
        seen: Labelled examples of the language on which task information is measured.
        tested: Other examples, on which the harm of overwriting one unit at a time is measured;
            none: harm is not measured.
        value: What is written.
        mode: How, see :class:`~langneurons.intervention.Intervention`.
        matched: Draws of units of the same layers and activity.
        pool: See :func:`~langneurons.evaluation.examples.example_activations`.
        threshold: Separation from which a unit carries language information.
        harm_units: Of own and of matched units so many, drawn at random, are overwritten.
        seed: Seed of all draws.

    Raises:
        InputError: If task or statistics do not fit.
    """
    chosen = {("own", 0): neurons[language]}
    for number in range(seed, seed + matched):
        control = neurons.random_like(number, matched="rate", statistics=stats)
        chosen["matched", number] = control[language]
    labels = labels_of(task, seen)
    groups = np.unique([item.group for item in seen], return_inverse=True)[1].astype(np.int64)
    activations = example_activations(lm, task, seen, neurons.site, pool)
    rows = BalancedRows(stats)
    parts = []
    with track("information", len(chosen) * lm.layers, "layers") as bar:
        for (kind, number), units in chosen.items():
            for layer, index in enumerate(units.by_layer(lm.layers)):
                if len(index):
                    table = _layer(
                        rows, stats, language, layer, index, activations, labels, groups, seed
                    )
                    parts.append(table.assign(kind=kind, seed=number))
                bar.advance()
    table = pd.concat(parts, ignore_index=True)
    table["carries_language"] = table["language_separation"] >= threshold
    table["carries_task"] = table["task_separation"] > table["task_null"]
    table["both"] = table["carries_language"] & table["carries_task"]
    correlated = pd.DataFrame()
    if len(tested):
        losses = AnswerLoss(lm, task, language, tested, find_head(lm))

        def overwritten(unit: Units) -> Intervention:
            return Intervention(unit, value, mode, neurons.site)

        table["harm"] = _harm(losses, overwritten, table, harm_units, seed)
        correlated = correlations(table, seed)
    return Polysemanticity(table, shares(table, seed), correlated)


def _layer(
    rows: BalancedRows,
    stats: Statistics,
    language: str,
    layer: int,
    index: torch.Tensor,
    activations: torch.Tensor,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    seed: int,
) -> pd.DataFrame:
    tokens, owner = pooled_rows(
        {name: rows.layer(name, layer)[:, index] for name in rows.languages}, language
    )
    here = within_groups(activations[:, layer, index], groups)
    null = null_separation(here, labels, groups, rounds=ROUNDS, seed=seed)
    return pd.DataFrame(
        {
            "layer": layer,
            "index": index.numpy(),
            "rate": stats.prob_positive(language)[layer, index].numpy(),
            "deviation": stats.std(language)[layer, index].numpy(),
            "language_separation": separation(tokens, owner),
            "language_bits": mutual_information(tokens, owner),
            "task_separation": separation(here, labels),
            "task_bits": mutual_information(here, labels),
            "task_null": np.quantile(null, LEVEL, axis=0),
        }
    )


def _harm(
    losses: AnswerLoss,
    overwritten: Callable[[Units], Intervention],
    table: pd.DataFrame,
    count: int,
    seed: int,
) -> Floats:
    """Mean rise of the right answer's loss with each unit overwritten alone; NaN where not run."""
    generator = np.random.default_rng(seed)
    harm = np.full(len(table), np.nan)
    picked: list[int] = []
    for kind in ("own", "matched"):
        places = np.flatnonzero(table["kind"] == kind)
        picked += generator.permutation(places)[:count].tolist()
    with track("harm of single units", len(picked) + 1, "units") as bar:
        plain = losses()
        bar.advance()
        for place in picked:
            row = table.iloc[place]
            unit = Units([int(row["layer"])], [int(row["index"])])
            harm[place] = float((losses(overwritten(unit)) - plain).mean())
            bar.advance()
    return harm


def shares(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Share of units that carry each kind of information, own against matched, with interval."""
    own, control = (table[table["kind"] == kind] for kind in ("own", "matched"))
    found = []
    for name, column in (
        ("language", "carries_language"),
        ("task", "carries_task"),
        ("both", "both"),
    ):
        first = own[column].to_numpy(dtype=np.float64)
        second = control[column].to_numpy(dtype=np.float64)
        row = {
            "carries": name,
            "own": float(first.mean()),
            "matched": float(second.mean()) if len(second) else float("nan"),
            "units": len(first),
            "controls": len(second),
        }
        row |= _difference(first, second, seed)
        found.append(row)
    return pd.DataFrame(found)


def _difference(first: Floats, second: Floats, seed: int) -> dict[str, float]:
    if not len(first) or not len(second):
        return dict.fromkeys(("difference", "low", "high"), float("nan"))
    generator = np.random.default_rng(seed)
    drawn = [
        generator.choice(part, (RESAMPLES, len(part))).mean(axis=1) for part in (first, second)
    ]
    low, high = np.quantile(drawn[0] - drawn[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {
        "difference": float(first.mean() - second.mean()),
        "low": float(low),
        "high": float(high),
    }


def correlations(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Spearman correlation of harm with what a unit carries, bootstrap interval over units.

    ``given`` names what is held constant by a partial rank correlation (both residuals of the
    other ranks): the spread of a unit's activation, since units that vary more can both say more
    and do more harm.
    """
    measured = table[table["harm"].notna()]
    rows = []
    for kind, part in (
        ("own", measured[measured["kind"] == "own"]),
        ("own and matched", measured),
    ):
        for column, given in (
            ("task_separation", None),
            ("task_separation", "deviation"),
            ("language_separation", None),
            ("deviation", None),
        ):
            data = part[["harm", column, *([given] if given else [])]].to_numpy(dtype=np.float64)
            rows.append(
                {
                    "kind": kind,
                    "harm_with": column,
                    "given": given or "",
                    **_spearman(data, seed),
                    "units": len(data),
                }
            )
    return pd.DataFrame(rows)


def _spearman(data: Floats, seed: int) -> dict[str, float]:
    names = ("rho", "low", "high")
    if len(data) < 5:
        return dict.fromkeys(names, float("nan"))
    generator = np.random.default_rng(seed)
    drawn = [
        partial_rank_correlation(data[generator.integers(0, len(data), len(data))])
        for _ in range(RESAMPLES // 2)
    ]
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return dict(zip(names, (partial_rank_correlation(data), float(low), float(high)), strict=True))


def partial_rank_correlation(data: Floats) -> float:
    """Spearman correlation of the first two columns, the third (if any) held constant.

    With three columns (r12 - r13 r23) / sqrt((1 - r13^2)(1 - r23^2)) of the ranks' correlations
    (Kendall 1942); NaN where a column does not vary.
    """
    ranks = scipy_stats.rankdata(data, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Floats = np.atleast_2d(np.corrcoef(ranks, rowvar=False))
        if data.shape[1] == 2:
            return float(r[0, 1])
        rest = (1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2)
        return float((r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt(rest))
