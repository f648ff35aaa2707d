"""What reading text and tasks refuses, each by one line that names the user's value."""

import copy
import json
from types import SimpleNamespace

import pandas as pd
import pytest

import tiny
from langneurons.data import make_blocks, read_texts
from langneurons.data.tasks import NLIExample, fitting, get_task, with_end
from langneurons.data.tasks.forms import END
from langneurons.data.tasks.sources import load_hub, read_rows, read_squad
from langneurons.errors import InputError

PAIR = NLIExample("1", "1", "A cat sleeps.", "It sleeps.", 0)
TEXT = ["one two three four"]


def slow_tokenizer():
    made = copy.deepcopy(tiny.tokenizer())  # the tests share it

    class Slow(type(made)):
        is_fast = False

    made.__class__ = Slow
    return made


def without_bos():
    made = copy.deepcopy(tiny.tokenizer())  # the tests share it
    made.bos_token = None
    return made


def folder(path, name, content):
    (path / name).write_bytes(content)
    return path


CASES = {
    "text.txt has a field": (
        lambda p: read_texts(folder(p, "a.txt", b"x") / "a.txt", field="body"),
        "has no field 'body'",
    ),
    "csv with a stray quote": (
        lambda p: read_texts(folder(p, "a.csv", b'text\n"x"y"\n') / "a.csv"),
        "no well-formed table",
    ),
    "squad has a field": (
        lambda p: read_texts(folder(p, "a.json", b"{}") / "a.json", field="body"),
        "takes no field",
    ),
    "a name too long for a file": (
        lambda p: read_texts(p / ("x" * 5000)),
        r"cannot read .*\(File name too long\)|no file",
    ),
    "negative prefix": (
        lambda p: make_blocks(TEXT, tiny.tokenizer(), block=8, prefix_tokens=-1),
        "prefix_tokens must not be negative, not -1",
    ),
    "bos of a tokenizer without one": (
        lambda p: make_blocks(TEXT, without_bos(), block=8, bos=True),
        "no beginning-of-sequence token",
    ),
    "prefixes without offsets": (
        lambda p: make_blocks(TEXT, slow_tokenizer(), block=8, prefixes=["one"]),
        "need a fast tokenizer",
    ),
    "a made task with options": (
        lambda p: get_task(get_task("mini-nli"), seed=1),
        "task 'mini-nli' is made already",
    ),
    "flores from a language it has not": (
        lambda p: get_task("flores", source="xx"),
        "flores has no name for 'xx'",
    ),
    "a split flores has not": (
        lambda p: get_task(f"flores:{p}").examples("es", "train"),
        "has no split 'train'; it has dev and test",
    ),
    "flores in Latin-1": (
        lambda p: get_task(f"flores:{folder(p, 'devtest.en.txt', b'caf' + bytes([233]))}").examples(
            "es"
        ),
        r"devtest\.en\.txt' is not UTF-8 text",
    ),
    "an empty built-in split": (
        lambda p: get_task("mini-nli", sizes={"test": 0}).examples("en"),
        "size of 'test' must be at least 1",
    ),
    "rules of two splits": (
        lambda p: get_task("mini-nli").rules("en", "test+train"),
        r"need a single split, got 'test\+train'",
    ),
    "an unknown field in a template": (
        lambda p: get_task("mini-nli", template="{premise} {hypotesis}"),
        "unknown field 'hypotesis' in template",
    ),
    "the answer in a template": (
        lambda p: get_task("mini-nli", template="{premise} {label}"),
        "unknown field 'label' in template",
    ),
    "an unknown input text": (
        lambda p: get_task("mini-qa", template="papr"),
        r"no input text named 'papr' \(named are: paper\)",
    ),
    "no room for any token": (
        lambda p: get_task("mini-qa", max_tokens=0),
        "max_tokens must be at least 1, got 0",
    ),
    "all examples too long": (
        lambda p: fitting(get_task("mini-nli", max_tokens=1), [PAIR], tiny.tokenizer()),
        "none of 1 examples is within max_tokens=1",
    ),
    "an end token where there is none": (
        lambda p: with_end(SimpleNamespace(eos_token=None), END),
        "tokenizer has no end token",
    ),
    "label words PAWS-X lacks": (
        lambda p: get_task("paws-x").verbalised(PAIR, "xx"),
        "no label words for 'xx'",
    ),
    "label words XNLI lacks": (
        lambda p: get_task("xnli").verbalised(PAIR, "xx"),
        "no label words for 'xx'",
    ),
    "no table": (lambda p: read_rows(p / "none.tsv"), "no file .*none.tsv"),
    "a table that is none": (
        lambda p: read_rows(folder(p, "a.jsonl", b"{not json") / "a.jsonl"),
        "cannot be read as jsonl",
    ),
    "a table without rows": (
        lambda p: read_rows(folder(p, "a.tsv", b"premise\thypothesis\n") / "a.tsv"),
        "holds no rows",
    ),
    "no questions file": (lambda p: read_squad(p / "none.json"), "no file .*none.json"),
    "a folder that is no data set": (
        lambda p: load_hub(str(folder(p, "a.bin", b"x")), None, "test", "xnli 'en'"),
        "xnli 'en'.*(was not found on the Hub or its files|cannot be read)",
    ),
    "a holdout of all": (
        lambda p: get_task("xquad", holdout=1.0),
        "holdout must lie between 0 and 1, got 1.0",
    ),
    "a split of the Hub's squad": (
        lambda p: get_task("xquad").examples("en", "train"),
        "xquad has no split 'train'; it has test",
    ),
    "squad in another language": (
        lambda p: get_task("squad")._config("hi"),
        "squad is English only, got 'hi'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_line(name, tmp_path):
    call, message = CASES[name]
    with pytest.raises(InputError, match=message) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


def test_belebele_and_pairs_name_the_missing_column(tmp_path):
    (tmp_path / "eng_Latn.jsonl").write_text(json.dumps({"link": "x", "question_number": 1}))
    with pytest.raises(InputError, match="has no column 'flores_passage'"):
        get_task(f"belebele:{tmp_path}").examples("en")
    with pytest.raises(InputError, match=r"no split 'dev': take test|no split 'dev'"):
        get_task(f"belebele:{tmp_path}").examples("en", "dev")
    pd.DataFrame({"premise": ["a"], "label": ["neutral"]}).to_parquet(tmp_path / "test.en.parquet")
    with pytest.raises(InputError, match="no column hypothesis"):
        get_task(f"xnli:{tmp_path}").examples("en")
