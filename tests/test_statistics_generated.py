"""Statistics of what the model writes, against writing it token by token and recording each one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel
from typer.testing import CliRunner

import tiny
from langneurons.cli.app import app
from langneurons.data import make_blocks
from langneurons.errors import InputError
from langneurons.identification import Units
from langneurons.intervention import intervene
from langneurons.models import LanguageModel, hook_site
from langneurons.statistics import Statistics, collect, estimate, generating

PROMPTS = ["the cat", "a dog and the cat", "चित्र", "the cat and the dog and the cat and", "x"]


def model(family: str = "llama", **changes: Any) -> LanguageModel:
    lm = tiny.lm(family, **changes)
    lm.model.double()  # no batch shape changes which token is the most probable
    return lm


def by_hand(lm: LanguageModel, prompt: str, new: int, ends: tuple[int, ...]) -> torch.Tensor:
    """Activations (tokens, L, U) of the greedy continuation, each token of it fed alone."""
    ids = lm.tokenizer(prompt)["input_ids"]
    rows = []
    with torch.no_grad():
        for _ in range(new):
            token = int(lm.model(torch.tensor([ids])).logits[0, -1].argmax())
            if token in ends:
                break
            ids.append(token)
            seen: dict[int, torch.Tensor] = {}
            with hook_site(lm, "mlp.act", lambda layer, x, seen=seen: seen.update({layer: 1 * x})):
                lm.backbone(input_ids=torch.tensor([ids]))
            if token not in lm.special_ids:
                rows.append(torch.stack([seen[layer][0, -1] for layer in range(lm.layers)]))
    return torch.stack(rows) if rows else torch.zeros(0, lm.layers, lm.sites["mlp.act"].width)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "opt", "bloom"])
@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_generated_tokens_alone_are_counted(family: str, batch_size: int | None) -> None:
    lm = model(family) if family != "bloom" else tiny.lm(family)
    # Some token that it writes ends the text of some prompts before the others'.
    first = by_hand(lm, PROMPTS[1], 3, ())
    assert len(first)
    ends = (2, 17)
    lm.model.generation_config.eos_token_id = list(ends)
    stats = collect(lm, {"xx": PROMPTS}, generated=7, batch_size=batch_size, rows=100)
    x = torch.cat([by_hand(lm, prompt, 7, ends) for prompt in PROMPTS]).double()
    assert stats.tokens["xx"] == len(x)
    if family != "bloom":
        assert torch.equal(stats.count_positive["xx"], (x > 0).sum(0))
    tolerance = 1e-4 if family == "bloom" else 1e-9
    torch.testing.assert_close(stats.mean("xx"), x.mean(0), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(stats.maximum("xx"), x.amax(0), rtol=tolerance, atol=tolerance)


def test_an_end_token_ends_and_is_not_counted() -> None:
    lm = model()
    blocks = generating.generate_blocks(lm, generating.Prompts(lm, PROMPTS, None), 6)
    width = len(lm.tokenizer(PROMPTS[0])["input_ids"])
    third = int(blocks.input_ids[0, width + 2])
    lm.model.generation_config.eos_token_id = third
    again = generating.generate_blocks(lm, generating.Prompts(lm, PROMPTS, None), 6)
    assert int(again.counted[0].sum()) <= 2
    assert third not in again.input_ids[again.counted].tolist()


def test_what_is_finished_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = model()
    first = collect(lm, {"xx": PROMPTS}, generated=4, output=tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("generated again")

    monkeypatch.setattr(generating, "_continue", refuse)
    again = collect(lm, {"xx": PROMPTS}, generated=4, output=tmp_path)
    assert again.fingerprint == first.fingerprint == Statistics.load(tmp_path).fingerprint
    for change in ({"generated": 5}, {"temperature": 0.5}, {"seed": 1}, {"bos": True}):
        with pytest.raises(AssertionError, match="generated again"):
            collect(lm, {"xx": PROMPTS}, **{"generated": 4, "output": tmp_path, **change})
    with pytest.raises(AssertionError, match="generated again"):
        collect(lm, {"xx": PROMPTS[:4]}, generated=4, output=tmp_path)


@pytest.mark.parametrize("change", ["weights", "hook on the head", "hook on the model", "ends"])
def test_what_another_head_wrote_is_not_taken(tmp_path: Path, change: str) -> None:
    """The head chooses the tokens, though it lies outside the model's fingerprint."""
    lm = model(tie_word_embeddings=False)
    first = collect(lm, {"xx": PROMPTS}, generated=4, output=tmp_path)
    if change == "weights":
        with torch.no_grad():
            lm.model.lm_head.weight.neg_()
    elif change == "hook on the head":
        lm.model.lm_head.register_forward_hook(lambda _module, _args, logits: -logits)
    elif change == "hook on the model":
        lm.model.register_forward_hook(lambda *call: setattr(call[-1], "logits", -call[-1].logits))
    else:
        blocks = generating.generate_blocks(lm, generating.Prompts(lm, PROMPTS, None), 4)
        lm.model.generation_config.eos_token_id = int(blocks.input_ids[blocks.counted][2])
    fresh = collect(lm, {"xx": PROMPTS}, generated=4)
    assert fresh["xx"].texts != first["xx"].texts
    again = collect(lm, {"xx": PROMPTS}, generated=4, output=tmp_path)
    assert again.fingerprint == fresh.fingerprint
    told = "tokens that end a text" if change == "ends" else "head of the model that writes"
    with pytest.raises(InputError, match=told):
        first.merge(collect(lm, {"yy": PROMPTS}, generated=4))
    # Given text does not pass through the head.
    given = collect(lm, {"xx": PROMPTS}, output=tmp_path / "given")
    if change == "weights":
        with torch.no_grad():
            lm.model.lm_head.weight.neg_()
    assert given.fingerprint == collect(lm, {"xx": PROMPTS}).fingerprint


