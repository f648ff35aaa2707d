"""What the stages that score tasks do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop
from langneurons.intervention.words import parse as parse_value


def scores(
    workshop: Workshop,
    output: Path,
    task: str,
    adapter: str,
    language: str,
    value: str,
    units: str,
    neurons: str | None = None,
    seed: str | None = None,
    trained: bool = True,
) -> None:
    """Score a task under an adapter or the model as it is, with units overwritten or not."""
    from langneurons.evaluation import evaluate
    from langneurons.intervention import Intervention

    intervention = None
    if value != "none" and neurons is not None:
        site = workshop.context.site(neurons)
        intervention = Intervention(
            units=workshop.units(neurons, language, units, int(seed or 0)),
            site=parse_value(value).written or workshop.context.written(neurons),
            scope=parse_value(value).scope,
            **workshop.change(value, language, site),
        )
    spec = workshop.context.spec_of("tasks")[task]
    evaluate(
        workshop.adapted(task, adapter) if trained else workshop.lm,
        workshop.task(task),
        language,
        intervention=intervention,
        split=spec.split,
        limit=spec.limit,
        protocol=workshop.context.protocol,
        output=output,
    )


def rules(workshop: Workshop, output: Path, task: str) -> None:
    """Scores of rules without a model, where a task has any."""
    spec = workshop.context.spec_of("tasks")[task]
    found: list[dict[str, Any]] = []
    for language in spec.languages or workshop.context.languages:
        rows = workshop.task(task).rules(language, split=spec.split, limit=spec.limit)
        found += [{"task": task, "language": language, **row} for row in rows]
    write_table(output, pd.DataFrame(found))
