"""Neurons by language and layer, and what neuron sets share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from langneurons.parts.neurons import sentences, shown
from langneurons.parts.neurons.sentences import MANY_PAIRS, pooled
from langneurons.reporting.about import model_name
from langneurons.reporting.figures import layers as layer_figures
from langneurons.reporting.figures import overlap as overlap_figures
from langneurons.reporting.figures import sets as set_figures
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import listing
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.tables import Table, neurons


def sections(run: Run) -> Iterator[Section]:
    """Where the neurons lie, and what sets and languages share."""
    yield from by_layer(run)
    yield from shared(run)


def by_layer(run: Run) -> Iterator[Section]:
    """Neurons of every set by language and layer, and which languages share units."""
    table = run.table("neurons")
    if table is None:
        return
    panels = []
    for name, group in table.groupby("neurons", sort=False):
        caption = (
            f"Neurons found by {name} in {model_name(run)}: share of each layer's units, by "
            "language (n: neurons of the language in all layers)."
        )
        picture = Picture(f"neurons_{slug(str(name))}", caption, layer_figures.layers(group))
        panels.append((str(name), [picture, *_members(run, str(name))]))
    yield Section(
        "neurons",
        "Neurons by language and layer",
        sentences.neurons(table),
        [Tabs("neurons", panels), neurons.neurons(table), neurons.layers(table)],
    )


def _members(run: Run, name: str) -> list[Picture]:
    """Which languages share units, where the members of the set are known."""
    units = members(run.folder / "neurons" / f"{name}.json")
    if units is None:
        return []
    languages = units["language"].nunique()
    drawn = []
    if languages >= 2:
        caption = (
            f"Units of {name} by the exact combination of languages they belong to (largest "
            "combinations first; left: units of each language)."
        )
        drawn.append(Picture(f"upset_{slug(name)}", caption, set_figures.upset(units)))
    if languages >= 3:
        three = set_figures.closest(units)
        caption = (
            f"Units of {name} shared by {listing(list(three))}, the three languages that share "
            "most. Areas are not to scale."
        )
        drawn.append(Picture(f"venn_{slug(name)}", caption, set_figures.venn(units, three)))
    return drawn


def members(path: Path) -> pd.DataFrame | None:
    """Columns language, layer, index of a neuron set's file; None where it is not there."""
    if not path.is_file():
        return None
    from langneurons.identification import NeuronSet

    parts = []
    for language, found in NeuronSet.load(path).items():
        part = pd.DataFrame({"layer": found.layers.numpy(), "index": found.indices.numpy()})
        parts.append(part.assign(language=language))
    return pd.concat(parts, ignore_index=True) if parts else None


def shared(run: Run) -> Iterator[Section]:
    """Overlap of languages and of sets, beside chance."""
    table = run.table("overlap")
    if table is None:
        return
    panels: list[tuple[str, Sequence[Picture | Table]]] = []
    together = pooled(table)
    if len(together) > MANY_PAIRS:
        caption = (
            "Jaccard index of every pair of neuron sets, over all languages (a unit counts once "
            "for each language it belongs to)."
        )
        picture = Picture("overlap_sets", caption, overlap_figures.languages(together))
        panels.append(("all sets", [picture]))
        first = table["a"].iloc[0]  # the pairs with the study's first set, and each set in itself
        chosen = table[(table["a"] == first) | (table["a"] == table["b"])]
    else:
        chosen = table
    by_pair = chosen.groupby(["a", "b"], sort=False)
    pairs = sorted(by_pair, key=lambda pair: pair[0][0] == pair[0][1])
    for (a, b), group in pairs:  # different sets first: that is the question
        stem = slug(str(a)) if a == b else f"{slug(str(a))}_{slug(str(b))}"
        drawn = []
        if a != b and (group["language_a"] == group["language_b"]).any():
            caption = (
                f"Units shared by {a} and {b} for the same language (Jaccard index), beside the "
                "level expected by chance for sets of these sizes."
            )
            drawn.append(Picture(f"overlap_chance_{stem}", caption, overlap_figures.chance(group)))
        if (group["language_a"] != group["language_b"]).any():
            what = f"within {a}" if a == b else f"between {a} and {b}"
            caption = f"Jaccard index of the neurons of every pair of languages {what}."
            drawn.append(Picture(f"overlap_{stem}", caption, overlap_figures.languages(group)))
        if drawn:
            panels.append((str(a) if a == b else f"{a} | {b}", drawn))
    between = shown.between_sets(table)
    blocks: list[Block] = [Tabs("overlap", panels)] if panels else []
    blocks += [between] if between is not None else []
    yield Section(
        "overlap",
        "Overlap",
        sentences.overlaps(table),
        [*blocks, shown.all_pairs(table)],
    )
