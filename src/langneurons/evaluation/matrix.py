"""The perplexity-change matrix: whose neurons hurt which language, against random controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from langneurons.errors import InputError, unknown
from langneurons.evaluation.language_modelling import (
    BLOCK,
    PerplexityResult,
    as_blocks,
    loss_ratio,
)
from langneurons.evaluation.together import perplexities
from langneurons.evaluation.token_loss import find_head
from langneurons.intervention import Intervention, Value
from langneurons.intervention.interventions import Mode
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.identification import NeuronSet, Units
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

CONTROLS = ("random", "matched", "load")
"""Kinds of controls: of the same size, of the same activity too, experts of the same load."""
_MATCHED = {"matched": "rate", "load": "load"}


@dataclass(frozen=True)
class PerplexityChange:
    """What overwriting each language's neurons does to the perplexity of each language.

    Attributes:
        table: One row a measurement: ``row`` (language whose units were overwritten), ``column``
            (language of the text), ``kind`` (own, random, matched, load), ``seed``, ``units``,
            ``perplexity``, ``baseline``, ``ratio``, ``change`` (difference of the perplexities),
            ``loss_change`` (log of the ratio, nats a token), ``low`` and ``high`` (interval of the
            ratio, over documents), ``documents``, ``tokens``.
    """

    table: pd.DataFrame

    def matrix(self, quantity: str = "ratio", kind: str = "own") -> pd.DataFrame:
        """Rows by columns; several seeds of a control are averaged.

        Args:
            quantity: A numeric column of the table.
            kind: ``"own"``, ``"random"``, ``"matched"`` or ``"load"``.

        Raises:
            InputError: If there is no such column or kind.
        """
        if quantity not in self.table.columns:
            raise unknown("quantity", quantity, self.table.columns)
        part = self.table[self.table["kind"] == kind]
        if part.empty:
            raise unknown("kind of units", kind, set(self.table["kind"]))
        rows = list(dict.fromkeys(part["row"]))
        columns = list(dict.fromkeys(part["column"]))
        wide = part.pivot_table(index="row", columns="column", values=quantity, aggfunc="mean")
        return wide.reindex(index=rows, columns=columns)

    def summary(self) -> pd.DataFrame:
        """One row a language: does its own text suffer most, and beyond every control?

        Columns: ``row``, ``ratio``, ``low``, ``high``, ``largest_in_row``, and for each kind of
        control ``<kind>_max`` (largest ratio of its draws on the language's own text) and
        ``beyond_<kind>``.
        """
        own = self.table[self.table["kind"] == "own"]
        found = []
        for lang in dict.fromkeys(own["row"]):
            line = own[own["row"] == lang]
            cell = line[line["column"] == lang]
            if cell.empty:
                continue
            first = cell.iloc[0]
            row = {
                "row": lang,
                **{key: float(first[key]) for key in ("ratio", "low", "high")},
                "largest_in_row": bool(first["ratio"] >= line["ratio"].max()),
            }
            for kind in CONTROLS:
                draws = self.table[
                    (self.table["kind"] == kind)
                    & (self.table["row"] == lang)
                    & (self.table["column"] == lang)
                ]["ratio"]
                if len(draws):
                    row[f"{kind}_max"] = float(draws.max())
                    row[f"beyond_{kind}"] = bool(first["ratio"] > draws.max())
            found.append(row)
        return pd.DataFrame(found)


def perplexity_change(
    lm: LanguageModel,
    neurons: NeuronSet,
    texts: Mapping[str, Sequence[str] | Blocks],
    value: Value | float | Mapping[str, Value | float] = 0.0,
    *,
    mode: Mode = "set",
    controls: Mapping[str, int | Iterable[int]] | None = None,
    stats: Statistics | None = None,
    baseline: MutableMapping[str, PerplexityResult] | None = None,
    control_columns: Literal["own", "all"] = "own",
    seed: int = 0,
    tokens: int | None = None,
    block: int = BLOCK,
    batch_size: int | None = None,
    level: float = 0.95,
) -> PerplexityChange:
    """Overwrite each language's neurons in turn and measure every language's perplexity.

    Args:
        lm: A causal model.
        neurons: Units by language; each language is a row.
        texts: Held-out documents (or blocks) by language; each is a column.
        value: What is written: a number, a :class:`~langneurons.intervention.Value`, or one of
            them for each row's language.
        mode: ``"set"``, ``"add"`` or ``"multiply"``.
        controls: Kind of control (``"random"``: same number of units in each layer; ``"matched"``:
            also of the same activity; ``"load"``: experts of the same load) to a number of draws or
            to the seeds themselves.
        stats: Statistics, which matched and load-matched controls need.
        baseline: Untouched perplexities by language that are known already; missing ones are put
            there.
        control_columns: Measure controls on the row's own language, or on all.
        seed: First seed of the controls.
        tokens: See :func:`~langneurons.evaluation.language_modelling.perplexity`.
        block: Likewise.
        batch_size: Likewise.
        level: Level of the intervals.

    Raises:
        InputError: If neurons and model do not fit, or a control cannot be made.
    """
    neurons.check(lm)
    blocks = {lang: as_blocks(lm, text, tokens=tokens, block=block) for lang, text in texts.items()}
    (found,) = perplexity_changes(
        lm, [(neurons, value, mode)], blocks, controls=controls, stats=stats, baseline=baseline,
        control_columns=control_columns, seed=seed, batch_size=batch_size, level=level,
    )  # fmt: skip
    return found


def perplexity_changes(
    lm: LanguageModel,
    points: Sequence[tuple[NeuronSet, Value | float | Mapping[str, Value | float], Mode]],
    texts: Mapping[str, Blocks],
    *,
    controls: Mapping[str, int | Iterable[int]] | None = None,
    stats: Statistics | None = None,
    baseline: MutableMapping[str, PerplexityResult] | None = None,
    control_columns: Literal["own", "all"] = "own",
    seed: int = 0,
    batch_size: int | None = None,
    level: float = 0.95,
) -> list[PerplexityChange]:
    """Several matrices on the same texts; what their forward passes have in common is done once.

    Args:
        lm: A causal model.
        points: For each matrix the neuron set, what is written and the mode.
        texts: Held-out blocks by language; each is a column.
        controls: Kind of control to a number of draws or to the seeds themselves.
        stats: Statistics, which matched controls need.
        baseline: Untouched perplexities that are known already; missing ones are put there.
        control_columns: Measure controls on the row's own language, or on all.
        seed: First seed of the controls.
        batch_size: Blocks in a batch; None goes by the number of tokens.
        level: Level of the intervals.

    Raises:
        InputError: See :func:`perplexity_change`.
    """
    for neurons, _, _ in points:
        neurons.check(lm)
    if not texts:
        raise InputError("give text of at least one language.")
    head = find_head(lm)
    known: MutableMapping[str, PerplexityResult] = {} if baseline is None else baseline
    cells = [
        (number, *cell)
        for number, (neurons, _, _) in enumerate(points)
        for cell in _cells(
            neurons, list(texts), control_sets(neurons, controls or {}, seed, stats),
            control_columns,
        )
    ]  # fmt: skip
    touched: dict[int, PerplexityResult] = {}
    total = len(cells) + sum(lang not in known for lang in texts)
    with track("perplexity change", total, "cells") as bar:
        for lang, blocks in texts.items():
            bar.note(f"on {lang}")
            wanted: list[Intervention | None] = [] if lang in known else [None]
            places = []
            for place, (number, row, column, _, _, units) in enumerate(cells):
                if column == lang and len(units):
                    neurons, value, mode = points[number]
                    places.append(place)
                    wanted.append(_intervention(units, _value(value, row), mode, neurons))
            found = perplexities(
                lm, blocks, wanted,
                head=head, batch_size=batch_size, advance=bar.advance,
            )  # fmt: skip
            if lang not in known:
                known[lang] = found.pop(0)
            touched.update(zip(places, found, strict=True))
    rows: list[list[dict[str, object]]] = [[] for _ in points]
    for place, (number, row, column, kind, draw, units) in enumerate(cells):
        rows[number].append(
            {
                "row": row,
                "column": column,
                "kind": kind,
                "seed": draw,
                "units": len(units),
                **_compare(touched.get(place, known[column]), known[column], level),
            }
        )
    return [PerplexityChange(pd.DataFrame(item)) for item in rows]


def control_sets(
    neurons: NeuronSet,
    controls: Mapping[str, int | Iterable[int]],
    seed: int,
    stats: Statistics | None,
) -> dict[tuple[str, int], NeuronSet]:
    """The controls of a set by kind and seed, see :func:`perplexity_change`.

    Raises:
        InputError: If there is no such kind, or one needs statistics.
    """
    found = {}
    for kind, draws in controls.items():
        if kind not in CONTROLS:
            raise unknown("control", kind, CONTROLS)
        matched = _MATCHED.get(kind)
        for number in range(seed, seed + draws) if isinstance(draws, int) else draws:
            if matched and stats is None:
                raise InputError(f"{kind} controls need statistics: pass stats=.")
            found[kind, number] = neurons.random_like(
                number, matched=matched, statistics=stats if matched else None
            )
    return found


def _cells(
    neurons: NeuronSet,
    columns: Sequence[str],
    drawn: Mapping[tuple[str, int], NeuronSet],
    control_columns: str,
) -> list[tuple[str, str, str, int, Units]]:
    cells: list[tuple[str, str, str, int, Units]] = []
    for row in neurons.languages:
        cells += [(row, column, "own", 0, neurons[row]) for column in columns]
        for (kind, number), control in drawn.items():
            if len(neurons[row]):
                on = columns if control_columns == "all" else [c for c in columns if c == row]
                cells += [(row, column, kind, number, control[row]) for column in on]
    return cells


def _value(value: Value | float | Mapping[str, Value | float], row: str) -> Value | float:
    if not isinstance(value, Mapping):
        return value
    if row not in value:
        raise InputError(f"no value is given for the neurons of {row!r}: add one.")
    return value[row]


def _intervention(
    units: Units, value: Value | float, mode: Mode, neurons: NeuronSet
) -> Intervention:
    return Intervention(units=units, value=value, mode=mode, site=neurons.site)


def _compare(
    touched: PerplexityResult, untouched: PerplexityResult, level: float
) -> dict[str, float | int]:
    return {
        "perplexity": touched.value,
        "baseline": untouched.value,
        "change": touched.value - untouched.value,
        "loss_change": touched.loss - untouched.loss,
        **loss_ratio(touched, untouched, level=level),
    }
