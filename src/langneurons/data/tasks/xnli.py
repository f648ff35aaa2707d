"""XNLI: does the premise entail, contradict or leave open the hypothesis? 15 languages.

Conneau et al. 2018, "XNLI: Evaluating Cross-lingual Sentence Representations"; CC BY-NC 4.0.
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


@TASKS.register("xnli")
class XNLI(Task):
    """XNLI from local files or from the Hub.

    Args:
        path: Folder with ``dev.<lang>.tsv`` and ``test.<lang>.tsv`` (or .csv, .jsonl, .parquet);
            None reads the Hub.
        repo: Dataset of the Hub, or a folder laid out like it.
        **options: See :class:`Task`.
    """

    name = "xnli"
    kind = "classification"
    labels = ("entailment", "neutral", "contradiction")
    languages = (
        "ar",
        "bg",
        "de",
        "el",
        "en",
        "es",
        "fr",
        "hi",
        "ru",
        "sw",
        "th",
        "tr",
        "ur",
        "vi",
        "zh",
    )
    context_field = "premise"
    default_template = "{premise} Question: {hypothesis} True, False, or Neither? Answer:"

    def __init__(
        self,
        *,
        path: str | Path | None = None,
        repo: str = "facebook/xnli",
        template: str | None = None,
        splits: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(template=template, splits=splits)
        self.path = None if path is None else Path(path).expanduser()
        self.repo = repo

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        if self.path is not None:
            return read_pairs(self.path, self.name, lang, split, self.labels)
        rows = load_hub(self.repo, lang, _HUB_SPLIT.get(split, split), f"{self.name} {lang!r}")
        return pairs(rows, self.labels, self.repo)

    def verbalised(self, example: Example, lang: str) -> tuple[tuple[str, str], ...]:
        """``premise, right? Yes|Also|No, hypothesis`` in the language, one for each label.

        Raises:
            InputError: If there are no label words in the language.
        """
        assert isinstance(example, NLIExample)
        words = label_words(self.name, lang)
        premise = example.premise.rstrip(" .。।۔")
        prefix = f"{premise}{words.comma}{words.right}"
        return tuple(
            (prefix, f"{words.space}{word}{words.comma}{example.hypothesis}")
            for word in words.labels
        )

    def describe(self) -> dict[str, Any]:
        """See :meth:`Task.describe`."""
        source = self.repo if self.path is None else self.path.name
        return {**super().describe(), "source": source}
