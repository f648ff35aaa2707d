"""Sweeps of a study: their keys, their stages, and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from langneurons import defaults
from langneurons.artifacts import write_table
from langneurons.study.spec import Spec, Value, Values

if TYPE_CHECKING:
    from langneurons.evaluation import Scores
    from langneurons.evaluation.sweep import TaskScore
    from langneurons.intervention import Intervention
    from langneurons.study.plan import Identity, Stage
    from langneurons.study.schema import StudyConfig
    from langneurons.study.workshop import Workshop


class SweepSpec(Spec):
    """Perplexity over replacement values, for a language's own units and random ones."""

    neurons: str = Field("lape", description="Neuron set.")
    languages: list[str] = Field(min_length=1, description="Languages swept.")
    values: Values = Field(
        ["-1", "zero", "1", "P10", "P50", "P90", "mean"], description="Values written."
    )
    random: int = Field(defaults.SWEEP_RANDOM, ge=0, description="Same-size random draws.")
    matched: int = Field(
        defaults.SWEEP_MATCHED, ge=0, description="Random draws of units of the same activity."
    )

    shares: list[Annotated[float, Field(gt=0, le=1)]] | None = Field(
        None, description="Shares of all units (the method's `top`) swept too, such as 0.001."
    )
    bands: int | None = Field(
        None, ge=1, description="Groups of consecutive layers, each overwritten alone."
    )
    at: Value | None = Field(
        None, description="Value written over each share and band; default: zero."
    )
    task: str | None = Field(
        None, description="Task of the study scored at every point, beside perplexity."
    )
    adapter: str = Field("none", description="Adapter under which it is scored.")


def stages(config: StudyConfig, identity: Identity) -> list[Stage]:
    """One stage a language swept; none where the study has no sweep."""
    from langneurons.study.plan import Stage, held_out, method_module, of_set, task_module
    from langneurons.study.task_plan import first_run, tested

    spec = config.sweep
    if spec is None or config.perplexity is None:
        return []
    draws = 1 + spec.random + spec.matched
    points = len(spec.values) + len(spec.shares or ()) + (spec.bands or 0)
    # Keys a study leaves out are left out here too: what was swept before keeps its results.
    settings = spec.model_dump(exclude={"languages", "adapter"}, exclude_none=True)
    under: dict[str, Any] = {}
    parents = of_set(config, spec.neurons)
    tokens = 1.5 * config.perplexity.tokens
    # The sets of other shares are found anew.
    entries = method_module(config.neurons[spec.neurons]) if spec.shares else ()
    if spec.task is not None:
        task = config.tasks[spec.task]
        under = {"adapter": first_run(config, spec.adapter)}
        settings |= {"test": tested(config, identity, spec.task)}
        parents = (*parents, f"finetune/{spec.task}/{under['adapter']}")
        entries += task_module(config, spec.task)
        tokens += (task.limit or 1000) * task.tokens
    return [
        Stage(
            name=f"sweep/{spec.neurons}/{lang}",
            kind="sweep",
            arguments={"language": lang, **under},
            settings={**settings, **held_out(config, identity, [lang])},
            parents=parents,
            output=f"sweep/{spec.neurons}/{lang}.parquet",
            entries=entries,
            cost=draws * points * tokens / 1000,
        )
        for lang in spec.languages
    ]


def sweep(workshop: Workshop, output: Path, language: str, adapter: str | None = None) -> None:
    """Sweep one language's units; the adapter's name is that of its training."""
    from langneurons.evaluation import sweep as swept

    spec = workshop.config.sweep
    assert spec is not None
    site = workshop.config.site(spec.neurons)
    at = [spec.at or "zero"] if spec.shares or spec.bands else []
    changes = {name: workshop.change(name, language, site) for name in [*spec.values, *at]}
    table = swept.sweep(
        workshop.lm,
        workshop.neurons(spec.neurons),
        language,
        workshop.held_out_blocks(language),
        {name: (change["value"], change.get("mode", "set")) for name, change in changes.items()},
        at=at,
        shares=spec.shares or (),
        bands=spec.bands or 0,
        controls={"random": spec.random, "matched": spec.matched},
        stats=workshop.statistics(site),
        baseline=workshop.baseline,
        seed=workshop.config.seed,
        task=_task_score(workshop, spec, language, adapter),
    )
    names = {"language": language, "neurons": spec.neurons}
    names |= {"task": spec.task} if spec.task is not None else {}
    write_table(output, table.rename(columns={"units": "count", "share": "units"}).assign(**names))


def _task_score(
    workshop: Workshop, spec: SweepSpec, language: str, adapter: str | None
) -> TaskScore | None:
    """The task of a sweep, under its adapter."""
    from langneurons.evaluation import evaluate
    from langneurons.evaluation.sweep import TaskScore

    if spec.task is None or adapter is None:
        return None
    name, task = spec.task, workshop.config.tasks[spec.task]

    def score(intervention: Intervention | None) -> Scores:
        return evaluate(
            workshop.adapted(name, adapter), workshop.task(name), language,
            intervention=intervention, split=task.split, limit=task.limit,
            protocol=workshop.config.protocol,
        )  # fmt: skip

    return TaskScore(score)
