"""What the explorer shows of every unit of a neuron set, from statistics and their texts.

A sampled token row carries the document and the offset it comes from, so the passage around it is
read from the text. The passages shown pass through the model once more, for the strength of each
token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from langneurons.artifacts import write_table
from langneurons.errors import InputError
from langneurons.progress import track
from langneurons.reporting.explorer.neighbours import neighbours
from langneurons.reporting.explorer.passages import Passages
from langneurons.reporting.explorer.strengths import strengths

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

BINS = 32
"""Bins of a histogram."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_EDGE = 0.001  # the histogram spans all but this share of either end


def explore(
    statistics: Statistics,
    neurons: NeuronSet,
    texts: Mapping[str, Sequence[str]],
    tokenizer: Any,
    *,
    units: int = 500,
    passages: int = 6,
    before: int = 24,
    after: int = 12,
    near: int = 5,
    model: LanguageModel | None = None,
) -> dict[str, pd.DataFrame]:
    """Gather distributions, top passages and neighbours of the units of a neuron set.

    Args:
        statistics: Statistics with token rows of the set's languages (others are shown too).
        neurons: The set; at most ``units`` units a language are taken, highest score first.
        texts: Language to the documents that the statistics were collected on.
        tokenizer: The model's tokenizer.
        units: Most units of a language.
        passages: Passages a unit, at most one of a document.
        before: Tokens shown before the marked one.
        after: Tokens shown behind it.
        near: Neighbours a unit.
        model: The model of the statistics; None: the strength of no token but the marked one is
            known.

    Returns:
        ``units`` (layer, index, language, score), ``distributions`` (layer, index, language, low,
        high, counts, positive, mean, std, q05 to q95, minimum, maximum), ``passages`` (layer,
        index, rank, language, activation, before, token, after; ``lengths``, the signs of each
        token shown, and ``strengths``, its activation, both empty where not known) and
        ``neighbours`` (layer, index, rank, other_layer, other_index, correlation). ``counts`` are
        numbers of sampled tokens in :data:`BINS` equal bins from ``low`` to ``high`` (the range of
        all but 0.1 % of the sampled tokens at either end of any language; the rest is in the outer
        bins).

    Raises:
        InputError: If the statistics hold no token rows or belong to another model or site.
    """
    if statistics.shape != neurons.shape or statistics.site != neurons.site:
        raise InputError(
            f"neurons of {neurons.shape[0]}x{neurons.shape[1]} {neurons.site} do not belong to "
            f"statistics of {statistics.shape[0]}x{statistics.shape[1]} {statistics.site}: "
            "take statistics of the same model and site."
        )
    if not statistics.has("rows"):
        raise InputError("the explorer needs token rows: collect statistics with rows above 0.")
    chosen = _chosen(neurons, units)
    layers = [
        np.array(sorted(set(chosen.loc[chosen["layer"] == layer, "index"])), dtype=np.int64)
        for layer in range(neurons.shape[0])
    ]
    cutter = Passages(statistics, texts, tokenizer, before, after)
    shapes: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    with track("explorer", len(layers), "layers") as bar:
        for layer, index in enumerate(layers):
            if len(index):
                rows = {
                    lang: statistics.rows(lang, layer)[:, index].float().numpy()
                    for lang in statistics.languages
                }
                shapes += _distributions(statistics, layer, index, rows)
                found += _top(layer, index, rows, cutter, passages)
            bar.advance()
    return {
        "units": chosen,
        "distributions": pd.DataFrame(shapes),
        "passages": pd.DataFrame(_coloured(cutter, found, statistics, model)),
        "neighbours": neighbours(statistics, layers, near),
    }


