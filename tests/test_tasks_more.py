"""Belebele, PAWS-X, the built-in world's tasks, odd rows of real data, and any text at all."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from langneurons.data.tasks import (
    Example,
    NLIExample,
    QAExample,
    Task,
    encode_example,
    get_task,
)
from langneurons.data.tasks.pairs import pairs
from langneurons.data.tasks.quality import count_flags, flags, is_romanised, left_in_english
from langneurons.data.tasks.sources import squad_rows
from langneurons.data.tasks.squad import qa_examples
from langneurons.data.tasks.words import NLI_WORDS
from langneurons.errors import InputError
from langneurons.mini.lexicon import LEXICON

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no folder {DATA}")

BELEBELE = {
    "link": "https://en.wikibooks.org/wiki/X",
    "question_number": 1,
    "flores_passage": "बिल्ली सोती है।",
    "question": "कौन?",
    "mc_answer1": "कुत्ता",
    "mc_answer2": "बिल्ली",
    "mc_answer3": "गाय",
    "mc_answer4": "घोड़ा",
    "correct_answer_num": "2",
    "dialect": "hin_Deva",
}
odd_text = st.text(
    st.one_of(
        st.sampled_from("aé\u0301\u202e\u202bعبہक्षि中文 🐈\u200d\ufffd{}%\n\t"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)


def test_belebele(tmp_path: Path) -> None:
    rows = [BELEBELE, {**BELEBELE, "question_number": 2, "correct_answer_num": ""}]
    (tmp_path / "hin_Deva.jsonl").write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8"
    )
    task = get_task(f"belebele:{tmp_path}")
    first, second = task.examples("hi")
    assert (first.label, second.label) == (1, -1)
    assert first.group == second.group
    text = task.encode(first)
    assert text.endswith("Question: कौन?\nA. कुत्ता\nB. बिल्ली\nC. गाय\nD. घोड़ा\nAnswer:")
    assert task.verbalised(first, "hi")[1] == (text, " B")
    assert task.examples("hin_Deva") == [first, second]
    assert task.chance == 25.0
    with pytest.raises(InputError, match="test set"):
        task.examples("hi", "train")
    (tmp_path / "eng_Latn.jsonl").write_text('{"link": "x"}')
    with pytest.raises(InputError, match="question_number"):
        task.examples("en")


def test_pawsx_reads_the_official_folders(tmp_path: Path) -> None:
    (tmp_path / "fr").mkdir()
    (tmp_path / "fr" / "test_2k.tsv").write_text(
        'id\tsentence1\tsentence2\tlabel\n1\tLe "chat" dort.\tIl dort.\t0\n2\tA.\tB.\t1\n',
        encoding="utf-8",
    )
    task = get_task(f"paws-x:{tmp_path}")
    rows = task.examples("fr")
    assert [row.label for row in rows] == [0, 1]
    assert rows[0].premise == 'Le "chat" dort.'
    no, yes = task.verbalised(rows[0], "fr")
    assert no == ('Le "chat" dort, n\'est-ce pas ?', " Non, Il dort.")
    assert yes[1] == " Oui, Il dort."
    for lang in task.languages:
        assert len({text for _, text in task.verbalised(rows[0], lang)}) == 2


def test_mini_tasks_are_parallel_and_in_the_worlds_own_form() -> None:
    from langneurons import mini

    nli = get_task("mini-nli", sizes={"test": 30})
    english, urdu = nli.examples("en"), nli.examples("ur")
    assert [(r.id, r.group, r.label) for r in english] == [(r.id, r.group, r.label) for r in urdu]
    row = mini.nli("en", n=30, seed=0, split="test")[4]
    assert nli.encode(english[4]) == mini.nli_input(row)
    assert english[4].extra["holders"] == row["holders"]
    words = {text for _, text in nli.verbalised(urdu[0], "ur")}
    assert len(words) == 3
    qa = get_task("mini-qa", sizes={"test": 12})
    for lang in ("en", "zh"):
        for example in qa.examples(lang):
            context, question = example.context, example.question
            assert qa.encode(example) == mini.qa_prompt(context, question, lang)
            assert example.answers[0] in context
            space = "" if lang == "zh" else " "
            assert qa.target(example) == f"{space}{example.answers[0]}\n"
    with pytest.raises(InputError, match="unknown language of mini-qa 'xx'"):
        qa.examples("xx")
    with pytest.raises(InputError, match="unknown split of mini-qa 'heldout'"):
        qa.examples("en", "heldout")


def test_mini_rules_are_rows_of_a_table() -> None:
    task = get_task("mini-nli", sizes={"test": 60})
    rows = pd.DataFrame(task.rules("en"))
    assert set(rows["rule"]) == {"person_blind", "random_copying", "bag_of_words"}
    assert set(rows["subset"]) == {"all", "two holders"}
    assert rows.loc[rows["subset"] == "all", "n"].eq(60).all()
    chance = rows[(rows["rule"] == "random_copying") & (rows["subset"] == "all")]
    assert chance["value"].item() == pytest.approx(100 / 3)
    assert get_task("xnli").rules("en") == []


@needs_data
def test_odd_rows_of_real_xnli_are_counted() -> None:
    task = get_task(f"xnli:{DATA / 'xnli'}")
    hindi, urdu = count_flags(task, "hi"), count_flags(task, "ur")
    assert (hindi["rows"], hindi["romanised"], hindi["replaced"]) == (5010, 348, 3)
    assert (urdu["romanised"], urdu["replaced"]) == (525, 3)
    assert 0 < hindi["english"] < 100
    english = count_flags(task, "en")
    assert english == {"rows": 5010, "romanised": 0, "replaced": 3}


def test_what_counts_as_odd() -> None:
    assert is_romanised("main ghar ja raha hun", "hi")
    assert is_romanised("घर ja raha", "hi")
    assert not is_romanised("मैं घर जाता हूँ NATO", "hi")
    assert not is_romanised("12 + 3", "hi")
    assert not is_romanised("I go home", "es")
    row = NLIExample("1", "1", "Yes \ufffd", "नहीं", 0)
    assert flags(row, "hi") == {"romanised": True, "replaced": True}
    a = [NLIExample("1", "1", "क", "OK", 0), NLIExample("2", "1", "ख", "12", 0)]
    b = [NLIExample("1", "1", "k", "OK", 0), NLIExample("2", "1", "kh", "12", 0)]
    assert left_in_english(a, b) == ["1"]
    c = QAExample("1", "1", "यहाँ", "कहाँ?", ("Denver Broncos",))
    d = QAExample("1", "1", "here", "where?", ("Denver Broncos",))
    assert left_in_english([c], [d]) == []  # an answer may be a name
    assert flags(c, "hi") == {"romanised": False, "replaced": False}


class Anything(Task):
    name = "anything"
    kind = "qa"
    context_field = "context"
    default_template = "{context}\nQ: {question}\nA:"

    def __init__(self, rows: list[Example]) -> None:
        super().__init__()
        self.rows = rows

    def _read(self, lang: str, split: str) -> list[Example]:
        return self.rows


@settings(deadline=None, max_examples=60)
@given(odd_text, odd_text, st.integers(8, 80))
def test_any_text_goes_through_whole_or_loses_context_only(
    context: str, question: str, room: int
) -> None:
    example = QAExample("1", "1", context, question, ("x",))
    task = Anything([example])
    tokenizer = tiny.tokenizer()
    assert task.encode(example) == f"{context}\nQ: {question}\nA:"
    assert task.examples("hi") == [example]
    fixed = len(tokenizer(f"\nQ: {question}\nA:")["input_ids"])
    if fixed > room:
        with pytest.raises(InputError, match="does not fit"):
            encode_example(task, example, tokenizer, room)
        return
    encoded = encode_example(task, example, tokenizer, room)
    assert len(encoded.ids) <= room
    kept = context[: len(context) - encoded.cut]
    # The tokenizer is byte-level, so decoding gives the text back.
    assert tokenizer.decode(encoded.ids) == f"{kept}\nQ: {question}\nA:"
    if encoded.cut:
        longer = f"{context[: len(kept) + 1]}\nQ: {question}\nA:"
        assert len(tokenizer(longer)["input_ids"]) > room


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(odd_text, odd_text, st.sampled_from([0, "1", "neutral", "-", ""]))))
def test_any_pairs_keep_their_text(rows: list[tuple[str, str, object]]) -> None:
    records = [{"premise": p, "hypothesis": h, "label": label} for p, h, label in rows]
    found = pairs(records, ("entailment", "neutral", "contradiction"), "rows")
    assert [(row.premise, row.hypothesis) for row in found] == [(p, h) for p, h, _ in rows]
    gold = {0: 0, "1": 1, "neutral": 1, "-": -1, "": -1}
    assert [row.label for row in found] == [gold[label] for _, _, label in rows]
    for before, after in itertools.pairwise(found):
        assert (before.group == after.group) == (before.premise == after.premise)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(odd_text, odd_text, st.lists(odd_text, max_size=3)), min_size=1))
def test_any_squad_file_keeps_its_text(rows: list[tuple[str, str, list[str]]]) -> None:
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": number,
                    "question": question,
                    "answers": [{"text": text, "answer_start": 0} for text in answers],
                }
            ],
        }
        for number, (context, question, answers) in enumerate(rows)
    ]
    value = json.loads(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    found = qa_examples(squad_rows(value, "made up"))
    assert [row.answers for row in found] == [tuple(answers) for _, _, answers in rows]
    assert [row.context for row in found] == [context for context, _, _ in rows]
    assert len({row.group for row in found}) == len(rows)


YES_AND_NO = {
    "ar": ("نعم", "لا"), "bg": ("да", "не"), "de": ("ja", "nein"), "el": ("ναι", "όχι"),
    "en": ("yes", "no"), "es": ("sí", "no"), "fr": ("oui", "non"), "hi": ("हाँ", "नहीं"),
    "ja": ("はい", "いいえ"), "ko": ("네", "아니요"), "ru": ("да", "нет"),
    "sw": ("ndiyo", "hapana"),
    "th": ("ใช่", "ไม่"), "tr": ("evet", "hayır"), "ur": ("ہاں", "نہیں"), "vi": ("đúng", "không"),
    "zh": ("是的", "不"),
}  # fmt: skip
ALSO = {
    "ar": "أيضا", "bg": "също така", "de": "außerdem", "el": "επίσης", "en": "also",
    "es": "también", "fr": "de plus", "hi": "साथ ही", "ja": "また", "ko": "또한", "ru": "также",
    "sw": "pia", "th": "นอกจากนี้", "tr": "ayrıca", "ur": "اس کے علاوہ",
    "vi": "ngoài ra", "zh": "此外",
}  # fmt: skip


@pytest.mark.parametrize("lang", NLI_WORDS)
def test_label_words_affirm_add_and_deny_in_this_order(lang: str) -> None:
    """Entailment, neutral, contradiction: yes, also, no, in every language."""
    yes, no = YES_AND_NO[lang]
    assert [word.lower() for word in NLI_WORDS[lang].labels] == [yes, ALSO[lang], no]
    if lang in ("en", "es", "fr", "hi", "ur"):
        # The built-in world answers with words of its own choosing.
        own_yes, own_no, _ = LEXICON[lang].answers
        assert (own_yes.lower(), own_no.lower()) == (yes, no)
    pair = NLIExample("1", "1", "P.", "H.", 0)
    texts = [text.lower() for _, text in get_task("xnli").verbalised(pair, lang)]
    for word, text in zip((yes, ALSO[lang], no), texts, strict=True):
        assert word in text
    different, same = get_task("paws-x").verbalised(pair, lang)
    assert no in different[1].lower()
    assert yes in same[1].lower()


def test_a_limit_draws_by_its_seed_and_whole_groups(tmp_path: Path) -> None:
    lines = ["premise_id\tlabel\tpremise\thypothesis"]
    lines += [f"{n // 3}\tneutral\tp{n // 3}\th{n}" for n in range(120)]
    for lang in ("en", "hi"):
        (tmp_path / f"test.{lang}.tsv").write_text("\n".join(lines), encoding="utf-8")
    task = get_task(f"xnli:{tmp_path}")
    drawn = [[row.id for row in task.examples("en", limit=30, seed=seed)] for seed in range(4)]
    assert len({tuple(ids) for ids in drawn}) == 4
    assert drawn[0] == [row.id for row in task.examples("hi", limit=30)]
    assert drawn[0] != [row.id for row in task.examples("en")][:30]
    for seed in range(4):
        groups = [row.group for row in task.examples("en", limit=30, seed=seed)]
        assert len(set(groups)) == 10


@pytest.mark.parametrize("holdout", [0.1, 0.2, 0.25, 0.5])
def test_what_is_trained_on_is_never_tested(holdout: float, tmp_path: Path) -> None:
    data = [
        {"title": f"T{a}", "paragraphs": [
            {"context": f"c{a}{p}", "qas": [
                {"id": f"{a}-{p}-{q}", "question": "?", "answers": [{"text": "x"}]}
                for q in range(1 + (a + p) % 4)]}
            for p in range(5)]}
        for a in range(20)
    ]  # fmt: skip
    (tmp_path / "xquad.en.json").write_text(json.dumps({"data": data}), encoding="utf-8")
    task = get_task(f"xquad:{tmp_path}", holdout=holdout)
    train, test = task.examples("en", "train"), task.examples("en", "test")
    whole = get_task(f"xquad:{tmp_path}").examples("en")
    assert [row.id for row in [*train, *test]] == [row.id for row in whole]
    assert {row.section for row in train}.isdisjoint(row.section for row in test)
    assert len(test) / len(whole) == pytest.approx(holdout, abs=0.06)
