"""Tasks: reading real and made-up files, splits, samples, and what a model is given."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from langneurons.data.tasks import TASKS, Example, NLIExample, QAExample, Task, get_task
from langneurons.data.tasks.splits import parse_split, sample_groups
from langneurons.data.tasks.squad import SquadTask, qa_examples
from langneurons.errors import InputError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no folder {DATA}")

PAIRS = pd.DataFrame(
    {
        "row": [0, 1, 2, 3],
        "premise_id": [0, 0, 1, 1],
        "label": ["entailment", "neutral", "contradiction", "-"],
        "premise": ['A "man" sleeps.', 'A "man" sleeps.', "NA", "NA"],
        "hypothesis": ["He sleeps.", "He dreams.", "Nobody.", "null"],
    }
)


def write_pairs(folder: Path, form: str, table: pd.DataFrame = PAIRS) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"test.en.{form}"
    if form == "tsv":
        lines = ["\t".join(map(str, row)) for row in [table.columns, *table.to_numpy()]]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif form == "csv":
        table.to_csv(path, index=False)
    elif form == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_parquet(path)
    return folder


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "parquet"])
def test_every_local_format_gives_the_same_examples(tmp_path: Path, form: str) -> None:
    rows = get_task(f"xnli:{write_pairs(tmp_path, form)}").examples("en")
    assert [row.id for row in rows] == ["0", "1", "2", "3"]
    assert [row.group for row in rows] == ["0", "0", "1", "1"]
    assert [row.label for row in rows] == [0, 1, 2, -1]
    assert rows[0].premise == 'A "man" sleeps.'
    assert rows[2].premise == "NA"
    assert rows[3].hypothesis == "null"


@needs_data
@pytest.mark.parametrize("lang", ["en", "es", "fr", "vi", "hi", "ur", "zh"])
def test_real_xnli_is_read_whole(lang: str) -> None:
    task = get_task(f"xnli:{DATA / 'xnli'}")
    for split, size in {"dev": 2490, "test": 5010}.items():
        rows = task.examples(lang, split)
        assert len(rows) == size
        assert [sum(row.label == k for row in rows) for k in range(3)] == [size // 3] * 3
        assert len({row.group for row in rows}) == size // 3
        raw = (DATA / "xnli" / f"{split}.{lang}.tsv").read_text(encoding="utf-8").splitlines()
        last = raw[-1].split("\t")
        assert (rows[-1].premise, rows[-1].hypothesis) == (last[4], last[5])


@needs_data
def test_parallel_languages_give_parallel_samples_of_whole_premises() -> None:
    task = get_task(f"xnli:{DATA / 'xnli'}")
    english = task.examples("en", "test", limit=99, seed=3)
    hindi = task.examples("hi", "test", limit=99, seed=3)
    assert [row.id for row in english] == [row.id for row in hindi]
    assert [sum(row.label == k for row in english) for k in range(3)] == [33, 33, 33]
    other = task.examples("en", "test", limit=99, seed=4)
    assert [row.id for row in other] != [row.id for row in english]


@needs_data
def test_real_xquad_and_its_holdout() -> None:
    task = get_task(f"xquad:{DATA / 'xquad'}", holdout=0.2)
    whole = get_task(f"xquad:{DATA / 'xquad'}").examples("zh")
    assert len(whole) == 1190
    assert len({row.group for row in whole}) == 240
    train, test = task.examples("zh", "train"), task.examples("zh", "test")
    assert [row.id for row in [*train, *test]] == [row.id for row in whole]
    assert not {row.group for row in train} & {row.group for row in test}
    assert len(train) == 949  # 80 % lie within the article on Kenya
    assert not {row.section for row in train} & {row.section for row in test}
    assert len({row.section for row in whole}) == 48


@pytest.mark.parametrize("percent", [7, 33, 50, 80, 93])
@pytest.mark.parametrize("named", ["article", "title", "by count"])
def test_a_percentage_falls_between_articles(percent: int, named: str) -> None:
    """Whether the rows come from a file (articles), from the Hub with titles or without them."""

    class Texts(SquadTask):
        name = "texts"

        def _read(self, lang: str, split: str) -> Sequence[Example]:
            rows = [
                {"id": f"{place}-{paragraph}-{number}", "context": f"{place} {paragraph}",
                 "question": "?", "answers": ("x",),
                 **({} if named == "by count" else {named: f"T{place}"})}
                for place in range(9) for paragraph in range(5) for number in range(1 + place % 4)
            ]  # fmt: skip
            return qa_examples(rows, 5 if named == "by count" else None)

    Texts.default_repo, Texts.hub_split = "", {}
    task = Texts()
    first, rest = task.examples("en", f"test[:{percent}%]"), []
    rest = task.examples("en", f"test[{percent}%:]")
    assert len(first) + len(rest) == len(task.examples("en"))
    articles = [{row.id.partition("-")[0] for row in part} for part in (first, rest)]
    assert not articles[0] & articles[1]


def test_one_article_alone_is_cut_between_paragraphs() -> None:
    rows = [
        {"id": str(n), "context": str(n // 4), "question": "?", "answers": ("x",), "article": 0}
        for n in range(20)
    ]
    assert {row.section for row in qa_examples(rows)} == {None}


def test_xquad_has_no_training_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holdout=0\.2"):
        get_task(f"xquad:{tmp_path}").examples("en", "train")


def test_squad_json_keeps_all_answers_and_missing_ones(tmp_path: Path) -> None:
    paragraphs = [
        {
            "context": "\u202bقط 🐈\u202c é",
            "qas": [
                {
                    "id": "a",
                    "question": " من؟ ",
                    "answers": [
                        {"text": "قط", "answer_start": 1},
                        {"text": "🐈", "answer_start": 4},
                    ],
                },
                {"id": "b", "question": "?", "answers": []},
            ],
        }
    ]
    path = tmp_path / "dev-v1.1.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    rows = get_task(f"squad:{tmp_path}").examples("en", "test")
    assert [row.answers for row in rows] == [("قط", "🐈"), ()]
    assert rows[0].question == "من؟"
    task = get_task(f"squad:{path}")
    assert task.target(rows[0]) == " قط\n"
    with pytest.raises(InputError, match="'b' has no gold answer"):
        task.target(rows[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", "SQuAD layout"),
        (b"{}", "SQuAD layout"),
        (b'{"data": []}', "no questions"),
        (b"\xff\xfe\x00", "not UTF-8 JSON"),
        (b'{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": 1}]}]}]}', "SQuAD layout"),
    ],
)
def test_bad_squad_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "xquad.en.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        get_task(f"xquad:{tmp_path}").examples("en")
    assert "xquad.en.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_labels_duplicates_and_columns_are_named(tmp_path: Path) -> None:
    wrong = PAIRS.assign(label=["entailment", "neutral", "maybe", "-"])
    with pytest.raises(InputError, match="row 2: label 'maybe'"):
        get_task(f"xnli:{write_pairs(tmp_path, 'tsv', wrong)}").examples("en")
    twice = PAIRS.assign(row=[0, 1, 1, 3])
    with pytest.raises(InputError, match="id '1' occurs more than once"):
        get_task(f"xnli:{write_pairs(tmp_path, 'tsv', twice)}").examples("en")
    bare = PAIRS.drop(columns="premise")
    with pytest.raises(InputError, match="no column premise or sentence1"):
        get_task(f"xnli:{write_pairs(tmp_path, 'tsv', bare)}").examples("en")
    (tmp_path / "test.en.tsv").write_bytes(b"row\tpremise\n1\t\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        get_task(f"xnli:{tmp_path}").examples("en")


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    write_pairs(tmp_path, "tsv")
    with pytest.raises(InputError, match=r"no test.hi.tsv .* holds test.en.tsv"):
        get_task(f"xnli:{tmp_path}").examples("hi")
    with pytest.raises(InputError, match="no folder"):
        get_task("xnli:/nowhere/at/all").examples("hi")
    with pytest.raises(InputError, match="Did you mean 'xnli'"):
        get_task("xnlii")
    with pytest.raises(InputError, match="does not take all of: colour"):
        get_task("xnli", colour="red")


def test_the_hub_path_reads_a_mirror_in_its_layout(tmp_path: Path) -> None:
    mirror = tmp_path / "xnli"
    (mirror / "hi").mkdir(parents=True)
    table = pd.DataFrame(
        {"premise": ["क", "क", "ख"], "hypothesis": ["अ", "आ", "इ"], "label": [0, 2, 1]}
    )
    table.to_parquet(mirror / "hi" / "validation-00000-of-00001.parquet")
    table.iloc[:2].to_parquet(mirror / "hi" / "test-00000-of-00001.parquet")
    (mirror / "README.md").write_text(
        "---\nconfigs:\n- config_name: hi\n  data_files:\n  - split: validation\n"
        "    path: hi/validation-*\n  - split: test\n    path: hi/test-*\n---\n"
    )
    task = get_task("xnli", repo=str(mirror))
    assert [row.label for row in task.examples("hi", "dev")] == [0, 2, 1]
    assert [row.group for row in task.examples("hi", "dev")] == ["0", "0", "1"]
    with pytest.raises(InputError, match="xnli 'xx'"):
        task.examples("xx", "dev")


def test_the_hub_path_of_squad_reads_a_mirror(tmp_path: Path) -> None:
    mirror = tmp_path / "xquad"
    (mirror / "xquad.hi").mkdir(parents=True)
    rows = [
        {
            "id": "1",
            "context": "क ख",
            "question": "?",
            "answers": {"text": ["क"], "answer_start": [0]},
        },
        {
            "id": "2",
            "context": "क ख",
            "question": "!",
            "answers": {"text": ["ख"], "answer_start": [2]},
        },
    ]
    pd.DataFrame(rows).to_parquet(mirror / "xquad.hi" / "validation-00000-of-00001.parquet")
    (mirror / "README.md").write_text(
        "---\nconfigs:\n- config_name: xquad.hi\n  data_files:\n  - split: validation\n"
        "    path: xquad.hi/validation-*\n---\n"
    )
    examples = get_task("xquad", repo=str(mirror)).examples("hi")
    assert [row.answers for row in examples] == [("क",), ("ख",)]
    assert {row.group for row in examples} == {"0"}


def test_no_network_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="the Hub cannot be reached") as caught:
        get_task("xnli", repo="nobody/never-cached").examples("hi")
    assert "\n" not in str(caught.value)


def test_split_expressions() -> None:
    rows = list("aaabbbccc")

    def take(text: str) -> str:
        return "".join(row for part in parse_split(text) for row in part.of(rows, key=str))

    assert take("test") == "aaabbbccc"
    assert take("test[:50%]") == "aaa"
    assert take("test[50%:]") == "bbbccc"
    assert take("test[2:5]") == "abb"
    assert take("test[-2:]") == "cc"
    assert take("test[:1]+test[8:]") == "ac"
    assert parse_split("validation")[0].name == "dev"
    for bad in ["", "test[1]", "test[a:b]", "test[:5", "a+"]:
        with pytest.raises(InputError, match="cannot be read"):
            parse_split(bad)


def test_named_parts_do_not_overlap(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, "tsv")
    task = get_task(f"xnli:{folder}", splits={"train": "test[:50%]", "test": "test[50%:]"})
    assert [row.id for row in task.examples("en", "train")] == ["0", "1"]
    assert [row.id for row in task.examples("en", "test")] == ["2", "3"]
    with pytest.raises(InputError, match="empty"):
        get_task(f"xnli:{folder}").examples("en", "test[4:]")
    with pytest.raises(InputError, match="limit must be at least 1"):
        task.examples("en", "test", limit=0)


def test_sampling_is_a_fixed_order_of_groups() -> None:
    rows = list(range(30))

    def draw(limit: int, seed: int) -> list[int]:
        return sample_groups(rows, limit, seed, lambda row: row // 3)

    assert draw(30, 0) == rows
    assert set(draw(9, 0)) < set(draw(12, 0))
    assert sorted(draw(9, 0)) == draw(9, 0)
    assert all(len([r for r in draw(9, 1) if r // 3 == g]) in (0, 3) for g in range(10))


class Braces(Task):
    name = "braces"
    kind = "classification"
    labels = ("a", "b")
    context_field = "premise"
    default_template = "{hypothesis} | {premise} {{x}}"

    def _read(self, lang: str, split: str) -> list[NLIExample]:
        return [NLIExample("0", "0", "{premise} {0}", "{hypothesis}", 0)]


def test_templates_keep_braces_of_the_data() -> None:
    task = Braces()
    example = task.examples("en")[0]
    assert task.encode(example) == "{hypothesis} | {premise} {0} {x}"
    assert task.parts(example) == ("{hypothesis} | ", "{premise} {0}", " {x}")
    for bad in ["{hypothesis}", "{premise} {premise}", "{premise"]:
        with pytest.raises(InputError, match="template"):
            Braces(template=bad)
    with pytest.raises(InputError, match="no verbalised labels"):
        task.verbalised(example, "en")


@needs_data
def test_verbalised_labels_in_every_language_end_in_the_hypothesis() -> None:
    task = get_task(f"xnli:{DATA / 'xnli'}")
    for lang in task.languages:
        example = NLIExample("0", "0", "X.", "H", 0)
        choices = task.verbalised(example, lang)
        assert len({prefix for prefix, _ in choices}) == 1
        assert len({text for _, text in choices}) == 3
        assert all(text.endswith("H") for _, text in choices)
        assert choices[0][0].startswith("X")


def test_every_registered_task_describes_itself() -> None:
    assert {"xnli", "xquad", "squad", "mlqa", "mini-nli", "mini-qa"} <= set(TASKS.names())
    for name in TASKS:
        task = get_task(name)
        assert task.name == name
        assert task.languages
        assert json.dumps(task.describe())
        assert task.kind in ("qa", "choice", "translation") or task.chance > 0


def test_qa_examples_are_plain_values() -> None:
    example = QAExample("1", "g", "context", "question", ("a",))
    assert example == QAExample("1", "g", "context", "question", ("a",))
    with pytest.raises(AttributeError):
        example.id = "2"  # type: ignore[misc]
