"""Tasks: examples in several languages, each task one file that registers itself."""

from langneurons.data.tasks.base import (
    NO_GOLD,
    TASKS,
    ChoiceExample,
    Example,
    NLIExample,
    QAExample,
    Task,
    TranslationExample,
    get_task,
)
from langneurons.data.tasks.encoding import (
    Encoded,
    encode_answer,
    encode_example,
    encode_examples,
    encode_text,
    fitting,
    pad_id,
    with_end,
    within,
)

__all__ = [
    "NO_GOLD",
    "TASKS",
    "ChoiceExample",
    "Encoded",
    "Example",
    "NLIExample",
    "QAExample",
    "Task",
    "TranslationExample",
    "encode_answer",
    "encode_example",
    "encode_examples",
    "encode_text",
    "fitting",
    "get_task",
    "pad_id",
    "with_end",
    "within",
]
