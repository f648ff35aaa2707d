"""What a part may know of the study around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langneurons.errors import unknown

if TYPE_CHECKING:
    from langneurons.identification import Method


@dataclass(frozen=True)
class Identity:
    """What the outside world contributes to a study's keys.

    Attributes:
        model: Content identity of the model.
        texts: Language to content identity of its documents for statistics.
        held_out: Language to content identity of its held-out documents.
        tasks: Task name to content identity of its examples' source.
    """

    model: str
    texts: Mapping[str, str]
    held_out: Mapping[str, str]
    tasks: Mapping[str, str]


@dataclass(frozen=True)
class Context:
    """The study around a part.

    Attributes:
        languages: Languages in table order.
        seed: Seed of everything random.
        protocol: ``"strict"`` or ``"paper"``.
        dtype: As the study asks for it.
        model: As the study names it.
        revision: Its revision on the Hub, where one is asked for.
        train_language: Language of training examples.
        finetune: Fine-tuning settings of all tasks.
        words: Word of the study file to what it holds.
        identity: Content identities; None before the texts are read.
    """

    languages: list[str]
    seed: int
    protocol: Literal["strict", "paper"]
    dtype: str
    model: str
    revision: str | None
    train_language: str
    finetune: Mapping[str, Any]
    words: Mapping[str, Any]
    identity: Identity | None = None

    def spec_of(self, word: str) -> Any:
        """What the study says under a word: a spec, names to specs, or None."""
        return self.words.get(word)

    @property
    def of(self) -> Identity:
        """Content identities; they are known once keys are made."""
        assert self.identity is not None
        return self.identity

    # Neuron sets and where they live

    @property
    def sets(self) -> Mapping[str, Any]:
        """Neuron sets by name."""
        return self.spec_of("neurons") or {}

    def site(self, neurons: str) -> str:
        """Where the units of a neuron set live; a derived set lives where its source does."""
        spec = self.sets[neurons]
        if spec.derive is not None:
            return self.site(spec.derive)
        return str(spec.site or self.spec_of("statistics").site)

    def written(self, neurons: str) -> str:
        """Where values are written over a set's units.

        Where they live, but for the paper's protocol: it finds them before the activation function
        and writes after it.
        """
        return self.at(self.site(neurons))

    def at(self, site: str) -> str:
        """Where statistics of a site are written to."""
        return "mlp.act" if self.protocol == "paper" and site == "mlp.pre" else site

    def rows_of(self, neurons: str) -> list[str]:
        """Languages of a neuron set."""
        spec = self.sets[neurons]
        if spec.derive is not None:
            return self.rows_of(spec.derive)
        if spec.languages is None:
            return self.languages
        from langneurons.identification.language_sets import resolve_languages

        return list(resolve_languages(spec.languages, self.languages))

    # Names of stages whose results others read

    def statistics_name(self, site: str, language: str) -> str:
        """The study's own site lies in ``statistics/``, others in a folder of their own in it."""
        folder = "" if site == self.spec_of("statistics").site else f"{site}/"
        return f"statistics/{folder}{language}"

    def statistics_of(self, site: str) -> tuple[str, ...]:
        """Names of the statistics stages of all languages at a site."""
        return tuple(self.statistics_name(site, lang) for lang in self.languages)

    def of_set(self, neurons: str) -> tuple[str, ...]:
        """A neuron set and the statistics at its site, which values and matched controls need."""
        return (f"neurons/{neurons}", *self.statistics_of(self.site(neurons)))

    def held_out(self, languages: Iterable[str]) -> dict[str, Any]:
        """What decides the held-out blocks of some languages."""
        spec = self.spec_of("perplexity")
        return {
            "tokens": spec.tokens,
            "block": spec.block or self.spec_of("statistics").block,
            "text": {lang: self.of.held_out[lang] for lang in languages},
            "seed": self.seed,
        }

    # Modules that register themselves

    def method_module(self, neurons: str) -> tuple[str, ...]:
        """Module of the method that finds a set; of a derived set none."""
        spec = self.sets[neurons]
        return () if spec.derive else (method(spec.method).function.__module__,)

    def task_module(self, task: str) -> tuple[str, ...]:
        """Module of a task's class."""
        from langneurons.data.tasks.base import TASKS

        source = self.spec_of("tasks")[task].source or task
        return (TASKS.get(source.partition(":")[0]).__module__,)

    # What a part's words must name

    def known_languages(self, place: str, languages: Iterable[str] | None) -> None:
        """Refuse languages that are none of the study's.

        Raises:
            InputError: Naming the first.
        """
        for lang in languages or ():
            if lang not in self.languages:
                raise unknown("language", lang, self.languages, f"in {place!r}")

    def known_sets(self, place: str, neurons: Iterable[str] | str | None) -> None:
        """Refuse neuron sets that are none of the study's.

        Raises:
            InputError: Naming the first.
        """
        for name in [neurons] if isinstance(neurons, str) else neurons or ():
            if name not in self.sets:
                raise unknown("neuron set", name, self.sets, f"in {place!r}")

    def need_experts(self, place: str, neurons: Iterable[str]) -> None:
        """Refuse what is for experts alone where a set's units are none.

        Raises:
            InputError: Naming the first set whose site no model has.
            ValueError: Naming the first set of other units.
        """
        for name in neurons:
            known_site(site := self.site(name), f"of neuron set {name!r}")  # rather than its lack
            if site != "moe.router":
                raise ValueError(
                    f"{place} is for experts (site moe.router), and the units of {name} are of "
                    f"{site}: leave it out"
                )

    def known_task(self, place: str, task: str | None) -> None:
        """Refuse a task that is none of the study's.

        Raises:
            InputError: Naming it.
        """
        tasks = self.spec_of("tasks") or {}
        if task is not None and task not in tasks:
            raise unknown("task", task, tasks, f"in {place!r}")

    def need_held_out(self, word: str) -> None:
        """Refuse a part that measures perplexity in a study without held-out text.

        Raises:
            ValueError: If the study has none.
        """
        if not self.spec_of("perplexity"):
            raise ValueError(f"{word} needs `perplexity` (its held-out text)")


def method(name: str) -> Method:
    """An identification method by name.

    Raises:
        InputError: If there is none.
    """
    from langneurons.identification import METHODS

    return METHODS.get(name)


def known_site(site: str, where: str) -> None:
    """Refuse a site that no model has.

    Raises:
        InputError: Naming the nearest one that there is.
    """
    from langneurons.models import SITES

    if site not in SITES:
        raise unknown("site", site, SITES, where)
