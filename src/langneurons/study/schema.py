"""The schema of a study: what a YAML file may say, checked before anything runs."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from langneurons.errors import InputError, unknown
from langneurons.intervention.words import SCOPES
from langneurons.intervention.words import parse as parse_value
from langneurons.study import grid
from langneurons.study.beyond.schema import (
    CrossingSpec,
    DeactivationSpec,
    FeaturesSpec,
    PolysemanticitySpec,
    SubspacesSpec,
)
from langneurons.study.forcing import FallbackSpec, ForcingSpec
from langneurons.study.parts import (
    AdapterSpec,
    EffectsSpec,
    InterventionsSpec,
    NeuronsSpec,
    PerplexitySpec,
    RaySpec,
    SizeSpec,
    StatisticsSpec,
    TaskSpec,
    adapter_units,
    choice_of,
    intervened,
)
from langneurons.study.passages import PassagesSpec
from langneurons.study.spec import Spec, nested
from langneurons.study.sweeps import SweepSpec

_NAME = re.compile(r"^[\w][\w.+:@-]*$")


class StudyConfig(Spec):
    """A whole study. Every field is a key of the YAML file."""

    name: str = Field("study", description="Short name; names the default output folder.")
    model: str = Field("mini", description="mini, a Hub id, a folder, a .gguf file.")
    revision: str | None = Field(None, description="Revision of a Hub model.")
    device: str = Field(
        "auto", description="auto, balanced (spread over all accelerators), or a device."
    )
    size: SizeSpec | None = Field(None, description="Size of the model, for `--dry-run` alone.")
    protocol: Literal["strict", "paper"] = Field(
        "strict",
        description="paper: as the released code of arXiv 2503.17456 has it: statistics of mlp.pre "
        "in packed blocks of 512, quantiles averaged over batches, written to mlp.act.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto (as the model is stored), or one of the others."
    )
    languages: list[str] = Field(min_length=1, description="Language codes, in table order.")
    text: dict[str, str | list[str]] | str | list[str] = Field(
        "mini",
        description="Source (or list of sources) per language, or for all with {lang} in it: "
        "a file, hub:REPO:CONFIG, mini.",
    )
    field: str | None = Field(
        None, description="Column that holds the text, in sources of rows; default: text."
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="Share of each language's documents kept for perplexity."
    )
    statistics: StatisticsSpec = Field(default_factory=lambda: StatisticsSpec())
    neurons: dict[str, NeuronsSpec] = Field(default_factory=lambda: {"lape": NeuronsSpec()})
    perplexity: PerplexitySpec | None = Field(None)
    effects: EffectsSpec | None = Field(None)
    sweep: SweepSpec | None = Field(None)
    forcing: ForcingSpec | None = Field(None)
    fallback: FallbackSpec | None = Field(None)
    deactivation: DeactivationSpec | None = Field(None)
    crossing: CrossingSpec | None = Field(None)
    polysemanticity: PolysemanticitySpec | None = Field(None)
    passages: PassagesSpec | None = Field(None)
    subspaces: dict[str, SubspacesSpec] = Field(default_factory=dict)
    features: dict[str, FeaturesSpec] = Field(default_factory=dict)
    tasks: dict[str, TaskSpec] = Field(default_factory=dict)
    train_language: str = Field("en", description="Language of the training examples.")
    finetune: dict[str, Any] = Field(
        default_factory=dict, description="Fine-tuning settings, as `finetune` takes them."
    )
    adapters: dict[str, AdapterSpec] = Field(default_factory=dict)
    interventions: InterventionsSpec | None = Field(None)
    seed: int = Field(0, description="Seed of everything random.")
    methods: list[str] | dict[str, dict[str, Any] | None] | None = Field(
        None, description="Grid: one neuron set a method (with its parameters), see below."
    )
    language_sets: list[str] | dict[str, list[str]] | None = Field(
        None, description="Grid: every method on every language set, named METHOD@SET."
    )
    seeds: int | None = Field(
        None, ge=1, description="Grid: trainings of each adapter and draws of random units."
    )
    budget: str = Field("full", description="full, or a name under `budgets`.")
    budgets: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Named sets of overrides, chosen by `budget`."
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")
    executor: Literal["local", "ray"] = Field("local", description="What runs the stages.")
    ray: RaySpec = Field(default_factory=lambda: RaySpec())

    @model_validator(mode="before")
    @classmethod
    def _grid(cls, data: Any) -> Any:
        return grid.expand(data)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        return plain("study", name)

    @field_validator("neurons", "tasks", "adapters", "subspaces", "features", mode="before")
    @classmethod
    def _without(cls, parts: Any) -> Any:
        # A budget, an override or an including study takes one part away by null, or all of them.
        if not isinstance(parts, dict):
            return {} if parts is None else parts
        return {name: part for name, part in parts.items() if part is not None}

    @field_validator("languages")
    @classmethod
    def _distinct(cls, languages: list[str]) -> list[str]:
        double = sorted({lang for lang in languages if languages.count(lang) > 1})
        if double:
            raise ValueError(f"languages named twice: {', '.join(double)}; name each once")
        for lang in languages:
            plain("language", lang)
        return languages

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        known = set(self.languages)
        for kind, names in (
            ("neuron set", self.neurons),
            ("adapter", self.adapters),
            ("task", self.tasks),
            ("part of `subspaces`", self.subspaces),
            ("part of `features`", self.features),
        ):
            for name in names:
                plain(kind, name)
        if isinstance(self.text, dict):
            missing = [lang for lang in self.languages if lang not in self.text]
            if missing:
                raise ValueError(
                    f"no text for {', '.join(missing)}: add --text {missing[0]}=PATH "
                    "or take the language out of `languages`"
                )
        places: list[tuple[str, list[str] | None]] = []
        if self.perplexity:
            places.append(("perplexity.languages", self.perplexity.languages))
        places += [(f"tasks.{name}.languages", task.languages) for name, task in self.tasks.items()]
        for name, erased in self.subspaces.items():
            pairs = [lang for pair in erased.moves for lang in pair]
            places.append((f"subspaces.{name}", [*(erased.languages or ()), *pairs]))
        if self.interventions:
            places.append(("interventions.languages", self.interventions.languages))
        if self.sweep:
            places.append(("sweep.languages", self.sweep.languages))
        for part in ("deactivation", "crossing", "polysemanticity"):
            if spec := getattr(self, part):
                places.append((f"{part}.languages", spec.languages))
        if self.forcing:
            places += [("forcing.pairs", list(pair)) for pair in self.forcing.pairs]
        if self.fallback:
            places.append(("fallback.starts", self.fallback.starts))
        for part in (
            "effects",
            "sweep",
            "forcing",
            "fallback",
            "deactivation",
            "crossing",
            "subspaces",
            "features",
        ):
            if getattr(self, part) and not self.perplexity:
                raise ValueError(f"{part} needs `perplexity` (its held-out text)")
        for place, languages in places:
            for lang in languages or ():
                if lang not in known and not place.startswith("tasks"):
                    raise unknown("language", lang, known, f"in {place!r}")
        parts = ("perplexity", "interventions", "effects", "sweep", "forcing", "fallback",
                 "deactivation", "polysemanticity", "crossing", "passages")  # fmt: skip
        naming = {part: getattr(self, part) for part in parts}
        naming |= {f"subspaces.{name}": spec for name, spec in self.subspaces.items()}
        for place, spec in naming.items():
            chosen = getattr(spec, "neurons", None) or ()
            for name in [chosen] if isinstance(chosen, str) else chosen:
                if name not in self.neurons:
                    raise unknown("neuron set", name, self.neurons, f"in {place!r}")
        self._check_derived()
        self._check_sweep()
        named: dict[str, PolysemanticitySpec | SubspacesSpec | None] = {
            "polysemanticity": self.polysemanticity
        }
        named |= {f"subspaces.{name}": spec for name, spec in self.subspaces.items()}
        for part, with_task in named.items():
            if with_task and with_task.task is not None and with_task.task not in self.tasks:
                raise unknown("task", with_task.task, self.tasks, f"in {part!r}")
        for name, piece in self.subspaces.items():
            if piece.neurons and self.site(piece.neurons) != piece.site:
                raise ValueError(
                    f"subspaces.{name}: {piece.neurons} is of {self.site(piece.neurons)}, not "
                    f"of {piece.site}"
                )
        for name, adapter in self.adapters.items():
            chosen = adapter_units(adapter)
            for word in ("none", "all"):
                if word in chosen and chosen != [word]:
                    raise ValueError(
                        f"adapters.{name}: {word} stands alone, take it or the others out of it"
                    )
            self._check_one_site(name, adapter)
            held = [adapter.hold.neurons] if adapter.hold else []
            for choice in [*chosen, *held]:
                if choice in ("none", "all"):
                    continue
                _, neurons, lang = choice_of(choice)
                if neurons not in self.neurons:
                    raise unknown("neuron set", neurons, self.neurons, f"in adapter {name!r}")
                if lang not in known:
                    raise unknown("language", lang, known, f"in adapter {name!r}")
        if self.interventions:
            for value in self.interventions.values:
                of = parse_value(value).language
                if of is not None and of not in known:
                    known_parts = f"sites are mlp.pre and mlp.act, tokens {', '.join(SCOPES)}"
                    where = f"in value {value!r} ({known_parts})"
                    raise unknown("language", of, known, where)
        if self.elsewhere and self.interventions:
            for name in self.interventions.neurons:
                if not self.site(name).startswith("mlp."):
                    raise ValueError(
                        f"interventions.values: a value taken at another site needs MLP units, "
                        f"{name} is of {self.site(name)}"
                    )
        if self.interventions and self.tasks:
            for name in intervened(self.interventions):
                if name not in self.adapters:
                    raise unknown("adapter", name, self.adapters, "in 'interventions.adapter'")
        if self.protocol == "paper" and self.statistics.site != "mlp.pre":
            raise ValueError("protocol paper takes statistics of mlp.pre: leave statistics.site")
        return self

    @property
    def found(self) -> list[str]:
        """Neuron sets that a method found; the others are parts of these."""
        return [name for name, spec in self.neurons.items() if spec.derive is None]

    def site(self, neurons: str) -> str:
        """Where the units of a neuron set live; a derived set lives where its source does."""
        spec = self.neurons[neurons]
        if spec.derive is not None:
            return self.site(spec.derive)
        return spec.site or self.statistics.site

    def written(self, neurons: str) -> str:
        """Where values are written over a set's units.

        Where they live, but for the paper's protocol: it finds them before the activation function
        and writes after it.
        """
        return self.at(self.site(neurons))

    def at(self, site: str) -> str:
        """Where statistics of a site are written to."""
        return "mlp.act" if self.protocol == "paper" and site == "mlp.pre" else site

    @property
    def elsewhere(self) -> list[str]:
        """Sites at which values of interventions are taken, where they say so."""
        values = self.interventions.values if self.interventions else []
        return list(dict.fromkeys(taken for value in values if (taken := parse_value(value).taken)))

    def _check_one_site(self, name: str, adapter: AdapterSpec) -> None:
        named = [choice_of(choice)[1] for choice in adapter_units(adapter)]
        sites = {self.site(neurons) for neurons in named if neurons in self.neurons}
        if len(sites) > 1:
            raise ValueError(
                f"adapters.{name}: its sets are of {' and '.join(sorted(sites))}; take one site"
            )

    def _check_sweep(self) -> None:
        spec = self.sweep
        if spec is None:
            return
        if spec.task is not None:
            if spec.task not in self.tasks:
                raise unknown("task", spec.task, self.tasks, "in 'sweep'")
            if spec.adapter not in self.adapters:
                raise unknown("adapter", spec.adapter, self.adapters, "in 'sweep'")
        if spec.shares:
            from langneurons.identification import METHODS

            chosen = self.neurons[spec.neurons]
            if chosen.derive is not None:
                raise ValueError(f"sweep.shares needs a set that a method found: {chosen.derive}")
            method = METHODS.get(chosen.method)
            quotas = {"per_language", "per_layer"} & set(chosen.parameters)
            if method.needs == "model" or "top" not in method.parameters or quotas:
                raise ValueError(
                    f"sweep.shares needs a set found in statistics by a share (`top`), not "
                    f"{spec.neurons}"
                )

    def _check_derived(self) -> None:
        for name, spec in self.neurons.items():
            if spec.derive is None:
                if spec.exclusive or spec.without_top:
                    raise ValueError(
                        f"neurons.{name}: exclusive and without_top need `derive: SET`"
                    )
                continue
            if spec.derive not in self.neurons:
                raise unknown("neuron set", spec.derive, self.neurons, f"in 'neurons.{name}'")
            if spec.site is not None:
                raise ValueError(
                    f"neurons.{name}: a derived set has the site of its source, leave site out"
                )
            if self.neurons[spec.derive].derive is not None:
                raise ValueError(f"neurons.{name}: derive from a set that a method found")
            looked = self.effects.neurons if self.effects else []
            if spec.without_top and spec.derive not in looked:
                raise ValueError(f"neurons.{name}: without_top needs {spec.derive} in `effects`")


def adapter_runs(config: StudyConfig) -> dict[str, tuple[str, int]]:
    """Every training of a task: its folder's name, and the adapter and seed it stands for."""
    return {
        # Not every file system takes a colon.
        name.replace(":", "-") + ("" if spec.seeds == 1 else f".{seed}"): (name, seed)
        for name, spec in config.adapters.items()
        for seed in range(spec.seeds)
    }


