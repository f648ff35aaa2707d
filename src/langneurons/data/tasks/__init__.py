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
    Drawn,
    Encoded,
    draw_within,
    encode_answer,
    encode_example,
    encode_examples,
    encode_text,
    first_within,
    fitting,
    pad_id,
    with_end,
)

__all__ = [
    "NO_GOLD",
    "TASKS",
    "ChoiceExample",
    "Drawn",
    "Encoded",
    "Example",
    "NLIExample",
    "QAExample",
    "Task",
    "TranslationExample",
    "draw_within",
    "encode_answer",
    "encode_example",
    "encode_examples",
    "encode_text",
    "first_within",
    "fitting",
    "get_task",
    "pad_id",
    "with_end",
]
