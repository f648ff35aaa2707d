"""Forcing a language and falling back on others: keys of a study, stages, what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from langneurons import defaults
from langneurons.artifacts import write_table
from langneurons.study.spec import Spec, Value

if TYPE_CHECKING:
    from langneurons.study.plan import Identity, Stage
    from langneurons.study.schema import StudyConfig
    from langneurons.study.workshop import Workshop


class ForcingSpec(Spec):
    """Which language the model writes with one language's units off and another's on."""

    neurons: str = Field("lape", description="Neuron set.")
    pairs: list[tuple[str, str]] = Field(
        min_length=1, description="[off, on]: off is set to zero, on to `value`."
    )
    value: Value = Field("P90", description="Value written over the second language's units.")
    prompts: int = Field(20, ge=1, description="Held-out documents whose beginning is continued.")
    prompt_words: int = Field(12, ge=1, description="Words (or characters) of a prompt.")
    new_tokens: int = Field(defaults.NEW_TOKENS, ge=1, description="Tokens written for each.")


class FallbackSpec(Spec):
    """Which language the model writes when languages are switched off one after another."""

    neurons: str = Field("lape", description="Neuron set.")
    starts: list[str] = Field(
        min_length=1, description="Languages of the prompts; each is switched off first."
    )
    steps: int = Field(3, ge=1, description="Languages switched off in the end, at most.")
    value: Value = Field("zero", description="What is written over the units of each.")
    random: int = Field(1, ge=0, description="Same-size random draws, at every step.")
    matched: int = Field(0, ge=0, description="Random draws of units of the same activity.")
    prompts: int = Field(20, ge=1, description="Held-out documents whose beginning is continued.")
    prompt_words: int = Field(4, ge=1, description="Words (or characters) of a prompt.")
    new_tokens: int = Field(24, ge=1, description="Tokens written for each.")


def stages(config: StudyConfig, identity: Identity) -> list[Stage]:
    """The stages of both parts, where the study has them."""
    return _forcing(config, identity) + _fallback(config, identity)


def _forcing(config: StudyConfig, identity: Identity) -> list[Stage]:
    from langneurons.study.plan import Stage, held_out, of_set

    spec = config.forcing
    if spec is None or config.perplexity is None:
        return []
    return [
        Stage(
            name=f"forcing/{off}-{on}",
            kind="forcing",
            arguments={"off": off, "on": on},
            settings={
                **spec.model_dump(exclude={"pairs"}),
                "languages": config.languages,
                **held_out(config, identity, [off]),
            },
            parents=of_set(config, spec.neurons),
            output=f"forcing/{off}-{on}.parquet",
            cost=3 * spec.prompts * spec.new_tokens / 1000,
        )
        for off, on in spec.pairs
    ]


def _fallback(config: StudyConfig, identity: Identity) -> list[Stage]:
    from langneurons.study.plan import Stage, held_out, of_set

    spec = config.fallback
    if spec is None or config.perplexity is None:
        return []
    draws = 1 + spec.random + spec.matched
    return [
        Stage(
            name=f"fallback/{start}",
            kind="fallback",
            arguments={"start": start},
            settings={
                **spec.model_dump(exclude={"starts"}),
                "languages": config.languages,
                "seed": config.seed,
                **held_out(config, identity, [start]),
            },
            parents=of_set(config, spec.neurons),
            output=f"fallback/{start}.parquet",
            cost=(1 + draws * spec.steps) * spec.prompts * spec.new_tokens / 1000,
        )
        for start in spec.starts
    ]


def forcing(workshop: Workshop, output: Path, off: str, on: str) -> None:
    """Continue prompts untouched, with one language off, and with another on as well."""
    import pandas as pd

    from langneurons.evaluation import force
    from langneurons.intervention import Intervention

    spec = workshop.config.forcing
    assert spec is not None
    site = workshop.config.site(spec.neurons)
    switched = Intervention(
        units=workshop.units(spec.neurons, off, "own", 0), site=workshop.config.at(site),
        **workshop.change("zero", off, site),
    )  # fmt: skip
    raised = Intervention(
        units=workshop.units(spec.neurons, on, "own", 0), site=workshop.config.at(site),
        **workshop.change(spec.value, on, site),
    )  # fmt: skip
    prompts = _prompts(workshop, off, spec)
    tables = []
    for name, done in (("none", None), ("off", [switched]), ("off and on", [switched, raised])):
        table = force(
            workshop.lm, prompts, workshop.config.languages, done, max_new_tokens=spec.new_tokens
        )
        tables.append(table.assign(off=off, on=on, intervention=name, value=spec.value))
    write_table(output, pd.concat(tables, ignore_index=True))


def fallback(workshop: Workshop, output: Path, start: str) -> None:
    """Continue prompts of a language with it, then with what replaces it, switched off."""
    from langneurons.evaluation.fallback import fallback as fall

    spec, config = workshop.config.fallback, workshop.config
    assert spec is not None
    site = config.site(spec.neurons)
    changes = {lang: workshop.change(spec.value, lang, site) for lang in config.languages}
    table = fall(
        workshop.lm,
        _prompts(workshop, start, spec),
        start,
        config.languages,
        workshop.neurons(spec.neurons),
        {lang: (change["value"], change.get("mode", "set")) for lang, change in changes.items()},
        steps=spec.steps,
        controls={"random": spec.random, "matched": spec.matched},
        stats=workshop.statistics(site),
        seed=config.seed,
        max_new_tokens=spec.new_tokens,
    )
    write_table(output, table.assign(start=start, neurons=spec.neurons, value=spec.value))


def _prompts(workshop: Workshop, language: str, spec: ForcingSpec | FallbackSpec) -> list[str]:
    documents = workshop.texts[language].held_out[: spec.prompts]
    return [_beginning(text, spec.prompt_words) for text in documents]


def _beginning(text: str, words: int) -> str:
    """The first words of a text; of a text without spaces, twice as many characters."""
    parts = text.split()
    return " ".join(parts[:words]) if len(parts) > words else text[: 2 * words]
