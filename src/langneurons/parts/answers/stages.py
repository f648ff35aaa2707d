"""The stages that look at answers."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.parts.adapters.spec import first_run
from langneurons.parts.answers.spec import AnswersSpec, languages
from langneurons.parts.interventions.spec import intervened
from langneurons.parts.interventions.stages import stages as overwrites
from langneurons.parts.tasks.stages import tested
from langneurons.stages.stage import Stage


def stages(spec: AnswersSpec, context: Context) -> list[Stage]:
    """One stage a training and language, over all that was answered."""
    about = context.spec_of("interventions")
    done = overwrites(about, context)
    found = []
    for run in (first_run(context.spec_of("adapters"), name) for name in intervened(about)):
        for lang in languages(spec, context):
            where = {"task": spec.task, "adapter": run, "language": lang}
            cells = [stage for stage in done if where.items() <= stage.arguments.items()]
            if not cells:
                continue
            plain = f"scores/{spec.task}/{run}/{lang}/none"
            keys = ("value", "units", "neurons", "seed")
            found.append(
                Stage(
                    name=f"answers/{spec.task}/{run}/{lang}",
                    kind="answers",
                    arguments={
                        **where,
                        "cells": [
                            {
                                **{key: cell.arguments.get(key, "0") for key in keys},
                                "output": cell.output,
                            }
                            for cell in cells
                        ],
                    },
                    settings={
                        **tested(context, spec.task),
                        "train_language": context.train_language,
                        "shown": spec.shown,
                    },
                    parents=(plain, *(cell.name for cell in cells)),
                    output=f"answers/{spec.task}/{run}/{lang}",
                    entries=context.task_module(spec.task),
                    cost=0.1,
                )
            )
    return found
