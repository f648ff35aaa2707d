"""An adapter of a study: which units learn, and how a choice of units is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from langneurons.errors import unknown
from langneurons.interface.context import Context
from langneurons.interface.narrowing import Gone
from langneurons.interface.spec import Spec, Value

CONTROLS = ("random", "matched")
"""Kinds of random units: of the same number, and also of the same activity."""

BASE = "base"
"""Nothing learns: the model as it is."""

WHOLE = (BASE, "none", "all")
"""Choices that name no neuron set."""


class HoldSpec(Spec):
    """Units that are overwritten while an adapter learns."""

    neurons: str = Field(description="SET:LANGUAGE; random: or matched: in front, as for adapters.")
    value: Value = Field("zero", description="What is written over them.")


class AdapterSpec(Spec):
    """Which units learn."""

    neurons: str | list[str] = Field(
        "none",
        description="none, all, SET:LANGUAGE (or a list of them); random:SET:LANGUAGE for as many "
        "random units, matched:SET:LANGUAGE for random units of the same activity; base trains "
        "nothing and tests the model as it is.",
    )
    attention: bool = Field(True, description="Plain LoRA on the attention projections.")
    seeds: int = Field(1, ge=1, description="Trainings with different seeds and random units.")
    seed: int | None = Field(
        None, ge=0, description="Seed of the first of them, added to the study's; default: 0."
    )
    shots: dict[str, Annotated[int, Field(ge=1)]] | None = Field(
        None,
        description="Language to number of its training examples that are added: supervision in "
        "the target language. A curve over them is several adapters of the same units.",
    )
    hold: HoldSpec | None = Field(
        None, description="Units overwritten while it learns (ablation during training)."
    )

    def told(self) -> str:
        """The units that learn, and the examples of other languages."""
        return " + ".join([*adapter_units(self), *shot_words(self)])


def adapter_units(adapter: AdapterSpec) -> list[str]:
    """The unit choices of an adapter as a list."""
    return [adapter.neurons] if isinstance(adapter.neurons, str) else list(adapter.neurons)


def shot_words(adapter: AdapterSpec) -> list[str]:
    """Added examples in words, as ``64 hi``."""
    return [f"{count} {lang}" for lang, count in (adapter.shots or {}).items()]


def is_base(adapter: AdapterSpec) -> bool:
    """Whether nothing is trained."""
    return adapter_units(adapter) == [BASE]


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


def adapter_runs(adapters: Mapping[str, AdapterSpec]) -> dict[str, tuple[str, int]]:
    """Every training of a task: its folder's name, and the adapter and seed it stands for."""
    return {
        # Not every file system takes a colon.
        name.replace(":", "-") + ("" if spec.seeds == 1 else f".{seed}"): (name, seed)
        for name, spec in adapters.items()
        for seed in range(spec.seeds)
    }


def _distinct(adapters: Mapping[str, AdapterSpec]) -> None:
    """Refuse adapters whose trainings would lie in one folder, as one would be lost."""
    owner: dict[str, str] = {}
    for name, spec in adapters.items():
        for run in adapter_runs({name: spec}):
            if run in owner:
                raise ValueError(
                    f"adapters {owner[run]!r} and {name!r} would both be kept in {run!r}: rename "
                    "one of them"
                )
            owner[run] = name


def trainings(task: str, run: str, adapters: Mapping[str, AdapterSpec]) -> tuple[str, ...]:
    """Name of the stage that trains what is tested; none where nothing is trained."""
    name, _ = adapter_runs(adapters)[run]
    return () if is_base(adapters[name]) else (f"finetune/{task}/{run}",)


def first_run(adapters: Mapping[str, AdapterSpec], adapter: str) -> str:
    """Of an adapter that is trained several times, the first training."""
    return next(run for run, item in adapter_runs(adapters).items() if item == (adapter, 0))


def check(adapters: Mapping[str, AdapterSpec], context: Context) -> None:
    """Refuse units that are not of the study, or of several sites.

    Raises:
        InputError: Naming an unknown set or language.
    """
    _distinct(adapters)
    for name, adapter in adapters.items():
        chosen = adapter_units(adapter)
        more = adapter.hold or adapter.seeds > 1 or adapter.seed or adapter.shots
        if is_base(adapter) and more:
            raise ValueError(
                f"adapters.{name}: base trains nothing, take hold, shots, seeds and seed out of it"
            )
        for word in WHOLE:
            if word in chosen and chosen != [word]:
                raise ValueError(
                    f"adapters.{name}: {word} stands alone, take it or the others out of it"
                )
        named = [choice_of(choice)[1] for choice in chosen]
        sites = {context.site(neurons) for neurons in named if neurons in context.sets}
        if len(sites) > 1:
            raise ValueError(
                f"adapters.{name}: its sets are of {' and '.join(sorted(sites))}; take one site"
            )
        held = [adapter.hold.neurons] if adapter.hold else []
        for choice in [*chosen, *held]:
            if choice in WHOLE:
                continue
            _, neurons, lang = choice_of(choice)
            if neurons not in context.sets:
                raise unknown("neuron set", neurons, context.sets, f"in adapter {name!r}")
            if lang not in context.languages:
                raise unknown("language", lang, context.languages, f"in adapter {name!r}")


def verify(adapters: Mapping[str, AdapterSpec], context: Context) -> None:
    """Refuse a training language that a task does not have.

    Raises:
        InputError: Naming those it has.
    """
    from langneurons.data.tasks import get_task

    if all(map(is_base, adapters.values())):
        return
    for name, spec in (context.spec_of("tasks") or {}).items():
        task = get_task(spec.source or name)
        shots = {f"adapters.{name}.shots": spec.shots or () for name, spec in adapters.items()}
        for place, langs in {"train_language": (context.train_language,), **shots}.items():
            for lang in langs:
                if task.languages and task.own_code(lang) not in task.languages:
                    raise unknown(f"language of task {name}", lang, task.languages, f"in {place!r}")


def examples(
    adapters: Mapping[str, AdapterSpec], context: Context
) -> Iterator[tuple[str, str, str]]:
    """What is trained on: task, language and split."""
    from langneurons.finetuning import get_recipe

    if all(map(is_base, adapters.values())):
        return
    for name, spec in (context.spec_of("tasks") or {}).items():
        settings = {**context.finetune, **spec.finetune}
        given = {"split": spec.train_split} if spec.train_split else {}
        recipe = get_recipe(settings.pop("recipe", None), **{**given, **settings})
        shots = [lang for adapter in adapters.values() for lang in adapter.shots or ()]
        for lang in dict.fromkeys([context.train_language, *shots]):
            yield name, lang, recipe.split


def repeat(given: Any, seeds: int) -> Any:
    """Every adapter trained so many times, where the study does not say how often."""
    if not isinstance(given, Mapping):
        return given
    return {
        name: {"seeds": seeds, **spec} if isinstance(spec, Mapping) else spec
        for name, spec in given.items()
    }


def narrow(given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    """An adapter goes whole, as its name says what it is.

    With units that it trains or holds, or with a language whose examples are added.
    """
    if any(map(gone.language, given.get("shots") or ())):
        return None
    held = given.get("hold")
    chosen = [given.get("neurons"), held.get("neurons") if isinstance(held, Mapping) else None]
    words = [word for item in chosen for word in (item if isinstance(item, list) else [item])]
    return None if any(_is_gone(str(word), gone) for word in words if word) else given


def _is_gone(choice: str, gone: Gone) -> bool:
    _, neurons, language = choice_of(choice)
    return gone.language(language) or gone.named("neurons", neurons)
