"""Values that stages share while one process works: loaded once, kept as long as needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from langneurons.errors import InputError
from langneurons.interface.context import Context
from langneurons.interface.part import ordered
from langneurons.interface.results import Results
from langneurons.intervention.words import parse as parse_value
from langneurons.stages.stage import Plan

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.data.tasks import Example, Task
    from langneurons.evaluation.language_modelling import PerplexityResult
    from langneurons.identification import NeuronSet, Units
    from langneurons.intervention import Value
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics


@dataclass(frozen=True)
class Texts:
    """Documents of one language, split once and for all.

    Attributes:
        statistics: Documents that statistics are collected on.
        held_out: Documents that perplexity is measured on; none of them is in ``statistics``.
    """

    statistics: list[str]
    held_out: list[str]


class Configured(Protocol):
    """What of a checked study its stages need to know."""

    @property
    def device(self) -> str:
        """Where the model runs."""

    @property
    def revision(self) -> str | None:
        """Revision of the model on the Hub, where one is asked for."""

    @property
    def load(self) -> Literal["nf4"] | None:
        """How the model's weights are made smaller, if they are."""

    def context(self) -> Context:
        """What parts may know of it."""


class Workshop:
    """One study, one run directory, and what has been loaded so far.

    Args:
        config: The study.
        out: Run directory.
        texts: Documents of every language.
        trusted: Whether code from the model's repository may run.
        plan: What the run directory is to hold; for stages that read the results of many.
        revision: Commit of the model, where it is known.
        tasks: Tasks of the study whose examples come from a commit of the Hub, or have been read.
    """

    def __init__(
        self,
        config: Configured,
        out: Path,
        texts: Mapping[str, Texts],
        trusted: bool = False,
        plan: Plan | None = None,
        revision: str | None = None,
        tasks: Mapping[str, Task] = MappingProxyType({}),
    ) -> None:
        self.context = config.context()
        self.out, self.texts, self._trusted = out, texts, trusted
        self._device, self._load = config.device, config.load
        self.results = Results(out, plan or Plan(()), self.context, ordered())
        self._revision = revision or config.revision
        self.baseline: dict[str, PerplexityResult] = {}
        self._neurons: dict[str, NeuronSet] = {}
        self._adapted: tuple[str, LanguageModel] | None = None
        self._blocks: dict[str, Blocks] = {}
        self._tasks: dict[str, Task] = dict(tasks)
        self._statistics: dict[str, Statistics] = {}

    @cached_property
    def lm(self) -> LanguageModel:
        """The model, loaded on first use: a study that is complete never loads it."""
        from langneurons.models import load

        return load(
            self.context.model,
            dtype=self.context.dtype,
            device=self._device,
            load=self._load,
            revision=self._revision,
            trust_remote_code=self._trusted,
        )

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer; the model itself is not loaded for it."""
        from langneurons.models.loading import load_tokenizer

        if "lm" in self.__dict__:
            return self.lm.tokenizer
        return load_tokenizer(self.context.model, revision=self._revision)

    def made_with(self) -> dict[str, str]:
        """Versions, and the device and dtype of the model where it has been loaded."""
        from langneurons.provenance.environment import versions

        found = versions()
        if "lm" in self.__dict__:
            found |= {"device": str(self.lm.device), "dtype": str(self.lm.dtype)[len("torch.") :]}
        return found

    def statistics(self, site: str | None = None) -> Statistics:
        """Statistics of the study's languages at a site; None: the study's own site.

        The folder may hold other languages, of an earlier form of the study.
        """
        from langneurons.statistics import Statistics

        own = self.context.spec_of("statistics").site
        place = site or own
        if place not in self._statistics:
            folder = self.out / "statistics"
            self._statistics[place] = Statistics.load(
                folder if place == own else folder / place, languages=self.context.languages
            )
        return self._statistics[place]

    def neurons(self, name: str) -> NeuronSet:
        """A neuron set of the study by its name."""
        from langneurons.identification import NeuronSet

        if name not in self._neurons:
            self._neurons[name] = NeuronSet.load(self.out / "neurons" / f"{name}.json")
        return self._neurons[name]

    def units(self, neurons: str, language: str, kind: str, seed: int) -> Units:
        """A language's units, or a control of the same size (``random``, ``matched``).

        Raises:
            InputError: If the set has no unit for the language.
        """
        found = self.neurons(neurons)
        if kind == "random":
            found = found.random_like(seed)
        elif kind == "matched":
            found = found.random_like(
                seed,
                matched="rate",
                statistics=self.statistics(self.context.site(neurons)),
            )
        if not len(found[language]):
            raise InputError(
                f"neuron set {neurons!r} has no unit for {language}: raise its share (`top`)."
            )
        return found[language]

    def change(self, name: str, language: str, site: str) -> dict[str, Any]:
        """``value`` and ``mode`` of an intervention by the name a study gives it.

        ``x0.5`` multiplies by 0.5, ``s0.5`` steers; everything else is set, see :meth:`value`.
        """
        what = parse_value(name)
        value = self.value(name, language, site)
        return {"value": value.named(name) if what.mode != "set" else value, "mode": what.mode}

    def value(self, name: str, language: str, site: str) -> Value:
        """A value to set by its name, from the language's own statistics at the site.

        In the paper's protocol a statistic of what goes into the activation function is written to
        what comes out of it; the value then says so by the site it is for. ``P10@mlp.pre`` does so
        for one value, and ``P10@mlp.act@mlp.pre`` names both sites; ``mean@en`` is the mean of
        another language.
        """
        what = parse_value(name)
        where = what.taken or site
        value = what.value(self.statistics(where) if what.is_statistic else None, language)
        value = value if name == what.name else value.named(name)
        if value.site is None:
            return value
        target = (
            (what.written or self.context.at(site)) if what.taken else self.context.at(value.site)
        )
        return replace(value, site=target)

    def task(self, name: str) -> Task:
        """A task of the study by its name."""
        from langneurons.data.tasks import get_task

        if name not in self._tasks:
            spec = self.context.spec_of("tasks")[name]
            self._tasks[name] = get_task(spec.source or name, **spec.options())
        return self._tasks[name]

    def examples(
        self, task: str, language: str, split: str, limit: int | None = None, seed: int = 0
    ) -> list[Example]:
        """Examples of a task that are within its limit of length, as its scores have them."""
        from langneurons.data.tasks import draw_within

        made = self.task(task)
        return draw_within(made, language, split, self.tokenizer, limit=limit, seed=seed).examples

    def adapted(self, task: str, adapter: str) -> LanguageModel:
        """The model under one adapter; only the last one used is kept."""
        from langneurons.finetuning import load_adapter

        path = f"{task}/{adapter}"
        if self._adapted is None or self._adapted[0] != path:
            self.forget_adapter()
            self._adapted = (path, load_adapter(self.lm, self.out / "adapters" / path))
        return self._adapted[1]

    def forget_adapter(self) -> None:
        """Free the model again."""
        self._adapted = None

    def statistics_texts(self) -> dict[str, list[str]]:
        """The documents statistics are collected on, for methods that read the model."""
        return {lang: self.texts[lang].statistics for lang in self.context.languages}

    def untouched(self, language: str) -> PerplexityResult:
        """Perplexity of a language's held-out blocks without intervention, measured once."""
        from langneurons.evaluation import perplexity

        if language not in self.baseline:
            self.baseline[language] = perplexity(self.lm, self.held_out_blocks(language))
        return self.baseline[language]

    def held_out_blocks(self, language: str) -> Blocks:
        """Blocks of a language's held-out documents."""
        from langneurons.data import make_blocks

        if language not in self._blocks:
            spec = self.context.spec_of("perplexity")
            self._blocks[language] = make_blocks(
                self.texts[language].held_out,
                self.lm.tokenizer,
                block=spec.block or self.context.spec_of("statistics").block,
                tokens=spec.tokens,
            )
        return self._blocks[language]

    def prompts(self, language: str, count: int, words: int) -> list[str]:
        """Beginnings of a language's held-out documents.

        Args:
            language: The language.
            count: How many, at most.
            words: Words of each; of a text without spaces, twice as many characters.
        """
        return [_beginning(text, words) for text in self.texts[language].held_out[:count]]


def _beginning(text: str, words: int) -> str:
    parts = text.split()
    return " ".join(parts[:words]) if len(parts) > words else text[: 2 * words]
