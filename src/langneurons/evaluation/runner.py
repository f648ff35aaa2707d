"""Evaluate a model, under an intervention or with an adapter, on one task in one language."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pandas as pd

from langneurons.artifacts import digest
from langneurons.data.tasks import draw_within, get_task
from langneurons.data.tasks.quality import odd_rows
from langneurons.errors import InputError, unknown
from langneurons.evaluation.classification import (
    classification_rows,
    has_head,
    reading_length,
)
from langneurons.evaluation.identity import identity
from langneurons.evaluation.likelihood import likelihood_rows
from langneurons.evaluation.qa import qa_rows
from langneurons.evaluation.scores import Scores
from langneurons.evaluation.shards import SHARD, parts_folder, run_in_shards
from langneurons.evaluation.touched import (
    Interventions,
    Scoring,
    describe_intervention,
    intervened,
)
from langneurons.evaluation.translation import translation_rows
from langneurons.progress import track
from langneurons.version import __version__

if TYPE_CHECKING:
    from langneurons.data.tasks import Example, Task
    from langneurons.models import LanguageModel

Protocol = Literal["strict", "paper"]
HARNESS = "harness:"
HARNESS_BATCH = 16


def evaluate(
    lm: LanguageModel,
    task: Task | str,
    lang: str = "en",
    *,
    adapter: str | os.PathLike[str] | Any | None = None,
    intervention: Interventions = None,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    max_new_tokens: int | None = None,
    protocol: Protocol = "strict",
    output: str | os.PathLike[str] | None = None,
    shard: int = SHARD,
) -> Scores:
    """Score a model on a task.

    Classification goes by the model's classification head where it has one (an adapter trained on
    the task), else by the likelihood of verbalised labels in the language; questions are answered
    by greedy generation and scored as SQuAD and MLQA do; translations are scored by chrF++.

    Args:
        lm: The model, also one that an adapter has been loaded into.
        task: A task or its name, see :func:`~langneurons.data.tasks.get_task`;
            ``"harness:NAME"`` or ``"harness:FOLDER:NAME"`` runs a task of lm-evaluation-harness.
        lang: Language of the examples.
        adapter: Folder of an adapter (or the adapter itself) to load first.
        intervention: What to write over which units while the model runs.
        split: Which examples, such as ``"test"`` or ``"test[50%:]"``.
        limit: At most so many examples (whole groups, drawn by ``seed``).
        seed: Seed of that draw.
        batch_size: Examples in a batch; None goes by the number of tokens.
        max_new_tokens: Longest generated answer; None takes the task's own.
        protocol: ``"strict"``, or ``"paper"``: exact match and F1 over token ids against the first
            gold answer.
        output: Parquet file for the result. Finished parts are kept beside it, so that a run that
            was killed goes on; a complete result is written and the parts are removed.
        shard: Examples in a part.

    Raises:
        InputError: If task, language, split, adapter or intervention do not fit.
        RunError: If the model gives no numbers.
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    if protocol not in ("strict", "paper"):
        raise unknown("protocol", protocol, ("strict", "paper"))
    by_harness = isinstance(task, str) and task.startswith(HARNESS)
    if by_harness and (protocol != "strict" or split != "test" or max_new_tokens is not None):
        raise InputError(
            "a task of lm-evaluation-harness brings its own split, prompt and metrics: leave "
            "out split, protocol and max_new_tokens."
        )
    if not by_harness:
        task = get_task(task)
        draw = Draw(split, limit, seed)
        examples, left_out = draw_within(task, lang, split, lm.tokenizer, limit=limit, seed=seed)
    if adapter is not None:
        from langneurons.finetuning import load_adapter

        lm = load_adapter(lm, Path(getattr(adapter, "path", adapter)))
    target = None if output is None else Path(output)
    if isinstance(task, str):
        from langneurons.evaluation.harness import evaluate_harness

        scores = evaluate_harness(
            lm,
            task.removeprefix(HARNESS),
            lang,
            intervention=intervention,
            limit=limit,
            batch_size=batch_size or HARNESS_BATCH,
        )
    else:
        run = _Run(lm, task, lang, intervention, protocol, batch_size, max_new_tokens)
        folder = None if target is None else parts_folder(target)
        scores = run.scores(examples, draw, folder, shard)
        if left_out:
            scores.details["left_out"] = left_out
    if target is not None:
        scores.save(target)
        shutil.rmtree(parts_folder(target), ignore_errors=True)
    return scores


