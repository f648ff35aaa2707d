"""A result is made by one model, adapter, recipe and head; no other goes into its parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import tiny
from finetuning_world import Answers, Classes
from langneurons.errors import InputError
from langneurons.evaluation import Scores, evaluate, perplexity
from langneurons.evaluation import runner as runner_module
from langneurons.evaluation.identity import identity
from langneurons.evaluation.shards import parts_folder, run_in_shards
from langneurons.finetuning import finetune, load_adapter
from langneurons.identification import Units
from langneurons.intervention import Intervention, intervene
from langneurons.models import LanguageModel, wrap

FAST = {"steps": 2, "batch_size": 8, "rank": 3, "learning_rate": 1e-2, "dtype": "fp32"}
UNITS = Units([0, 0, 0, 1, 1, 1], [1, 2, 40, 0, 9, 47])
WAYS = ("classification_rows", "likelihood_rows", "qa_rows")


class KilledError(Exception):
    pass


def interrupted(score: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Score until the second part begins, then die."""
    with monkeypatch.context() as patch:
        for name in WAYS:
            real, done = getattr(runner_module, name), []

            def once(*args: Any, real: Any = real, done: list[int] = done, **options: Any) -> Any:
                if done:
                    raise KilledError
                done.append(1)
                return real(*args, **options)

            patch.setattr(runner_module, name, once)
        with pytest.raises(KilledError):
            score()


def rows(scores: Scores) -> list[list[Any]]:
    """The rows as plain values; read from disk their lists are arrays."""
    return [
        [list(value) if hasattr(value, "__len__") and not isinstance(value, str) else value
         for value in row]
        for row in scores.rows.itertuples(index=False)
    ]  # fmt: skip


class Small(Classes):
    size = 12


class SmallAnswers(Answers):
    size = 12
    max_answer_tokens = 3


def tuned(path: Path, task: Any, **options: Any) -> Any:
    return finetune(tiny.lm(), task, "en", UNITS, output=path, **{**FAST, **options})


PAIRS: dict[str, Callable[[Path], tuple[Any, ...]]] = {
    # What differs between two runs into one output: (model, arguments) of each, and the task.
    "learning rate": lambda at: (
        tuned(at / "a", Small()), tuned(at / "b", Small(), learning_rate=2e-2)),
    "steps": lambda at: (tuned(at / "a", Small()), tuned(at / "b", Small(), steps=3)),
    "head": lambda at: (
        tuned(at / "a", Small()), tuned(at / "b", Small(), head="last-position", max_length=40)),
    "reading length": lambda at: (
        tuned(at / "a", Small(), head="last-position", max_length=40),
        tuned(at / "b", Small(), head="last-position", max_length=60)),
    "answers": lambda at: (
        tuned(at / "a", SmallAnswers()), tuned(at / "b", SmallAnswers(), steps=3)),
    "full": lambda at: (
        tuned(at / "a", Small(), method="full"), tuned(at / "b", Small(), method="full", steps=3)),
    "full answers": lambda at: (
        tuned(at / "a", SmallAnswers(), method="full"),
        tuned(at / "b", SmallAnswers(), method="full", steps=3)),
    "no adapter": lambda at: (None, tuned(at / "b", SmallAnswers())),
}  # fmt: skip


