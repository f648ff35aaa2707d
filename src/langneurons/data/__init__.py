"""Text in, token blocks out: reading text of any common format and cutting it into blocks."""

from langneurons.data.blocks import (
    Batch,
    Blocks,
    batches,
    by_length,
    document_key,
    fitting,
    gather,
    make_blocks,
    used_columns,
)
from langneurons.data.readers import READERS, iter_texts, read_texts

__all__ = [
    "READERS",
    "Batch",
    "Blocks",
    "batches",
    "by_length",
    "document_key",
    "fitting",
    "gather",
    "iter_texts",
    "make_blocks",
    "read_texts",
    "used_columns",
]
