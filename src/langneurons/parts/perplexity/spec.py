"""The perplexity-change matrix: its keys."""

from __future__ import annotations

from pydantic import Field

from langneurons import defaults
from langneurons.interface.context import Context
from langneurons.interface.spec import Spec, Value


class PerplexitySpec(Spec):
    """The perplexity-change matrix."""

    neurons: list[str] = Field(["lape"], description="Neuron sets, one matrix each.")
    value: Value = Field("zero", description="What is written over the units.")
    tokens: int = Field(
        defaults.HELD_OUT_TOKENS, ge=1, description="Held-out tokens per language, at most."
    )
    block: int | None = Field(
        None, ge=2, description="Tokens in a block; default: that of `statistics`."
    )
    random: int = Field(defaults.RANDOM, ge=0, description="Same-size random draws per row.")
    matched: int = Field(
        defaults.MATCHED, ge=0, description="Random draws of units of the same activity."
    )
    load: int = Field(0, ge=0, description="Random draws of experts of the same load.")
    languages: list[str] | None = Field(None, description="Columns; default: all languages.")


def check(spec: PerplexitySpec, context: Context) -> None:
    """Refuse languages and sets that are not of the study, and loads of what is no expert."""
    context.known_languages("perplexity.languages", spec.languages)
    context.known_sets("perplexity", spec.neurons)
    if spec.load:
        context.need_experts("perplexity.load", spec.neurons)
