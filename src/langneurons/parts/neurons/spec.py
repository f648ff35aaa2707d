"""A neuron set of a study: its keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from langneurons.artifacts import expanded
from langneurons.errors import InputError, LangNeuronsError, unknown
from langneurons.interface.context import Context, known_site, method
from langneurons.interface.narrowing import Gone
from langneurons.interface.spec import Spec


class NeuronsSpec(Spec):
    """One named set of language neurons: found by a method, or made from another set."""

    method: str = Field("lape", description="Identification method.")
    file: str | None = Field(
        None,
        description="A set that was found before or published, read instead of found; lists "
        "without names of languages take those of `languages`, in their order.",
    )
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

    def told(self) -> str:
        """The set it is made from, the file it is read from, or the method that finds it."""
        return self.derive or self.file or self.method


def check(sets: Mapping[str, NeuronsSpec], context: Context) -> None:
    """Refuse sets that are made from what cannot be.

    Raises:
        InputError: Naming a set that there is not.
        ValueError: Saying what does not fit.
    """
    for name, spec in sets.items():
        if spec.file is not None and (spec.derive is not None or spec.parameters):
            raise ValueError(
                f"neurons.{name}: a set read from a file takes no derive or parameters: "
                "leave them out"
            )
        if spec.derive is None:
            if spec.exclusive or spec.without_top:
                raise ValueError(f"neurons.{name}: exclusive and without_top need `derive: SET`")
            continue
        if spec.derive not in sets:
            raise unknown("neuron set", spec.derive, sets, f"in 'neurons.{name}'")
        if spec.site is not None:
            raise ValueError(
                f"neurons.{name}: a derived set has the site of its source, leave site out"
            )
        if sets[spec.derive].derive is not None:
            raise ValueError(f"neurons.{name}: derive from a set that a method found")
        effects = context.spec_of("effects")
        if spec.without_top and spec.derive not in (effects.neurons if effects else []):
            raise ValueError(f"neurons.{name}: without_top needs {spec.derive} in `effects`")


def verify(sets: Mapping[str, NeuronsSpec], context: Context) -> None:
    """Refuse unknown sites, methods and parameters, and fewer languages than a method compares.

    Raises:
        InputError: Naming the set.
    """
    from langneurons.identification import QUOTAS, resolve_languages

    for name, spec in sets.items():
        if spec.site is not None:
            known_site(spec.site, f"in 'neurons.{name}'")
        try:
            own = {key: v for key, v in spec.parameters.items() if key not in QUOTAS}
            method(spec.method).resolve(own)
            if spec.derive is None and spec.file is None:
                enough(spec.method, resolve_languages(spec.languages, context.languages))
        except LangNeuronsError as error:
            raise InputError(f"neurons.{name}: {error}") from error


def enough(name: str, languages: Sequence[str]) -> None:
    """Refuse fewer languages than a method compares.

    Raises:
        InputError: Saying how many it needs.
    """
    least = method(name).least
    if len(languages) < least:
        raise InputError(
            f"method {name!r} compares at least {least} languages, got "
            f"{len(languages)} ({', '.join(languages)}): add another language."
        )


def files(sets: Mapping[str, NeuronsSpec], context: Context) -> Iterator[Path]:
    """Sets that are read."""
    yield from (expanded(spec.file) for spec in sets.values() if spec.file)


def found(sets: Mapping[str, NeuronsSpec]) -> list[str]:
    """Sets that a method found or a file holds; the others are parts of these."""
    return [name for name, spec in sets.items() if spec.derive is None]


def sites(sets: Mapping[str, NeuronsSpec], context: Context) -> list[str]:
    """Where the sets live."""
    return [context.site(name) for name in sets]


def narrow(given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    """A set goes whole, as its name says what it is: with a language it compares, or its source."""
    out = gone.any_language(given.get("languages")) or gone.named("neurons", given.get("derive"))
    return None if out else given
