"""Training a language's own weights on its raw text: keys."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from langneurons.errors import InputError, LangNeuronsError
from langneurons.interface.context import Context
from langneurons.interface.spec import Spec

Arm = Literal["own", "random", "matched", "other", "all", "lora", "full"]

UNITS: tuple[Arm, ...] = ("own", "random", "matched", "other")
"""Arms that train the gate rows, up rows and down columns of some units."""

PLAIN = "none"
"""Arm without any training, from which transfer is told."""

SITES = ("mlp.act", "mlp.pre", "mlp.out")


class EnhancementSpec(Spec):
    """A language's own weights trained on its raw text, beside controls of equal tokens."""

    neurons: str = Field("lape", description="Neuron set whose units learn.")
    languages: list[str] | None = Field(
        None, description="Languages trained on, one at a time; default: those of the set."
    )
    measured: list[str] | None = Field(
        None, description="Languages whose perplexity is measured; default: all."
    )
    arms: list[Arm] = Field(
        ["own", "random", "matched", "other", "all", "lora", "full"],
        min_length=1,
        description="What learns: the language's units; as many random ones; as many equally "
        "active ones; units of the set's next language; all units; LoRA on all units with as many "
        "weights as the language's units have; every weight.",
    )
    tokens: int = Field(100_000, ge=1, description="Tokens of text a training sees, in each arm.")
    block: int = Field(512, ge=2, description="Tokens in a block.")
    rates: list[float] = Field(
        [1e-5, 1e-4, 1e-3],
        min_length=1,
        description="Learning rates; each arm takes its best on text that it is not trained on.",
    )
    choice_tokens: int = Field(
        10_000, ge=1, description="Tokens of that text; nothing else is measured on it."
    )
    seeds: int = Field(3, ge=1, description="Trainings of an arm, and draws of random units.")
    finetune: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the trainings, on top of the recipe `enhancement`.",
    )
    task: str | None = Field(
        None, description="Task learnt afterwards in the training language, then scored."
    )
    task_arms: list[Arm] = Field(
        ["own", "matched", "full"], description="Arms after which the task is learnt."
    )

    def told(self) -> str:
        """The set whose units learn."""
        return self.neurons


def trained(spec: EnhancementSpec, context: Context) -> list[str]:
    """Languages that are trained on."""
    return spec.languages or context.rows_of(spec.neurons)


def columns(spec: EnhancementSpec, context: Context) -> list[str]:
    """Languages that are measured."""
    return spec.measured or context.languages


def check(spec: EnhancementSpec, context: Context) -> None:
    """Refuse languages, sets and tasks that are not of the study, and units of other sites."""
    context.need_held_out("enhancement")
    context.known_sets("enhancement", spec.neurons)
    context.known_languages("enhancement", [*(spec.languages or ()), *(spec.measured or ())])
    context.known_task("enhancement", spec.task)
    rows = context.rows_of(spec.neurons)
    missing = [lang for lang in trained(spec, context) if lang not in rows]
    if missing:
        raise ValueError(
            f"enhancement: {spec.neurons} has no units for {missing[0]}: leave it out of languages"
        )
    if "other" in spec.arms and len(rows) < 2:
        raise ValueError(f"enhancement: {spec.neurons} has one language alone, leave out arm other")
    if context.site(spec.neurons) not in SITES:
        raise ValueError(
            f"enhancement trains units of the MLP, and those of {spec.neurons} are of "
            f"{context.site(spec.neurons)}: choose a set of the MLP"
        )
    if spec.task and "lora" in spec.task_arms:
        raise ValueError("enhancement.task_arms: a task is not learnt on top of LoRA, leave it out")


def verify(spec: EnhancementSpec, context: Context) -> None:
    """Refuse settings that no training has.

    Raises:
        InputError: Naming the setting.
    """
    from langneurons.finetuning import get_recipe

    try:
        get_recipe("enhancement", **spec.finetune)
    except LangNeuronsError as error:
        raise InputError(f"enhancement.finetune: {error}") from error