def plain(kind: str, name: str) -> str:
    """The name, if it may become part of a file's name.

    Raises:
        ValueError: If it may not.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            f"{kind} name {name!r} must be letters, digits and . _ + : @ - "
            "(it becomes part of a file name)"
        )
    return name


def parse(data: dict[str, Any]) -> StudyConfig:
    """Check a plain mapping against the schema.

    Raises:
        InputError: One line that names the key, what is wrong and the nearest known key.
    """
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        raise InputError(_first_line(error)) from error


def _first_line(error: ValidationError) -> str:
    # A mistyped key is the reason why the right one is missing.
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        parent, _, key = where.rpartition(".")
        place = f"in {parent!r}" if parent else "in the study"
        return str(unknown("key", key, _fields(first["loc"][:-1]), place))
    message = _in_our_words(first)
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {message}{more}." if where else f"{message}{more}."


def _in_our_words(fault: ErrorDetails) -> str:
    """What is wrong with a value, without the names of classes and fields."""
    if fault["type"] == "missing":
        return "is missing: give it"
    if fault["type"] == "model_type":
        return f"must hold keys ({', '.join(_fields(fault['loc']))}), not {fault['input']!r:.40}"
    message = fault["msg"].removeprefix("Value error, ").rstrip(".")
    return message.replace("Input should be", "must be", 1)


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """Keys of the part of the schema that a place in the file belongs to."""
    model: type[BaseModel] = StudyConfig
    rest = list(location)
    while rest:
        field = model.model_fields.get(str(rest.pop(0)))
        inner = nested(field.annotation) if field else []
        if inner:
            model, keyed = inner[0]
            rest = rest[1:] if keyed else rest
    return list(model.model_fields)