class Draw(NamedTuple):
    """Which examples of a task are scored, see :func:`evaluate`."""

    split: str
    limit: int | None
    seed: int


@dataclass(frozen=True)
class _Run:
    """One model, task, language and intervention; see :func:`evaluate`."""

    lm: LanguageModel
    task: Task
    lang: str
    intervention: Interventions
    protocol: str
    batch_size: int | None
    max_new_tokens: int | None

    def scores(
        self, examples: Sequence[Example], draw: Draw, folder: Path | None, shard: int
    ) -> Scores:
        """Rows of all examples, those in ``folder`` of the same identity not made again."""
        lm, task, lang = self.lm, self.task, self.lang
        method = _method(lm, task)
        details: dict[str, Any] = {
            "version": __version__,
            **identity(lm),
            "intervention": describe_intervention(self.intervention),
            "task": task.describe(),
            **draw._asdict(),
            "method": method,
            "protocol": self.protocol,
            "max_new_tokens": self.max_new_tokens,
        }
        scoring, make_rows = self._ways()[method]
        with (
            intervened(lm, self.intervention, scoring),
            track(f"{task.name} {lang}", len(examples), "examples") as bar,
        ):
            table = run_in_shards(
                examples,
                lambda part: make_rows(part, bar=bar),
                folder=folder,
                key=digest(details, lang, [[example.id, str(example)] for example in examples]),
                size=shard,
                skipped=bar.skip,
            )
        marks = pd.DataFrame(odd_rows(task, lang, examples, **draw._asdict()))
        table = pd.concat([table, marks], axis=1)
        details["cut"] = int((table["cut"] > 0).sum())
        details.update({str(name): int(marks[name].sum()) for name in marks})
        metrics, guess = _metrics(task, method, self.protocol)
        return Scores(task.name, lang, metrics, table, details, guess)

    def _ways(self) -> dict[str, tuple[Scoring, Callable[..., list[dict[str, Any]]]]]:
        lm, task, lang, size = self.lm, self.task, self.lang, self.batch_size
        head: Scoring = "head" if reading_length(lm) is None else "padded head"
        new = self.max_new_tokens
        return {
            "head": (head, partial(classification_rows, lm, task, batch_size=size)),
            "likelihood": (
                "likelihood",
                partial(likelihood_rows, lm, task, lang, batch_size=size),
            ),
            "generation": (
                "generation",
                partial(qa_rows, lm, task, lang, batch_size=size, max_new_tokens=new),
            ),
            "translation": (
                "generation",
                partial(translation_rows, lm, task, lang, batch_size=size, max_new_tokens=new),
            ),
        }


def _method(lm: LanguageModel, task: Task) -> str:
    if task.kind in ("qa", "translation"):
        if has_head(lm):
            raise InputError(
                f"the model has a classification head and cannot answer {task.name}: use the plain "
                "model or an adapter trained on questions."
            )
        return "generation" if task.kind == "qa" else "translation"
    return "head" if has_head(lm) and task.kind == "classification" else "likelihood"


def _metrics(task: Task, method: str, protocol: str) -> tuple[tuple[str, ...], dict[str, float]]:
    if method == "translation":
        return ("chrf",), {"chrf": 0.0}
    if method != "generation":
        return ("accuracy",), {"accuracy": task.chance}
    names = ("exact_match", "f1") if protocol == "strict" else ("exact_match_ids", "f1_ids")
    return names, dict.fromkeys(names, 0.0)