@pytest.mark.parametrize("loaded", [False, True], ids=["adapter=", "load_adapter"])
@pytest.mark.parametrize("pair", PAIRS)
def test_parts_of_another_training_are_not_taken(
    pair: str, loaded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = PAIRS[pair](tmp_path)
    task = SmallAnswers() if "answer" in pair or pair == "no adapter" else Small()
    path = tmp_path / "scores.parquet"

    def score(adapter: Any, **options: Any) -> Scores:
        lm = tiny.lm()
        if loaded and adapter is not None:
            return evaluate(load_adapter(lm, adapter), task, shard=4, **options)
        return evaluate(lm, task, adapter=adapter, shard=4, **options)

    interrupted(lambda: score(first, output=path), monkeypatch)
    assert (parts_folder(path) / "00000.parquet").is_file()
    fresh = score(second)
    assert rows(score(second, output=path)) == rows(fresh)
    # The same training goes on where it stopped.
    interrupted(lambda: score(second, output=path), monkeypatch)
    skipped: list[int] = []
    real = run_in_shards
    monkeypatch.setattr(
        runner_module, "run_in_shards",
        lambda *args, **options: real(*args, **{**options, "skipped": skipped.append}),
    )  # fmt: skip
    assert rows(score(second, output=path)) == rows(fresh)
    assert sum(skipped) == 4


def peft_model(alpha: int = 4, seed: int = 0) -> LanguageModel:
    config = LoraConfig(
        r=2, lora_alpha=alpha, target_modules=["gate_proj"], init_lora_weights=False
    )
    plain = tiny.model()
    torch.manual_seed(seed)
    return wrap(get_peft_model(plain, config), tiny.tokenizer(), name="tiny-llama")


def test_identity_knows_how_a_model_was_changed() -> None:
    lm = tiny.lm()
    plain = identity(lm)
    assert identity(tiny.lm()) == plain
    adapted, other, scaled = peft_model(), peft_model(seed=1), peft_model(alpha=8)
    found = [plain, identity(adapted), identity(other), identity(scaled)]
    with adapted.model.disable_adapter():
        assert identity(adapted)["adapter"] is None
    adapted.model.merge_adapter()
    found.append(identity(adapted))
    # The same weights, read at another place.
    for length in (40, 60):
        adapted.model.config.reading_length = length
        found.append(identity(adapted))
    adapted.model.config.pad_token_id = 7
    found.append(identity(adapted))
    head = tiny.lm()
    with torch.no_grad():
        head.model.lm_head.weight.mul_(1.5)
    found.append(identity(head))
    found.append(identity(wrap(tiny.model().to(torch.bfloat16), tiny.tokenizer(), "tiny-llama")))
    with intervene(lm, UNITS, 0.5):
        found.append(identity(lm))
    assert len({json.dumps(item, sort_keys=True) for item in found}) == len(found)
    assert identity(lm) == plain


def test_parts_of_another_size_are_not_taken(tmp_path: Path) -> None:
    def work(part: Any) -> list[dict[str, int]]:
        return [{"x": number} for number in part]

    # Both sizes have a second part of four items, other ones.
    run_in_shards(range(8), work, folder=tmp_path / "parts", key="a", size=4)
    found = run_in_shards(range(10), work, folder=tmp_path / "parts", key="a", size=6)
    assert found["x"].tolist() == list(range(10))


@pytest.mark.parametrize("scope", ["last", "generated", "padding"])
def test_a_scope_that_reaches_nothing_scored_is_refused(scope: Any, tmp_path: Path) -> None:
    lm, touch = tiny.lm(), Intervention(UNITS, 3.0, scope=scope)
    message = f"scope '{scope}' touches no scored token"
    with pytest.raises(InputError, match=message):
        perplexity(lm, ["the cat and the dog"], intervention=touch)

    class Verbal(Small):
        def verbalised(self, example: Any, lang: str) -> tuple[tuple[str, str], ...]:
            return tuple((f"{example.premise} ", label) for label in self.labels)

    with pytest.raises(InputError, match=message):
        evaluate(lm, Verbal(), intervention=touch)
    adapter = tuned(tmp_path / "a", Small())
    padded = tuned(tmp_path / "b", Small(), head="last-position", max_length=40)
    for trained, fits in ((adapter, {"last"}), (padded, {"last", "padding"})):
        if scope in fits:
            plain = evaluate(lm, Small(), adapter=trained)
            done = evaluate(lm, Small(), adapter=trained, intervention=touch)
            moved = done.rows["log_likelihoods"].tolist() != plain.rows["log_likelihoods"].tolist()
            # The last real token lies before the padding that this head reads; it is seen there.
            assert moved
        else:
            with pytest.raises(InputError, match=message):
                evaluate(lm, Small(), adapter=trained, intervention=touch)
    if scope == "padding":
        with pytest.raises(InputError, match=message):
            evaluate(lm, SmallAnswers(), intervention=touch)
    else:
        evaluate(lm, SmallAnswers(), intervention=touch, max_new_tokens=2)


def test_a_head_saved_without_a_task_type_is_used_or_refused(tmp_path: Path) -> None:
    lm, task = tiny.lm(), Small()
    tuned(tmp_path, task)
    expected = evaluate(lm, task, adapter=tmp_path)
    assert expected.details["method"] == "head"
    (tmp_path / "langneurons.json").unlink()
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text())
    config["task_type"] = None
    file.write_text(json.dumps(config))
    found = evaluate(lm, task, adapter=tmp_path)
    assert found.details["method"] == "head"
    assert found.rows["log_likelihoods"].tolist() == expected.rows["log_likelihoods"].tolist()
    # Whatever else an adapter holds is used, or it is refused: nothing is dropped unsaid.
    weights = load_file(tmp_path / "adapter_model.safetensors")
    weights = {name.replace("score", "classifier"): value for name, value in weights.items()}
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"holds the weights '.*classifier.*', for which"):
        load_adapter(lm, tmp_path)


@pytest.mark.parametrize("where", ["head", "model"])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_hooks_outside_the_backbone_are_told(where: str, family: str) -> None:
    """On logits that are negated every score is another one."""
    lm = tiny.lm(family)
    plain = identity(lm)
    module = lm.model.lm_head if where == "head" else lm.model
    handle = module.register_forward_hook(lambda *call: None)
    hooked = identity(lm)
    assert {key for key in plain if plain[key] != hooked[key]} == {"head"}
    assert identity(lm) == hooked
    handle.remove()
    assert identity(lm) == plain


def test_an_adapter_of_the_head_that_is_switched_off_is_told() -> None:
    lm = tiny.lm(tie_word_embeddings=False)
    tuned = wrap(get_peft_model(lm.model, LoraConfig(target_modules=["lm_head"])), lm.tokenizer)
    acting = identity(tuned)
    with tuned.model.disable_adapter():
        assert identity(tuned)["head"] != acting["head"]
    assert identity(tuned) == acting


def test_parts_made_under_a_hook_on_the_head_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, path = tiny.lm(), tmp_path / "scores.parquet"
    handle = lm.model.lm_head.register_forward_hook(lambda _module, _args, logits: -logits)
    interrupted(lambda: evaluate(lm, SmallAnswers(), shard=4, output=path), monkeypatch)
    handle.remove()
    fresh = evaluate(lm, SmallAnswers(), shard=4)
    assert rows(evaluate(lm, SmallAnswers(), shard=4, output=path)) == rows(fresh)
