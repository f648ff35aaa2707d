"""Sparse features of a site: keys."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from langneurons.artifacts import expanded
from langneurons.errors import InputError, LangNeuronsError
from langneurons.interface.context import Context, known_site, method
from langneurons.interface.spec import Spec, check_value


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


def check(specs: Mapping[str, FeaturesSpec], context: Context) -> None:
    """Refuse features in a study without held-out text."""
    context.need_held_out("features")


def verify(specs: Mapping[str, FeaturesSpec], context: Context) -> None:
    """Refuse unknown sites and methods, and published autoencoders that do not fit the model.

    Raises:
        InputError: Naming the first.
    """
    for name, spec in specs.items():
        known_site(spec.site, f"in part {name!r}")
        by = method(spec.method)
        if by.needs != "counts":
            raise InputError(
                f"features.{name}: method {spec.method!r} reads more than counts; take "
                "lape or entropy_lambda."
            )
        by.resolve(spec.parameters)
        if len(context.languages) < by.least:
            raise InputError(
                f"features.{name}: method {spec.method!r} compares at least {by.least} languages: "
                "add another language."
            )
        _published(name, spec, context)


def _published(name: str, spec: FeaturesSpec, context: Context) -> None:
    """Hold a published autoencoder against the model, as far as both are at hand."""
    from langneurons.features.published import check_published
    from langneurons.models.layers import chosen_layers
    from langneurons.models.loading import configuration

    if spec.path is None:
        return
    known = configuration(context.model, revision=context.revision)
    if known is None and spec.layers is None:
        return
    layers = spec.layers or chosen_layers(None, int(known.num_hidden_layers))
    width = int(known.hidden_size) if known is not None and spec.site == "resid" else None
    try:
        check_published(spec.path, layers, spec.site, width=width, model=context.model)
    except LangNeuronsError as error:
        raise InputError(f"features.{name}: {error}") from error


def files(specs: Mapping[str, FeaturesSpec], context: Context) -> Iterator[Path]:
    """Published autoencoders."""
    for spec in specs.values():
        path = str(expanded(spec.path)) if spec.path else ""
        yield from map(Path, sorted(glob.glob(path.replace("{layer}", "*"))))
