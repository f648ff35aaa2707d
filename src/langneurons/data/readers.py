"""Reading the text of one language: plain text, JSON lines, tables, SQuAD files, Hub datasets.

A reader turns a file into an iterator over documents. Add a format by registering a reader under
the file ending (without the dot).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from langneurons.artifacts import expanded
from langneurons.errors import InputError, LangNeuronsError
from langneurons.registry import Registry

Reader = Callable[[Path, str | None], Iterator[str]]

READERS: Registry[Reader] = Registry("text format")
"""File ending to reader; a reader gets the path and the user's ``field`` (or None)."""

_HUB = "hub:"
_SAMPLED_ROWS = 20


def read_texts(
    spec: str | Path,
    *,
    field: str | None = None,
    limit: int | None = None,
    language: str | None = None,
) -> list[str]:
    """Read documents of one language.

    Args:
        spec: A file (``.txt``: a document a line; ``.jsonl``, ``.parquet``, ``.tsv``, ``.csv``: a
            document a row, ``.csv`` with commas or semicolons; ``.json``: SQuAD format, each
            context once, in file order), or
            ``hub:REPO[:CONFIG[:SPLIT]]`` for a dataset of the Hugging Face Hub, streamed (split
            ``train`` unless given). Of a Hub dataset take only what is needed with ``limit``, or
            use :func:`iter_texts`.
        field: Column that holds the text; found by itself when it is called ``text`` or, where
            rows name their columns (``.jsonl``, ``.parquet``, the Hub), is the only column of
            strings. Of a ``.tsv`` or ``.csv`` without a header, the column's number from 1.
        limit: Read at most this many documents.
        language: Named in error messages.

    Returns:
        Documents exactly as written (lines without their line break), without blank ones.

    Raises:
        InputError: If the file is missing, empty, binary or not UTF-8, the format or the field is
            unknown, or the dataset cannot be reached.
    """
    return list(iter_texts(spec, field=field, limit=limit, language=language))


def iter_texts(
    spec: str | Path,
    *,
    field: str | None = None,
    limit: int | None = None,
    language: str | None = None,
) -> Iterator[str]:
    """Iterate over the documents that :func:`read_texts` would return, reading as it goes.

    Args:
        spec: See :func:`read_texts`.
        field: See :func:`read_texts`.
        limit: See :func:`read_texts`.
        language: See :func:`read_texts`.

    Yields:
        One document at a time.

    Raises:
        InputError: See :func:`read_texts`; raised when the iteration reaches the fault.
    """
    prefix = f"text of {language!r}: " if language else ""
    if limit is not None and limit < 1:
        raise InputError(f"{prefix}limit must be at least 1, not {limit}.")
    found = False
    try:
        for text in itertools.islice(_documents(spec, field), limit):
            found = True
            yield text
    except LangNeuronsError as error:
        raise InputError(f"{prefix}{error}") from error
    if not found:
        raise InputError(f"{prefix}{str(spec)!r} holds no text: give a file with some.")


def _documents(spec: str | Path, field: str | None) -> Iterator[str]:
    if isinstance(spec, str) and spec.startswith(_HUB):
        raw = _read_hub(spec, field)
    else:
        path = expanded(spec)
        _check_file(path)
        raw = READERS.get(path.suffix.lower().lstrip(".") or "txt")(path, field)
    return (text for text in raw if text.strip())


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise InputError(f"{str(path)!r} is a folder: give one file of text.")
        if not path.is_file():
            raise InputError(f"no file {str(path)!r}: check the path.")
        if path.stat().st_size == 0:
            raise InputError(f"{str(path)!r} is empty: give a file with text.")
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(
            f"cannot read {str(path)!r} ({error.strerror}): mend its permissions."
        ) from error


