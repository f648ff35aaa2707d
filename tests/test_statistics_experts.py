"""Statistics of routers, and methods on them, where some layers have none."""

import pytest
import torch

import langneurons as ln
import mixtures
from langneurons.data import make_blocks
from langneurons.identification.routing import routing_divergence, warn_of_uneven_load
from langneurons.models import hook_site
from test_models_experts import routed

TEXTS = {
    "en": ["the cat sat on the mat and the dog ran to the house", "one more line of words"],
    "de": ["die katze sass auf der matte und der hund lief", "noch eine zeile voller woerter"],
}


@pytest.fixture(scope="module")
def model():
    return mixtures.lm("Qwen2-MoE")  # layer 1 is dense


@pytest.fixture(scope="module")
def statistics(model):
    return ln.collect(model, TEXTS, site="moe.router", block=16, rows=50)


def weights_of(model, ids):
    """Layer to routing weights (batch, sequence, experts)."""
    seen = {}
    with (
        torch.no_grad(),
        hook_site(model, "moe.router", lambda layer, x: seen.__setitem__(layer, x.clone())),
    ):
        model.model(input_ids=ids)
    return seen


def test_counts_and_sums_by_hand(model, statistics):
    """Every block run by itself, tokens and weights added up in float64."""
    for lang, texts in TEXTS.items():
        blocks = make_blocks(texts, model.tokenizer, block=16)
        count = torch.zeros(3, 6, dtype=torch.int64)
        total = torch.zeros(3, 6, dtype=torch.float64)
        tokens = 0
        for row in range(len(blocks)):
            length = int(blocks.lengths[row])
            ids = blocks.input_ids[row : row + 1]
            ids = ids[blocks.attention_mask[row : row + 1]].unsqueeze(0)
            use = blocks.counted[row][blocks.attention_mask[row]]
            assert ids.shape[1] == length
            seen = weights_of(model, ids)
            for layer, x in seen.items():
                count[layer] += (x[0, use] > 0).sum(0)
                total[layer] += x[0, use].double().sum(0)
            tokens += int(use.sum())
        assert statistics.tokens[lang] == tokens
        assert torch.equal(statistics.count_positive[lang], count)
        torch.testing.assert_close(statistics.mean(lang), total / tokens, rtol=1e-4, atol=1e-6)


def test_every_token_goes_to_the_top_k(statistics):
    for lang, tokens in statistics.tokens.items():
        assert statistics.count_positive[lang].sum(1).tolist() == [2 * tokens, 0, 2 * tokens]
    warn_of_uneven_load(statistics)  # warnings are errors here, where they are not expected


METHODS = ("lape", "entropy_lambda", "expert_share", "mutual_information", "difference", "auroc",
           "average_precision", "activation_probability", "dln")  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", METHODS)
def test_layers_without_a_router_change_nothing(method, statistics):
    """Units found are those of the other layers alone; the dense layer has none."""
    options = {
        "lape": {"top": 0.5, "filter": 0.5, "bar": 0.3},
        "entropy_lambda": {"top": 0.5, "bar": 0.3, "lambda_": 0.1},
    }.get(method, {})
    found = ln.identify(statistics, method, **options)
    alone = ln.identify(statistics.in_layers([0, 2]), method, **options)
    assert found.shape == (3, 6)
    assert sum(found.sizes().values()) > 0
    for lang in found:
        moved = [((0, 2)[layer], index) for layer, index in alone[lang].pairs()]
        assert found[lang].pairs() == moved


def test_saved_and_loaded(statistics, model, tmp_path):
    statistics.save(tmp_path)
    again = ln.Statistics.load(tmp_path)
    assert again.present == (0, 2)
    assert torch.equal(again.rows("de", 1), torch.zeros_like(again.rows("de", 0)))
    stored = ln.collect(model, TEXTS, site="moe.router", block=16, rows=50, output=tmp_path / "two")
    for lang in TEXTS:
        assert torch.equal(stored.count_positive[lang], statistics.count_positive[lang])
    found = ln.identify(again, "expert_share", threshold=0.55)
    found.check(model)
    random = found.random_like(0)
    assert all(layer != 1 for lang in random for layer, _ in random[lang].pairs())


def test_a_layer_without_router_has_no_divergence(statistics):
    found = routing_divergence(statistics, "en", weighted=True)["de"]
    assert found.isnan().tolist() == [False, True, False]
    assert (found[[0, 2]] > 0).all()


def test_off_experts_of_a_language(model, statistics):
    """From text to an intervention: the experts found are not used any more."""
    found = ln.identify(statistics, "expert_share", threshold=0.55)
    lang = max(found, key=lambda name: len(found[name]))
    one = ln.Units.from_pairs(found[lang].pairs()[:1])
    ((layer, index),) = one.pairs()
    with ln.intervene(model, one, site="moe.router"):
        assert not (routed(model)[layer][0][..., index] > 0).any()
