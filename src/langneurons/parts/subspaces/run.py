"""What a stage that erases languages does."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop
from langneurons.models.layers import chosen_layers


def subspaces(workshop: Workshop, output: Path, name: str) -> None:
    """Erase subspaces, measure what is left of language and what it costs, and move texts."""
    from langneurons.evaluation.erasure import erase_languages, move
    from langneurons.evaluation.examples import AnswerLoss
    from langneurons.evaluation.token_loss import find_head

    context = workshop.context
    spec = context.spec_of("subspaces")[name]
    about = {"part": name, "site": spec.site}
    stats = workshop.statistics(spec.site)
    layers = chosen_layers(spec.layers, workshop.lm.layers)
    tasks = {}
    for lang in spec.task_languages if spec.task else ():
        task = workshop.task(str(spec.task))
        split = context.spec_of("tasks")[str(spec.task)].split
        examples = workshop.examples(str(spec.task), lang, split, spec.examples)
        tasks[f"{spec.task} {lang}"] = AnswerLoss(
            workshop.lm, task, lang, examples, find_head(workshop.lm)
        )
    languages = spec.languages or context.languages
    done = erase_languages(
        workshop.lm,
        stats,
        {lang: workshop.held_out_blocks(lang) for lang in languages},
        layers=layers,
        kinds=spec.kinds,
        neurons=workshop.neurons(spec.neurons) if spec.neurons else None,
        random=spec.random,
        tasks=tasks,
        rows=spec.rows,
        seed=context.seed,
        baseline=workshop.baseline,
    )
    write_table(output / "language.parquet", done.language.assign(**about))
    write_table(output / "cost.parquet", done.cost.assign(**about))
    moved = [
        move(
            workshop.lm,
            stats,
            workshop.held_out_blocks(source),
            source,
            target,
            layer=layer,
            kinds=spec.kinds,
            random=spec.random,
            rows=spec.rows,
            seed=context.seed,
            baseline=workshop.baseline,
        ).assign(source=source, target=target, layer=layer, **about)
        for source, target in spec.moves
        for layer in layers
    ]
    if moved:
        write_table(output / "moves.parquet", pd.concat(moved, ignore_index=True))
