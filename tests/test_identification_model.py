"""Methods that run the model, against plain references on tiny random models."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

import tiny
from langneurons.data import gather, make_blocks
from langneurons.errors import InputError
from langneurons.identification import attribution, identify
from langneurons.identification.attribution import summed_loss, to_blocks
from langneurons.models import hook_site
from langneurons.models.head import find_head
from langneurons.statistics import collect

TEXTS = {
    "a": ["the cat and the dog", "a dog", "and the cat that sat"],
    "b": ["xyz zyx qqq xyz", "zzz", "qqq xyz zyx yyx"],
}


def block_loss(lm, blocks, row, change=None):
    """Summed loss of one block; ``change(layer, activation)`` may replace activations."""
    kept = blocks.attention_mask[row]
    ids = blocks.input_ids[row][kept][None]
    with hook_site(lm, "mlp.act", change or (lambda layer, activation: None)):
        logits = lm.model(input_ids=ids).logits
    counted = blocks.counted[row][kept][1:]
    losses = functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")
    return (losses * counted).sum()


def slopes(lm, blocks, row):
    """dL/da and a of one block at every token, (L, t, U), one activation tensor at a time."""
    store = {}

    def keep(layer, activation):
        leaf = activation.detach().clone().requires_grad_(True)
        # The value is the leaf's, the gradient reaches both the leaf and the layers below.
        store[layer] = leaf
        return activation + (leaf - leaf.detach())

    with torch.enable_grad():
        block_loss(lm, blocks, row, keep).backward()
    layers = sorted(store)
    return (
        torch.stack([store[x].grad[0] for x in layers]),
        torch.stack([store[x].detach()[0] for x in layers]),
    )


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "opt", "phi3"])
def test_gradient_by_definition(family):
    lm = tiny.lm(family)
    shape = (lm.layers, lm.sites["mlp.act"].width)
    found = identify(
        method="gradient", model=lm, texts=TEXTS, top=1.0, filter=0.0, bar=0.0,
        percentile="interpolated", batch_tokens=40,
    )  # fmt: skip
    assert found.model == lm.fingerprint
    weights = []
    for blocks in to_blocks(lm, TEXTS, 256, None).values():
        total = torch.zeros(shape, dtype=torch.float64)
        for row in range(len(blocks)):
            slope, value = slopes(lm, blocks, row)
            counted = blocks.counted[row][blocks.attention_mask[row]]
            total += (slope * value).abs()[:, counted].sum(1).double()
        weights.append(total / blocks.tokens)
    share = torch.stack(weights) / sum(weights)
    spread = -torch.special.xlogy(share, share).sum(0)
    for language, units in found.items():
        assert len(units) > 0.9 * spread.numel()
        expected = -spread[units.layers, units.indices]
        assert torch.allclose(found.scores[language], expected, atol=1e-4), language


def test_only_counted_tokens_are_attributed_and_only_their_loss_counts():
    """Prompts and tokens of a prefix are read, neither predicted nor attributed."""
    lm = tiny.lm()
    blocks = make_blocks(TEXTS["a"], lm.tokenizer, block=256)
    counted = blocks.counted.clone()
    counted[:, 1::3] = False
    blocks = replace(blocks, counted=counted)
    found = attribution.attributions(
        lm, blocks, "mlp.act", lambda _layer, value, slope: (value * slope).abs().sum(0),
        batch_tokens=40, name="gradient", language="a",
    )  # fmt: skip
    expected = torch.zeros_like(found)
    for row in range(len(blocks)):
        slope, value = slopes(lm, blocks, row)
        kept = blocks.counted[row][blocks.attention_mask[row]]
        expected += (slope * value).abs()[:, kept].sum(1).double()
    torch.testing.assert_close(found, expected / blocks.tokens, rtol=1e-4, atol=1e-7)


def test_gradient_rate_and_a_model_left_as_it_was():
    lm = tiny.lm()
    before = [parameter.clone() for parameter in lm.model.parameters()]
    found = identify(
        method="gradient", model=lm, texts=TEXTS, measure="rate", threshold=0.01, top=5
    )
    assert sum(found.sizes().values()) > 0
    for parameter, old in zip(lm.model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None
        assert not parameter.requires_grad
    assert not any(module._forward_hooks for module in lm.model.modules())


@pytest.mark.parametrize("site", ["mlp.act", "mlp.out", "attn.out", "attn.q", "attn.k", "attn.v"])
def test_gradient_at_other_sites(site):
    found = identify(method="gradient", model=tiny.lm(), texts=TEXTS, site=site, top=5)
    assert found.site == site
    assert sum(found.sizes().values()) > 0


def test_relevance_by_definition_and_its_agreement():
    lm = tiny.lm()
    shape = (lm.layers, lm.sites["mlp.act"].width)
    statistics = collect(lm, TEXTS, rows=0)
    found = identify(
        statistics, "relevance", model=lm, texts=TEXTS, top=shape[0] * shape[1], check=4
    )
    again = identify(method="relevance", model=lm, texts=TEXTS, top=shape[0] * shape[1], check=0)
    blocks = to_blocks(lm, TEXTS, 256, None)["a"]
    total = torch.zeros(shape, dtype=torch.float64)
    for row in range(len(blocks)):
        slope, value = slopes(lm, blocks, row)
        counted = blocks.counted[row][blocks.attention_mask[row]]
        change = statistics.mean("b").float()[:, None] - value
        total += (slope * change)[:, counted].sum(1).double()
    total /= blocks.tokens
    units = found["a"]
    assert torch.allclose(found.scores["a"], total[units.layers, units.indices], atol=1e-6)
    assert torch.allclose(found.scores["a"], again.scores["a"], atol=1e-6)

    agreement = found.parameters["found"]["agreement"]["a"]
    assert len(agreement["units"]) == 4
    for (layer, index), predicted, exact in zip(
        agreement["units"], agreement["predicted"], agreement["exact"], strict=True
    ):
        assert predicted == pytest.approx(float(total[layer, index]), abs=1e-6)
        risen = 0.0
        for row in range(len(blocks)):
            counted = blocks.counted[row][blocks.attention_mask[row]]

            def change(at, activation, layer=layer, index=index, counted=counted):
                if at == layer:
                    activation[0, counted, index] = float(statistics.mean("b")[layer, index])

            risen += float(block_loss(lm, blocks, row, change) - block_loss(lm, blocks, row))
        assert exact == pytest.approx(risen / blocks.tokens, abs=1e-5)


def cosine_gain(lm, blocks, goal, layer, unit):
    """Mean over sentences of cos(h + m v, c) - cos(h, c), one sentence and unit at a time.

    Copies, since Falcon adds attention to the down projection's output in place.
    """
    place = lm.sites["mlp.out"]
    block = lm.layer_modules[layer]
    gains = []
    for row in range(len(blocks)):
        ids = blocks.input_ids[row][blocks.attention_mask[row]][None]
        seen = {}
        norm = getattr(block, "post_feedforward_layernorm", None)
        handles = [
            place.modules[layer].register_forward_pre_hook(
                lambda m, x, seen=seen: seen.update(value=x[0])
            ),
            place.modules[layer].register_forward_hook(
                lambda m, x, y, seen=seen: seen.update(down=y.clone(), added=y.clone())
            ),
            block.register_forward_hook(
                lambda m, x, y, seen=seen: seen.update(out=y[0] if isinstance(y, tuple) else y)
            ),
        ]
        if norm is not None:
            handles.append(
                norm.register_forward_hook(lambda m, x, y, seen=seen: seen.update(added=y))
            )
        lm.backbone(input_ids=ids)
        for handle in handles:
            handle.remove()
        at = {k: v.reshape(1, ids.shape[1], -1)[0, -1].double() for k, v in seen.items()}
        factor = getattr(lm.config, "residual_multiplier", 1.0)
        at["added"] = factor * at["added"]
        base = at["out"] - at["added"]
        weight = place.modules[layer].weight.double()
        column = (
            weight[unit] if type(place.modules[layer]).__name__ == "Conv1D" else weight[:, unit]
        )
        column = column * at["added"] / at["down"] if norm is not None else factor * column
        moved = base + at["value"][unit] * column
        gains.append(
            functional.cosine_similarity(moved, goal, dim=0)
            - functional.cosine_similarity(base, goal, dim=0)
        )
    return float(torch.stack(gains).mean())


@pytest.mark.parametrize(
    "family", ["llama", "gemma3", "gpt2", "opt", "phi", "falcon", "olmo2", "granite"]
)
@pytest.mark.parametrize("kind", [1, 2])
def test_transfer_by_definition(family, kind):
    lm = tiny.lm(family, **({"residual_multiplier": 0.3} if family == "granite" else {}))
    width = lm.sites["mlp.out"].width
    found = identify(
        method="transfer", model=lm, texts=TEXTS, kind=kind, pivot="a", top=lm.layers * width,
        layers=(0, 2), batch_tokens=30,
    )  # fmt: skip
    blocks = to_blocks(lm, TEXTS, 256, None)
    assert list(found) == (["b"] if kind == 1 else ["a", "b"])
    states = {}
    for language, item in blocks.items():
        for row in range(len(item)):
            ids = item.input_ids[row][item.attention_mask[row]][None]

            def keep(layer, hidden, language=language):
                states.setdefault((language, layer), []).append(hidden[0, -1].double())

            handles = [
                module.register_forward_hook(
                    lambda m, x, y, layer=layer: keep(layer, y[0] if isinstance(y, tuple) else y)
                )
                for layer, module in enumerate(lm.layer_modules)
            ]
            lm.backbone(input_ids=ids)
            for handle in handles:
                handle.remove()
    table = torch.full((lm.layers, width), torch.nan, dtype=torch.float64)
    table[found["b"].layers, found["b"].indices] = found.scores["b"]
    for layer in range(2):
        goal = torch.stack(states["b", layer]).mean(0)
        if kind == 1:
            goal = (goal + torch.stack(states["a", layer]).mean(0)) / 2
        for unit in (0, 3, width - 1):
            expected = cosine_gain(lm, blocks["b"], goal, layer, unit)
            assert float(table[layer, unit]) == pytest.approx(expected, abs=2e-5)


def test_transfer_refuses_what_does_not_fit():
    lm = tiny.lm()
    with pytest.raises(InputError, match="unknown kind '3'"):
        identify(method="transfer", model=lm, texts=TEXTS, kind=3, top=5)
    with pytest.raises(InputError, match="need parallel text in 'en'"):
        identify(method="transfer", model=lm, texts=TEXTS, kind=1, top=5)
    with pytest.raises(InputError, match="not parallel"):
        identify(
            method="transfer", model=lm, texts={"en": TEXTS["a"], "b": TEXTS["b"][:2]}, kind=1,
            top=5,
        )  # fmt: skip
    with pytest.raises(InputError, match="lie outside the model"):
        identify(method="transfer", model=lm, texts=TEXTS, layers=(1, 9), top=5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "cohere", "opt"])
def test_loss_in_pieces_is_the_loss_of_the_model(family, monkeypatch):
    lm = tiny.lm(family)
    lm.model.double()
    blocks = to_blocks(lm, TEXTS, 256, None)["a"]
    batch = gather(blocks, torch.arange(len(blocks)))
    head = find_head(lm)
    assert head.finish is not None
    monkeypatch.setattr(attribution, "_PIECE_BYTES", 4 * 300 * 3)
    found, slope = [], []
    for finish in (head.finish, None):
        leaves = {}

        def keep(layer, activation, leaves=leaves):
            leaves[layer] = activation.detach().requires_grad_(True)
            return leaves[layer]

        with torch.enable_grad(), hook_site(lm, "mlp.act", keep, layers=[1]):
            total, number = summed_loss(lm, replace(head, finish=finish), batch, gradient=True)
        assert number == blocks.tokens - (len(blocks) if not blocks.cut.lead else 0)
        found.append(total)
        slope.append(leaves[1].grad)
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    torch.testing.assert_close(slope[0], slope[1], rtol=1e-4, atol=1e-7)


def test_relevance_is_checked_on_a_sample_of_the_tokens():
    lm = tiny.lm()
    texts = {name: item * 6 for name, item in TEXTS.items()}
    found = identify(method="relevance", model=lm, texts=texts, top=10, check=3, check_tokens=20)
    agreement = found.parameters["found"]["agreement"]["a"]
    whole = identify(method="relevance", model=lm, texts=texts, top=10, check=3)
    assert agreement["units"] == whole.parameters["found"]["agreement"]["a"]["units"]
    assert found == whole
    assert 10 <= agreement["tokens"] < whole.parameters["found"]["agreement"]["a"]["tokens"] / 2
    assert agreement["predicted"] != whole.parameters["found"]["agreement"]["a"]["predicted"]
