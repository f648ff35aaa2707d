"""PAWS-X: do two sentences of nearly the same words say the same? Seven languages.

Yang et al. 2019, "PAWS-X: A Cross-lingual Adversarial Dataset for Paraphrase Identification";
free to use for any purpose, with credit to Google.
"""

from __future__ import annotations

from typing import ClassVar

from langneurons.data.tasks.base import TASKS
from langneurons.data.tasks.pairs import PairTask


@TASKS.register("paws-x")
class PAWSX(PairTask):
    """PAWS-X from its own folders (``<lang>/test_2k.tsv``) or the Hub; see :class:`PairTask`."""

    name = "paws-x"
    labels = ("different", "paraphrase")
    words = (2, 0)
    languages = ("de", "en", "es", "fr", "ja", "ko", "zh")
    default_repo = "google-research-datasets/paws-x"
    default_template = "{premise} Question: {hypothesis} Same meaning, Yes or No? Answer:"
    files: ClassVar = {
        "dev": ("dev_2k",),
        "test": ("test_2k",),
        "train": ("translated_train", "train"),
    }
