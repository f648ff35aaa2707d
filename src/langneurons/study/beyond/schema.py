"""Parts of a study's schema for what goes beyond neurons."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from langneurons.study.spec import Spec, Value, Values, check_value


class DeactivationSpec(Spec):
    """A sweep of values, joined with each unit's own range and the next layer's view."""

    neurons: str = Field("lape", description="Neuron set.")
    languages: list[str] = Field(min_length=1, description="Languages swept.")
    values: Values = Field(
        ["-1", "zero", "1", "P10", "P50", "P90", "mean"], description="Values written."
    )
    random: int = Field(2, ge=0, description="Same-size random draws.")
    matched: int = Field(2, ge=0, description="Random draws of units of the same activity.")
    residual_blocks: int = Field(
        8, ge=1, description="Blocks on which the residual stream is compared."
    )


class CrossingSpec(Spec):
    """Statistics of mlp.pre written to mlp.act, as the paper's code does, or at the right site."""

    neurons: list[str] = Field(["lape"], description="Neuron sets of mlp.act.")
    languages: list[str] = Field(min_length=1, description="Languages looked at.")
    values: list[str] = Field(["mean", "P10", "P90"], description="mean, or percentiles.")
    random: int = Field(2, ge=0, description="Same-size random draws.")
    matched: int = Field(0, ge=0, description="Random draws of units of the same activity.")
    per_batch: bool = Field(
        False, description="Also the mean over batches of each batch's own percentile."
    )

    @field_validator("values")
    @classmethod
    def _statistics(cls, values: list[str]) -> list[str]:
        for value in values:
            if value != "mean" and not (value.startswith("P") and check_value(value)):
                raise ValueError(f"value {value!r} is no statistic: give mean or a percentile")
        return values


class PolysemanticitySpec(Spec):
    """What a language's units say about a task, and what overwriting each of them costs."""

    neurons: str = Field("lape", description="Neuron set.")
    languages: list[str] = Field(min_length=1, description="Languages looked at.")
    task: str = Field(description="A task of classes, named in `tasks`.")
    split: str = Field("dev", description="Split on which information is measured.")
    examples: int = Field(300, ge=10, description="Examples of it, at most.")
    test_split: str = Field("test", description="Split on which harm is measured.")
    tested: int = Field(30, ge=0, description="Examples of it; 0: no harm is measured.")
    value: Value = Field("zero", description="Value written over one unit at a time.")
    matched: int = Field(3, ge=1, description="Draws of units of the same activity.")
    harm_units: int = Field(40, ge=1, description="Own and matched units overwritten, each.")
    pool: Literal["last", "mean"] = Field(
        "last", description="An example's activation: at its last token, or the mean."
    )
    threshold: float = Field(
        0.2, ge=0, le=1, description="Separation from which a unit carries language information."
    )


class SubspacesSpec(Spec):
    """Erasing or moving language information linearly, beside neurons and random subspaces."""

    site: str = Field("resid", description="Where the subspaces live; resid: residual stream.")
    layers: list[int] | None = Field(
        None,
        description="Layers, singly and together; default: first, middle, last but one.",
    )
    kinds: list[Literal["mean", "pca", "lda", "leace"]] = Field(
        ["mean", "lda", "leace"], min_length=1, description="Kinds of subspace."
    )
    neurons: str | None = Field(None, description="Neuron set at the same site, set to its mean.")
    languages: list[str] | None = Field(None, description="Languages measured; default: all.")
    random: int = Field(2, ge=0, description="Random subspaces (and units) of the same size.")
    rows: int = Field(1000, ge=10, description="Token rows of each language, in either half.")
    task: str | None = Field(None, description="Task whose answers' loss is measured.")
    task_languages: list[str] = Field(default_factory=list, description="In these languages.")
    examples: int = Field(60, ge=1, description="Examples of the task in each.")
    moves: list[tuple[str, str]] = Field(
        default_factory=list, description="[from, to]: text of one moved to the other's mean."
    )


class FeaturesSpec(Spec):
    """Sparse features of a site: trained (or loaded), described, and their languages found."""

    site: str = Field("resid", description="Where activations are read.")
    layers: list[int] | None = Field(
        None, description="Layers; default: first, middle, last but one."
    )
    path: str | None = Field(
        None, description="Folder of a published autoencoder, {layer} in it; nothing is trained."
    )
    kind: Literal["topk", "jumprelu"] = Field("topk", description="Kind that is trained.")
    features: int = Field(512, ge=1, description="Number of features.")
    k: int = Field(16, ge=1, description="Features per token (jumprelu: aimed at).")
    tokens: int = Field(200_000, ge=1, description="Tokens trained on.")
    batch: int = Field(512, ge=1, description="Tokens in a step.")
    learning_rate: float = Field(0.002, gt=0, description="Of Adam.")
    method: str = Field("lape", description="Identification method, one that reads counts.")
    parameters: dict[str, Any] = Field(
        default_factory=lambda: {"top": 0.05}, description="The method's own parameters."
    )
    value: str = Field("zero", description="Written over a language's features: zero, xF or F.")
    random: int = Field(2, ge=0, description="Same-size random draws.")
    matched: int = Field(2, ge=0, description="Random draws of features on as often.")

    @field_validator("value")
    @classmethod
    def _number(cls, value: str) -> str:
        if value != "zero":
            check_value(value)
            if value[0] not in "x-0123456789":
                raise ValueError(f"value {value!r} must be zero, a number, or x and a factor")
        return value
