"""What can be had without looking up whose fact it is: the rules beside every score.

* person-blind: finds the asked relation, ignores the person, and picks among its values at random;
* random copying: a value of the context at random (NLI: a label at random);
* bag of words: logistic regression on the words of the hypothesis or question alone.

Chance is not drawn but worked out: a rule's score is its expectation.
"""

from __future__ import annotations

from typing import Any

from langneurons.errors import InputError
from langneurons.mini.lexicon import GROUPS, LEXICON
from langneurons.mini.tasks import nli, qa

Scores = dict[str, dict[str, float]]


def rules(
    task: str,
    lang: str,
    n: int = 1500,
    seed: int = 0,
    split: str = "test",
    train: int = 6000,
) -> Scores:
    """Scores of the rules on a task, in percent.

    Args:
        task: "mini-nli" (accuracy) or "mini-qa" (F1, which equals exact match for these rules up
            to words that two values share; exact match is given).
        lang: language code.
        n: number of test items.
        seed: seed of the test items.
        split: their split.
        train: number of training items of the bag of words.

    Returns:
        ``{"person_blind": {"all": ..., "two_holders": ...}, "random_copying": ..., "bag_of_words":
        ...}``; "two_holders" counts the items of whose relation at least two people have a value.

    Raises:
        InputError: unknown task, language or split.
    """
    if task == "mini-nli":
        return _nli_rules(nli(lang, n, seed, split), nli(lang, train, seed, "train"))
    if task == "mini-qa":
        return _qa_rules(qa(lang, n, seed, split), qa(lang, train, seed, "train"), lang)
    raise InputError(f"no task {task!r} in the built-in world: choose mini-nli or mini-qa.")


def _summary(items: list[tuple[float, int]]) -> dict[str, float]:
    """Mean score in percent, over all items and over those with two holders or more."""
    two = [score for score, holders in items if holders >= 2]
    every = [score for score, _ in items]
    return {
        "all": 100 * sum(every) / max(len(every), 1),
        "two_holders": 100 * sum(two) / max(len(two), 1),
    }


def _bag_of_words(
    texts: list[str], labels: list[str], test: list[str], characters: bool
) -> list[str]:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    # Chinese has no spaces: characters and pairs of them stand for words.
    vectorizer = (
        CountVectorizer(analyzer="char", ngram_range=(1, 2))
        if characters
        else CountVectorizer(token_pattern=r"[^\s?¿؟]+")
    )
    probe = make_pipeline(vectorizer, LogisticRegression(max_iter=300))
    probe.fit(texts, labels)
    return [str(label) for label in probe.predict(test)]


def hypothesis_only(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> float:
    """Accuracy in percent of a bag of words on the hypothesis alone (chance: 33.3)."""
    labels = _bag_of_words(
        [row["hypothesis"] for row in train],
        [row["label"] for row in train],
        [row["hypothesis"] for row in test],
        characters=not LEXICON[test[0]["lang"]].space,
    )
    right = [label == row["label"] for label, row in zip(labels, test, strict=True)]
    return 100.0 * sum(map(bool, right)) / len(right)


def _nli_rules(test: list[dict[str, Any]], train: list[dict[str, Any]]) -> Scores:
    blind = [(_blind_nli(row), row["holders"]) for row in test]
    labels = _bag_of_words(
        [row["hypothesis"] for row in train],
        [row["label"] for row in train],
        [row["hypothesis"] for row in test],
        characters=not LEXICON[test[0]["lang"]].space,
    )
    words = [
        (float(label == row["label"]), row["holders"])
        for label, row in zip(labels, test, strict=True)
    ]
    return {
        "person_blind": _summary(blind),
        "random_copying": _summary([(1 / 3, row["holders"]) for row in test]),
        "bag_of_words": _summary(words),
    }


def _blind_nli(row: dict[str, Any]) -> float:
    """Expected score of answering from the relation alone."""
    if not row["holders"]:
        return float(row["label"] == "neutral")
    kinds = [
        GROUPS[row["relation"]][value] if row["general"] else value for value in row["told_values"]
    ]
    yes = kinds.count(row["value"]) / len(kinds)
    expected = {"entailment": yes, "contradiction": 1 - yes, "neutral": 0.0}
    return expected[row["label"]]


def _qa_rules(test: dict[str, Any], train: dict[str, Any], lang: str) -> Scores:
    def entries(dataset: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            entry
            for article in dataset["data"]
            for part in article["paragraphs"]
            for entry in part["qas"]
        ]

    asked, seen = entries(test), entries(train)
    blind = [
        (entry["told_values"].count(entry["answers"][0]["text"]) / len(entry["told_values"]), entry)
        for entry in asked
    ]
    copying = [(1 / entry["told"], entry) for entry in asked]
    words = _bag_of_words(
        [entry["question"] for entry in seen],
        [entry["answers"][0]["text"] for entry in seen],
        [entry["question"] for entry in asked],
        characters=not LEXICON[lang].space,
    )
    bag = [
        (float(word == entry["answers"][0]["text"]), entry)
        for word, entry in zip(words, asked, strict=True)
    ]
    return {
        name: _summary([(score, entry["holders"]) for score, entry in items])
        for name, items in (
            ("person_blind", blind),
            ("random_copying", copying),
            ("bag_of_words", bag),
        )
    }
