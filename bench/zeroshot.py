"""Real models without any training on real tasks, also through lm-evaluation-harness, item by item.

Needs `make real-models`, the data named below and the extra [harness]. The same examples with the
same words go both ways: XNLI by the likelihood of its verbalised labels, XQuAD by generated
answers. Set LANGNEURONS_DATA to a folder with xnli/ and xquad/.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import langneurons as ln
from langneurons.data.tasks import Example, QAExample, Task, get_task
from langneurons.evaluation import Scores, evaluate
from langneurons.models import LanguageModel

ON_REQUEST = True
ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("LANGNEURONS_DATA", ROOT.parent / "shared" / "data"))
MODELS = ("gemma-3-270m-q4_k_m.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf")
LANGUAGES = {"xnli": ("en", "es", "vi", "hi", "ur", "zh"), "xquad": ("en", "es", "vi", "hi", "zh")}
LIMITS = {"xnli": 240, "xquad": 32}
BYTES = {"hi", "ur", "zh"}
"""Languages that SmolLM2 reads byte by byte, ten times the tokens: a quarter of the examples."""
HARNESS = {"xnli": 24, "xquad": 8}
"""Fewer there: the harness keeps logits of the whole vocabulary and takes minutes, not seconds."""
HARNESS_LANGUAGES = ("en", "hi")
ANSWER = 24
"""Most tokens of an answer."""

CHOICES = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{prefix}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
target_delimiter: ""
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
ANSWERS = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: generate_until
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], do_sample: false, max_gen_toks: {length}}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""


def write_task(root: Path, name: str, task: Task, examples: Sequence[Example], lang: str) -> str:
    """The same examples, with the same words, as a task of the harness; how to call it."""
    rows = [_row(task, example, lang) for example in examples]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    data = root / f"{name}.jsonl"
    data.write_text("\n".join(lines), encoding="utf-8")
    form = ANSWERS if task.kind == "qa" else CHOICES
    words = form.format(name=name, data=data, length=ANSWER)
    (root / f"{name}.yaml").write_text(words, encoding="utf-8")
    return f"harness:{root}:{name}"


def _row(task: Task, example: Example, lang: str) -> dict[str, Any]:
    if isinstance(example, QAExample):
        return {"prompt": task.encode(example), "answer": example.answers[0]}
    choices = task.verbalised(example, lang)
    return {
        "prefix": choices[0][0],
        "choices": [text for _, text in choices],
        "label": example.label,  # type: ignore[attr-defined]
    }


def agreement(own: Scores, theirs: Scores) -> int:
    """Items in which both ways say the same."""
    if "log_likelihoods" in own.rows:
        pairs = zip(own.rows["log_likelihoods"], theirs.rows["log_likelihoods"], strict=True)
        return sum(int(np.argmax(a) == np.argmax(b)) for a, b in pairs)
    answers = zip(own.rows["prediction"], theirs.rows["prediction"], strict=True)
    return sum(a.strip() == b.strip() for a, b in answers)


def flagged(scores: Scores) -> str:
    """Rows with something odd in them: romanised, with U+FFFD, with a field left in English."""
    names = ("romanised", "replaced", "english")
    found = {name: int(scores.details.get(name, 0)) for name in names}
    return ", ".join(f"{count} {name}" for name, count in found.items() if count) or "none"


def compare(lm: LanguageModel, name: str, lang: str, harness: bool) -> str:
    """One line of the table."""
    task = get_task(f"{name}:{DATA / name}")
    limit = LIMITS[name] // (4 if lang in BYTES and "SmolLM2" in lm.name else 1)
    own = evaluate(lm, task, lang, limit=limit, max_new_tokens=ANSWER)
    metric = own.metrics[-1]
    low, high = own.interval(metric)
    line = (
        f"  {name:<6} {lang}  {metric:<9} {own.value(metric):5.1f} [{low:.1f}, {high:.1f}]"
        f"  n {len(own.rows)}  odd rows: {flagged(own)}"
    )
    if harness and lang in HARNESS_LANGUAGES:
        few = min(HARNESS[name], limit)
        part = evaluate(lm, task, lang, limit=few, max_new_tokens=ANSWER)
        with tempfile.TemporaryDirectory() as folder:
            examples = task.examples(lang, limit=few)
            theirs = evaluate(lm, write_task(Path(folder), f"{name}_{lang}", task, examples, lang))
        line += f"  harness agrees on {agreement(part, theirs)} of {len(part.rows)}"
    return line


def run(console: Any) -> None:
    """Measure and print."""
    try:
        import lm_eval  # noqa: F401

        harness = True
    except ImportError:
        harness = False
    there = [ROOT / "real-models" / name for name in MODELS]
    if not DATA.is_dir() or not any(path.is_file() for path in there):
        console.print("needs `make real-models` and a data folder (LANGNEURONS_DATA)")
        return
    for path in there:
        if not path.is_file():
            continue
        lm = ln.load(path, dtype="float32")
        console.print(path.name)
        for name, languages in LANGUAGES.items():
            for lang in languages:
                console.print(compare(lm, name, lang, harness))
