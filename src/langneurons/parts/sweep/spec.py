"""A sweep: its keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from langneurons import defaults
from langneurons.errors import unknown
from langneurons.interface.context import Context, method
from langneurons.interface.spec import Spec, Value, Values


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
    load: int = Field(0, ge=0, description="Random draws of experts of the same load.")
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


def check(spec: SweepSpec, context: Context) -> None:
    """Refuse languages, sets, task and adapter that are not of the study, and shares of no set.

    Raises:
        InputError: Naming what there is not.
        ValueError: If the set was not found by a share.
    """
    context.known_languages("sweep.languages", spec.languages)
    context.need_held_out("sweep")
    context.known_sets("sweep", spec.neurons)
    context.known_task("sweep", spec.task)
    if spec.load:
        context.need_experts("sweep.load", [spec.neurons])
    adapters = context.spec_of("adapters")
    if spec.task is not None and spec.adapter not in adapters:
        raise unknown("adapter", spec.adapter, adapters, "in 'sweep'")
    if spec.shares:
        chosen = context.sets[spec.neurons]
        if chosen.derive is not None:
            raise ValueError(f"sweep.shares needs a set that a method found: {chosen.derive}")
        by = method(chosen.method)
        quotas = {"per_language", "per_layer"} & set(chosen.parameters)
        if by.needs == "model" or "top" not in by.parameters or quotas:
            raise ValueError(
                f"sweep.shares needs a set found in statistics by a share (`top`), not "
                f"{spec.neurons}"
            )
