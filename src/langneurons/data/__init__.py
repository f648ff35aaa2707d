"""Text in, token blocks out: reading text of any common format and cutting it into blocks."""

from langneurons.data.blocks import (
    Batch,
    Blocks,
    batches,
    document_key,
    gather,
    make_blocks,
    schedule,
)
from langneurons.data.readers import READERS, iter_texts, read_texts

__all__ = [
    "READERS",
    "Batch",
    "Blocks",
    "batches",
    "document_key",
    "gather",
    "iter_texts",
    "make_blocks",
    "read_texts",
    "schedule",
]
