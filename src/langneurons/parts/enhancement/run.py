"""What the stages that train on raw text do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from langneurons.artifacts import read_table, write_table
from langneurons.errors import InputError, RunError
from langneurons.interface.workshop import Workshop
from langneurons.parts.enhancement.spec import PLAIN, UNITS, columns
from langneurons.parts.enhancement.stages import scored

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.finetuning import Adapter
    from langneurons.models import LanguageModel

RATES, LOSSES, ABOUT, SCORES = "rates.parquet", "losses.parquet", "about.parquet", "scores.parquet"
_WORK = "work"  # below a stage's output: trainings whose weights are not kept


def rate(workshop: Workshop, output: Path, language: str, arm: str) -> None:
    """Train an arm with every learning rate and keep its losses on text it has not seen."""
    from langneurons.evaluation import perplexity
    from langneurons.finetuning import load_adapter

    spec = workshop.context.spec_of("enhancement")
    _, choice = _text(workshop, language)
    found = []
    for number, learning_rate in enumerate(spec.rates):
        folder = output / _WORK / str(number)
        try:
            adapter = _train(workshop, folder, language, arm, 0, learning_rate)
            loss = perplexity(load_adapter(workshop.lm, adapter), choice).loss
        except RunError:  # diverged: no rate to choose
            loss = float("inf")
        found.append({"language": language, "arm": arm, "rate": learning_rate, "loss": loss})
    table = pd.DataFrame(found)
    table["before"] = perplexity(workshop.lm, choice).loss
    table["chosen"] = table.index == table["loss"].idxmin()
    table["edge"] = table["rate"].isin([min(spec.rates), max(spec.rates)]) & (len(spec.rates) > 1)
    write_table(output / RATES, table)
    shutil.rmtree(output / _WORK)


def enhance(workshop: Workshop, output: Path, language: str, arm: str, seed: int) -> None:
    """Train an arm with its chosen rate, measure every language, and learn the task on top.

    Of arms that train units the weights are kept, in a folder ``adapter``.
    """
    from langneurons.evaluation import perplexity
    from langneurons.finetuning import load_adapter

    context = workshop.context
    spec = context.spec_of("enhancement")
    about = {"language": language, "arm": arm, "seed": seed}
    lm = workshop.lm
    if arm != PLAIN:
        rates = read_table(output.parent / "rate" / RATES)
        learning_rate = float(rates.loc[rates["chosen"], "rate"].iloc[0])
        folder = output / ("adapter" if arm in UNITS else f"{_WORK}/adapter")
        adapter = _train(workshop, folder, language, arm, seed, learning_rate)
        lm = load_adapter(workshop.lm, adapter)
        rows = []
        for column in columns(spec, context):
            before = workshop.untouched(column).rows
            after = perplexity(lm, workshop.held_out_blocks(column)).rows
            rows.append(
                after.assign(before=before["loss_sum"].to_numpy(), measured=column, **about)
            )
        write_table(output / LOSSES, pd.concat(rows, ignore_index=True))
        training = {
            "trained": adapter.trainable,
            "units": len(adapter.info["units"]["layers"]),
            "rank": adapter.info["recipe"]["rank"] if arm == "lora" else 0,
            "rate": learning_rate,
            "tokens": spec.tokens,
            "steps": len(adapter.losses),
            "seconds": float(adapter.info["seconds"]),
        }
        write_table(output / ABOUT, pd.DataFrame([{**about, **training}]))
    if spec.task and arm in (PLAIN, *spec.task_arms):
        scores = _learn(workshop, output / _WORK, lm, scored(spec, context, language), seed)
        write_table(output / SCORES, scores.assign(**about))
    shutil.rmtree(output / _WORK, ignore_errors=True)


def _train(
    workshop: Workshop, folder: Path, language: str, arm: str, seed: int, learning_rate: float
) -> Adapter:
    from langneurons.finetuning import continue_pretraining

    spec = workshop.context.spec_of("enhancement")
    blocks, _ = _text(workshop, language)
    neurons, options = _arm(workshop, language, arm, seed)
    return continue_pretraining(
        workshop.lm,
        blocks,
        language,
        neurons,
        output=folder,
        recipe="enhancement",
        seed=workshop.context.seed + seed,
        **{**spec.finetune, **options, "learning_rate": learning_rate},
    )


def _text(workshop: Workshop, language: str) -> tuple[Blocks, Blocks]:
    """Blocks to train on, and blocks to choose the learning rate on; no document is in both."""
    from langneurons.data import make_blocks

    spec = workshop.context.spec_of("enhancement")
    documents = list(dict.fromkeys(workshop.texts[language].statistics))
    every = max(2, round(1 + spec.tokens / spec.choice_tokens))
    kept = [text for place, text in enumerate(documents) if place % every != every - 1]
    apart = documents[every - 1 :: every]
    if not apart:
        raise InputError(
            f"text of {language} has {len(documents)} different document(s), too few to keep one "
            f"in {every} for the choice of a learning rate: give more text."
        )
    tokenizer = workshop.tokenizer
    train = make_blocks(kept, tokenizer, block=spec.block, tokens=spec.tokens, pack=True)
    if train.tokens < spec.tokens:
        raise InputError(
            f"text of {language} has {train.tokens:,} tokens to train on, fewer than "
            f"enhancement.tokens ({spec.tokens:,}): give more text or lower it."
        )
    # Cut as what is measured: a rate may suit short blocks and harm longer ones.
    choice = make_blocks(
        apart, tokenizer, block=held_out_block(workshop), tokens=spec.choice_tokens
    )
    return train, choice


def held_out_block(workshop: Workshop) -> int:
    """Tokens in a block of the text that is measured."""
    spec = workshop.context.spec_of("perplexity")
    return int(spec.block or workshop.context.spec_of("statistics").block)


def _arm(workshop: Workshop, language: str, arm: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """What learns in an arm, and the settings that are its own."""
    name = workshop.context.spec_of("enhancement").neurons
    if arm == "full":
        return None, {"method": "full"}
    if arm == "all":
        return "all", {}
    own = workshop.units(name, language, "own", seed)
    if arm == "lora":
        return "all", {"method": "lora", "rank": lora_rank(workshop.lm, own)}
    if arm == "other":
        return workshop.units(name, _next(workshop, language), "own", seed), {}
    return workshop.units(name, language, arm, seed), {}


def _next(workshop: Workshop, language: str) -> str:
    """The next language of the set that has units, in the set's own order."""
    name = workshop.context.spec_of("enhancement").neurons
    found = workshop.neurons(name)
    order = list(found)
    after = [*order[order.index(language) + 1 :], *order[: order.index(language)]]
    for other in after:
        if len(found[other]):
            return other
    raise InputError(
        f"neuron set {name!r} has units for {language} alone: leave arm 'other' out of enhancement."
    )


