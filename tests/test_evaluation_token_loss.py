"""Log-probabilities from pieces of the head against the models' own loss."""

import pytest
import torch

import tiny
from langneurons.data import make_blocks
from langneurons.errors import InputError, RunError
from langneurons.evaluation import perplexity, token_loss
from langneurons.evaluation.token_loss import find_head, token_log_probs

# What these families do to their logits after the head, made strong enough to be seen.
AFTER_HEAD = {
    "gemma2": {"final_logit_softcapping": 1.5},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0},
}
TEXTS = ["the cat and the dog", "a", "हिन्दी और اردو 🐈", "the dog " * 40, "the cat and the dog"]


def padded_ids() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, tiny.VOCABULARY, (3, 17), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0  # right padding
    mask[2, :5] = 0  # left padding
    return ids, mask


@pytest.mark.parametrize("family", sorted(tiny.FAMILIES))
def test_equal_to_the_models_own_loss(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_loss, "PIECE_ROWS", 5)
    monkeypatch.setattr(token_loss, "CPU_PIECE_BYTES", 5 * 4 * 7)  # seven words at a time
    lm = tiny.lm(family, **AFTER_HEAD.get(family, {}))
    head = find_head(lm)
    assert head.finish is not None
    ids, mask = padded_ids()
    found = token_log_probs(lm, head, ids, mask, mask.bool())
    for row in range(3):
        keep = mask[row].bool()
        alone = ids[row][keep][None]
        loss = lm.model(input_ids=alone, attention_mask=torch.ones_like(alone), labels=alone).loss
        assert -found[row][keep][1:].mean() == pytest.approx(float(loss), abs=5e-6)
        assert found[row][~keep].abs().sum() == 0


def test_a_model_with_an_unknown_end_runs_whole() -> None:
    lm = tiny.lm("llama")
    plain = token_log_probs(lm, find_head(lm), *padded_ids(), padded_ids()[1].bool())
    before = lm.model.forward

    def doubled(*args: object, **kwargs: object) -> object:
        output = before(*args, **kwargs)
        output.logits = output.logits * 2
        return output

    lm.model.forward = doubled  # type: ignore[method-assign]
    head = find_head(lm)
    assert head.finish is None
    ids, mask = padded_ids()
    found = token_log_probs(lm, head, ids, mask, mask.bool())
    logits = before(input_ids=ids[:1]).logits.float() * 2
    expected = logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    torch.testing.assert_close(found[0, 1:], expected)
    assert not torch.allclose(found, plain)


class OtherHead(torch.nn.Linear):
    """Stands for a head with an adapter or a quantised one: no plain linear layer."""


def test_no_logits_of_the_whole_batch_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_loss, "PIECE_BYTES", 4 * 4 * tiny.VOCABULARY)
    monkeypatch.setattr(token_loss, "PIECE_ROWS", 6)
    monkeypatch.setattr(token_loss, "CPU_PIECE_BYTES", 6 * 4 * 10)
    lm = tiny.lm("llama")
    head = find_head(lm)
    sizes: list[tuple[int, ...]] = []
    linear = torch.nn.functional.linear

    def seen(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        sizes.append((len(x), len(weight)))
        return linear(x, weight, bias)

    ids, mask = padded_ids()
    monkeypatch.setattr(token_loss.functional, "linear", seen)
    sliced = token_log_probs(lm, head, ids, mask, mask.bool())
    monkeypatch.undo()
    sizes = [size for size in sizes if size[1] in (10, tiny.VOCABULARY % 10)]
    assert max(rows for rows, _ in sizes) == 6
    assert sum(rows * words for rows, words in sizes) == (16 + 9 + 11) * tiny.VOCABULARY

    monkeypatch.setattr(token_loss, "PIECE_BYTES", 4 * 4 * tiny.VOCABULARY)
    head.module.__class__ = OtherHead
    rows: list[int] = []
    head.module.register_forward_hook(lambda _, __, out: rows.append(out.shape[0]))
    whole = token_log_probs(lm, head, ids, mask, mask.bool())
    assert max(rows) == 4
    assert sum(rows) == 16 + 9 + 11
    torch.testing.assert_close(whole, sliced, rtol=0, atol=1e-5)


def brute_force(texts: list[str], block: int) -> tuple[float, int]:
    """Loss sum and tokens by definition: each piece of each document alone, in float64."""
    lm = tiny.lm("llama")
    model = lm.model.double()
    total, count = 0.0, 0
    for text in texts:
        ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), block):
            piece = torch.tensor([ids[start : start + block]])
            log_probs = model(input_ids=piece).logits.log_softmax(-1)
            for place in range(1, piece.shape[1]):
                total -= float(log_probs[0, place - 1, piece[0, place]])
                count += 1
    return total, count


@pytest.mark.parametrize("batch_size", [None, 1, 3])
@pytest.mark.parametrize("side", ["left", "right"])
def test_perplexity_by_definition(batch_size: int | None, side: str) -> None:
    lm = tiny.lm("llama")
    blocks = make_blocks(TEXTS, lm.tokenizer, block=16, padding_side=side)
    found = perplexity(lm, blocks, batch_size=batch_size)
    loss, count = brute_force(TEXTS, 16)
    assert found.tokens == count
    assert found.loss == pytest.approx(loss / count, rel=1e-5)
    assert found.value == pytest.approx(2.718281828459045 ** (loss / count), rel=1e-4)
    assert found.rows["document"].tolist() == sorted(found.rows["document"])
    by_document = {}
    for number, text in enumerate(TEXTS):
        part, tokens = brute_force([text], 16)
        if tokens:
            by_document[number] = (part, tokens)
    for row in found.rows.itertuples():
        part, tokens = by_document[row.document]
        assert (row.loss_sum, row.tokens) == (pytest.approx(part, rel=1e-4), tokens)
    assert len(found.rows) == len(by_document)


def test_packed_blocks_give_each_token_to_its_document() -> None:
    lm = tiny.lm("llama")
    blocks = make_blocks(TEXTS, lm.tokenizer, block=16, pack=True)
    found = perplexity(lm, blocks)
    lengths = [len(lm.tokenizer(t, add_special_tokens=False)["input_ids"]) for t in TEXTS]
    assert found.tokens == sum(lengths) - len(blocks)  # the first token of each block has no left
    single = perplexity(lm, blocks, batch_size=1)
    assert single.rows["tokens"].tolist() == found.rows["tokens"].tolist()
    assert single.loss == pytest.approx(found.loss, rel=1e-6)


def test_begin_token_makes_the_first_token_count() -> None:
    lm = tiny.lm("llama")
    plain = perplexity(lm, ["the cat"])
    begun = perplexity(lm, make_blocks(["the cat"], lm.tokenizer, bos=True))
    assert begun.tokens == plain.tokens + 1


def test_interval_and_wording() -> None:
    found = perplexity(tiny.lm("llama"), TEXTS)
    low, high = found.interval()
    assert low < found.value < high
    assert "nats a token" in str(found)
    assert f"{found.tokens:,} tokens" in str(found)


def test_what_cannot_be_measured_is_said() -> None:
    lm = tiny.lm("llama")
    with pytest.raises(InputError, match="no token to predict"):
        perplexity(lm, ["a"])
    with pytest.raises(InputError, match="tokens applies to texts"):
        perplexity(lm, make_blocks(["the cat"], lm.tokenizer), tokens=3)
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(RunError, match="not a number"):
        perplexity(lm, ["the cat and the dog"])
