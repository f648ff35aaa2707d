"""Evaluate a model, under an intervention or with an adapter, on one task in one language."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from langneurons.artifacts import digest, file_digest
from langneurons.data.tasks import get_task
from langneurons.data.tasks.quality import odd_rows
from langneurons.errors import InputError, unknown
from langneurons.evaluation.classification import classification_rows, has_head
from langneurons.evaluation.likelihood import likelihood_rows
from langneurons.evaluation.qa import qa_rows
from langneurons.evaluation.scores import Scores
from langneurons.evaluation.shards import SHARD, parts_folder, run_in_shards
from langneurons.evaluation.touched import Interventions, describe_intervention, intervened
from langneurons.evaluation.translation import translation_rows
from langneurons.progress import track
from langneurons.version import __version__

if TYPE_CHECKING:
    from langneurons.data.tasks import Task
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
    if isinstance(task, str) and task.startswith(HARNESS):
        if protocol != "strict" or split != "test" or max_new_tokens is not None:
            raise InputError(
                "a task of lm-evaluation-harness brings its own split, prompt and metrics: leave "
                "out split, protocol and max_new_tokens."
            )
        from langneurons.evaluation.harness import evaluate_harness

        if adapter is not None:
            from langneurons.finetuning import load_adapter

            lm = load_adapter(lm, Path(getattr(adapter, "path", adapter)))
        found = evaluate_harness(
            lm,
            task.removeprefix(HARNESS),
            lang,
            intervention=intervention,
            limit=limit,
            batch_size=batch_size or HARNESS_BATCH,
        )
        if output is not None:
            found.save(output)
        return found
    task = get_task(task)
    if protocol not in ("strict", "paper"):
        raise unknown("protocol", protocol, ("strict", "paper"))
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    examples = task.examples(lang, split, limit, seed)
    if adapter is not None:
        from langneurons.finetuning import load_adapter

        lm = load_adapter(lm, Path(getattr(adapter, "path", adapter)))
    method = _method(lm, task)
    details = {
        "version": __version__,
        "model": lm.fingerprint,
        "adapter": None if adapter is None else _adapter_digest(adapter),
        "intervention": describe_intervention(intervention),
        "task": task.describe(),
        "split": split,
        "limit": limit,
        "seed": seed,
        "method": method,
        "protocol": protocol,
        "max_new_tokens": max_new_tokens,
    }
    options: dict[str, Any] = {"batch_size": batch_size}
    if method in ("generation", "translation"):
        options["max_new_tokens"] = max_new_tokens
    target = None if output is None else Path(output)
    with (
        intervened(lm, intervention),
        track(f"{task.name} {lang}", len(examples), "examples") as bar,
    ):
        rows = {
            "head": partial(classification_rows, lm, task),
            "likelihood": partial(likelihood_rows, lm, task, lang),
            "generation": partial(qa_rows, lm, task, lang),
            "translation": partial(translation_rows, lm, task, lang),
        }[method]
        table = run_in_shards(
            examples,
            lambda part: rows(part, bar=bar, **options),
            folder=None if target is None else parts_folder(target),
            key=digest(details, lang, [[example.id, str(example)] for example in examples]),
            size=shard,
            skipped=bar.skip,
        )
    metrics, guess = _metrics(task, method, protocol)
    odd = odd_rows(task, lang, examples, split=split, limit=limit, seed=seed)
    marks = pd.DataFrame(odd)
    table = pd.concat([table, marks], axis=1)
    details["cut"] = int((table["cut"] > 0).sum())
    details.update({str(name): int(marks[name].sum()) for name in marks})
    scores = Scores(task.name, lang, metrics, table, details, guess)
    if target is not None:
        scores.save(target)
        shutil.rmtree(parts_folder(target), ignore_errors=True)
    return scores


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


def _adapter_digest(adapter: Any) -> str:
    folder = Path(getattr(adapter, "path", adapter))
    files = sorted(folder.glob("adapter_*"))
    return digest([[path.name, file_digest(path)] for path in files])
