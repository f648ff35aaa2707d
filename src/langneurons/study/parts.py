"""The parts of a study's file: what each section may hold."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from langneurons import defaults
from langneurons.study.spec import Spec, Value, WrittenValues

CONTROLS = ("random", "matched")
"""Kinds of random units: of the same number, and also of the same activity."""


class StatisticsSpec(Spec):
    """What is collected, in every language alike."""

    site: str = Field("mlp.act", description="Where units live; see `langneurons.models`.")
    tokens: int = Field(100_000, ge=1, description="Tokens counted per language, at most.")
    block: int = Field(defaults.BLOCK, ge=2, description="Tokens in a block.")
    rows: int = Field(defaults.ROWS, ge=1, description="Token rows kept for quantiles.")
    shards: int = Field(
        1, ge=1, description="Parts of a language, collected one by one (on several machines)."
    )


class NeuronsSpec(Spec):
    """One named set of language neurons: found by a method, or made from another set."""

    method: str = Field("lape", description="Identification method.")
    derive: str | None = Field(
        None, description="Name of a set to start from, instead of a method; see the next two."
    )
    exclusive: bool = Field(False, description="Only units that belong to one language alone.")
    without_top: int = Field(
        0, ge=0, description="Leave out the units with the largest single effects (`effects`)."
    )
    languages: list[str] | str | None = Field(
        None, description="Languages it compares: a list, or the name of a published set."
    )
    site: str | None = Field(None, description="Where its units live; default: statistics.site.")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="The method's own parameters, as `identify` takes them, and quotas.",
    )


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
    languages: list[str] | None = Field(None, description="Columns; default: all languages.")


class EffectsSpec(Spec):
    """The units of a set that matter most, one at a time, on their own language's text."""

    neurons: list[str] = Field(["lape"], description="Neuron sets looked into.")
    keep: int = Field(5, ge=1, description="Units measured on all held-out text.")
    screen: int = Field(4, ge=1, description="Blocks of the first look at every unit.")


class TaskSpec(Spec):
    """One task with labels."""

    source: str | None = Field(None, description="Task and where its files lie: NAME or NAME:PATH.")
    languages: list[str] | None = Field(None, description="Languages tested; default: all.")
    limit: int | None = Field(None, ge=1, description="Test examples per language, at most.")
    split: str = Field("test", description="Which split is tested.")
    train_split: str | None = Field(
        None, description="Which split is trained on; default: the recipe's, else train."
    )
    examples: int | None = Field(None, ge=1, description="Training examples, at most.")
    tokens: int = Field(
        100, ge=1, description="Tokens of an example, roughly: for the expected cost alone."
    )
    finetune: dict[str, Any] = Field(
        default_factory=dict, description="Fine-tuning settings of this task alone."
    )


class HoldSpec(Spec):
    """Units that are overwritten while an adapter learns."""

    neurons: str = Field(description="SET:LANGUAGE; random: or matched: in front, as for adapters.")
    value: Value = Field("zero", description="What is written over them.")


class AdapterSpec(Spec):
    """Which units learn."""

    neurons: str | list[str] = Field(
        "none",
        description="none, all, SET:LANGUAGE (or a list of them); random:SET:LANGUAGE for as many "
        "random units, matched:SET:LANGUAGE for random units of the same activity.",
    )
    attention: bool = Field(True, description="Plain LoRA on the attention projections.")
    seeds: int = Field(1, ge=1, description="Trainings with different seeds and random units.")
    seed: int | None = Field(
        None, ge=0, description="Seed of the first of them, added to the study's; default: 0."
    )
    hold: HoldSpec | None = Field(
        None, description="Units overwritten while it learns (ablation during training)."
    )


class InterventionsSpec(Spec):
    """Test-time overwrites, each beside its controls."""

    neurons: list[str] = Field(["lape"], description="Neuron sets overwritten.")
    adapter: str | list[str] = Field(
        "none", description="Adapter under which they are tested, or several."
    )
    values: WrittenValues = Field(
        ["mean", "P90", "zero", "P10"],
        description="Replacement values. P10@mlp.pre takes the statistic before the activation "
        "function, P10@mlp.pre@mlp.pre also writes it there; mean@en is the mean of English; "
        "mean@last is written over the last token alone, mean@rest over all others, mean@text over "
        "real tokens, mean@padding over padding.",
    )
    languages: list[str] | None = Field(None, description="Languages tested; default: all.")
    random: int = Field(2, ge=0, description="Same-size random draws.")
    matched: int = Field(0, ge=0, description="Random draws of units of the same activity.")


class SizeSpec(Spec):
    """Size of a model, for the expected cost where the model itself is not at hand."""

    parameters: float = Field(gt=0, description="Weights.")
    layers: int = Field(ge=1, description="Layers.")
    units: int = Field(ge=1, description="Inner width of the MLP.")
    hidden: int = Field(ge=1, description="Width of the residual stream.")


class RaySpec(Spec):
    """Where and how the stages run with `executor: ray`. Changes no result."""

    address: str | None = Field(
        None, description="auto or HOST:PORT; default: RAY_ADDRESS, else a cluster of its own."
    )
    workers: int | None = Field(
        None, ge=1, description="Workers, each with the model; default: as many as there is room."
    )
    cpus: float = Field(1, gt=0, description="CPU cores of a worker.")
    gpus: float | None = Field(
        None, ge=0, description="GPUs of a worker; default: 1 where the cluster has any."
    )
    retries: int = Field(3, ge=0, description="Times a stage is tried again after its worker died.")


def adapter_units(adapter: AdapterSpec) -> list[str]:
    """The unit choices of an adapter as a list."""
    return [adapter.neurons] if isinstance(adapter.neurons, str) else list(adapter.neurons)


def choice_of(choice: str) -> tuple[str, str, str]:
    """The parts of an adapter's choice of units.

    Args:
        choice: ``SET:LANGUAGE``, ``random:SET:LANGUAGE`` or ``matched:SET:LANGUAGE``.

    Returns:
        ``own``, ``random`` or ``matched``; the set; the language.
    """
    kind, _, rest = choice.partition(":")
    if kind not in CONTROLS:
        kind, rest = "own", choice
    neurons, _, language = rest.partition(":")
    return kind, neurons, language


def intervened(spec: InterventionsSpec) -> list[str]:
    """Names of the adapters that are tested under interventions."""
    return [spec.adapter] if isinstance(spec.adapter, str) else list(spec.adapter)