def lora_rank(lm: LanguageModel, units: Any) -> int:
    """Rank of LoRA on all MLPs that trains about as many weights as the units have.

    Units of gate, up and down have 3 x hidden size weights each; LoRA of rank r has
    3 x r x (hidden size + inner width) in a layer. Rounded, at least 1.
    """
    hidden = int(lm.config.hidden_size)
    return max(1, round(len(units) * hidden / (lm.layers * (hidden + lm.sites.units))))


def _learn(
    workshop: Workshop, folder: Path, lm: LanguageModel, languages: list[str], seed: int
) -> pd.DataFrame:
    """Fine-tune on the task in the training language and score it: one row an example."""
    from langneurons.evaluation import evaluate
    from langneurons.evaluation.metrics import column_of
    from langneurons.finetuning import finetune
    from langneurons.models import wrap

    context = workshop.context
    name = str(context.spec_of("enhancement").task)
    task, spec = workshop.task(name), context.spec_of("tasks")[name]
    split = {"split": spec.train_split} if spec.train_split else {}
    # A model of its own, so that its adapter is known to be of these weights.
    own = wrap(lm.model, lm.tokenizer, lm.name)
    adapter = finetune(
        own,
        task,
        lang=context.train_language,
        neurons="none",
        limit=spec.examples,
        seed=context.seed + seed,
        output=folder / "task",
        **{**split, **context.finetune, **spec.finetune},
    )
    rows = []
    for column in languages:
        scores = evaluate(
            own,
            task,
            column,
            adapter=adapter,
            split=spec.split,
            limit=spec.limit,
            protocol=context.protocol,
        )
        metric = scores.metrics[0]
        found = scores.rows[["id", "group"]].assign(score=100 * scores.rows[column_of(metric)])
        rows.append(found.assign(measured=column, metric=metric))
    return pd.concat(rows, ignore_index=True)