def test_draws_are_those_of_the_seed_and_leave_the_generator_alone() -> None:
    lm = model()

    def drawn(seed: int) -> Statistics:
        return collect(lm, {"xx": PROMPTS}, generated=6, temperature=1.5, seed=seed)

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = drawn(0)
    assert torch.equal(torch.rand(1), expected)
    assert one.fingerprint == drawn(0).fingerprint
    assert one.fingerprint != drawn(1).fingerprint


def test_under_an_intervention_it_writes_what_it_then_writes() -> None:
    lm = model()
    plain = collect(lm, {"xx": PROMPTS}, generated=6)
    units = Units.from_mask(torch.ones(lm.layers, tiny.UNITS))
    with intervene(lm, units, 1.0):
        changed = collect(lm, {"xx": PROMPTS}, generated=6)
    assert changed["xx"].texts != plain["xx"].texts


def test_tokens_stop_the_prompts_and_an_estimate_is_an_upper_bound() -> None:
    lm = model()
    whole = collect(lm, {"xx": PROMPTS}, generated=6, batch_size=1)
    some = collect(lm, {"xx": PROMPTS}, generated=6, batch_size=1, tokens=8)
    assert 8 <= some.tokens["xx"] < whole.tokens["xx"]
    expected = estimate(lm, {"xx": PROMPTS}, generated=6)
    assert expected.tokens["xx"] == 30 >= whole.tokens["xx"]
    assert expected.seconds is None


def test_generated_and_given_text_do_not_merge() -> None:
    lm = model()
    with pytest.raises(InputError, match="generated 6 and None"):
        collect(lm, {"xx": PROMPTS}, generated=6).merge(collect(lm, {"yy": PROMPTS}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generated": 0}, "generated must be at least 1"),
        ({"generated": 3, "block": 64}, "block and pack cut text"),
        ({"generated": 3, "temperature": -1}, "temperature must be 0 or more"),
        ({"generated": 500}, "longer than the 128 positions"),
    ],
)
def test_what_cannot_be_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        collect(tiny.lm("gpt2"), {"xx": PROMPTS}, **options)


def test_what_cannot_be_written_from_is_refused() -> None:
    lm = tiny.lm("gpt2")
    with pytest.raises(InputError, match="there is no prompt"):
        collect(lm, {"xx": []}, generated=3)
    with pytest.raises(InputError, match="prompt 2 has no token"):
        collect(lm, {"xx": ["a", ""]}, generated=3)
    with pytest.raises(InputError, match="must be texts, not blocks"):
        collect(lm, {"xx": make_blocks(PROMPTS, lm.tokenizer)}, generated=3)
    bare = copy.deepcopy(lm.tokenizer)
    bare.bos_token = None
    with pytest.raises(InputError, match="no beginning-of-sequence token"):
        collect(LanguageModel(lm.model, bare, "bare"), {"xx": PROMPTS}, generated=3, bos=True)
    lm.model.generation_config.eos_token_id = list(range(300))
    with pytest.raises(InputError, match="wrote no token that counts"):
        collect(lm, {"xx": PROMPTS}, generated=3)
    headless = AutoModel.from_config(lm.model.config)
    with pytest.raises(InputError, match="cannot generate"):
        collect(LanguageModel(headless, lm.tokenizer, "bare"), {"xx": PROMPTS}, generated=3)


def test_the_command_line_collects_what_is_written(tmp_path: Path) -> None:
    lm = tiny.lm()
    lm.model.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "xx.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    told = ["collect", "--model", str(tmp_path / "model"), "--text", f"xx={tmp_path}/xx.txt",
            "--generated", "4", "--dtype", "float32", "-o", str(tmp_path / "out")]  # fmt: skip
    made = CliRunner().invoke(app, told)
    assert made.exit_code == 0, made.output
    found = Statistics.load(tmp_path / "out")
    expected = collect(lm, {"xx": PROMPTS}, generated=4)
    assert found.tokens == expected.tokens
    assert found["xx"].options["generated"] == 4
