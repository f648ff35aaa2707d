"""The built-in world: facts, sentences, documents and tasks."""

from __future__ import annotations

import collections
import json
import re

import pytest

from langneurons import mini
from langneurons.errors import InputError
from langneurons.mini import grammar
from langneurons.mini.baselines import hypothesis_only
from langneurons.mini.documents import Style, document, paragraph
from langneurons.mini.lexicon import GROUPS, LEXICON, RELATIONS, SIZES
from langneurons.mini.world import LABELS, sample_claim, sample_scene, stream

LANGUAGES = mini.LANGUAGES


def test_languages_are_the_seven_of_the_world() -> None:
    assert LANGUAGES == ("en", "es", "fr", "vi", "hi", "ur", "zh")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_lexicon_is_complete(lang: str) -> None:
    language = LEXICON[lang]
    assert len(language.names) == len(set(language.names)) == 32
    assert set(language.relations) == set(RELATIONS)
    for name, relation in language.relations.items():
        assert len(relation.values) == SIZES[name]
        for woman in (False, True):
            forms = [grammar.value_of(lang, name, v, woman) for v in range(SIZES[name])]
            assert len(set(forms)) == SIZES[name], (name, forms)
        assert len(set(relation.say)) >= 3, name
        assert len(relation.ask) >= 2, name
        assert all("{P}" in t and "{V}" in t for t in (*relation.say, relation.deny))
        assert all("{P}" in t and "{V}" not in t for t in relation.ask)
        assert "{V}" in relation.who
        assert "{P}" not in relation.who
        if name in GROUPS:
            assert len(GROUPS[name]) == SIZES[name]
            assert len(relation.groups) == len(set(GROUPS[name]))
            assert "{G}" in relation.say_group
        if any("{C}" in t for t in relation.say):
            assert len(relation.companions) == SIZES[name]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_sentence_is_filled_and_written_in_its_script(lang: str) -> None:
    scripts = {"hi": r"[A-Za-z]", "ur": r"[A-Za-z]", "zh": r"[A-Za-z ]"}
    foreign = scripts.get(lang, r"[\u0370-\u1dff\u2e80-\uffff]")
    for name in RELATIONS:
        for person in (0, 31):
            for value in range(SIZES[name]):
                for phrasing in (0.0, 0.4, 0.8):
                    made = grammar.statement(lang, person, name, value, phrasing)
                    told = grammar.value_of(lang, name, value, grammar.is_woman(person))
                    assert made.text[made.start : made.end] == told
                    assert not re.search(r"[{}<>|]", made.text)
                    assert not re.search(foreign, made.text), made.text


def test_gender_agreement() -> None:
    """One woman (Maria) and one man (Lucas) in the languages that agree."""
    assert grammar.statement("es", 0, "job", 1, 0.0).text == "Maria es enfermera"
    assert grammar.statement("es", 16, "job", 1, 0.0).text == "Lucas es enfermero"
    assert grammar.statement("fr", 0, "age", 0, 0.4).text == "Maria est âgée de 20 ans"
    assert grammar.statement("hi", 0, "city", 0, 0.0).text == "मारिया पेरिस में रहती है"
    assert grammar.statement("hi", 16, "city", 0, 0.0).text == "लूकस पेरिस में रहता है"
    assert grammar.statement("ur", 0, "language", 0, 0.0).text == "ماریا انگریزی سیکھ رہی ہے"
    assert grammar.who_question("hi", 0, "city", 0) == "पेरिस में कौन रहता है?"


def test_chinese_classifiers() -> None:
    said = [grammar.statement("zh", 0, "animal", v, 0.0).text for v in (0, 3, 4)]
    assert said == ["玛丽亚有一只狗", "玛丽亚有一匹马", "玛丽亚有一头牛"]


def test_text_is_pure_and_splits_differ() -> None:
    for lang in ("en", "zh"):
        first = mini.text(lang, tokens=3000, seed=3)
        assert first == mini.text(lang, tokens=3000, seed=3)
        assert first[:10] == mini.text(lang, tokens=1000, seed=3)[:10]
        held = mini.text(lang, tokens=3000, seed=3, split="heldout")
        assert not set(first) & set(held)
        assert not set(first) & set(mini.text(lang, tokens=3000, seed=4))


def test_texts_of_two_languages_tell_different_facts() -> None:
    """Monolingual text is not parallel: the names in document k differ between languages."""
    documents = [mini.text(lang, tokens=3000)[:20] for lang in ("en", "es")]
    same = sum(
        {n for n in LEXICON["en"].names if n in a} == {n for n in LEXICON["en"].names if n in b}
        for a, b in zip(*documents, strict=True)
    )
    assert same <= 3


@pytest.mark.parametrize("lang", LANGUAGES)
def test_document_answers_are_right(lang: str) -> None:
    language = LEXICON[lang]
    words = {*language.answers, *language.names}
    for name in RELATIONS:
        for value in range(SIZES[name]):
            words |= {grammar.value_of(lang, name, value, woman) for woman in (False, True)}
    seen = 0
    for index in range(40):
        made = document(lang, stream("test", index), Style())
        for start, end in made.answers:
            assert made.text[start:end] in words
            assert made.text[end] in f"\n {language.stop}" or lang == "zh"
            seen += 1
    assert seen > 60


