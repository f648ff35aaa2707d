"""One protocol for every way of steering a language: keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from langneurons import defaults
from langneurons.config.inputs import task_repository
from langneurons.config.schema import plain
from langneurons.errors import InputError, unknown
from langneurons.interface.context import Context
from langneurons.interface.narrowing import Gone
from langneurons.interface.spec import Spec, Values
from langneurons.parts.directions.spec import found

How = Literal["add", "keep_norm", "ablate", "project", "dimensions"]


class WaySpec(Spec):
    """One way of steering: units of a set, directions, or sparse features."""

    neurons: str | None = Field(None, description="Neuron set whose units are written over.")
    values: Values = Field(
        ["mean", "P90"], description="Values written over them, of which one is chosen."
    )
    directions: str | None = Field(None, description="Set of directions.")
    how: How = Field(
        "add",
        description="add; keep_norm: the activation's length is kept; ablate and project: the "
        "prompts' language is taken out; dimensions: the largest coordinates are overwritten.",
    )
    count: int = Field(400, ge=1, description="Coordinates a layer, of dimensions.")
    features: str | None = Field(
        None, description="Sparse features of the study; those of the language are set."
    )
    strengths: list[float] = Field(
        [0.5, 1.0, 2.0],
        min_length=1,
        description="Times the direction (or the mean that is written), of which one is chosen.",
    )
    layers: list[int] | Literal["all"] | None = Field(
        None,
        description="Layers of a direction, tried one at a time, or all at once; default: those at "
        "a quarter, half and three quarters of the depth.",
    )

    @model_validator(mode="after")
    def _one(self) -> WaySpec:
        if sum(item is not None for item in (self.neurons, self.directions, self.features)) != 1:
            raise ValueError("name one of neurons, directions and features")
        return self

    @property
    def tried(self) -> int:
        """Settings among which one is chosen, about."""
        if self.neurons is not None:
            return len(self.values)
        one = self.features is not None or self.layers == "all"
        return len(self.strengths) * (1 if one else len(self.layers or "123"))


class SteeringSpec(Spec):
    """Prompts of one language, answers wanted in another: every way by one protocol."""

    prompts: str = Field("clas", description="A task of questions, the same ones in each language.")
    source: str = Field("en", description="Language of the prompts.")
    targets: list[str] = Field(min_length=1, description="Languages that answers are to be in.")
    ways: dict[str, WaySpec] = Field(description="Ways by name.")
    choose: int = Field(8, ge=2, description="Questions on which strength and layer are chosen.")
    test: int = Field(24, ge=2, description="Other questions, on which the chosen is tested.")
    new_tokens: int = Field(defaults.NEW_TOKENS, ge=1, description="Tokens of an answer.")
    reference: Literal["own", "gold"] = Field(
        "own",
        description="What answers are held against: the model's own to the same question asked in "
        "the target language, or the task's gold answers.",
    )
    chat: Literal["auto", "never"] = Field(
        "auto", description="auto: by the chat template of a model that has one."
    )
    random: int = Field(2, ge=0, description="Random draws of the same size or length.")
    matched: int = Field(
        2, ge=0, description="Random draws as active (units), or that change as much (directions)."
    )

    @field_validator("ways", mode="before")
    @classmethod
    def _left(cls, ways: Any) -> Any:
        # A budget takes a way out by null.
        return (
            {k: way for k, way in ways.items() if way is not None}
            if isinstance(ways, dict)
            else ways
        )


def check(spec: SteeringSpec, context: Context) -> None:
    """Refuse languages, sets, directions and features that are not of the study.

    Raises:
        InputError: Naming what there is not.
        ValueError: If a target is the prompts' own language.
    """
    context.known_languages("steering", [spec.source, *spec.targets])
    context.known_task("steering.prompts", spec.prompts)
    context.need_held_out("steering")
    if spec.source in spec.targets:
        raise ValueError(f"steering.targets: prompts are in {spec.source} already: leave it out")
    for name, way in spec.ways.items():
        place = f"steering.ways.{plain('way', name)}"
        context.known_sets(place, way.neurons)
        if way.neurons is not None:
            rows = context.rows_of(way.neurons)
            for lang in spec.targets:
                if lang not in rows:
                    raise unknown("language", lang, rows, f"of {way.neurons} in {place!r}")
        for word, chosen in (("directions", way.directions), ("features", way.features)):
            there = context.spec_of(word) or {}
            if chosen is not None and chosen not in there:
                raise unknown(word, chosen, there, f"in {place!r}")
        if way.directions is not None:
            there = found(context.spec_of("directions")[way.directions], context)
            taken = way.how in ("ablate", "project")
            for lang in [spec.source] if taken else spec.targets:
                if lang not in there:
                    raise unknown("language", lang, there, f"of {way.directions} in {place!r}")


def verify(spec: SteeringSpec, context: Context) -> None:
    """Refuse prompts of another kind, or, where they lie here, too few that are parallel.

    Raises:
        InputError: Naming what is wrong.
    """
    from langneurons.data.tasks import get_task
    from langneurons.data.tasks.clas import language_name
    from langneurons.evaluation.steering import dealt, questions

    about = context.spec_of("tasks")[spec.prompts]
    source = about.source or spec.prompts
    task = get_task(source, **about.options())
    if task.kind != "qa":
        raise InputError(
            f"steering.prompts: {spec.prompts!r} has no questions, take a task such as clas."
        )
    for lang in spec.targets:
        language_name(lang)
        if task_repository(source) is None:
            asked = questions(task, spec.source, lang, about.split)
            dealt(asked, spec.choose, spec.test, context.seed)


def examples(spec: SteeringSpec, context: Context) -> Iterator[tuple[str, str, str]]:
    """The questions in the prompts' language and in the targets."""
    for lang in (spec.source, *spec.targets):
        yield spec.prompts, lang, context.spec_of("tasks")[spec.prompts].split


def sites(spec: SteeringSpec, context: Context) -> list[str]:
    """Where units and directions live."""
    places = [context.site(way.neurons) for way in spec.ways.values() if way.neurons]
    given = context.spec_of("directions") or {}
    return places + [given[way.directions].site for way in spec.ways.values() if way.directions]


def narrow(given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    """Targets that are gone go, and all of it without the prompts' language."""
    names: dict[str, Callable[[Any], bool]] = {
        "targets": gone.language,
        "source": gone.language,
        "prompts": partial(gone.named, "task"),
    }
    return gone.rest(given, names)
