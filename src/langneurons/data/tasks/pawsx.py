"""PAWS-X: do two sentences of nearly the same words say the same? Seven languages.

Yang et al. 2019, "PAWS-X: A Cross-lingual Adversarial Dataset for Paraphrase Identification";
free to use for any purpose, with credit to Google.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langneurons.data.tasks.base import TASKS, Example, NLIExample, Task
from langneurons.data.tasks.pairs import pairs, read_pairs
from langneurons.data.tasks.sources import load_hub
from langneurons.data.tasks.words import label_words

_HUB_SPLIT = {"dev": "validation"}
_FILES = {"dev": ("dev_2k",), "test": ("test_2k",), "train": ("translated_train", "train")}


@TASKS.register("paws-x")
class PAWSX(Task):
    """PAWS-X from the official folders (``<lang>/test_2k.tsv``) or from the Hub.

    Args:
        path: Folder; None reads the Hub.
        repo: Dataset of the Hub, or a folder laid out like it.
        template: See :class:`Task`.
        splits: See :class:`Task`.
    """

    name = "paws-x"
    kind = "classification"
    labels = ("different", "paraphrase")
    languages = ("de", "en", "es", "fr", "ja", "ko", "zh")
    context_field = "premise"
    default_template = "{premise} Question: {hypothesis} Same meaning, Yes or No? Answer:"

    def __init__(
        self,
        *,
        path: str | Path | None = None,
        repo: str = "google-research-datasets/paws-x",
        template: str | None = None,
        splits: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(template=template, splits=splits)
        self.path = None if path is None else Path(path).expanduser()
        self.repo = repo

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        if self.path is not None:
            stems = tuple(f"{lang}/{name}" for name in _FILES.get(split, ()))
            return read_pairs(self.path, self.name, lang, split, self.labels, stems)
        rows = load_hub(self.repo, lang, _HUB_SPLIT.get(split, split), f"{self.name} {lang!r}")
        return pairs(rows, self.labels, self.repo)

    def verbalised(self, example: Example, lang: str) -> tuple[tuple[str, str], ...]:
        """``sentence, right? No|Yes, sentence`` in the language, in the order of the labels.

        Raises:
            InputError: If there are no label words in the language.
        """
        assert isinstance(example, NLIExample)
        words = label_words(self.name, lang)
        yes, _, no = words.labels
        first = example.premise.rstrip(" .。।۔")
        prefix = f"{first}{words.comma}{words.right}"
        return tuple(
            (prefix, f"{words.space}{word}{words.comma}{example.hypothesis}") for word in (no, yes)
        )

    def describe(self) -> dict[str, Any]:
        """See :meth:`Task.describe`."""
        source = self.repo if self.path is None else self.path.name
        return {**super().describe(), "source": source}
