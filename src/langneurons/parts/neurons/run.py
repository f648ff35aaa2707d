"""What the stages of neuron sets do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from langneurons.artifacts import expanded, read_table, write_table
from langneurons.interface.workshop import Workshop
from langneurons.parts.neurons.spec import found as found_sets

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet


def neurons(workshop: Workshop, output: Path, neurons: str) -> None:
    """Find a set by its method."""
    from langneurons.identification import METHODS, identify

    spec = workshop.context.sets[neurons]
    method = METHODS.get(spec.method)
    reads_model = method.needs == "model"
    site = workshop.context.site(neurons)
    parameters = {"site": site} if reads_model and "site" in method.parameters and spec.site else {}
    found = identify(
        workshop.statistics(site),
        method=spec.method,
        languages=spec.languages,
        model=workshop.lm if reads_model else None,
        texts=workshop.statistics_texts() if reads_model else None,
        **{**parameters, **spec.parameters},
    )
    # In the paper's protocol units are found before the activation and overwritten after it.
    found.at(workshop.context.written(neurons)).save(output)


def read(workshop: Workshop, output: Path, neurons: str) -> None:
    """Read a set that was found before or published; it must fit the statistics' model."""
    from langneurons.identification import NeuronSet

    spec = workshop.context.sets[neurons]
    assert spec.file is not None
    site = workshop.context.site(neurons)
    languages = workshop.context.rows_of(neurons)
    shape = workshop.statistics(site).shape
    found = NeuronSet.load(expanded(spec.file), languages=languages, shape=shape, site=site)
    found.save(output)


def derived(workshop: Workshop, output: Path, neurons: str) -> None:
    """Make a set from another one."""
    spec = workshop.context.sets[neurons]
    assert spec.derive is not None
    found = workshop.neurons(spec.derive)
    if spec.without_top:
        found = _without_top(workshop, found, spec.derive, spec.without_top)
    if spec.exclusive:
        found = found.exclusive()
    found.save(output)


def _without_top(workshop: Workshop, found: NeuronSet, name: str, count: int) -> NeuronSet:
    """The set without the units that do most of the damage in their own language."""
    from langneurons.identification import Units

    top = {}
    for lang in found:
        table = read_table(workshop.out / "effects" / name / f"{lang}.parquet").head(count)
        top[lang] = Units(table["layer"].tolist(), table["index"].tolist())
    return found.without(top, {"without_top": count})


def overlap(workshop: Workshop, output: Path) -> None:
    """What sets of the same site have in common, language by language."""
    names = found_sets(workshop.context.sets)
    tables = []
    for position, first in enumerate(names):
        for second in names[position:]:
            if workshop.context.site(first) != workshop.context.site(second):
                continue
            table = workshop.neurons(first).overlap(workshop.neurons(second))
            tables.append(table.assign(a=first, b=second))
    whole = pd.concat(tables, ignore_index=True)
    names_of = {
        "language": "language_a",
        "other": "language_b",
        "size": "size_a",
        "other_size": "size_b",
    }
    write_table(output, whole.rename(columns=names_of))
