"""Other changes on the tasks: keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from langneurons.errors import unknown
from langneurons.interface.context import Context, known_site
from langneurons.interface.narrowing import Gone
from langneurons.interface.spec import Spec, Values
from langneurons.parts.adapters.spec import first_run

What = Literal["subspace", "features", "percentiles", "neurons"]


class ChangesSpec(Spec):
    """A change of the model, other than a language's neurons on its own examples, on the tasks."""

    what: What = Field(
        description="subspace: the languages' linear subspace erased, or moved to the training "
        "language's mean; features: a language's sparse features off or at their mean; "
        "percentiles: neurons at exact percentiles and at the mean of each batch's own; neurons: "
        "other languages' neurons overwritten.",
    )
    adapter: str | list[str] = Field("none", description="Adapter under which they are tested.")
    languages: list[str] | None = Field(None, description="Languages tested; default: all.")
    random: int = Field(2, ge=0, description="Random subspaces, features or units a change.")
    matched: int = Field(1, ge=0, description="Random features or units of the same activity.")
    site: str = Field("resid", description="subspace: where it lives.")
    layer: int | None = Field(None, ge=0, description="subspace: layer; default: the middle one.")
    kind: Literal["mean", "pca", "lda", "leace"] = Field("leace", description="subspace: kind.")
    rows: int = Field(1000, ge=10, description="subspace: token rows a language it is fitted to.")
    features: str | None = Field(None, description="features: a name under `features`.")
    neurons: str | None = Field(None, description="percentiles, neurons: neuron set.")
    values: Values = Field(
        ["P10", "P90"], description="percentiles, neurons: values, such as mean or P10."
    )
    of: list[str] | None = Field(
        None, description="neurons: whose units are overwritten; default: all other languages'."
    )


def under(spec: ChangesSpec, context: Context) -> list[str]:
    """Names of the trainings it is tested under."""
    chosen = [spec.adapter] if isinstance(spec.adapter, str) else spec.adapter
    return [first_run(context.spec_of("adapters"), name) for name in chosen]


def cells(spec: ChangesSpec, context: Context, language: str) -> Iterator[dict[str, Any]]:
    """What is done on a language's examples.

    Args:
        spec: The part.
        context: The study.
        language: Language tested.

    Yields:
        ``change``, ``units`` (own, random, matched, or large: random and as large a change), ``of``
        (whose) and, of draws, ``seed``.
    """
    at_home = language == context.train_language
    others = [lang for lang in spec.of or context.languages if lang != language]
    draws: list[dict[str, Any]] = [{"units": "own"}]
    draws += [{"units": "random", "seed": seed} for seed in range(spec.random)]
    draws += [{"units": "matched", "seed": seed} for seed in range(spec.matched)]
    if spec.what == "subspace":
        yield {"change": "erased", "units": "own", "of": "all"}
        if not at_home:
            yield {"change": "moved", "units": "own", "of": "all"}
            for kind in ("random", "large"):
                for seed in range(spec.random):
                    yield {"change": "erased", "units": kind, "of": "all", "seed": seed}
    elif spec.what == "features" and at_home:
        for lang in others:
            yield {"change": "off", "units": "own", "of": lang}
    elif spec.what == "features":
        yield {"change": "mean-on", "units": "own", "of": language}
        for value in ("off", "mean"):
            for draw in draws:
                yield {"change": value, **draw, "of": language}
    elif spec.what == "percentiles":
        for value in spec.values if not at_home else ():
            for reading in ("exact", "averaged"):
                for draw in draws:
                    yield {"change": f"{value}-{reading}", **draw, "of": language}
    else:
        for lang in others:
            for value in spec.values:
                for draw in draws:
                    yield {"change": value, **draw, "of": lang}


_NEEDS = {"features": "features", "percentiles": "neurons", "neurons": "neurons"}


def check(specs: Mapping[str, ChangesSpec], context: Context) -> None:
    """Refuse what is not of the study.

    Raises:
        InputError: Naming it.
        ValueError: Saying what is missing.
    """
    for name, spec in specs.items():
        place = f"changes.{name}"
        needed = _NEEDS.get(spec.what)
        if needed and getattr(spec, needed) is None:
            raise ValueError(f"{place}: {spec.what} needs `{needed}: NAME`")
        context.known_languages(place, [*(spec.languages or ()), *(spec.of or ())])
        context.known_sets(place, spec.neurons)
        features = context.spec_of("features") or {}
        if spec.features is not None and spec.features not in features:
            raise unknown("part of `features`", spec.features, features, f"in {place!r}")
        if spec.what == "percentiles" and any(value[0] != "P" for value in spec.values):
            raise ValueError(f"{place}: percentiles are asked for, take values such as P10 alone")
        adapters = context.spec_of("adapters") or {}
        for adapter in [spec.adapter] if isinstance(spec.adapter, str) else spec.adapter:
            if context.spec_of("tasks") and adapter not in adapters:
                raise unknown("adapter", adapter, adapters, f"in {place!r}")


def verify(specs: Mapping[str, ChangesSpec], context: Context) -> None:
    """Refuse a site that no model has."""
    for name, spec in specs.items():
        known_site(spec.site, f"in part {name!r}")


def sites(specs: Mapping[str, ChangesSpec], context: Context) -> list[str]:
    """Where the subspaces live, and the units that are overwritten."""
    return [
        spec.site if spec.what == "subspace" else context.site(str(spec.neurons))
        for spec in specs.values()
        if spec.what != "features"
    ]


def narrow(given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    """The languages that are left, of those looked at."""
    return gone.rest(given, {"of": gone.language})