def _lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file; a byte order mark is dropped, NUL bytes mean a binary file."""
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            for line in file:
                if "\0" in line:
                    raise InputError(f"{str(path)!r} is a binary file: give UTF-8 text.")
                yield line
    except UnicodeDecodeError as error:
        with path.open("rb") as file:
            binary = b"\0" in file.read(1 << 16)
        what = "is a binary file" if binary else f"is not UTF-8 (byte {error.start} of its line)"
        raise InputError(f"{str(path)!r} {what}: give text saved as UTF-8.") from error


@READERS.register("txt")
def _read_plain(path: Path, field: str | None) -> Iterator[str]:
    if field is not None:
        raise InputError(f"{str(path)!r} is plain text and has no field {field!r}: leave it out.")
    return (line.rstrip("\n") for line in _lines(path))


@READERS.register("jsonl")
def _read_json_lines(path: Path, field: str | None) -> Iterator[str]:
    def rows() -> Iterator[Mapping[str, Any]]:
        for number, line in enumerate(_lines(path), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{str(path)!r}, line {number}: not JSON ({error.msg}); mend the line."
                ) from error
            if isinstance(row, str):
                row = {"text": row}
            if not isinstance(row, dict):
                raise InputError(
                    f"{str(path)!r}, line {number}: neither a JSON object nor a string; mend it."
                )
            yield row

    return _column(rows(), field, str(path))


@READERS.register("parquet")
def _read_parquet(path: Path, field: str | None) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        rows = (row for group in file.iter_batches(batch_size=1024) for row in group.to_pylist())
        yield from _column(rows, field, str(path))
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{str(path)!r} is damaged or no Parquet file: fetch or make it again."
        ) from error


def _read_separated(path: Path, field: str | None, delimiters: str) -> Iterator[str]:
    """A column of a table; a row with more or fewer fields than the first is refused, not cut.

    The first line names the columns unless ``field`` is a number. Of several delimiters the one
    that parts the first line most is taken.
    """
    import csv

    csv.field_size_limit(_LONGEST_FIELD)
    lines = _lines(path)
    first = next(lines, "")
    delimiter = max(delimiters, key=first.count)
    # Tab-separated files quote nothing.
    plain = delimiter == "\t"
    rows = csv.reader(
        itertools.chain([first], lines),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        strict=not plain,
    )
    width = place = None
    try:
        for row in rows:
            if not row:
                continue
            if width is None:
                width = len(row)
                place, header = _place(row, field, path)
                if header:
                    continue
            if len(row) != width:
                advice = (
                    "a text with tabs in it needs another format"
                    if plain
                    else f"put a text with {_NAMED[delimiter]} in it into double quotes"
                )
                raise InputError(
                    f"{str(path)!r}, line {rows.line_num}: {len(row)} fields, {width} in the first "
                    f"line: {advice}."
                )
            assert place is not None
            yield row[place]
    except csv.Error as error:
        raise InputError(
            f"{str(path)!r}, line {rows.line_num}: no well-formed table ({error}): write it as "
            "UTF-8 CSV with a header."
        ) from error


_LONGEST_FIELD = 1 << 30
_NAMED = {",": "commas", ";": "semicolons"}


def _place(first: list[str], field: str | None, path: Path) -> tuple[int, bool]:
    """Column of the text by the first line of a table, and whether that line is a header."""
    if field is not None and field.isdigit() and field not in first:
        if not 1 <= int(field) <= len(first):
            raise InputError(
                f"{str(path)!r} has no column {field}: name one of the {len(first)} of its first "
                "line."
            )
        return int(field) - 1, False
    if field is not None or "text" in first:
        name = field or "text"
        if name not in first:
            raise InputError(
                f"{str(path)!r} has no field {name!r}: name one of its first line "
                f"({_shown(first)})."
            )
        return first.index(name), True
    raise InputError(
        f"{str(path)!r}: no field of its first line is called 'text' ({_shown(first)}); name the "
        "field (--field NAME), or give its number (--field 1) where the table has no header."
    )


def _shown(names: list[str]) -> str:
    return ", ".join(name if len(name) <= 30 else f"{name[:27]}..." for name in names)


@READERS.register("tsv")
def _read_tsv(path: Path, field: str | None) -> Iterator[str]:
    return _read_separated(path, field, "\t")


@READERS.register("csv")
def _read_csv(path: Path, field: str | None) -> Iterator[str]:
    return _read_separated(path, field, ",;")


@READERS.register("json")
def _read_squad(path: Path, field: str | None) -> Iterator[str]:
    """Contexts of a SQuAD, XQuAD or MLQA file: in file order, each distinct one once."""
    if field is not None:
        raise InputError(f"{str(path)!r} is read as SQuAD and takes no field: leave {field!r} out.")
    try:
        content = json.loads("".join(_lines(path)))
        contexts = [
            paragraph["context"]
            for article in content["data"]
            for paragraph in article["paragraphs"]
        ]
    except json.JSONDecodeError as error:
        raise InputError(
            f"{str(path)!r} is not JSON ({error.msg}, line {error.lineno}): mend the file."
        ) from error
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{str(path)!r} is not in SQuAD format (data / paragraphs / context): "
            "write other JSON as one object a line, with the ending .jsonl."
        ) from error
    return iter(dict.fromkeys(contexts))


def _read_hub(spec: str, field: str | None) -> Iterator[str]:
    import datasets

    repo, config, split = [*spec[len(_HUB) :].split(":"), "", ""][:3]
    if not repo or spec.count(":") > 3:
        raise InputError(f"{spec!r} is no dataset name: write hub:REPO[:CONFIG[:SPLIT]].")
    try:
        stream = datasets.load_dataset(repo, config or None, split=split or "train", streaming=True)
        yield from _column(stream, field, spec)
    except LangNeuronsError:
        raise
    except Exception as error:  # Datasets raises errors of many libraries here
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"cannot read {spec!r} ({reason[:200]}): check the name and the network, "
            "or give a local file."
        ) from error


def _column(rows: Iterable[Mapping[str, Any]], field: str | None, source: str) -> Iterator[str]:
    iterator = iter(rows)
    head = list(itertools.islice(iterator, _SAMPLED_ROWS))
    if not head:
        return
    name = field or _text_column(head, source)
    for row in itertools.chain(head, iterator):
        if name not in row:
            columns = ", ".join(sorted(str(key) for key in row))
            raise InputError(f"{source!r} has no field {name!r}; it has: {columns}.")
        value = row[name]
        if value is None:
            continue
        if not isinstance(value, str):
            raise InputError(
                f"{source!r}: field {name!r} holds {type(value).__name__}, no text: name another."
            )
        yield value


def _text_column(rows: list[Mapping[str, Any]], source: str) -> str:
    columns = list(rows[0])
    if "text" in columns:
        return "text"
    strings = [name for name in columns if any(isinstance(row.get(name), str) for row in rows)]
    if len(strings) == 1:
        return str(strings[0])
    raise InputError(
        f"{source!r} has no field 'text'; say which field holds it (--field NAME): "
        f"{', '.join(map(str, strings or columns))}."
    )
