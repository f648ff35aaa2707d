"""Tasks on pairs of sentences: reading rows of any of the usual column names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from langneurons.data.tasks.base import NO_GOLD, Example, NLIExample, SourcedTask
from langneurons.data.tasks.forms import Form
from langneurons.data.tasks.sources import TABLE_SUFFIXES, find_file, load_hub, read_rows
from langneurons.data.tasks.words import label_words
from langneurons.errors import InputError

_ID = ("row", "id", "uid", "pairID", "idx")
_GROUP = ("premise_id", "promptID", "group")
_FIRST = ("premise", "sentence1")
_SECOND = ("hypothesis", "sentence2")
_LABEL = ("label", "gold_label")
_UNKNOWN = {"", "-", "-1", "nan", "none"}
_SPELLINGS = {"contradictory": "contradiction"}


class PairTask(SourcedTask):
    """Two sentences and a label, from local files or the Hub; see :class:`SourcedTask`.

    Local files are ``<split>.<lang>.tsv`` (or .csv, .jsonl, .parquet), see :func:`read_pairs`.
    """

    kind = "classification"
    context_field = "premise"
    # What arXiv 2503.17456 runs; texts of its 256 positions or more are left out there.
    forms: ClassVar[Mapping[str, Form]] = {
        "paper": Form("{premise} {eos} {hypothesis}", max_tokens=255)
    }
    words: ClassVar[tuple[int, ...]]
    """Which of yes, also and no (0, 1, 2) stands for each label, in the order of the labels."""
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """File names below the language's folder, by split, where they are the data set's own."""

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        if self.path is not None:
            own = tuple(f"{lang}/{name}" for name in self.files.get(split, ()))
            return read_pairs(self.path, self.name, lang, split, self.labels, own)
        there = "validation" if split == "dev" else split
        return pairs(
            load_hub(self.repo, lang, there, f"{self.name} {lang!r}"), self.labels, self.repo
        )

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
            (prefix, f"{words.space}{words.labels[place]}{words.comma}{example.hypothesis}")
            for place in self.words
        )


def read_pairs(
    folder: Path,
    task: str,
    lang: str,
    split: str,
    labels: Sequence[str],
    more_stems: Sequence[str] = (),
) -> list[NLIExample]:
    """Pairs of ``folder/<split>.<lang>.{tsv,csv,jsonl,parquet}``.

    Also found: ``<lang>/<split>.*`` and ``<task>.<split>.tsv`` with a column ``language``, as
    XNLI is distributed, and ``more_stems``, file names without suffix.
    """
    names = [split, "validation"] if split == "dev" else [split]
    stems = [f"{name}.{lang}" for name in names] + [f"{lang}/{name}" for name in names]
    whole = [f"{task}.{name}" for name in names]
    path = find_file(
        folder, [*stems, *more_stems, *whole], TABLE_SUFFIXES, f"{task} {split} of {lang!r}"
    )
    rows = read_rows(path)
    if path.stem in whole:
        rows = [row for row in rows if row.get("language") == lang]
    return pairs(rows, labels, str(path))


def pairs(
    rows: Iterable[Mapping[str, Any]], labels: Sequence[str], source: str
) -> list[NLIExample]:
    """Examples from rows; the group is the premise's id, or a run of rows with one premise.

    Raises:
        InputError: If a column is missing or a label is unknown, with the row.
    """
    examples: list[NLIExample] = []
    run = -1
    previous: str | None = None
    for number, row in enumerate(rows):
        first = _pick(row, _FIRST, source)
        second = _pick(row, _SECOND, source)
        if first != previous:
            run, previous = run + 1, first
        examples.append(
            NLIExample(
                id=str(_pick(row, _ID, source, default=number)),
                group=str(_pick(row, _GROUP, source, default=run)),
                premise=str(first),
                hypothesis=str(second),
                label=label_index(_pick(row, _LABEL, source), labels, f"{source}, row {number}"),
            )
        )
    return examples


def label_index(value: Any, labels: Sequence[str], where: str) -> int:
    """Index of a label given as a name or a number; :data:`NO_GOLD` where there is none.

    Raises:
        InputError: If it is neither.
    """
    text = str(value).strip().lower()
    if text in _UNKNOWN:
        return NO_GOLD
    text = _SPELLINGS.get(text, text)
    if text in labels:
        return list(labels).index(text)
    if text.isdigit() and int(text) < len(labels):
        return int(text)
    raise InputError(f"{where}: label {str(value)!r} is none of {', '.join(labels)}.")


def _pick(row: Mapping[str, Any], names: Sequence[str], source: str, default: Any = None) -> Any:
    for name in names:
        if name in row:
            return row[name]
    if default is not None:
        return default
    raise InputError(
        f"{source} has no column {' or '.join(names)}; it has {', '.join(map(str, row))}."
    )