def test_scene_shares_relations_with_different_values() -> None:
    for index in range(200):
        scene = sample_scene(stream("scene", index), 3, 2, 1)
        full = [r for r in RELATIONS if len(scene.holders(r)) == 3]
        assert len(full) == 2
        for relation in full:
            assert len({scene.table[p, relation] for p in scene.people}) == 3


def test_claims_have_the_label_they_say() -> None:
    seen = collections.Counter()
    for index in range(900):
        rng = stream("claim", index)
        scene = sample_scene(rng, 2 + index % 2, 1 + index % 2, 1)
        label = LABELS[index % 3]
        claim = sample_claim(rng, scene, label)
        if claim is None:
            continue
        own = scene.table.get((claim.person, claim.relation))
        if label == "neutral":
            assert own is None
            continue
        assert own is not None
        true = GROUPS[claim.relation][own] if claim.general else own
        assert (true == claim.value) == (label == "entailment")
        others = {scene.table[p, claim.relation] for p in scene.holders(claim.relation)} - {own}
        seen[label, claim.value in others and not claim.general] += 1
    # Most false claims take another person's value.
    assert seen["contradiction", True] > seen["contradiction", False]


def test_nli_is_parallel_balanced_and_pure() -> None:
    rows = {lang: mini.nli(lang, n=300, seed=1) for lang in LANGUAGES}
    english = rows["en"]
    assert english == mini.nli("en", n=300, seed=1)
    for lang in LANGUAGES:
        for a, b in zip(english, rows[lang], strict=True):
            for key in ("id", "label", "group", "holders", "person", "relation", "value"):
                assert a[key] == b[key]
    assert set(collections.Counter(row["label"] for row in english).values()) == {100}
    two = [row for row in english if row["holders"] >= 2]
    assert len(two) > 0.5 * len(english)
    about_another = [r for r in english if r["label"] == "neutral" and r["holders"] >= 1]
    assert len(about_another) > 0.6 * 100
    test = {row["premise"] for row in mini.nli("en", n=300, seed=1, split="test")}
    assert not test & {row["premise"] for row in english}
    assert mini.nli_input(english[0]).endswith(english[0]["hypothesis"])


@pytest.mark.parametrize("lang", ["en", "hi", "zh"])
def test_hypothesis_alone_gives_no_label_away(lang: str) -> None:
    score = hypothesis_only(mini.nli(lang, 2400), mini.nli(lang, 2400, split="test"))
    assert abs(score - 100 / 3) < 5


@pytest.mark.parametrize("lang", LANGUAGES)
def test_qa_spans_are_right_and_ids_parallel(lang: str) -> None:
    dataset = mini.qa(lang, n=120, seed=2, split="dev")
    english = mini.qa("en", n=120, seed=2, split="dev")
    assert json.loads(json.dumps(dataset)) == dataset
    ids = []
    for part, other in zip(
        dataset["data"][0]["paragraphs"], english["data"][0]["paragraphs"], strict=True
    ):
        for entry, same in zip(part["qas"], other["qas"], strict=True):
            assert entry["id"] == same["id"]
            assert entry["holders"] == same["holders"] == len(entry["told_values"])
            (answer,) = entry["answers"]
            start = answer["answer_start"]
            assert part["context"][start : start + len(answer["text"])] == answer["text"]
            assert answer["text"] in entry["told_values"]
            assert len(set(entry["told_values"])) == entry["holders"]
            ids.append(entry["id"])
    assert len(ids) == len(set(ids)) == 120


def test_paragraph_spans_survive_joined_sentences() -> None:
    for lang in LANGUAGES:
        for index in range(30):
            rng = stream("join", index)
            scene = sample_scene(rng, 3, 2, 1)
            told, spans = paragraph(lang, scene.facts, rng, join=0.9)
            for fact in scene.facts:
                woman = grammar.is_woman(fact.person)
                start, end = spans[fact.person, fact.relation]
                assert told[start:end] == grammar.value_of(lang, fact.relation, fact.value, woman)


def test_rules_know_less_than_the_facts() -> None:
    nli = mini.rules("mini-nli", "en", n=600, train=1500)
    qa = mini.rules("mini-qa", "en", n=600, train=1500)
    assert set(nli) == set(qa) == {"person_blind", "random_copying", "bag_of_words"}
    assert nli["random_copying"]["all"] == pytest.approx(100 / 3)
    assert 35 < nli["person_blind"]["all"] < 60
    assert 35 < qa["person_blind"]["two_holders"] <= 50
    assert qa["random_copying"]["all"] < qa["person_blind"]["all"] < 75


def test_wrong_names_are_told() -> None:
    with pytest.raises(InputError, match="no language 'de'"):
        mini.text("de")
    with pytest.raises(InputError, match="no split 'test'"):
        mini.text("en", split="test")
    with pytest.raises(InputError, match="no task 'xnli'"):
        mini.rules("xnli", "en")
