"""The stages that train on raw text."""

from __future__ import annotations

from typing import Any

from langneurons.interface.context import Context
from langneurons.parts.enhancement.spec import PLAIN, EnhancementSpec, columns, trained
from langneurons.stages.stage import Stage


def stages(spec: EnhancementSpec, context: Context) -> list[Stage]:
    """For each language and arm the choice of a learning rate, then a training for each seed.

    With a task a language ``-`` and an arm ``none`` stand for the model as it is.
    """
    found: list[Stage] = []
    for language in trained(spec, context):
        for arm in spec.arms:
            rate = _rate(spec, context, language, arm)
            found += [rate]
            found += [
                _train(spec, context, language, arm, seed, (rate.name,))
                for seed in range(spec.seeds)
            ]
    if spec.task:
        found += [_train(spec, context, "-", PLAIN, seed, ()) for seed in range(spec.seeds)]
    return found


def _settings(spec: EnhancementSpec, context: Context, language: str) -> dict[str, Any]:
    own = spec.model_dump(include={"neurons", "tokens", "block", "choice_tokens", "finetune"})
    text = {"text": context.of.texts[language]} if language != "-" else {}
    return {
        **own,
        **text,
        "model": context.of.model,
        "dtype": context.dtype,
        "seed": context.seed,
    }


def _rate(spec: EnhancementSpec, context: Context, language: str, arm: str) -> Stage:
    return Stage(
        name=f"enhancement/{language}/{arm}/rate",
        kind="enhancement_rate",
        arguments={"language": language, "arm": arm},
        settings={
            **_settings(spec, context, language),
            "rates": spec.rates,
            "choice_block": context.spec_of("perplexity").block
            or context.spec_of("statistics").block,
        },
        parents=context.of_set(spec.neurons),
        output=f"enhancement/{language}/{arm}/rate",
        # A training step costs about three forward passes.
        cost=len(spec.rates) * (3 * spec.tokens + spec.choice_tokens) / 1000,
    )


def _train(
    spec: EnhancementSpec,
    context: Context,
    language: str,
    arm: str,
    seed: int,
    rate: tuple[str, ...],
) -> Stage:
    measured = columns(spec, context) if arm != PLAIN else []
    settings = {
        **_settings(spec, context, language),
        "measured": measured,
        "held_out": context.held_out(measured),
    }
    cost = 0.0
    if arm != PLAIN:
        cost = 3 * spec.tokens + len(measured) * context.spec_of("perplexity").tokens
    learns = spec.task and arm in (PLAIN, *spec.task_arms)
    if learns:
        task = context.spec_of("tasks")[str(spec.task)]
        settings["task"] = {
            "name": spec.task,
            "source": context.of.tasks[str(spec.task)],
            "spec": task.model_dump(),
            "finetune": dict(context.finetune),
            "train_language": context.train_language,
            "protocol": context.protocol,
            "languages": scored(spec, context, language),
        }
        examples = (3 * (task.examples or 5000)) + 2 * (task.limit or 1000)
        cost += examples * task.tokens
    return Stage(
        name=f"enhancement/{language}/{arm}/{seed}",
        kind="enhancement",
        arguments={"language": language, "arm": arm, "seed": seed},
        settings=settings,
        parents=(*(context.of_set(spec.neurons) if arm != PLAIN else ()), *rate),
        output=f"enhancement/{language}/{arm}/{seed}",
        entries=context.task_module(str(spec.task)) if learns else (),
        cost=cost / 1000,
    )


def scored(spec: EnhancementSpec, context: Context, language: str) -> list[str]:
    """Languages that the task is scored in: the one trained on, and that of the examples."""
    targets = trained(spec, context) if language == "-" else [language]
    known = context.spec_of("tasks")[str(spec.task)].languages or context.languages
    return [lang for lang in dict.fromkeys([*targets, context.train_language]) if lang in known]
