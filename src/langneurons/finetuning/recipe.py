"""How an adapter is trained: one plain value, checked before anything starts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langneurons.errors import InputError, unknown

PROJECTIONS = ("gate", "up", "down")
METHODS = ("lora", "rows", "weights", "full")
HEADS = ("last-token", "last-position")
DTYPES = ("auto", "fp32", "bf16")
SCHEDULES = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
)


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run.

    Attributes:
        method: ``"lora"`` (low-rank change of the chosen units' weights), ``"rows"`` (the chosen
            rows and columns themselves, saved as a LoRA), ``"weights"`` (the same with nothing
            beside them, weight decay on the weights, saved as they are), ``"full"`` (every weight
            of the model, for reference).
        projections: Which weights of a unit learn: ``"gate"`` (rows that feed the activation
            function), ``"up"`` (rows multiplied with it), ``"down"`` (columns that read the unit).
        rank: Rank of every LoRA.
        alpha: The change is scaled by alpha / rank.
        dropout: Dropout in front of every LoRA.
        attention: Plain LoRA on every attention projection.
        head: Where the classification head reads: ``"last-token"`` (the last token that is no
            padding) or ``"last-position"`` (the last position of a text padded to
            ``max_length``, as in the paper).
        epochs: Passes over the training examples; not used when ``steps`` is given.
        steps: Optimiser steps.
        batch_size: Examples in one forward pass.
        accumulation: Forward passes in one optimiser step.
        learning_rate: Largest learning rate.
        weight_decay: Of AdamW.
        betas: Of AdamW.
        schedule: Name of a schedule of Transformers, one of :data:`SCHEDULES`.
        warmup: Share of the steps in which the learning rate rises from 0.
        clip: Largest norm of the gradient.
        dtype: ``"bf16"`` computes in bfloat16 where that is safe, weights stay as they are;
            ``"auto"`` does so where the hardware multiplies bfloat16.
        gradient_checkpointing: Compute activations twice rather than keep them.
        max_length: Longest text in tokens; longer contexts are shortened.
        seed: Of initial weights, order of examples and dropout.
        split: Split of the task that is trained on.
        limit: At most so many training examples.
        shots: Language -> number of its examples that are added (None: all); each language's are
            drawn by ``seed``, and k examples are the first k of any larger number.
        evaluate_every: Steps between two looks at the development split; None: never.
        evaluation_split: That split.
        evaluation_limit: At most so many of its examples.
        patience: Stop after so many looks without a smaller loss, and keep the best weights.
        checkpoint_every: Steps between two checkpoints; None: every half minute.
    """

    method: Literal["lora", "rows", "weights", "full"] = "lora"
    projections: tuple[str, ...] = ("gate",)
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    attention: bool = True
    head: Literal["last-token", "last-position"] = "last-token"
    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 32
    accumulation: int = 1
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str = "linear"
    warmup: float = 0.06
    clip: float = 1.0
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    max_length: int = 512
    seed: int = 0
    split: str = "train"
    limit: int | None = None
    shots: Mapping[str, int | None] = field(default_factory=dict)
    evaluate_every: int | None = None
    evaluation_split: str = "dev"
    evaluation_limit: int | None = 500
    patience: int | None = None
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        named: Any = self.projections
        if isinstance(named, str):  # one, or several with commas, as on the command line
            named = tuple(part.strip() for part in named.split(","))
        object.__setattr__(self, "projections", tuple(named))
        betas = self.betas if isinstance(self.betas, Sequence) else (self.betas,)
        object.__setattr__(self, "betas", tuple(betas))
        object.__setattr__(self, "shots", dict(self.shots))
        for name, value, known in (
            ("training method", self.method, METHODS),
            ("head", self.head, HEADS),
            ("dtype", self.dtype, DTYPES),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise unknown(name, value, known)
        for projection in self.projections:
            if projection not in PROJECTIONS:
                raise unknown("projection", projection, PROJECTIONS)
        if not self.projections:
            raise InputError("projections is empty: name at least one of gate, up, down.")
        self._at_least(1, "rank", "batch_size", "accumulation", "max_length")
        self._at_least(1, "steps", "limit", "evaluate_every", "evaluation_limit", "patience")
        self._at_least(1, "checkpoint_every")
        self._at_least(0, "seed")
        for name in ("epochs", "learning_rate", "alpha", "clip"):
            # Without a largest norm (infinite) nothing is clipped.
            number = self._number(name, getattr(self, name), infinite=name == "clip")
            if not number > 0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self._number("weight_decay", self.weight_decay) < 0:
            raise InputError(f"weight_decay must be 0 or above, got {self.weight_decay}.")
        if len(self.betas) != 2 or not all(0 <= self._number("betas", b) < 1 for b in self.betas):
            shown = ", ".join(map(str, self.betas))
            raise InputError(f"betas must be two numbers in [0, 1), as 0.9, 0.999; got {shown}.")
        for name in ("dropout", "warmup"):
            if not 0 <= self._number(name, getattr(self, name)) < 1:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        for lang, count in self.shots.items():
            if count is not None and count < 0:
                raise InputError(f"shots of {lang!r} must be at least 0, got {count}.")
        if self.method == "weights" and self.attention:
            raise InputError(
                "method 'weights' trains the chosen units alone: set attention to False."
            )
        if self.patience is not None and self.evaluate_every is None:
            raise InputError("patience needs evaluate_every: say after how many steps to look.")

    @staticmethod
    def _number(name: str, value: Any, *, infinite: bool = False) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"{name} must be a number, got {value!r}.")
        if math.isnan(value) or (math.isinf(value) and not infinite):
            raise InputError(f"{name} must be a finite number, got {value}.")
        return float(value)

    def _at_least(self, least: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise InputError(f"{name} must be a whole number, got {value!r}.")
            if value is not None and value < least:
                raise InputError(f"{name} must be at least {least}, got {value}.")

    def replace(self, **options: Any) -> Recipe:
        """This recipe with other values for the named settings.

        Raises:
            InputError: If there is no such setting or a value cannot be used.
        """
        known = [item.name for item in dataclasses.fields(self)]
        for name in options:
            if name not in known:
                raise unknown("training option", name, known)
        return dataclasses.replace(self, **options)

    def describe(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }


RECIPES: Mapping[str, Recipe] = {
    "strict": Recipe(),
    "paper-xnli": Recipe(
        rank=8,
        alpha=16.0,
        head="last-position",
        epochs=1,
        batch_size=1,
        accumulation=8,
        learning_rate=1e-5,
        weight_decay=0.1,
        betas=(0.95, 0.999),
        warmup=0.01,
        clip=10.0,
        max_length=256,
        split="train[:25%]",
        dtype="bf16",
    ),
    "paper-xquad": Recipe(
        rank=64,
        alpha=128.0,
        epochs=10,
        batch_size=8,
        learning_rate=5e-5,
        weight_decay=0.1,
        betas=(0.95, 0.999),
        warmup=0.01,
        clip=10.0,
        max_length=512,
        dtype="bf16",
    ),
    "enhancement": Recipe(
        method="weights",
        projections=("gate", "up", "down"),
        attention=False,
        batch_size=4,
        learning_rate=1e-4,
        weight_decay=0.01,
        schedule="constant",
        warmup=0.0,
        clip=1.0,
        rank=16,
        alpha=32.0,
    ),
}
"""Recipes by name; the papers' numbers are those of their released code: ``paper-xnli`` and
``paper-xquad`` of arXiv 2503.17456, ``enhancement`` of arXiv 2510.13580 (on blocks of 512)."""


def get_recipe(recipe: Recipe | str | None, **options: Any) -> Recipe:
    """A recipe from its name (``"strict"`` where None), with single settings replaced.

    Raises:
        InputError: If the name or a setting is unknown, or a value cannot be used.
    """
    if recipe is None:
        recipe = "strict"
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise unknown("recipe", recipe, RECIPES)
        recipe = RECIPES[recipe]
    return recipe.replace(**options)
