import json
from pathlib import Path

import pandas as pd
import pytest

from langneurons.data import iter_texts, read_texts
from langneurons.errors import InputError

DOCUMENTS = [" A first paragraph. ", "दूसरा अनुच्छेद।", "第三段。", "Đoạn thứ tư."]


def _write(folder: Path, kind: str) -> Path:
    path = folder / f"text.{kind}"
    match kind:
        case "txt":
            path.write_text("\ufeff" + "\r\n\r\n".join(DOCUMENTS), encoding="utf-8", newline="")
        case "jsonl":
            lines = (json.dumps({"id": 1, "text": text}) for text in DOCUMENTS)
            path.write_text("\n".join(lines), encoding="utf-8")
        case "parquet":
            pd.DataFrame({"id": range(4), "text": DOCUMENTS}).to_parquet(path)
        case "tsv" | "csv":
            separator = "\t" if kind == "tsv" else ","
            pd.DataFrame({"id": range(4), "text": DOCUMENTS}).to_csv(
                path, sep=separator, index=False
            )
        case "json":
            paragraphs = [{"context": text, "qas": []} for text in [*DOCUMENTS, DOCUMENTS[0]]]
            path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet", "tsv", "csv", "json"])
def test_every_format_gives_the_same_documents_in_order(tmp_path: Path, kind: str) -> None:
    path = _write(tmp_path, kind)
    assert read_texts(path) == DOCUMENTS
    assert read_texts(str(path), limit=2) == DOCUMENTS[:2]


def test_reading_stops_where_the_consumer_stops(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"good\n" * 100_000 + b"\xff\xfe broken\n")
    stream = iter_texts(path)
    assert next(stream) == "good"


def test_field_is_found_or_asked_for(tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text('{"n": 1, "body": "x"}\n{"n": 2, "body": null}\n{"n": 3, "body": "y"}\n')
    assert read_texts(one) == ["x", "y"]
    two = tmp_path / "two.jsonl"
    two.write_text('{"title": "t", "body": "x"}\n')
    with pytest.raises(InputError, match=r"no field 'text'.*title, body"):
        read_texts(two)
    assert read_texts(two, field="body") == ["x"]
    with pytest.raises(InputError, match="no field 'content'; it has: body, title"):
        read_texts(two, field="content")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \n\n\t\n", "holds no text"),
        ("binary.txt", b"\x00\x01\x02", "binary"),
        ("image.txt", b"\x89PNG\r\n\x1a\n\x00\x00", "binary"),
        ("latin.txt", "café au lait".encode("latin-1"), "not UTF-8"),
        ("broken.jsonl", b'{"text": "a"}\n{"text": \n', "line 2: not JSON"),
        ("list.jsonl", b"[1, 2]\n", "neither a JSON object nor a string"),
        ("number.jsonl", b'{"text": 3}\n', "holds int"),
        ("other.json", b'{"rows": []}', "not in SQuAD format"),
        ("broken.json", b"{", "not JSON"),
        ("broken.parquet", b"PAR1 but no parquet", "no Parquet file"),
        ("text.docx", b"x", "unknown text format 'docx'"),
    ],
)
def test_bad_files_give_one_clear_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_texts(path, language="hi")
    assert str(caught.value).startswith("text of 'hi': ")
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_texts(tmp_path / "no.txt")
    with pytest.raises(InputError, match="is a folder"):
        read_texts(tmp_path)
    with pytest.raises(InputError, match="limit must be at least 1"):
        read_texts(tmp_path / "no.txt", limit=0)


def test_hub_dataset_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A local folder is a dataset name to Datasets too, so the real library reads it here.
    pd.DataFrame({"text": DOCUMENTS}).to_parquet(tmp_path / "train-00000.parquet")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert read_texts(f"hub:{tmp_path}") == DOCUMENTS
    assert read_texts(f"hub:{tmp_path}::train", limit=1) == DOCUMENTS[:1]
    with pytest.raises(InputError, match="check the name and the network"):
        read_texts(f"hub:{tmp_path}/nothing-here")
    with pytest.raises(InputError, match="no dataset name"):
        read_texts("hub:")
