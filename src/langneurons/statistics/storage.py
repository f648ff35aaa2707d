"""Statistics on disk: one safetensors file a language, and one file of token rows a layer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from langneurons.artifacts import digest, read_tensors, write_tensors
from langneurons.errors import ArtifactError, InputError, unknown
from langneurons.statistics.language import BatchQuantiles, LanguageStatistics
from langneurons.statistics.moments import Moments
from langneurons.statistics.sample import FileRows, RowSample
from langneurons.statistics.values import Statistics

FORMAT = "langneurons.statistics.1"
_SUFFIX = ".safetensors"


def language_path(directory: Path, lang: str) -> Path:
    """File of one language."""
    return directory / f"{lang}{_SUFFIX}"


def rows_path(directory: Path, lang: str) -> Path:
    """Folder of one language's token rows."""
    return directory / f"{lang}.rows"


def check_language(lang: str) -> None:
    """Raise :class:`InputError` unless a language's name can be the name of its file."""
    wrong = not isinstance(lang, str) or not lang or lang.startswith(".")
    if wrong or any(sign in '/\\:*?"<>|' or ord(sign) < 32 for sign in lang):
        raise InputError(f"the language name {lang!r} cannot be a file name: use letters.")


def save_language(statistics: Statistics, lang: str, directory: Path) -> LanguageStatistics:
    """Write one language: its rows layer by layer, then the file that names them.

    Args:
        statistics: The statistics.
        lang: Which language.
        directory: Folder to write to.

    Returns:
        The statistics of the language, with rows that are read from the files written.

    Raises:
        InputError: If the language cannot be a file name or the folder cannot be written.
    """
    check_language(lang)
    item = statistics[lang]
    layers, _ = statistics.shape
    tensors = {"count": item.count}
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "language": lang,
        "site": statistics.site,
        "shape": list(statistics.shape),
        "model": statistics.model,
        "tokens": item.tokens,
        "texts": list(item.texts),
        "options": dict(item.options),
        "key": item.key or digest(FORMAT, lang, statistics.site, item.fingerprint),
    }
    if item.moments is not None:
        tensors |= item.moments.tensors()
    if item.batch_quantiles is not None:
        tensors["batch_quantiles"] = item.batch_quantiles.values
        metadata["batch_quantiles"] = {
            "probabilities": list(item.batch_quantiles.probabilities),
            "batches": item.batch_quantiles.batches,
        }
    folder = rows_path(directory, lang)
    sample = item.sample
    if sample is not None:
        for layer in range(layers):
            path = FileRows.path(folder, layer)
            here = isinstance(sample.rows, FileRows) and sample.rows.folder == folder
            if not (here and path.is_file()):
                rows = {"rows": sample.rows.layer(layer)}
                write_tensors(path, rows, {"format": FORMAT, "key": metadata["key"]})
        tensors |= {f"row_{name}": getattr(sample, name) for name in _ROW_FIELDS}
        metadata["sample"] = {"limit": sample.limit, "seed": sample.seed}
        sample = replace(sample, rows=FileRows(folder, metadata["key"]))
    write_tensors(language_path(directory, lang), tensors, metadata)
    if sample is None and folder.is_dir():
        shutil.rmtree(folder)
    return replace(item, sample=sample, key=metadata["key"])


_ROW_FIELDS = ("keys", "documents", "positions", "token_ids")


def load_language(path: Path) -> tuple[str, Statistics]:
    """Read one language's file.

    Returns:
        The language and statistics that hold it alone.

    Raises:
        InputError: If there is no such file or it holds no statistics.
        ArtifactError: If it is damaged.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise InputError(f"{str(path)!r} holds no statistics of this format: collect them again.")
    try:
        lang, tokens = str(metadata["language"]), int(metadata["tokens"])
        moments = Moments.from_tensors(tokens, tensors) if "mean" in tensors else None
        quantiles = None
        if "batch_quantiles" in metadata:
            about = metadata["batch_quantiles"]
            quantiles = BatchQuantiles(
                tuple(about["probabilities"]), tensors["batch_quantiles"], int(about["batches"])
            )
        sample = None
        if "sample" in metadata:
            about = metadata["sample"]
            columns = {name: tensors[f"row_{name}"] for name in _ROW_FIELDS}
            rows = FileRows(rows_path(path.parent, path.name[: -len(_SUFFIX)]), metadata["key"])
            sample = RowSample(about["limit"], about["seed"], **columns, rows=rows)
        item = LanguageStatistics(
            tokens,
            tensors["count"],
            moments,
            sample,
            quantiles,
            tuple(metadata["texts"]),
            metadata["options"],
            metadata["key"],
        )
        shape = (int(metadata["shape"][0]), int(metadata["shape"][1]))
        if sample is not None:
            rows.check(shape[0])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{str(path)!r} is damaged ({error}): collect it again.") from error
    return lang, Statistics(metadata["site"], shape, metadata["model"], {lang: item})


def load_statistics(path: Path, languages: Sequence[str] | None = None) -> Statistics:
    """Read a folder of statistics, or one file; see :meth:`Statistics.load`.

    Raises:
        InputError: If there are none, or none of a language, or they do not belong together.
    """
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(file for file in path.glob(f"*{_SUFFIX}") if not file.name.startswith("."))
    else:
        raise InputError(f"no statistics {str(path)!r}: check the path.")
    if not files:
        raise InputError(f"{str(path)!r} holds no statistics (*{_SUFFIX}): collect some first.")
    if languages is not None and path.is_dir():
        names = {file.name[: -len(_SUFFIX)]: file for file in files}
        for lang in languages:
            if lang not in names:
                raise unknown("language", lang, names)
        files = [names[lang] for lang in languages]
    merged: Statistics | None = None
    for file in files:
        _, statistics = load_language(file)
        try:
            merged = statistics if merged is None else merged.merge(statistics)
        except InputError as error:
            raise InputError(f"{str(file)!r} does not belong to the others: {error}") from error
    assert merged is not None
    return merged if languages is None else merged.select(languages)
