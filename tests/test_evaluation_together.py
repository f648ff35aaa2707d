"""Passes that begin in the middle: equal to whole ones to the last bit, and really shorter."""

import contextlib

import pandas as pd
import pytest
import torch

import bars
import tiny
from langneurons.data import make_blocks
from langneurons.evaluation import perplexity, unit_effects
from langneurons.evaluation import together as shared
from langneurons.evaluation.language_modelling import loss_ratio
from langneurons.evaluation.together import first_layer, kept_layers, pays, perplexities
from langneurons.evaluation.token_loss import find_head
from langneurons.identification import Units
from langneurons.intervention import Intervention, Value
from langneurons.models.prefix import keeping, resuming

DEEP = 4
TEXTS = ["A short one.", "Another document, rather longer than the first.", "A third: words " * 9]


def deep(family="llama"):
    return tiny.lm(family, num_hidden_layers=DEEP, n_layer=DEEP)


def cell(layer, index=3, **options):
    return Intervention(Units([layer], [index]), options.pop("value", 2.5), **options)


def interventions():
    """Every kind of entry: sites, tokens, values, several at once, nothing."""
    return [
        None,
        cell(0),
        cell(3),
        cell(2, mode="add", site="resid"),
        cell(2, site="attn.q"),
        cell(3, site="attn.out"),
        cell(1, scope="text", start=2),
        cell(3, scope="rest", start=1),
        cell(3, value=Value.unit(1, 5)),
        cell(2, probability=0.5, seed=1),
        [cell(3), cell(1, index=7, value=-1.0)],
        Intervention(Units.empty()),
    ]


def same(found, wanted):
    pd.testing.assert_frame_equal(found.rows, wanted.rows, check_exact=True)


@pytest.mark.parametrize("kept_bytes", [0, 5_000, 2**30])
@pytest.mark.filterwarnings("ignore:.*lie outside what the activation")
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "bloom", "opt", "falcon"])
def test_equal_to_whole_passes_to_the_last_bit(family, kept_bytes):
    lm = deep(family)
    blocks = make_blocks(TEXTS, lm.tokenizer, block=32, pack=False)
    found = perplexities(lm, blocks, interventions(), batch_size=2, kept_bytes=kept_bytes)
    for result, item in zip(found, interventions(), strict=True):
        same(result, perplexity(lm, blocks, intervention=item, batch_size=2))


def calls(lm, layer):
    """Counts how often the MLP of a layer runs, without a hook."""
    module = lm.sites.downs[layer]
    seen = []
    plain = module.forward

    def counted(*args):
        seen.append(1)
        return plain(*args)

    module.forward = counted
    return seen


def test_layers_below_the_first_touched_one_run_once_for_all():
    lm = deep()
    blocks = make_blocks(TEXTS, lm.tokenizer, block=32)
    items = [cell(3, index=number) for number in range(5)] + [cell(1)]
    perplexities(lm, blocks[:1], items)  # the comparison of both ways, once a model
    head = find_head(lm)
    seen = [calls(lm, layer) for layer in range(DEEP)]
    perplexities(lm, blocks, items, batch_size=len(blocks), head=head)
    assert [len(item) for item in seen] == [1, 2, 2, 7]


def test_a_model_that_carries_more_than_the_hidden_state_is_run_whole():
    lm = deep()
    first, last = lm.layer_modules[0], lm.layer_modules[-1]
    before, behind = first.forward, last.forward
    state = {"seen": False}

    def note(*args, **kwargs):
        state["seen"] = True
        return before(*args, **kwargs)

    def use(*args, **kwargs):
        found = behind(*args, **kwargs)
        scale, state["seen"] = (2.0 if state["seen"] else 1.0), False
        return found * scale

    first.forward, last.forward = note, use
    blocks = make_blocks(TEXTS, lm.tokenizer, block=32)
    items = [cell(3), cell(2)]
    for result, item in zip(perplexities(lm, blocks, items), items, strict=True):
        same(result, perplexity(lm, blocks, intervention=item))
    assert not all(shared._resumable[lm.backbone].values())


SHARED = {
    "gemma3n_text": {"num_kv_shared_layers": 3, "intermediate_size": [48] * 10, "laurel_rank": 8,
                     "vocab_size_per_layer_input": 300, "hidden_size_per_layer_input": 8,
                     "activation_sparsity_pattern": [0.0] * 10},
    "gemma4_text": {"num_kv_shared_layers": 3, "vocab_size_per_layer_input": 300,
                    "hidden_size_per_layer_input": 8, "global_head_dim": 8},
}  # fmt: skip


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.filterwarnings("ignore:.*lie outside what the activation")
def test_layers_that_share_keys_and_values_are_run_whole(kind, monkeypatch):
    """Behind the middle a pass can begin, behind the layers whose keys are shared it cannot."""
    monkeypatch.setitem(tiny.FAMILIES, kind, (kind, {**tiny.FAMILIES["gemma3"][1], **SHARED[kind]}))
    # The last three layers read what layers 5 and 6 left.
    types = ["sliding_attention", "full_attention"] * 5
    lm = tiny.lm(kind, num_hidden_layers=10, layer_types=types)
    blocks = make_blocks(TEXTS, lm.tokenizer, block=32)
    for layer in (1, 5, 7, 8, 9):
        items = [cell(layer, index=number) for number in range(12)]
        found = perplexities(lm, blocks, items)
        same(found[3], perplexity(lm, blocks, intervention=items[3]))
        known = shared._resumable[lm.backbone]
        assert all(known.values()) == (layer < 7)
    assert len(unit_effects(lm, Units([7, 8, 9], [3, 3, 3]), blocks, 0.0)) == 3