def _coloured(
    cutter: Passages,
    found: Sequence[Mapping[str, Any]],
    statistics: Statistics,
    model: LanguageModel | None,
) -> list[dict[str, Any]]:
    """Passages with the strength of each token, where a model can tell."""
    made = cutter.fill(found)
    known: Sequence[np.ndarray | None] = [None] * len(made)
    if model is not None and model.tokenizer.is_fast:
        documents = {
            (str(item["language"]), int(item["key"])): cutter.text(item["language"], item["key"])
            for item in made
        }
        known = strengths(model, statistics, documents, made)
    for item, values in zip(made, known, strict=True):
        item["strengths"] = [] if values is None else values.tolist()
        for used in ("key", "first", "last"):
            del item[used]
    return made


def save(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write the tables of :func:`explore` into a folder, one Parquet file each."""
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table)


def _chosen(neurons: NeuronSet, most: int) -> pd.DataFrame:
    table = neurons.table()
    if "score" in table:
        table = table.sort_values("score", ascending=False, kind="stable")
    else:
        table = table.assign(score=float("nan"))
    order = {language: place for place, language in enumerate(neurons.languages)}
    table = table.groupby("language", sort=False).head(most)
    return table.sort_values(
        "language", key=lambda column: column.map(order), kind="stable"
    ).reset_index(drop=True)


def _distributions(
    statistics: Statistics, layer: int, index: np.ndarray, rows: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    present = {lang: values for lang, values in rows.items() if len(values)}
    if not present:
        return []
    ends = np.stack(
        [np.quantile(values, [_EDGE, 1 - _EDGE], axis=0) for values in present.values()]
    )
    low, high = ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)
    high = np.where(high > low, high, low + 1.0)
    made = []
    for lang, values in present.items():
        place = np.floor((values - low) / (high - low) * BINS)
        place = np.clip(np.nan_to_num(place), 0, BINS - 1).astype(np.int64)
        quantiles = np.quantile(values, QUANTILES, axis=0)
        rate = statistics.prob_positive(lang)[layer]
        known = statistics[lang].moments is not None
        nan = torch.full_like(rate, float("nan"))
        facts = {
            "positive": rate,
            "mean": statistics.mean(lang)[layer] if known else nan,
            "std": statistics.std(lang)[layer] if known else nan,
            "minimum": statistics.minimum(lang)[layer] if known else nan,
            "maximum": statistics.maximum(lang)[layer] if known else nan,
        }
        for column, unit in enumerate(index.tolist()):
            made.append(
                {
                    "layer": layer,
                    "index": unit,
                    "language": lang,
                    "low": float(low[column]),
                    "high": float(high[column]),
                    "counts": np.bincount(place[:, column], minlength=BINS).tolist(),
                    **{name: float(values[unit]) for name, values in facts.items()},
                    **{
                        f"q{round(100 * p):02d}": float(quantiles[at, column])
                        for at, p in enumerate(QUANTILES)
                    },
                }
            )
    return made


def _top(
    layer: int,
    index: np.ndarray,
    rows: Mapping[str, np.ndarray],
    cutter: Passages,
    most: int,
) -> list[dict[str, Any]]:
    """The sampled tokens with the largest activations over all languages, one of a document."""
    languages = list(rows)
    sizes = [len(rows[lang]) for lang in languages]
    if not sum(sizes) or not most:
        return []
    whole = np.concatenate([rows[lang] for lang in languages])
    starts = np.cumsum([0, *sizes[:-1]])
    made = []
    for column, unit in enumerate(index.tolist()):
        order = np.argsort(-whole[:, column], kind="stable")
        seen: set[tuple[str, int]] = set()
        for at in order.tolist():
            which = int(np.searchsorted(starts, at, side="right")) - 1
            language, row = languages[which], at - int(starts[which])
            document = (language, cutter.document(language, row))
            if document in seen or not cutter.known(language, row):
                continue
            seen.add(document)
            made.append(
                {
                    "layer": layer,
                    "index": unit,
                    "rank": len(seen),
                    "language": language,
                    "activation": float(whole[at, column]),
                    "row": row,
                }
            )
            if len(seen) == most:
                break
    return made
