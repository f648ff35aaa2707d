"""The schema of a study: what a YAML file may say, checked before anything runs.

The engine's own keys stand here; every other word is a part's, see
:mod:`langneurons.interface.part`.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from langneurons.config import grid
from langneurons.errors import InputError, unknown
from langneurons.interface.context import Context, Identity
from langneurons.interface.part import Part, ordered
from langneurons.interface.spec import Spec, nested

_NAME = re.compile(r"^[\w][\w.+:@-]*$")


class SizeSpec(Spec):
    """Size of a model, for the expected cost where the model itself is not at hand."""

    parameters: float = Field(gt=0, description="Weights.")
    active: float | None = Field(
        None, gt=0, description="Weights that a token passes, in a mixture of experts."
    )
    layers: int = Field(ge=1, description="Layers.")
    units: int = Field(ge=1, description="Inner width of the MLP; experts in a layer.")
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


class StudyConfig(Spec):
    """A whole study. Every field is a key of the YAML file."""

    name: str = Field("study", description="Short name; names the default output folder.")
    model: str = Field("mini", description="mini, mini-moe, a Hub id, a folder, a .gguf file.")
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
    load: Literal["nf4"] | None = Field(
        None, description="nf4: the model's weights in 4 bits, computed in `dtype`."
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
    train_language: str = Field("en", description="Language of the training examples.")
    finetune: dict[str, Any] = Field(
        default_factory=dict, description="Fine-tuning settings, as `finetune` takes them."
    )
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
    workers: int | None = Field(
        None,
        ge=1,
        description="Processes that share the threads, each with a copy of the model; default: on "
        "a CPU one a thread where the study takes minutes and memory allows, else one.",
    )
    executor: Literal["local", "ray"] = Field("local", description="What runs the stages.")
    ray: RaySpec = Field(default_factory=lambda: RaySpec())

    if TYPE_CHECKING:

        def __getattr__(self, word: str) -> Any:
            """What the study says under a part's word."""

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, data: Any) -> Any:
        data = grid.expand(data)
        if not isinstance(data, dict):
            return data
        # A budget, an override or an including study takes one of many away by null, or all.
        found = dict(data)
        for word in (part.word for part in ordered() if part.spec is not None and part.many):
            if word in found and found[word] is None:
                found[word] = {}
            elif isinstance(found.get(word), dict):
                found[word] = {k: item for k, item in found[word].items() if item is not None}
        return found

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        return plain("study", name)

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
        context = self.context()
        parts = [(part, spec) for part in ordered() if (spec := context.spec_of(part.word))]
        for part, spec in parts:
            for name in spec if part.many else ():
                plain(part.noun or f"part of `{part.word}`", name)
        if isinstance(self.text, dict):
            missing = [lang for lang in self.languages if lang not in self.text]
            if missing:
                raise ValueError(
                    f"no text for {', '.join(missing)}: add --text {missing[0]}=PATH "
                    "or take the language out of `languages`"
                )
        for part, spec in parts:
            if part.check is not None:
                part.check(spec, context)
        return self

    def context(self, identity: Identity | None = None) -> Context:
        """What the parts may know of this study.

        Args:
            identity: Content identities, once they are known.
        """
        return Context(
            languages=self.languages,
            seed=self.seed,
            protocol=self.protocol,
            dtype=self.dtype,
            model=self.model,
            revision=self.revision,
            train_language=self.train_language,
            finetune=self.finetune,
            words={part.word: getattr(self, part.word) for part in ordered() if part.spec},
            identity=identity,
        )


@functools.cache
def schema() -> type[StudyConfig]:
    """The whole schema: the engine's keys and the words of every part."""
    fields: dict[str, Any] = {part.word: _field(part) for part in ordered() if part.spec}
    made = create_model("StudyConfig", __base__=StudyConfig, **fields)
    made.__doc__ = StudyConfig.__doc__
    return made


def _field(part: Part) -> tuple[Any, Any]:
    """Type and default of a part's word."""
    spec = part.spec
    assert spec is not None
    if part.many:
        many = dict[str, spec]  # type: ignore[valid-type]
        return many, Field(
            default_factory=lambda: {
                name: spec.model_validate(given) for name, given in (part.default() or {}).items()
            }
        )
    if part.default() is None:
        return spec | None, Field(None)
    return spec, Field(default_factory=lambda: spec.model_validate(part.default()))


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
        return schema().model_validate(data)
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
    model: type[BaseModel] = schema()
    rest = list(location)
    while rest:
        field = model.model_fields.get(str(rest.pop(0)))
        inner = nested(field.annotation) if field else []
        if inner:
            model, keyed = inner[0]
            rest = rest[1:] if keyed else rest
    return list(model.model_fields)
