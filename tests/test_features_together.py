"""Features of several layers changed in passes that begin in the middle: equal to whole ones."""

import pytest

import tiny
from langneurons.data import make_blocks
from langneurons.evaluation import loss_ratio, perplexity
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.intervening import by_layer, features_changed, reconstructed
from langneurons.features.language import feature_perplexity, feature_statistics
from langneurons.features.quality import quality
from langneurons.identification import identify
from study_world import WORDS, documents
from test_evaluation_together import calls
from test_features_autoencoders import coder

DEEP = 4


@pytest.fixture(scope="module")
def world() -> tuple[object, dict[str, object], dict[int, Autoencoder]]:
    lm = tiny.lm("llama", num_hidden_layers=DEEP)
    held = {
        lang: make_blocks(documents(lang)[:4], lm.tokenizer, block=32) for lang in list(WORDS)[:2]
    }
    width = lm.sites["resid"].width
    return lm, held, {layer: coder(d=width, m=40, seed=layer) for layer in (2, 3)}


def test_loss_recovered_is_that_of_whole_passes(world) -> None:
    lm, held, coders = world
    table = quality(lm, held, "resid", coders).set_index(["layer", "language"])
    for layer, sae in coders.items():
        for lang, blocks in held.items():
            for name, zero in (("loss_reconstructed", False), ("loss_zero", True)):
                with reconstructed(lm, "resid", {layer: sae}, zero=zero):
                    assert table.loc[(layer, lang), name] == perplexity(lm, blocks).loss
            assert table.loc[(layer, lang), "loss"] == perplexity(lm, blocks).loss


def test_changed_features_are_those_of_whole_passes_on_one_baseline(
    world,
) -> None:
    lm, held, coders = world
    stats, _ = feature_statistics(lm, held, "resid", coders)
    found = identify(stats, "lape", top=0.3, filter=0.0, bar=0.0)
    baseline: dict[str, object] = {}
    quality(lm, held, "resid", coders, baseline=baseline)
    assert {lang: item.loss for lang, item in baseline.items()} == {
        lang: perplexity(lm, item).loss for lang, item in held.items()
    }
    seen = [calls(lm, layer) for layer in range(DEEP)]
    table = feature_perplexity(
        lm, found, held, "resid", coders, stats, random=3, matched=0, baseline=baseline
    )
    runs = [len(item) for item in seen]
    assert len(table) > 4
    assert runs[0] < runs[2] <= runs[3]
    assert runs[0] <= 8  # once a language, and what finds the head and compares both ways
    for cell in table[table["kind"] == "own"].itertuples():
        with features_changed(lm, "resid", coders, by_layer(found[cell.row], [2, 3], 0.0)):
            whole = perplexity(lm, held[cell.column])
        wanted = loss_ratio(whole, perplexity(lm, held[cell.column]))
        assert {name: getattr(cell, name) for name in wanted} == wanted
