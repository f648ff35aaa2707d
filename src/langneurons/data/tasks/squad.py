"""Questions on paragraphs in the SQuAD layout: SQuAD, XQuAD and MLQA.

Rajpurkar et al. 2016 (SQuAD, CC BY-SA 4.0); Artetxe et al. 2020 (XQuAD, CC BY-SA 4.0);
Lewis et al. 2020 (MLQA, CC BY-SA 3.0).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from langneurons.data.tasks.base import TASKS, Example, QAExample, SourcedTask
from langneurons.data.tasks.forms import Form
from langneurons.data.tasks.sources import find_file, load_hub, read_squad
from langneurons.errors import InputError

_INDENT = "\n" + 12 * " "

PAPER = Form(
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n"
    f"{_INDENT}### Instruction:{_INDENT}Answer the question based on the given context.\n"
    f"{_INDENT}### Input:{_INDENT}Context: {{context}} {_INDENT}Question: {{question}}\n"
    f"{_INDENT}### Response:",
    stop="{eos}",
    max_answer_tokens=100,
    max_tokens=510,
)
"""The prompt of arXiv 2503.17456: Alpaca's (Taori et al. 2023) with the white space of the
released code, answers ended by the end token. Texts of 511 tokens or more are left out there."""


def qa_examples(
    rows: Iterable[Mapping[str, Any]], paragraphs_each: int | None = None
) -> list[QAExample]:
    """Examples from rows with id, context, question and answers (texts, or the Hub's dict).

    Without a ``paragraph`` key, questions in a row on the same context form a group. Where there
    are several articles (keys ``article`` or ``title``) they are the sections.

    Args:
        rows: The rows.
        paragraphs_each: Paragraphs of an article, for rows that do not name it.
    """
    found = list(rows)
    groups, sections = [], []
    run = -1
    previous: str | None = None
    for row in found:
        if row["context"] != previous:
            run, previous = run + 1, row["context"]
        groups.append(str(row.get("paragraph", run)))
        by_count = None if paragraphs_each is None else run // paragraphs_each
        sections.append(row.get("article", row.get("title", by_count)))
    several = len(set(sections)) > 1
    return [
        QAExample(
            id=str(row["id"]),
            group=group,
            section=str(section) if several else None,
            context=row["context"],
            question=row["question"].strip(),
            answers=tuple(
                row["answers"]["text"] if isinstance(row["answers"], Mapping) else row["answers"]
            ),
            extra={"holders": row["holders"]} if "holders" in row else {},
        )
        for row, group, section in zip(found, groups, sections, strict=True)
    ]


class SquadTask(SourcedTask):
    """A task in the SQuAD layout, from official JSON files or from the Hub.

    Args:
        path: Folder with the official files, or one JSON file; None reads the Hub.
        repo: Dataset of the Hub, or a folder laid out like it.
        holdout: Share of the questions, in whole articles at the end of the test split, that is
            kept as the test split while the rest becomes the training split (the paper: 0.2).
        splits: See :class:`SourcedTask`.
        **options: Likewise: ``template``, ``max_tokens``.
    """

    kind = "qa"
    context_field = "context"
    default_template = "{context}\n\nQuestion: {question}\nAnswer:"
    forms: ClassVar[Mapping[str, Form]] = {"paper": PAPER}
    hub_split: ClassVar[Mapping[str, str]]
    paragraphs_each: ClassVar[int | None] = None
    """Paragraphs of an article where the Hub's rows do not name it."""

    def __init__(
        self,
        *,
        path: str | Path | None = None,
        repo: str | None = None,
        holdout: float | None = None,
        splits: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        if holdout is not None:
            if not 0 < holdout < 1:
                raise InputError(f"holdout must lie between 0 and 1, got {holdout}.")
            cut = round(100 * (1 - holdout))
            splits = {"train": f"test[:{cut}%]", "test": f"test[{cut}%:]", **(splits or {})}
        super().__init__(path=path, repo=repo, splits=splits, **options)

    def _stems(self, lang: str, split: str) -> list[str]:
        """File names without suffix in which a language and split may lie."""
        raise NotImplementedError

    def _config(self, lang: str) -> str | None:
        """Configuration of the Hub's dataset for a language."""
        raise NotImplementedError

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        if self.path is not None:
            if self.path.is_file():
                return qa_examples(read_squad(self.path))
            what = f"{self.name} {split} of {lang!r}"
            return qa_examples(
                read_squad(find_file(self.path, self._stems(lang, split), (".json",), what))
            )
        if split not in self.hub_split:
            raise InputError(
                f"{self.name} has no split {split!r}; it has {', '.join(self.hub_split)}."
            )
        rows = load_hub(
            self.repo, self._config(lang), self.hub_split[split], f"{self.name} {lang!r}"
        )
        return qa_examples(rows, self.paragraphs_each)


@TASKS.register("squad")
class SQuAD(SquadTask):
    """SQuAD v1.1, English: ``train-v1.1.json`` and ``dev-v1.1.json``; dev serves as test."""

    name = "squad"
    languages = ("en",)
    default_repo = "rajpurkar/squad"
    hub_split: ClassVar[Mapping[str, str]] = {
        "train": "train",
        "dev": "validation",
        "test": "validation",
    }

    def _stems(self, lang: str, split: str) -> list[str]:
        names = [split] if split != "test" else ["test", "dev"]
        return [f"{name}{end}" for name in names for end in ("-v1.1", f".{lang}", "")]

    def _config(self, lang: str) -> str | None:
        if lang != "en":
            raise InputError(f"squad is English only, got {lang!r}: use xquad or mlqa.")
        return "plain_text"


@TASKS.register("xquad")
class XQuAD(SquadTask):
    """XQuAD: 1190 questions of SQuAD's development set in 12 languages; a test set only."""

    name = "xquad"
    languages = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
    default_repo = "google/xquad"
    paragraphs_each = 5
    hub_split: ClassVar[Mapping[str, str]] = {"test": "validation"}

    def _stems(self, lang: str, split: str) -> list[str]:
        if split != "test":
            raise InputError(
                f"xquad is a test set and has no {split!r} split: set holdout=0.2 to train on its "
                "first paragraphs, or train on squad."
            )
        return [f"xquad.{lang}"]

    def _config(self, lang: str) -> str | None:
        return f"xquad.{lang}"


@TASKS.register("mlqa")
class MLQA(SquadTask):
    """MLQA with context and question in one language; en ar de es hi vi zh."""

    name = "mlqa"
    languages = ("ar", "de", "en", "es", "hi", "vi", "zh")
    default_repo = "facebook/mlqa"
    hub_split: ClassVar[Mapping[str, str]] = {"dev": "validation", "test": "test"}

    def _stems(self, lang: str, split: str) -> list[str]:
        return [f"{split}-context-{lang}-question-{lang}"]

    def _config(self, lang: str) -> str | None:
        return f"mlqa.{lang}.{lang}"
