"""How the built-in model is made: its shape, the mixture of documents, the schedule.

Everything here is a plain value; `langneurons.mini.build` carries it out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from langneurons.mini.documents import Document, Style, document
from langneurons.mini.lexicon import LEXICON
from langneurons.mini.world import stream


@dataclass(frozen=True)
class Stage:
    """A part of training with its own documents.

    Attributes:
        steps: number of steps.
        style: proportions of the documents.
        rows: sequences in a batch.
        length: tokens in a sequence.
        text_weight: weight of a token that is no answer, in the loss; an answer's weight is 1.
        languages: languages in use.
    """

    steps: int
    style: Style
    rows: int
    length: int
    text_weight: float
    languages: tuple[str, ...] = tuple(LEXICON)


# Looking up *whose* fact is asked for appears within a million tokens when it is all there is to
# learn (one language, one paraphrase, one relation, few names), and not in ten times as many
# otherwise. Names, paraphrases, relations and languages then widen step by step.
STAGES: tuple[Stage, ...] = (
    Stage(
        steps=623,
        style=Style(
            people=(0.0, 1.0),
            shared=(1, 1),
            extra=(0, 0),
            lines={"ask": 0.5, "say": 0.5},
            line_count=7,
            join=0.0,
            names=8,
            variety=0.01,
        ),
        rows=40,
        length=56,
        text_weight=0.05,
        languages=("en",),
    ),
    Stage(
        steps=712,
        style=Style(
            people=(0.0, 0.7, 0.3),
            shared=(1, 2),
            extra=(0, 1),
            lines={"ask": 0.5, "say": 0.2, "who": 0.15, "yes_no": 0.15},
            line_count=7,
            join=0.0,
        ),
        rows=32,
        length=80,
        text_weight=0.1,
        languages=("en",),
    ),
    Stage(
        steps=979,
        style=Style(
            people=(0.0, 0.8, 0.2),
            shared=(1, 1),
            extra=(0, 1),
            lines={"ask": 0.5, "say": 0.2, "who": 0.15, "yes_no": 0.15},
            line_count=7,
            join=0.0,
        ),
        rows=36,
        length=72,
        text_weight=0.15,
    ),
    Stage(
        steps=1134,
        style=Style(
            people=(0.0, 0.6, 0.4),
            lines={
                "ask": 0.38,
                "yes_no": 0.28,
                "who": 0.12,
                "say": 0.12,
                "deny": 0.05,
                "general": 0.05,
            },
        ),
        rows=20,
        length=104,
        text_weight=0.25,
    ),
    # Yes/no questions compare a looked-up value with a named one, and who-questions look up the
    # other way round: they too begin narrow.
    Stage(
        steps=800,
        style=Style(
            people=(0.0, 1.0),
            shared=(1, 1),
            extra=(0, 1),
            lines={"yes_no": 0.6, "who": 0.2, "ask": 0.1, "say": 0.1},
            line_count=6,
            join=0.0,
            names=8,
            variety=0.01,
        ),
        rows=32,
        length=64,
        text_weight=0.05,
        languages=("en",),
    ),
    Stage(
        steps=500,
        style=Style(
            people=(0.0, 0.7, 0.3),
            shared=(1, 2),
            extra=(0, 1),
            lines={"yes_no": 0.5, "who": 0.2, "ask": 0.2, "say": 0.1},
            line_count=7,
            join=0.0,
        ),
        rows=32,
        length=80,
        text_weight=0.1,
        languages=("en",),
    ),
    Stage(
        steps=3111,
        style=Style(
            people=(0.0, 0.6, 0.4),
            lines={
                "ask": 0.3,
                "yes_no": 0.38,
                "who": 0.12,
                "say": 0.1,
                "deny": 0.05,
                "general": 0.05,
            },
        ),
        rows=20,
        length=104,
        text_weight=0.2,
    ),
    # Several documents in a row, so that blocks of running text are as in training.
    Stage(
        steps=2300,
        style=Style(
            line_count=9,
            lines={
                "ask": 0.28,
                "yes_no": 0.36,
                "who": 0.12,
                "say": 0.1,
                "deny": 0.07,
                "general": 0.07,
            },
        ),
        rows=14,
        length=256,
        text_weight=0.4,
    ),
)


@dataclass(frozen=True)
class Mixture:
    """Experts in place of every MLP, cut from a trained one.

    Attributes:
        experts: experts in a layer.
        chosen: experts that a token is sent to.
        width: inner units of an expert.
        balance: weight of the load-balancing loss.
    """

    experts: int = 8
    chosen: int = 2
    width: int = 144
    balance: float = 0.01


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the model becomes, besides the seed."""

    vocabulary: int = 2560
    tokenizer_documents: int = 12_000
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    mlp: int = 640
    learning_rate: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.98)
    muon_rate: float = 0.02
    weight_decay: float = 0.01
    warmup: int = 100
    decay_share: float = 0.35
    parallel: float = 0.1
    loss_share: float = 0.5
    languages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LEXICON, 1.0))
    stages: tuple[Stage, ...] = STAGES
    mixture: Mixture | None = None

    @property
    def steps(self) -> int:
        """Number of steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int, steps: int) -> Stage:
        """The stage of a step, of a training shortened to `steps` steps."""
        place = step * self.steps / steps
        for stage in self.stages:
            if place < stage.steps:
                return stage
            place -= stage.steps
        return self.stages[-1]

    def schedule(self, step: int, steps: int) -> float:
        """Factor of the learning rates: linear warm-up, constant, linear decay to a fiftieth."""
        decay = self.decay_share * steps
        falling = min(1.0, (steps - step) / decay) if decay else 1.0
        return min(1.0, (step + 1) / self.warmup) * max(falling, 0.02)

    def sample(self, rng: random.Random, stage: Stage) -> Document:
        """Draw one training document: its language, whether it is parallel, and its text."""
        (lang,) = rng.choices(stage.languages, [self.languages[code] for code in stage.languages])
        others = [code for code in stage.languages if code != lang]
        parallel = bool(others) and rng.random() < self.parallel
        return document(lang, rng, stage.style, rng.choice(others) if parallel else None)

    def tokenizer_texts(self, seed: int) -> list[str]:
        """The documents that the tokenizer is trained on."""
        return [
            self.sample(stream("tokenizer", seed, index), self.stages[-1]).text
            for index in range(self.tokenizer_documents)
        ]


def mixture_recipe() -> Recipe:
    """What ``mini-moe`` is made by: the end of the training once more, with experts.

    It begins with the weights of ``mini``, whose attention already looks facts up; AdamW alone, as
    stacked experts are no matrices and the rest has little left to learn.
    """
    *_, mixed, running = STAGES
    return Recipe(
        learning_rate=2e-3,
        muon_rate=0.0,
        warmup=20,
        decay_share=0.6,
        stages=(replace(mixed, steps=300, rows=12), replace(running, steps=350, rows=6)),
        mixture=Mixture(),
    )
