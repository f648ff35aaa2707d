"""Tasks of lm-evaluation-harness on a model under an intervention or with an adapter.

The harness runs the model object itself (nothing is reloaded) and scores it; what comes back is
its per-sample values, so that intervals and paired tests are those of every other task. Its cache
of answers is left off: it does not know of interventions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from langneurons.errors import InputError
from langneurons.evaluation.classification import has_head
from langneurons.evaluation.identity import identity
from langneurons.evaluation.scores import Scores
from langneurons.evaluation.touched import Interventions, describe_intervention, intervened

if TYPE_CHECKING:
    from langneurons.models import LanguageModel


def find_task(name: str) -> tuple[Any, str]:
    """The harness's own manager of tasks, and the task's name there; no model is needed.

    Args:
        name: Name of the task, or ``FOLDER:NAME`` for task files of your own.

    Raises:
        InputError: If the harness is not installed, or does not know the task.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError(
            "lm-evaluation-harness is not installed: pip install 'langneurons[harness]'."
        ) from error
    folder, _, task = name.rpartition(":")
    if folder and not Path(folder).is_dir():
        raise InputError(f"no folder {folder!r} with task files: check the path.")
    manager = TaskManager(include_path=folder or None, include_defaults=not folder)
    if task not in manager.all_tasks:
        raise InputError(
            f"lm-evaluation-harness has no task {task!r}"
            + (f", nor has {folder!r}." if folder else "; see `lm-eval ls tasks`.")
        )
    return manager, task


def evaluate_harness(
    lm: LanguageModel,
    name: str,
    lang: str = "en",
    *,
    intervention: Interventions = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    batch_size: int = 16,
) -> Scores:
    """Run a task (or group of tasks) of lm-evaluation-harness.

    Args:
        lm: A causal model, also one with an adapter.
        name: Name of the task, or ``FOLDER:NAME`` for task files of your own.
        lang: Language to note in the result.
        intervention: What to write over which units meanwhile.
        limit: First so many documents of each task.
        num_fewshot: Examples in the prompt; None leaves it to the task.
        batch_size: Requests in a batch.

    Returns:
        One row a document (``id`` is ``task/number``); a metric is taken if the harness averages
        it over documents. The harness's own numbers are in ``details["harness"]``.

    Raises:
        InputError: If the harness is not installed, the task unknown, or its data not there.
    """
    manager, task = find_task(name)
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    if has_head(lm):
        raise InputError(
            "a classification head cannot run tasks of lm-evaluation-harness: use the plain model "
            "or an adapter trained on questions."
        )
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    wrapped = HFLM(
        pretrained=lm.model, tokenizer=lm.tokenizer, backend="causal", batch_size=batch_size
    )
    try:
        with intervened(lm, intervention):
            results = simple_evaluate(
                model=wrapped,
                tasks=[task],
                num_fewshot=num_fewshot,
                limit=limit,
                task_manager=manager,
                bootstrap_iters=0,
                log_samples=True,
            )
    except (ConnectionError, FileNotFoundError) as error:
        raise InputError(
            f"harness task {task!r}: its data cannot be read ({str(error).splitlines()[0]}); "
            "connect, or define the task on local files."
        ) from error
    return _scores(lm, task, lang, results, intervention)


def _scores(
    lm: LanguageModel,
    task: str,
    lang: str,
    results: Mapping[str, Any],
    intervention: Interventions,
) -> Scores:
    rows: list[dict[str, Any]] = []
    metrics: dict[str, None] = {}
    for name, samples in results["samples"].items():
        kept = _averaged(results["results"][name], samples)
        metrics.update(dict.fromkeys(kept))
        rows += [_row(name, sample, kept) for sample in samples]
    if not metrics:
        raise InputError(
            f"harness task {task!r} has no metric that is a mean over documents; run it with the "
            "harness itself."
        )
    own = {
        name: {key: value for key, value in values.items() if _is_number(value)}
        for name, values in results["results"].items()
    }
    details = {
        "method": "harness",
        **identity(lm),
        "intervention": describe_intervention(intervention),
        "harness": own,
        "versions": dict(results["versions"]),
    }
    return Scores(f"harness:{task}", lang, tuple(metrics), pd.DataFrame(rows), details)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _averaged(own: Mapping[str, Any], samples: list[Mapping[str, Any]]) -> list[str]:
    """Metrics whose value is the mean of the documents' values."""
    found = []
    for key, value in own.items():
        metric = key.partition(",")[0]
        values = [sample.get(metric) for sample in samples]
        if _is_number(value) and all(_is_number(item) for item in values):
            mean = sum(values) / len(values)  # type: ignore[arg-type]
            if math.isclose(mean, value, rel_tol=1e-6, abs_tol=1e-9):
                found.append(metric)
    return list(dict.fromkeys(found))


def _row(name: str, sample: Mapping[str, Any], metrics: list[str]) -> dict[str, Any]:
    responses = sample["filtered_resps"]
    likelihoods = [float(r[0]) for r in responses if isinstance(r, (list, tuple))]
    prediction = (
        str(max(range(len(likelihoods)), key=likelihoods.__getitem__))
        if likelihoods
        else str(responses[0])
    )
    return {
        "id": f"{name}/{sample['doc_id']}",
        "group": f"{name}/{sample['doc_id']}",
        "prediction": prediction,
        "gold": str(sample["target"]),
        "log_likelihoods": likelihoods,
        **{metric: float(sample[metric]) for metric in metrics},
    }
