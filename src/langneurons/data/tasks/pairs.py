"""Tasks on pairs of sentences: reading rows of any of the usual column names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langneurons.data.tasks.base import NO_GOLD, NLIExample
from langneurons.data.tasks.sources import TABLE_SUFFIXES, find_file, read_rows
from langneurons.errors import InputError

_ID = ("row", "id", "uid", "pairID", "idx")
_GROUP = ("premise_id", "promptID", "group")
_FIRST = ("premise", "sentence1")
_SECOND = ("hypothesis", "sentence2")
_LABEL = ("label", "gold_label")
_UNKNOWN = {"", "-", "-1", "nan", "none"}
_SPELLINGS = {"contradictory": "contradiction"}


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
