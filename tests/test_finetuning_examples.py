"""Token ids, labels, padding and the order of batches."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from finetuning_world import Answers, Classes
from langneurons.data.tasks import NLIExample, QAExample
from langneurons.errors import InputError
from langneurons.finetuning.examples import (
    IGNORE,
    Item,
    collate,
    encode_items,
    epoch_batches,
    optimiser_steps,
    terms,
    total_steps,
)
from langneurons.finetuning.loss import accepted, loss_and_right, loss_sum


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=70),
    batch=st.integers(1, 9),
    epoch=st.integers(0, 3),
)
def test_every_epoch_holds_every_example_once(lengths, batch, epoch):
    batches = epoch_batches(lengths, batch, seed=1, epoch=epoch)
    assert sorted(itertools.chain(*batches)) == list(range(len(lengths)))
    assert all(len(b) <= batch for b in batches)
    assert batches == epoch_batches(lengths, batch, seed=1, epoch=epoch)


def test_epochs_and_seeds_differ_and_lengths_are_alike():
    lengths = [1 + (7 * i) % 50 for i in range(400)]
    first = epoch_batches(lengths, 10, seed=0, epoch=0)
    assert first != epoch_batches(lengths, 10, seed=0, epoch=1)
    assert first != epoch_batches(lengths, 10, seed=1, epoch=0)


@pytest.mark.parametrize("count", [200, 1000, 4000])
def test_batches_hold_little_padding_however_few_examples_there_are(count):
    generator = torch.Generator().manual_seed(0)
    # As those of XNLI: from a dozen tokens to two hundred, half of them within 30 to 55.
    lengths = (0.4 * torch.randn(count, generator=generator) + 3.7).exp().clamp(12, 200).int()
    lengths = lengths.tolist()
    for batch in (8, 16) if count < 1000 else (8, 16, 32):
        batches = epoch_batches(lengths, batch, seed=0, epoch=0)
        padded = sum(max(lengths[i] for i in b) * len(b) for b in batches)
        assert padded < (1.2 if count < 1000 else 1.1) * sum(lengths)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 40),
    batch=st.integers(1, 7),
    accumulation=st.integers(1, 4),
    epochs=st.integers(1, 3),
)
def test_number_of_steps(count, batch, accumulation, epochs):
    options = {
        "batch_size": batch,
        "accumulation": accumulation,
        "epochs": epochs,
        "steps": None,
    }
    steps = list(optimiser_steps([3] * count, **options, seed=0))
    assert len(steps) == total_steps(count, **options)
    seen = [i for step in steps for micro in step for i in micro]
    assert sorted(seen) == sorted(list(range(count)) * epochs)


def test_answers_are_what_follows_the_prompt():
    task, tokenizer = Answers(), tiny.tokenizer()
    examples = task.examples("en", "train")
    for item, example in zip(
        encode_items(task, examples, tokenizer, max_length=200, pad=0), examples, strict=True
    ):
        assert tokenizer.decode(item.ids[: item.label]) == task.encode(example)
        assert tokenizer.decode(item.ids[item.label :]) == task.target(example)


def test_long_contexts_are_shortened_and_answers_kept():
    task, tokenizer = Answers(), tiny.tokenizer()
    example = QAExample(id="1", group="1", context="the " * 300, question="b", answers=("bb",))
    (item,) = encode_items(task, [example], tokenizer, max_length=40, pad=0)
    assert len(item.ids) <= 40
    text = tokenizer.decode(item.ids)
    assert text.endswith("Q b A bb\n")


def test_classification_inputs_do_not_end_in_padding():
    task = Classes()
    tokenizer = tiny.tokenizer()
    example = NLIExample(id="1", group="1", premise="cat", hypothesis="a</s></s>", label=0)
    (item,) = encode_items(task, [example], tokenizer, max_length=60, pad=2)
    assert item.ids[-1] != 2


@pytest.mark.parametrize("label", [-1, 3, None])
def test_missing_or_wrong_labels_are_named(label):
    example = NLIExample(id="x7", group="1", premise="a", hypothesis="b", label=label)
    with pytest.raises(InputError, match=r"'x7' has the label .*; training needs 0 to 2"):
        encode_items(Classes(), [example], tiny.tokenizer(), max_length=60, pad=0)


def reference_loss(model, items):
    """Summed loss of answer tokens, one example at a time without padding, float64."""
    total = 0.0
    for item in items:
        logits = model(input_ids=torch.tensor([item.ids])).logits[0].double().log_softmax(-1)
        for position in range(item.label, len(item.ids)):
            total -= float(logits[position - 1, item.ids[position]])
    return total


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom", "gemma2", "cohere"])
def test_loss_is_of_answer_tokens_only(family):
    model = tiny.model(family)
    items = [Item(list(range(5, 5 + n)), start) for n, start in ((9, 6), (14, 12), (6, 3))]
    batch = collate(items, kind="qa", pad=0)
    assert [terms(item, "qa") for item in items] == [3, 2, 3]
    assert int((batch.labels != IGNORE).sum()) == 8
    with torch.no_grad():
        loss = loss_sum(model, batch, accepted(model))
        again, right = loss_and_right(model, batch, accepted(model))
        expected = reference_loss(model, items)
    assert float(loss) == float(again) == pytest.approx(expected, rel=1e-5)
    assert 0 <= int(right) <= 8


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "cohere"])
def test_the_head_sees_the_labelled_positions_alone_and_gradients_are_those_of_all(family):
    model = tiny.model(family)
    head = model.get_output_embeddings()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    items = [Item(list(range(5, 5 + n)), start) for n, start in ((9, 6), (14, 12), (6, 3))]
    batch = collate(items, kind="qa", pad=0)
    rows = []
    with head.register_forward_hook(lambda _, given, out: rows.append(out.shape[:-1].numel())):
        loss_sum(model, batch, accepted(model)).backward()
    assert rows == [8]
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    positions = (batch.attention_mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=positions
    ).logits[:, :-1]
    torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum"
    ).backward()
    for gradient, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)
    assert not head._forward_pre_hooks


def test_a_model_without_a_module_for_its_head_is_trained_all_the_same(monkeypatch):
    model = tiny.model("llama")
    items = [Item(list(range(5, 5 + n)), start) for n, start in ((9, 6), (14, 12))]
    batch = collate(items, kind="qa", pad=0)
    with torch.no_grad():
        plain = loss_sum(model, batch, accepted(model))
        monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
        whole = loss_sum(model, batch, accepted(model))
    assert float(whole) == pytest.approx(float(plain), rel=1e-6)


def test_padding_to_a_length():
    items = [Item([5, 6, 7], 1), Item([5], 0)]
    batch = collate(items, kind="classification", pad=0, length=6)
    assert batch.input_ids.tolist() == [[5, 6, 7, 0, 0, 0], [5, 0, 0, 0, 0, 0]]
    assert batch.attention_mask.sum(-1).tolist() == [3, 1]
    assert batch.labels.tolist() == [1, 0]
