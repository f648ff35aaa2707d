"""What a stage that forces a language does."""

from __future__ import annotations

from pathlib import Path

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop


def forcing(workshop: Workshop, output: Path, off: str, on: str) -> None:
    """Continue prompts untouched, with one language off, and with another on as well."""
    import pandas as pd

    from langneurons.evaluation import force
    from langneurons.intervention import Intervention

    spec = workshop.context.spec_of("forcing")
    site = workshop.context.site(spec.neurons)
    switched = Intervention(
        units=workshop.units(spec.neurons, off, "own", 0), site=workshop.context.at(site),
        **workshop.change("zero", off, site),
    )  # fmt: skip
    raised = Intervention(
        units=workshop.units(spec.neurons, on, "own", 0), site=workshop.context.at(site),
        **workshop.change(spec.value, on, site),
    )  # fmt: skip
    prompts = workshop.prompts(off, spec.prompts, spec.prompt_words)
    tables = []
    for name, done in (("none", None), ("off", [switched]), ("off and on", [switched, raised])):
        table = force(
            workshop.lm, prompts, workshop.context.languages, done, max_new_tokens=spec.new_tokens
        )
        tables.append(table.assign(off=off, on=on, intervention=name, value=spec.value))
    write_table(output, pd.concat(tables, ignore_index=True))
