"""Text in, token blocks out: reading text of any common format and cutting it into blocks.

The names are resolved on first use: reading text needs no PyTorch.
"""

from typing import TYPE_CHECKING

from langneurons import lazy as _lazy

_HOME = {
    "Batch": "langneurons.data.blocks",
    "Blocks": "langneurons.data.blocks",
    "batches": "langneurons.data.blocks",
    "by_length": "langneurons.data.blocks",
    "document_key": "langneurons.data.blocks",
    "fitting": "langneurons.data.blocks",
    "gather": "langneurons.data.blocks",
    "make_blocks": "langneurons.data.blocks",
    "used_columns": "langneurons.data.blocks",
    "READERS": "langneurons.data.readers",
    "iter_texts": "langneurons.data.readers",
    "read_texts": "langneurons.data.readers",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from langneurons.data.blocks import Batch as Batch
    from langneurons.data.blocks import Blocks as Blocks
    from langneurons.data.blocks import batches as batches
    from langneurons.data.blocks import by_length as by_length
    from langneurons.data.blocks import document_key as document_key
    from langneurons.data.blocks import fitting as fitting
    from langneurons.data.blocks import gather as gather
    from langneurons.data.blocks import make_blocks as make_blocks
    from langneurons.data.blocks import used_columns as used_columns
    from langneurons.data.readers import READERS as READERS
    from langneurons.data.readers import iter_texts as iter_texts
    from langneurons.data.readers import read_texts as read_texts
else:
    __getattr__, __dir__ = _lazy.names(__name__, _HOME)