@pytest.mark.parametrize("layer", range(1, DEEP))
def test_each_layer_behind_which_passes_begin_is_compared(layer):
    """A layer that leaves something for the next alone: only a pass begun between them tells."""
    lm = deep()
    giver, taker = lm.layer_modules[layer - 1], lm.layer_modules[layer]
    before, behind, left = giver.forward, taker.forward, []
    giver.forward = lambda *args, **options: left.append(1) or before(*args, **options)
    taker.forward = lambda *args, **options: behind(*args, **options) * left.pop()
    blocks = make_blocks(TEXTS, lm.tokenizer, block=32)
    items = [cell(number, index=n) for number in range(DEEP) for n in range(2)]
    for result, item in zip(perplexities(lm, blocks, items), items, strict=True):
        same(result, perplexity(lm, blocks, intervention=item))


def test_each_layer_is_compared_once(monkeypatch):
    lm = deep()
    blocks = make_blocks(TEXTS, lm.tokenizer, block=32)
    head, behind, resuming = find_head(lm), [], shared.resuming
    monkeypatch.setattr(
        shared, "resuming",
        lambda lm, layer, kept: behind.append(layer) or resuming(lm, layer, kept),
    )  # fmt: skip
    for below in ([0, 2], [2, 1], [1], [0, 1, 2]):
        assert shared._can_resume(lm, head, blocks, below)
    assert behind == [2, 0, 1]


def test_hooks_of_others_in_the_layers_still_run():
    lm = deep()
    blocks = make_blocks(TEXTS, lm.tokenizer, block=32)
    perplexity(lm, blocks, intervention=cell(3))  # which finds the site by a pass of its own
    head, seen = find_head(lm), []
    handle = lm.layer_modules[0].register_forward_hook(lambda *_: seen.append(1))
    perplexities(lm, blocks, [cell(3)] * 4, batch_size=len(blocks), head=head)
    handle.remove()
    assert len(seen) == 4


def test_the_model_is_as_before_also_after_an_error():
    lm = deep()
    ids = torch.arange(6)[None]
    with keeping(lm, [1]) as kept, torch.no_grad():
        wanted = lm.backbone(ids).last_hidden_state
    with contextlib.suppress(ZeroDivisionError), resuming(lm, 1, kept[1]):
        again = lm.backbone(torch.zeros_like(ids)).last_hidden_state
        raise ZeroDivisionError
    torch.testing.assert_close(again, wanted, rtol=0, atol=0)
    assert not any("forward" in vars(layer) for layer in lm.layer_modules)
    assert not any(layer._forward_hooks for layer in lm.layer_modules)


def test_what_an_intervention_touches_first():
    assert first_layer(None) is None
    assert first_layer(Intervention(Units.empty())) is None
    assert first_layer([cell(3), cell(2)]) == 2
    assert first_layer(cell(3, value=Value.unit(1, 0))) == 1
    assert first_layer(Intervention(Units([0, 3], [1, 1]), layers=(3,))) == 3


def test_sharing_is_chosen_by_cost():
    lm = deep()
    assert not pays(lm, [0, 0, 0])
    assert not pays(lm, [3])  # the untouched pass would cost four layers and save three
    assert pays(lm, [3, 3])
    assert pays(lm, [None, 1])  # it is wanted itself


def test_kept_layers_stay_within_their_memory():
    assert kept_layers([2, 0, 2], 5) == [0, 2]
    assert kept_layers([0, 1, 2, 3], 2) == [0, 2]
    assert kept_layers([0, 1], 0) == []
    for room in range(1, 6):
        assert len(kept_layers(list(range(17)), room)) <= room


def test_effects_of_single_units_by_definition():
    lm = deep()
    blocks = make_blocks(TEXTS * 3, lm.tokenizer, block=16)
    units = Units([0, 1, 2, 3, 3], [4, 9, 30, 7, 8])
    found = unit_effects(lm, units, blocks, 3.0, keep=3, screen=2)
    plain = perplexity(lm, blocks)
    rows = []
    for layer, index in zip(units.layers.tolist(), units.indices.tolist(), strict=True):
        item = cell(layer, index=index, value=3.0)
        screened = perplexity(lm, blocks[:2], intervention=item).loss
        whole = loss_ratio(perplexity(lm, blocks, intervention=item), plain)
        rows.append({"layer": layer, "index": index, "screened": screened, **whole})
    wanted = pd.DataFrame(rows).sort_values("screened", ascending=False).head(3)
    wanted = wanted.sort_values("ratio", ascending=False).drop(columns="screened")
    pd.testing.assert_frame_equal(found, wanted.reset_index(drop=True), check_exact=True)
    known = unit_effects(lm, units, blocks, 3.0, keep=3, screen=2, baseline=plain)
    pd.testing.assert_frame_equal(found, known, check_exact=True)


@pytest.mark.parametrize("keep", [2, 5])
@pytest.mark.parametrize("known", [False, True])
def test_the_bar_of_single_units_ends_at_its_total(keep, known):
    lm = deep()
    blocks = make_blocks(TEXTS, lm.tokenizer, block=32)
    baseline = perplexity(lm, blocks) if known else None
    with bars.heard() as heard:
        unit_effects(
            lm, Units([0, 2, 3], [1, 3, 5]), blocks, 0.0, keep=keep, screen=2, baseline=baseline
        )
    assert "single units" in {bar.description for bar in heard}
