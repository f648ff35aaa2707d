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


def _table(tmp_path: Path, content: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def test_a_table_is_never_cut(tmp_path: Path) -> None:
    """Every document of a table comes whole, or the line is named that cannot."""
    cut = _table(tmp_path, "id,text\n1,fine\n2,Hello, my friend\n")
    with pytest.raises(InputError, match=r"line 3: 3 fields, 2 in the first line: put .* commas"):
        read_texts(cut)
    short = _table(tmp_path, "id,text,more\n1,fine,x\n2,no end\n")
    with pytest.raises(InputError, match="line 3: 2 fields, 3 in the first line"):
        read_texts(short)
    one = _table(tmp_path, "text\nHello, my friend\n")
    with pytest.raises(InputError, match="line 2: 2 fields, 1 in the first line"):
        read_texts(one)
    tabs = _table(tmp_path, "id\ttext\n1\ta\tb\n", "t.tsv")
    with pytest.raises(InputError, match=r"line 2: 3 fields.*a text with tabs in it"):
        read_texts(tabs)
    odd = _table(tmp_path, 'id,text\n1,"never closed\n2,x\n')
    with pytest.raises(InputError, match=r"line 3: no well-formed table"):
        read_texts(odd)
    assert read_texts(_table(tmp_path, 'id,text\n1,"Hello, my\n""friend"""\n\n')) == [
        'Hello, my\n"friend"'
    ]
    assert read_texts(_table(tmp_path, '1\ta "quoted, b\n', "t.tsv"), field="2") == ['a "quoted, b']
    assert read_texts(_table(tmp_path, "text\n" + "long " * 100_000)) == ["long " * 100_000]


def test_semicolons_part_fields_too(tmp_path: Path) -> None:
    path = _table(tmp_path, 'id;text\n1;Hello, my friend\n2;"a; b"\n')
    assert read_texts(path) == ["Hello, my friend", "a; b"]
    with pytest.raises(InputError, match=r"line 2: 3 fields.*a text with semicolons in it"):
        read_texts(_table(tmp_path, "id;text\n1;a;b\n"))


def test_a_table_without_a_header_keeps_its_first_document(tmp_path: Path) -> None:
    path = _table(tmp_path, "The first document.\nThe second.\n")
    with pytest.raises(InputError, match=r"called 'text' \(The first document.\); name.*--field 1"):
        read_texts(path)
    assert read_texts(path, field="1") == ["The first document.", "The second."]
    two = _table(tmp_path, "a,one\nb,two\n")
    assert read_texts(two, field="2") == ["one", "two"]
    with pytest.raises(InputError, match="has no column 3: name one of the 2 of its first line"):
        read_texts(two, field="3")
    named = _table(tmp_path, "key,body,2\nx,one,y\n")
    assert read_texts(named, field="body") == ["one"]
    assert read_texts(named, field="2") == ["y"]  # a name before a number
    with pytest.raises(
        InputError, match=r"no field 'title': name one of its first line \(key, body, 2\)"
    ):
        read_texts(named, field="title")
    long = _table(tmp_path, "a document far too long to be the name of a column of a table\n")
    with pytest.raises(InputError, match=r"\(a document far too long to \.\.\.\)"):
        read_texts(long)
