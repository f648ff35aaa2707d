"""A task's examples, with the same words, as a task file of lm-evaluation-harness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langneurons.data.tasks import Example, QAExample, Task

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
