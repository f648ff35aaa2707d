"""Evaluation of models end to end, against references that run one example at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tiny
from langneurons.data.tasks import Example, NLIExample, QAExample, Task, encode_example
from langneurons.errors import InputError, RunError
from langneurons.evaluation import Scores, evaluate, generate
from langneurons.evaluation.classification import classify
from langneurons.evaluation.likelihood import continuation_scores, encode_continuation
from langneurons.evaluation.shards import parts_folder
from langneurons.identification import Units
from langneurons.intervention import Intervention, intervene
from langneurons.models import LanguageModel

WORDS = ["the", "cat", "and", "dog", "العربية", "हिन्दी", "中文", "🐈", "é"]


def sentence(number: int, length: int) -> str:
    return " ".join(WORDS[(number * 7 + i * i) % len(WORDS)] for i in range(length))


class Pairs(Task):
    name = "pairs"
    kind = "classification"
    labels = ("yes", "maybe", "no")
    context_field = "premise"
    default_template = "{premise}\n{hypothesis} ?"
    count = 23

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        return [
            NLIExample(
                str(i), str(i // 3), sentence(i, 1 + i % 5), sentence(i + 1, 1 + i % 3), i % 4 - 1
            )
            for i in range(self.count)
        ]

    def verbalised(self, example: Example, lang: str) -> tuple[tuple[str, str], ...]:
        assert isinstance(example, NLIExample)
        return tuple(
            (f"{example.premise} ", f"{label}, {example.hypothesis}") for label in self.labels
        )


class Questions(Task):
    name = "questions"
    kind = "qa"
    context_field = "context"
    default_template = "{context}\nQ: {question}\nA:"
    max_answer_tokens = 6

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        return [
            QAExample(
                f"q{i}",
                str(i // 2),
                sentence(i, 1 + i % 6),
                f"what {i}?",
                () if i == 3 else (WORDS[i % len(WORDS)], "the cat"),
                extra={"holders": i % 2},
            )
            for i in range(11)
        ]


def classifier(family: str = "llama") -> LanguageModel:
    lm = tiny.lm(family)
    config = lm.model.config
    config.num_labels = 3
    torch.manual_seed(1)
    net = AutoModelForSequenceClassification.from_config(config).eval()
    setattr(net, net.base_model_prefix, lm.backbone)
    net.score.weight.data.normal_(0, 1)
    return lm.with_model(net)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize("batch_size", [None, 1, 5])
def test_classification_by_definition(family: str, batch_size: int | None) -> None:
    lm, task = classifier(family), Pairs()
    found = evaluate(lm, task, batch_size=batch_size)
    assert found.details["method"] == "head"
    assert found.rows["id"].tolist() == [str(i) for i in range(23)]
    for example, row in zip(task.examples("en"), found.rows.itertuples(), strict=True):
        ids = torch.tensor([lm.tokenizer(task.encode(example))["input_ids"]])
        expected = lm.model(input_ids=ids).logits.double().log_softmax(-1)[0]
        torch.testing.assert_close(
            torch.tensor(row.log_likelihoods, dtype=torch.float64), expected, rtol=1e-4, atol=1e-4
        )
        assert row.prediction == task.labels[int(expected.argmax())]
    known = [row for row in found.rows.itertuples() if isinstance(row.gold, str)]
    assert found.n == len(known) == 17
    assert found.value() == pytest.approx(
        100 * sum(row.gold == row.prediction for row in known) / len(known)
    )
    assert found.chance() == pytest.approx(100 / 3)


def test_an_input_that_ends_in_the_padding_token_is_read_to_its_end() -> None:
    class Ends(Pairs):
        default_template = "{premise} {hypothesis}<pad>"

    found = evaluate(classifier(), Ends())
    plain = evaluate(classifier(), Pairs(template="{premise} {hypothesis}"))
    assert found.rows["prediction"].tolist() == plain.rows["prediction"].tolist()


def log_likelihood(lm: LanguageModel, prefix: str, continuation: str) -> float:
    """By definition: all logits of one text at a time, in float64."""
    start = len(lm.tokenizer(prefix.rstrip())["input_ids"])
    ids = torch.tensor([lm.tokenizer(prefix + continuation)["input_ids"]])
    log_probs = lm.model(input_ids=ids).logits.double().log_softmax(-1)[0]
    return sum(float(log_probs[i - 1, ids[0, i]]) for i in range(start, ids.shape[1]))


@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_verbalised_labels_by_definition(batch_size: int | None) -> None:
    lm, task = tiny.lm("gemma2", final_logit_softcapping=2.0), Pairs()
    found = evaluate(lm, task, lang="en", batch_size=batch_size)
    assert found.details["method"] == "likelihood"
    for example, row in zip(task.examples("en"), found.rows.itertuples(), strict=True):
        expected = [log_likelihood(lm, *choice) for choice in task.verbalised(example, "en")]
        assert list(row.log_likelihoods) == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert row.prediction == task.labels[expected.index(max(expected))]


def test_contexts_that_are_empty_or_too_long() -> None:
    lm = tiny.lm("llama")
    begun = encode_continuation(lm.tokenizer, "", "the cat")
    assert begun.ids[0] == lm.tokenizer.bos_token_id
    assert begun.scored == len(begun.ids) - 1
    long = encode_continuation(lm.tokenizer, "the dog " * 50, "cat", max_length=20)
    assert len(long.ids) == 20
    assert long.cut > 0
    assert lm.tokenizer.decode(long.ids).endswith("cat")
    assert continuation_scores(lm, [long]).shape == (1,)
    with pytest.raises(InputError, match="does not fit"):
        encode_continuation(lm.tokenizer, "a", "the cat " * 50, max_length=20)
    with pytest.raises(InputError, match="nothing to score"):
        encode_continuation(lm.tokenizer, "the cat", "")


def greedy(lm: LanguageModel, prompt: list[int], new: int) -> list[int]:
    """One token after the other, the whole text anew each time, no cache, no batch."""
    ids = list(prompt)
    for _ in range(new):
        token = int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)
        if token == lm.tokenizer.eos_token_id or "\n" in lm.tokenizer.decode([token]):
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("family", sorted(tiny.FAMILIES))
def test_batched_generation_equals_one_by_one(family: str) -> None:
    lm = tiny.lm(family)
    lm.model.generation_config.repetition_penalty = 5.0  # must not be obeyed
    prompts = [lm.tokenizer(sentence(i, 1 + i % 7))["input_ids"] for i in range(9)]
    found = generate(lm, prompts, max_new_tokens=8, batch_size=4)
    for prompt, answer in zip(prompts, found, strict=True):
        expected = greedy(lm, prompt, 8)
        ended = expected[-1] == 2 or "\n" in lm.tokenizer.decode(expected[-1:])
        assert answer.stopped == ended
        text = lm.tokenizer.decode(expected, skip_special_tokens=True)
        assert answer.text == text.split("\n")[0].strip()
        assert list(answer.ids) == (expected[:-1] if ended else expected)


def test_generation_stops_at_the_stop_text_only() -> None:
    lm = tiny.lm("llama")
    newline = lm.tokenizer("\n")["input_ids"][0]
    with torch.no_grad():  # a model that writes new lines whatever it reads
        lm.model.lm_head.weight.zero_()
        lm.model.lm_head.weight[newline] = 1.0
        lm.model.model.norm.weight.zero_()
    lm.model.lm_head.weight.data[newline + 1 :] = 0
    prompts = [lm.tokenizer("the cat\n")["input_ids"]] * 2
    lm.model.lm_head.bias = torch.nn.Parameter(torch.zeros(tiny.VOCABULARY))
    lm.model.lm_head.bias.data[newline] = 5.0
    found = generate(lm, prompts, max_new_tokens=9)
    assert [answer.text for answer in found] == ["", ""]
    assert all(answer.stopped and answer.ids == () for answer in found)


def test_questions_are_scored_officially_and_rows_say_what_happened() -> None:
    lm, task = tiny.lm("llama"), Questions()
    found = evaluate(lm, task, lang="hi")
    assert found.metrics == ("exact_match", "f1")
    assert found.n == 10  # one has no gold answer
    assert found.rows["f1"].isna().sum() == 1
    assert found.rows["holders"].tolist() == [i % 2 for i in range(11)]
    assert 0 <= found.value("f1") <= 100
    paper = evaluate(lm, task, lang="hi", protocol="paper")
    assert paper.metrics == ("exact_match_ids", "f1_ids")
    with pytest.raises(InputError, match="cannot answer"):
        evaluate(classifier(), task)
    with pytest.raises(InputError, match="unknown protocol"):
        evaluate(lm, task, protocol="loose")  # type: ignore[arg-type]


def test_what_is_too_long_loses_context_never_question() -> None:
    class Long(Questions):
        def _read(self, lang: str, split: str) -> Sequence[Example]:
            question = "who is the cat?"
            return [
                QAExample("long", "0", sentence(0, 80), question, ("cat",)),
                QAExample("short", "1", "the cat", question, ("cat",)),
            ]

    lm, task = tiny.lm("llama"), Long()
    long, short = task.examples("en")
    encoded = encode_example(task, long, lm.tokenizer, 60)
    assert len(encoded.ids) <= 60
    assert encoded.cut > 0
    text = lm.tokenizer.decode(encoded.ids)
    assert text.endswith("\nQ: who is the cat?\nA:")
    assert text.startswith(sentence(0, 80)[:8])
    found = evaluate(lm, task)
    assert found.rows["cut"].gt(0).tolist() == [True, False]
    assert found.details["cut"] == 1
    with pytest.raises(InputError, match="does not fit into 5"):
        encode_example(task, short, lm.tokenizer, 5)
    with pytest.raises(InputError, match="no room for a prompt"):
        evaluate(lm, task, max_new_tokens=500)


class KilledError(Exception):
    pass


def test_a_killed_evaluation_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import langneurons.evaluation.runner as runner

    lm, task, path = classifier(), Pairs(), tmp_path / "scores.parquet"
    done: list[str] = []
    real = runner.classification_rows

    def counting(*args: Any, **kwargs: Any) -> Any:
        if len(done) == 10:
            raise KilledError
        done.extend(example.id for example in args[2])
        return real(*args, **kwargs)

    monkeypatch.setattr(runner, "classification_rows", counting)
    with pytest.raises(KilledError):
        evaluate(lm, task, output=path, shard=5)
    assert not path.exists()
    parts = sorted(item.name for item in parts_folder(path).iterdir())
    assert parts == ["00000.parquet", "00001.parquet", "key.json"]
    # A part that was damaged meanwhile is made again, the other is not.
    (parts_folder(path) / "00001.parquet").write_bytes(b"PAR1 broken")
    monkeypatch.setattr(runner, "classification_rows", real)
    seen: list[str] = []
    monkeypatch.setattr(
        runner,
        "classification_rows",
        lambda *args, **kwargs: seen.extend(e.id for e in args[2]) or real(*args, **kwargs),
    )
    resumed = evaluate(lm, task, output=path, shard=5)
    assert seen == [str(i) for i in range(5, 23)]
    assert not parts_folder(path).exists()
    fresh = evaluate(lm, task, shard=5)
    for name in ("id", "prediction", "correct"):
        assert resumed.rows[name].equals(fresh.rows[name])
    for one, other in zip(
        resumed.rows["log_likelihoods"], fresh.rows["log_likelihoods"], strict=True
    ):
        assert list(one) == list(other)
    assert Scores.load(path).value() == fresh.value()


def test_parts_of_another_model_or_task_are_not_mixed_in(tmp_path: Path) -> None:
    from langneurons.evaluation.shards import run_in_shards

    folder = tmp_path / "parts"
    run_in_shards([1, 2], lambda part: [{"x": n} for n in part], folder=folder, key="a", size=1)
    other = run_in_shards(
        [1, 2], lambda part: [{"x": -n} for n in part], folder=folder, key="b", size=1
    )
    assert other["x"].tolist() == [-1, -2]


def test_a_head_of_another_task_and_broken_numbers_are_refused() -> None:
    class Two(Pairs):
        labels = ("yes", "no")

    with pytest.raises(InputError, match="head has 3 classes, pairs has 2"):
        evaluate(classifier(), Two())
    lm = classifier()
    lm.model.score.weight.data.fill_(float("nan"))
    with pytest.raises(RunError, match="not finite"):
        evaluate(lm, Pairs())
    with pytest.raises(InputError, match="batch_size"):
        evaluate(classifier(), Pairs(), batch_size=0)


def test_the_last_token_of_an_input_that_ends_in_padding_is_the_one_that_is_read() -> None:
    """It is left out, so that the scope ``last`` means what the head reads."""
    lm = classifier()
    touch = Intervention(Units([0] * 20 + [1] * 20, [*range(20), *range(20)]), 4.0, scope="last")
    with intervene(lm, touch):
        ends, plain = classify(lm, [[5, 9, 30, 0, 0]]), classify(lm, [[5, 9, 30]])
    assert ends.tolist() == plain.tolist()
    assert plain.tolist() != classify(lm, [[5, 9, 30]]).tolist()
