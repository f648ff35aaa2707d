"""What each kind of value shows, and what can be drawn of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import pandas as pd
from markupsafe import Markup

from langneurons.errors import InputError, unknown
from langneurons.evaluation import Scores
from langneurons.identification import NeuronSet
from langneurons.reporting import style
from langneurons.reporting.columns import OVERLAP
from langneurons.reporting.figures import layers as layer_figures
from langneurons.reporting.figures import overlap as overlap_figures
from langneurons.reporting.figures import sets as set_figures
from langneurons.reporting.figures import units as unit_figures
from langneurons.reporting.notebook import markup
from langneurons.reporting.notebook.drawing import Drawing
from langneurons.reporting.numbers import count, listing, number
from langneurons.reporting.tables import Column, Table, neurons
from langneurons.statistics import Statistics

Kinds = Mapping[str, Callable[..., Drawing]]


@singledispatch
def html(value: object) -> str:
    """What a notebook shows of a value: HTML, everything from data escaped."""
    raise TypeError(f"nothing is known to show of {type(value).__name__}")


@singledispatch
def kinds(value: object) -> Kinds:
    """What can be drawn of a value, the usual first."""
    raise TypeError(f"nothing is known to draw of {type(value).__name__}")


def plot(value: object, kind: str | None, options: Mapping[str, Any]) -> Drawing:
    """Draw a value.

    Args:
        value: The value.
        kind: One of its kinds; None draws the first.
        options: Options of the drawing.

    Raises:
        InputError: If there is no such kind or option, or the value lacks what it needs.
    """
    known = kinds(value)
    name = kind or next(iter(known))
    if name not in known:
        raise unknown("drawing", name, known)
    draw = known[name]
    try:
        inspect.signature(draw).bind(value, **options)
    except TypeError as error:
        takes = list(inspect.signature(draw).parameters)[1:]
        raise InputError(
            f"drawing {name!r}: {error}; give {listing(takes) or 'no options'}."
        ) from error
    with style.figure_style():
        return draw(value, **options)


# ------------------------------------------------------------------ neuron sets


def _by_layer(found: NeuronSet) -> pd.DataFrame:
    return found.per_layer().assign(neurons=found.method, total=found.shape[1])


def _model(value: NeuronSet | Statistics) -> str:
    return str((value.model or {}).get("name", ""))


@html.register
def _(value: NeuronSet) -> str:
    facts = [
        ("method", value.method),
        ("site", value.site),
        ("model", _model(value)),
        ("size", f"{value.shape[0]} layers × {number(value.shape[1], 0)} units"),
    ]
    if not len(value):
        return markup.page("Language neurons", facts)
    shown = neurons.neurons(_by_layer(value))
    shown = Table(shown.name, shown.title, shown.caption, shown.data, shown.columns[1:])
    drawn = Markup(plot(value, "layers", {})._repr_html_())
    return markup.page("Language neurons", facts, markup.table(shown), drawn)


@kinds.register
def _(value: NeuronSet) -> Kinds:
    return {"layers": _layers, "overlap": _overlap, "upset": _upset, "venn": _venn}


def _layers(found: NeuronSet) -> Drawing:
    model = _model(found)
    where = f" in {model}" if model else ""
    return Drawing(
        layer_figures.layers(_by_layer(found)),
        f"Neurons found by {found.method}{where}: share of each layer's units, by language (n: "
        "neurons of the language in all layers).",
    )


def _overlap(found: NeuronSet, other: NeuronSet | None = None) -> Drawing:
    table = found.overlap(other).rename(columns=OVERLAP)
    name = found.method
    if other is not None:
        name = other.method if other.method != found.method else f"{other.method}, other"
    table = table.assign(a=found.method, b=name)
    what = f"between {found.method} and {name}" if other is not None else f"within {name}"
    return Drawing(
        overlap_figures.languages(table),
        f"Jaccard index of the neurons of every pair of languages {what}.",
    )


def _upset(found: NeuronSet, most: int = 24) -> Drawing:
    return Drawing(
        set_figures.upset(_members(found, 2), most),
        f"Units of {found.method} by the exact combination of languages they belong to (left: "
        "units of each language).",
    )


def _venn(found: NeuronSet, languages: Sequence[str] | None = None) -> Drawing:
    units = _members(found, 3)
    three = list(languages or set_figures.closest(units))
    for lang in three:
        if lang not in found:
            raise unknown("language", lang, found.languages)
    if len(set(three)) != 3:
        raise InputError(f"a Venn diagram shows three languages, not {len(set(three))}.")
    return Drawing(
        set_figures.venn(units, three),
        f"Units of {found.method} shared by {listing(three)}. Areas are not to scale.",
    )


def _members(found: NeuronSet, least: int) -> pd.DataFrame:
    units = found.table()
    if units["language"].nunique() < least:
        raise InputError(f"this drawing needs neurons of at least {least} languages.")
    return units


# ------------------------------------------------------------------ statistics


@html.register
def _(value: Statistics) -> str:
    rows = []
    for lang, item in value.by_language.items():
        rate = value.prob_positive(lang)
        mean = float(value.mean(lang).mean()) if item.moments is not None else float("nan")
        rows.append(
            {
                "language": lang,
                "tokens": item.tokens,
                "rows": len(item.sample) if item.sample is not None else 0,
                "positive": 100 * float(rate.mean()),
                "mean": mean,
            }
        )
    shown = Table(
        "statistics",
        "Statistics",
        "Counted tokens, sampled token rows, mean over units of the share of tokens above 0 and "
        "of the mean activation.",
        pd.DataFrame(rows),
        [
            Column("language", "language"),
            Column("tokens", "tokens", "count"),
            Column("rows", "token rows", "count"),
            Column("positive", "above 0, %", "number", 1),
            Column("mean", "mean activation", "number", 3),
        ],
    )
    facts = [
        ("site", value.site),
        ("model", _model(value)),
        ("size", f"{value.shape[0]} layers × {number(value.shape[1], 0)} units"),
    ]
    parts = [markup.table(shown)] if rows else []
    if rows:
        parts.append(Markup(plot(value, "activity", {})._repr_html_()))
    return markup.page("Activation statistics", facts, *parts)


@kinds.register
def _(value: Statistics) -> Kinds:
    return {"activity": _activity, "unit": _unit}


def _activity(value: Statistics) -> Drawing:
    rates = {lang: value.prob_positive(lang).mean(dim=1).numpy() for lang in value.languages}
    return Drawing(
        unit_figures.activity(rates, value.tokens),
        f"Share of tokens with an activation above 0 at {value.site}, mean over the units of each "
        "layer, by language (n: tokens).",
    )


def _unit(value: Statistics, layer: int, index: int) -> Drawing:
    if not (0 <= layer < value.shape[0] and 0 <= index < value.shape[1]):
        raise InputError(
            f"no unit {layer}.{index}: choose within {value.shape[0]} layers of {value.shape[1]} "
            "units."
        )
    rows = {lang: value.rows(lang, layer)[:, index].float().numpy() for lang in value.languages}
    rates = {lang: float(value.prob_positive(lang)[layer, index]) for lang in value.languages}
    return Drawing(
        unit_figures.unit(rows, rates),
        f"Activation of layer {layer}, unit {index} at {value.site} on sampled tokens of each "
        "language (n: tokens; heights: square root of the share), with the share of all tokens "
        "above 0.",
    )


# ------------------------------------------------------------------ scores


def _levels(value: Scores) -> pd.DataFrame:
    rows = []
    for metric in value.metrics:
        low, high = value.interval(metric)
        rows.append(
            {
                "metric": metric.replace("_", " "),
                "value": value.value(metric),
                "low": low,
                "high": high,
                "chance": value.chance(metric),
                "n": value.n,
            }
        )
    return pd.DataFrame(rows)


@html.register
def _(value: Scores) -> str:
    shown = Table(
        "scores",
        "Scores",
        "Score with its 95 % interval, beside guessing.",
        _levels(value),
        [
            Column("metric", "metric"),
            Column("value", "score, %", "number", 1, ("low", "high")),
            Column("chance", "guessing, %", "number", 1),
            Column("n", "n", "count"),
        ],
    )
    facts = [("task", value.task), ("language", value.lang)]
    for key in ("model", "adapter", "intervention", "split"):
        detail = value.details.get(key)
        if isinstance(detail, Mapping):
            detail = detail.get("name")
        if isinstance(detail, (str, int)):
            facts.append((key, str(detail)))
    return markup.page(f"Scores, {count(value.n, 'example')}", facts, markup.table(shown))


@kinds.register
def _(value: Scores) -> Kinds:
    return {"metrics": _metrics}


def _metrics(value: Scores) -> Drawing:
    return Drawing(
        unit_figures.metrics(_levels(value)),
        f"{value.task} in {value.lang}: score with 95 % interval (over groups of "
        f"examples, n = {number(value.n, 0)}), beside guessing.",
    )
