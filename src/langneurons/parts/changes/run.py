"""What the stages of other changes do."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langneurons.interface.workshop import Workshop

if TYPE_CHECKING:
    from langneurons.identification import Units
    from langneurons.models import LanguageModel

Within = AbstractContextManager[object]


@dataclass(frozen=True)
class _Cell:
    """What is done to the model in one cell: arguments of its stage."""

    name: str
    language: str
    change: str
    units: str
    of: str
    seed: int


def task_change(
    workshop: Workshop,
    output: Path,
    name: str,
    task: str,
    adapter: str,
    language: str,
    change: str,
    units: str,
    of: str,
    seed: int = 0,
    trained: bool = True,
) -> None:
    """Score a task while the model is changed."""
    from langneurons.evaluation import evaluate

    what = workshop.context.spec_of("changes")[name].what
    plan = {"subspace": _subspace, "features": _features}.get(what, _neurons)
    lm = workshop.adapted(task, adapter) if trained else workshop.lm
    spec = workshop.context.spec_of("tasks")[task]
    with plan(workshop, lm, _Cell(name, language, change, units, of, seed)):
        evaluate(
            lm,
            workshop.task(task),
            language,
            split=spec.split,
            limit=spec.limit,
            protocol=workshop.context.protocol,
            output=output,
        )


def batch_percentiles(workshop: Workshop, output: Path, site: str, language: str) -> None:
    """Statistics whose quantiles are means over batches of each batch's own, as released."""
    from langneurons.statistics import collect

    spec = workshop.context.spec_of("statistics")
    collect(
        workshop.lm,
        {language: workshop.texts[language].statistics},
        site=site,
        tokens=spec.tokens,
        block=spec.block,
        rows=0,
        quantiles="batch-mean",
        output=output,
    )


def _subspace(workshop: Workshop, lm: LanguageModel, cell: _Cell) -> Within:
    """The languages' subspace, or a random one, erased or moved behind one layer."""
    from langneurons.evaluation.erasure import split
    from langneurons.identification.subspaces import as_large, fit, random_subspace
    from langneurons.intervention.erasing import erased

    spec = workshop.context.spec_of("changes")[cell.name]
    layer = lm.layers // 2 if spec.layer is None else spec.layer
    rows = split(workshop.statistics(spec.site), layer, spec.rows).fitted
    found = fit(rows, spec.kind)
    if cell.units == "random":
        found = random_subspace(found, found.rank, cell.seed)
    elif cell.units == "large":
        found = as_large(found, rows[cell.language], cell.seed)
    if cell.change == "moved":
        found = found.towards(rows[workshop.context.train_language].mean(0))
    return erased(lm, spec.site, {layer: found})


def _features(workshop: Workshop, lm: LanguageModel, cell: _Cell) -> Within:
    """A language's sparse features, or a control's, off, at their mean or where they are on."""
    from langneurons.artifacts import read_tensors
    from langneurons.evaluation.deactivation import draws
    from langneurons.features.autoencoder import Autoencoder
    from langneurons.features.intervening import by_layer, features_changed
    from langneurons.identification import NeuronSet
    from langneurons.models.layers import chosen_layers
    from langneurons.statistics import Statistics

    part = workshop.context.spec_of("changes")[cell.name].features
    spec = workshop.context.spec_of("features")[part]
    folder = workshop.out / "feature_languages" / part
    found = NeuronSet.load(folder / "features.json")
    stats = Statistics.load(folder / "statistics")
    layers = chosen_layers(spec.layers, lm.layers)
    coders = {
        layer: Autoencoder.load(workshop.out / "features" / part / str(layer)) for layer in layers
    }
    count = {kind: cell.seed + 1 if kind == cell.units else 0 for kind in ("random", "matched")}
    chosen = draws(found, cell.of, stats, **count, seed=0)[cell.units, cell.seed]
    value: Any = 0.0
    if cell.change != "off":
        value = read_tensors(folder / "means.safetensors")[0][cell.of]
    if cell.change == "mean-on":  # the mean over the tokens that a feature is on for
        value = value / stats.prob_positive(cell.of).clamp_min(1e-9)
    return features_changed(lm, spec.site, coders, by_layer(chosen, layers, value))


def _neurons(workshop: Workshop, lm: LanguageModel, cell: _Cell) -> Within:
    """A language's neurons at a value of its text; percentiles exact, or means over batches."""
    from langneurons.intervention import Intervention, intervene
    from langneurons.intervention.words import parse
    from langneurons.statistics import Statistics

    spec = workshop.context.spec_of("changes")[cell.name]
    site = workshop.context.site(spec.neurons)
    chosen: Units = workshop.units(spec.neurons, cell.of, cell.units, cell.seed)
    word, reading = cell.change, ""
    if spec.what == "percentiles":
        word, _, reading = cell.change.partition("-")
    fields = workshop.change(word, cell.of, site)
    if reading == "averaged":
        stats = Statistics.load(workshop.out / "batch_percentiles" / site / cell.of)
        fields["value"] = parse(word).value(stats, cell.of)
    written = workshop.context.written(spec.neurons)
    return intervene(lm, Intervention(units=chosen, site=written, **fields))
