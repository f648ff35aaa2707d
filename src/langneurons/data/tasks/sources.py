"""Where tasks come from: tables and SQuAD files in a local folder, and datasets of the Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from langneurons.errors import InputError

TABLE_SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a .tsv (no quoting), .csv, .jsonl or .parquet file, with text as it stands.

    Raises:
        InputError: If the file is missing, damaged, not UTF-8 or holds no rows.
    """
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as file:
                table = pd.DataFrame([json.loads(line) for line in file if line.strip()])
        else:
            tabs = path.suffix == ".tsv"
            table = pd.read_csv(
                path,
                sep="\t" if tabs else ",",
                quoting=3 if tabs else 0,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8",
            )
    except FileNotFoundError as error:
        raise InputError(f"no file {str(path)!r}: check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8 text: convert it to UTF-8.") from error
    except (ValueError, OSError) as error:  # pandas, pyarrow and json raise subclasses of these
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{str(path)!r} cannot be read as {path.suffix[1:]} ({reason}): mend or convert it."
        ) from error
    if table.empty:
        raise InputError(f"{str(path)!r} holds no rows: give a file with examples.")
    rows: list[dict[str, Any]] = table.to_dict("records")
    return rows


def find_file(folder: Path, stems: Sequence[str], suffixes: Sequence[str], what: str) -> Path:
    """The first existing ``folder/stem+suffix``.

    Raises:
        InputError: If there is none; the message names what was looked for and what is there.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r} ({what}): check the path.")
    for stem in stems:
        for suffix in suffixes:
            path = folder / f"{stem}{suffix}"
            if path.is_file():
                return path
    seen = sorted(item.name for item in folder.iterdir())
    listing = ", ".join(seen[:12]) + (" ..." if len(seen) > 12 else "")
    wanted = " or ".join(f"{stem}{suffixes[0]}" for stem in stems)
    raise InputError(
        f"{what} not found: no {wanted} in {str(folder)!r}, which holds {listing}; give its folder."
    )


def load_hub(repo: str, config: str | None, split: str, what: str) -> list[dict[str, Any]]:
    """Rows of a dataset of the Hub, or of a local mirror of it, through Datasets.

    Args:
        repo: ``owner/name``, ``owner/name@REVISION`` or a folder laid out like the repository.
        config: Configuration, usually one per language.
        split: Split as the repository names it.
        what: What the user asked for, for the message.

    Raises:
        InputError: If there is no network, repository, configuration or split.
    """
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        place, _, revision = (repo, "", "") if Path(repo).exists() else repo.partition("@")
        rows = datasets.load_dataset(place, config, split=split, revision=revision or None)
    except (ConnectionError, TimeoutError) as error:
        raise InputError(
            f"{what}: the Hub cannot be reached for {repo!r}; "
            "connect, or give local files as TASK:FOLDER."
        ) from error
    except (datasets.exceptions.DatasetsError, HfHubHTTPError, FileNotFoundError) as error:
        raise InputError(
            f"{what}: {repo!r} was not found on the Hub or its files cannot be read "
            f"({str(error).splitlines()[0][:160]}): check the name, or give local files as "
            "TASK:FOLDER."
        ) from error
    except ValueError as error:  # unknown configuration or split
        reason = str(error).splitlines()[0][:240]
        raise InputError(f"{what} cannot be read ({reason}): give local files.") from error
    return list(rows)


def read_squad(path: Path) -> list[dict[str, Any]]:
    """Questions of a SQuAD v1.1 (or XQuAD, MLQA) JSON file in file order.

    Returns:
        Rows with id, context, question, answers (tuple of texts), paragraph, article (indices in
        the file) and the other keys of the question.

    Raises:
        InputError: If the file is missing, not UTF-8 JSON, or not in the SQuAD layout.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no file {str(path)!r}: check the path.") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{str(path)!r} is not UTF-8 JSON: mend or convert the file.") from error
    rows = squad_rows(value, str(path))
    if not rows:
        raise InputError(f"{str(path)!r} holds no questions: give a file with some.")
    return rows


def squad_rows(value: Any, name: str) -> list[dict[str, Any]]:
    """Questions of a parsed SQuAD object (or its ``data`` list); see :func:`read_squad`.

    Raises:
        InputError: If it is not in the SQuAD layout.
    """
    articles: Any = value.get("data") if isinstance(value, Mapping) else value
    rows: list[dict[str, Any]] = []
    try:
        paragraphs = [
            (place, item)
            for place, article in enumerate(articles)
            for item in article["paragraphs"]
        ]
        for number, (place, paragraph) in enumerate(paragraphs):
            for question in paragraph["qas"]:
                answers = tuple(str(answer["text"]) for answer in question.get("answers", ()))
                rest = {k: v for k, v in question.items() if k not in {"answers", "question"}}
                rows.append(
                    {
                        **rest,
                        "id": str(question["id"]),
                        "context": str(paragraph["context"]),
                        "question": str(question["question"]),
                        "answers": answers,
                        "paragraph": number,
                        "article": place,
                    }
                )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{name} must be in the SQuAD layout (data > paragraphs > qas), and lacks {error}."
        ) from error
    return rows
