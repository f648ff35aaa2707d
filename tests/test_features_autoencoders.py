"""Sparse features: definitions, training, the format of SAELens, languages, interventions."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny
from langneurons.data import make_blocks
from langneurons.errors import ArtifactError, InputError
from langneurons.evaluation import perplexity
from langneurons.features import training
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.intervening import (
    FeatureChange,
    by_layer,
    features_changed,
    reconstructed,
)
from langneurons.features.language import (
    feature_perplexity,
    feature_statistics,
    monolinguality,
)
from langneurons.features.quality import quality
from langneurons.features.stream import Stream
from langneurons.features.training import Learner, Recipe, train
from langneurons.identification import NeuronSet, Units, identify
from langneurons.models import hook_site
from study_world import WORDS, documents


def coder(kind="topk", d=6, m=20, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return Autoencoder(
        kind, normal(d, m), normal(m), normal(m, d), normal(d),
        threshold=normal(m).abs() if kind == "jumprelu" else None,
        k=3 if kind == "topk" else None, **options,
    )  # fmt: skip


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("kind", "by_norm"),
    [("topk", False), ("topk", True), ("jumprelu", False), ("standard", False)],
)
def test_features_by_definition(kind, by_norm, centred):
    sae = coder(kind, centred=centred, by_norm=by_norm)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    found = sae.encode(x)
    for row, z in zip(x.double().numpy(), found.numpy(), strict=True):
        inside = row - sae.b_dec.numpy() if centred else row
        p = inside @ sae.w_enc.double().numpy() + sae.b_enc.numpy()
        if kind == "topk":
            rank = p * np.linalg.norm(sae.w_dec, axis=1) if by_norm else p
            kept = np.argsort(-rank)[:3]
            expected = np.zeros(20)
            expected[kept] = np.maximum(p[kept], 0)
        elif kind == "jumprelu":
            expected = np.where(p > sae.threshold.numpy(), p, 0)
        else:
            expected = np.maximum(p, 0)
        assert z == pytest.approx(expected, abs=1e-5)
        again = expected @ sae.w_dec.double().numpy() + sae.b_dec.numpy()
        assert sae.decode(torch.from_numpy(z)).numpy() == pytest.approx(again, abs=1e-4)


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_folders_come_back_as_they_were(kind, tmp_path):
    sae = coder(kind, about={"model_name": "tiny", "hook_name": "resid.1"})
    sae.save(tmp_path)
    back = Autoencoder.load(tmp_path)
    x = torch.randn(7, 6)
    assert torch.equal(back.encode(x), sae.encode(x))
    assert (back.kind, back.k, back.about) == (sae.kind, sae.k, sae.about)
    assert {"W_enc", "b_enc", "W_dec", "b_dec"} <= set(
        load_file(tmp_path / "sae_weights.safetensors")
    )


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
@pytest.mark.parametrize("by_norm", [False, True])
def test_saelens_reads_what_is_written_and_the_other_way(kind, by_norm, tmp_path):
    sae_lens = pytest.importorskip("sae_lens")
    ours = coder(kind, by_norm=by_norm and kind == "topk")
    ours.save(tmp_path / "ours")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "ours")
    x = torch.randn(9, 6)
    # SAELens leaves features times the norm where it chose by it; the reconstruction is the same.
    torch.testing.assert_close(theirs.decode(theirs.encode(x)), ours.decode(ours.encode(x)))
    theirs.save_model(tmp_path / "theirs")
    back = Autoencoder.load(tmp_path / "theirs")
    torch.testing.assert_close(back.encode(x), ours.encode(x))


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="no sparse autoencoder"):
        Autoencoder.load(tmp_path)
    coder().save(tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    config.pop("sha256")  # as of a published one
    for change, words in (
        ({"architecture": "gated"}, "unknown architecture of a sparse autoencoder 'gated'"),
        ({"normalize_activations": "layer_norm"}, "scales or reshapes its input"),
    ):
        (tmp_path / "cfg.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=words):
            Autoencoder.load(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps({**config, "architecture": "jumprelu"}))
    with pytest.raises(ArtifactError, match="threshold"):
        Autoencoder.load(tmp_path)
    with pytest.raises(InputError, match="above the number of features"):
        Recipe(features=4, k=5)


def test_the_jump_has_the_published_gradient():
    """Rajamanoharan et al.: d/dt of p H(p - t) is -(t / e) K, of H(p - t) it is -K / e."""
    p = torch.tensor([[0.52, 0.9, 0.48, 0.1]], requires_grad=True)
    t = torch.full((4,), 0.5, requires_grad=True)
    training._Jump.apply(p, t, 0.1).sum().backward()
    assert p.grad.tolist() == [[1, 1, 0, 0]]
    assert t.grad.tolist() == pytest.approx([-5, 0, -5, 0])
    t.grad = None
    training._Step.apply(p, t, 0.1).sum().backward()
    assert t.grad.tolist() == pytest.approx([-10, 0, -10, 0])


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_unscaling_changes_nothing(kind):
    recipe = Recipe(kind=kind, features=30, k=4)
    learner = Learner(8, recipe, torch.randn(8), 3.0)
    with torch.no_grad():
        learner.b_enc.normal_()
        learner.log_threshold.fill_(-0.3)
    sae = learner.finished({})
    x = torch.randn(50, 8)
    with torch.no_grad():
        before = (3 * x - learner.b_dec) @ learner.w_enc + learner.b_enc
        if kind == "topk":
            best = before.topk(4, dim=-1)
            z = torch.zeros_like(before).scatter(-1, best.indices, best.values.relu())
        else:
            z = before * (before > np.exp(-0.3))
        expected = (z @ learner.w_dec + learner.b_dec) / 3
    torch.testing.assert_close(sae.decode(sae.encode(x)), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def world():
    lm = tiny.lm("llama")
    texts = {lang: documents(lang) for lang in WORDS}
    blocks = {lang: make_blocks(texts[lang], lm.tokenizer, block=32) for lang in WORDS}
    held = {lang: make_blocks(texts[lang][:5], lm.tokenizer, block=32) for lang in WORDS}
    return lm, blocks, held


RECIPE = {"features": 64, "k": 8, "tokens": 30_000, "batch": 128, "learning_rate": 5e-3}


@pytest.fixture(scope="module", params=["topk", "jumprelu"])
def trained(request, world):
    lm, blocks, _ = world
    return train(lm, blocks, "resid", [0, 1], Recipe(kind=request.param, **RECIPE))


def test_training_explains_and_keeps_sparse(world, trained):
    lm, _, held = world
    table = quality(lm, held, "resid", trained)
    every = table[table["language"] == "all"].set_index("layer")
    assert (every["explained"] > 0.6).all()
    assert (every["l0"] < 16).all()
    if trained[0].kind == "topk":
        assert (every["l0"] <= 8).all()
    for sae in trained.values():
        assert sae.w_dec.norm(dim=1) == pytest.approx(torch.ones(64), abs=1e-4)


def test_quality_by_definition(world, trained):
    lm, _, held = world
    table = quality(lm, held, "resid", {1: trained[1]}).set_index("language")
    rows: dict[str, torch.Tensor] = {}
    for lang, item in held.items():
        parts = []
        for ids, counted in zip(item.input_ids, item.counted, strict=True):
            kept = int(counted.nonzero().max()) + 1
            with (
                torch.no_grad(),
                hook_site(
                    lm,
                    "resid",
                    lambda n, v, parts=parts, c=counted[:kept]: parts.append(v[0, c]),
                    [1],
                ),
            ):
                lm.backbone(input_ids=ids[None, :kept])
        rows[lang] = torch.cat(parts).double()
    mean = torch.cat(list(rows.values())).mean(0)
    sae = trained[1]
    for lang, x in [*rows.items(), ("all", torch.cat(list(rows.values())))]:
        z = sae.encode(x.float())
        error = (x - sae.decode(z).double()).square().sum()
        explained = 1 - error / (x - mean).square().sum()
        assert table.loc[lang, "explained"] == pytest.approx(float(explained), abs=1e-4)
        assert table.loc[lang, "l0"] == pytest.approx(float((z > 0).sum(1).double().mean()))
        assert table.loc[lang, "dead"] == pytest.approx(float((z == 0).all(0).double().mean()))
    losses = {"plain": perplexity(lm, held["hi"]).loss}
    for name, zero in (("again", False), ("zero", True)):
        with reconstructed(lm, "resid", {1: sae}, zero=zero):
            losses[name] = perplexity(lm, held["hi"]).loss
    share = (losses["zero"] - losses["again"]) / (losses["zero"] - losses["plain"])
    assert table.loc["hi", "recovered"] == pytest.approx(share, rel=1e-4)


def test_buffers_hold_every_block_once_and_come_in_any_order(world):
    lm, blocks, _ = world
    stream = Stream(lm, blocks, "resid", [1], per_buffer=7, seed=3)
    third = stream.buffer(2)[1]
    again = Stream(lm, blocks, "resid", [1], per_buffer=7, seed=3).buffer(2)[1]
    assert torch.equal(third, again)
    assert not torch.equal(third[:10], stream.buffer(3)[1][:10])
    # Fewer than a buffer's blocks may be left over in a round.
    least = min(len(item) for item in blocks.values())
    assert stream.buffers == 3 * least // 7
    with pytest.raises(InputError, match="every language needs some"):
        Stream(lm, {"en": blocks["en"][:0]}, "resid", [1])


def test_a_killed_training_goes_on_to_the_same_result(world, tmp_path, monkeypatch):
    lm, blocks, _ = world
    recipe = Recipe(kind="jumprelu", **{**RECIPE, "tokens": 8000}, checkpoint_buffers=1)
    whole = train(lm, blocks, "resid", [1], recipe)
    steps = 0
    real = training._step

    def dies(*args):
        nonlocal steps
        steps += 1
        if steps == 45:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(training, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        train(lm, blocks, "resid", [1], recipe, folder=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").is_file()
    steps = 100
    again = train(lm, blocks, "resid", [1], recipe, folder=tmp_path)
    assert steps - 100 < 62  # 8000 / 128 steps in all
    torch.testing.assert_close(again[1].w_dec, whole[1].w_dec)
    torch.testing.assert_close(again[1].threshold, whole[1].threshold)
    assert not list(tmp_path.iterdir())


def test_only_the_change_passes_the_decoder(world):
    """Features left as they are leave the model as it is, however bad the autoencoder."""
    lm = world[0]
    sae = coder("jumprelu", d=tiny.HIDDEN, m=40)
    ids = torch.arange(20)[None]
    index = torch.tensor([3, 17])
    with torch.no_grad():
        plain = lm.model(input_ids=ids).logits
        same = {1: FeatureChange(index, torch.tensor(1.0), "multiply")}
        with features_changed(lm, "resid", {1: sae}, same):
            assert torch.equal(lm.model(input_ids=ids).logits, plain)
        seen = []
        with hook_site(lm, "resid", lambda n, v: seen.append(v.clone()), [1]):
            lm.model(input_ids=ids)
        off = {1: FeatureChange(index, torch.tensor(0.0))}
        with (
            features_changed(lm, "resid", {1: sae}, off),
            hook_site(lm, "resid", lambda n, v: seen.append(v.clone()), [1]),
        ):
            lm.model(input_ids=ids)
    x = seen[0]
    z = sae.encode(x)
    wanted = z.clone()
    wanted[..., index] = 0
    error = x - sae.decode(z)
    torch.testing.assert_close(seen[1], sae.decode(wanted) + error, rtol=1e-4, atol=1e-4)
    with (
        pytest.raises(InputError, match="read 40 activations"),
        features_changed(lm, "mlp.act", {1: coder(d=40)}, {1: off[1]}),
    ):
        pass


def test_language_features_by_counting(world, trained):
    lm, _, held = world
    stats, means = feature_statistics(lm, held, "resid", trained)
    assert stats.shape == (2, 64)
    count = torch.zeros(64, dtype=torch.int64)
    total = torch.zeros(64, dtype=torch.float64)
    for ids, counted in zip(held["hi"].input_ids, held["hi"].counted, strict=True):
        kept = int(counted.nonzero().max()) + 1
        seen = []
        with torch.no_grad(), hook_site(lm, "resid", lambda n, v, s=seen: s.append(v[0]), [1]):
            lm.backbone(input_ids=ids[None, :kept])
        z = trained[1].encode(seen[0][counted[:kept]])
        count += (z > 0).sum(0)
        total += z.double().sum(0)
    assert (stats.count_positive["hi"][1] - count).abs().max() <= 1
    assert means["hi"][1] == pytest.approx(total / held["hi"].tokens, abs=1e-3)
    own = monolinguality(means)
    expected = means["hi"] - (means["en"] + means["es"]) / 2
    torch.testing.assert_close(own["hi"], expected)
    found = identify(stats, "lape", top=0.2)
    assert found.site == "features"
    table = feature_perplexity(
        lm, found, held, "resid", trained, stats, random=1, matched=1
    ).set_index(["row", "column", "kind"])
    units = found["hi"]
    with features_changed(lm, "resid", trained, by_layer(units, [0, 1], 0.0)):
        touched = perplexity(lm, held["en"]).value
    expected = touched / perplexity(lm, held["en"]).value
    assert table.loc[("hi", "en", "own"), "ratio"] == pytest.approx(expected, rel=1e-4)
    assert ("hi", "hi", "matched") in table.index


def test_values_by_layer():
    units = Units([0, 1, 1], [4, 0, 9])
    value = torch.arange(20.0).reshape(2, 10)
    found = by_layer(units, [3, 7], value, "add")
    assert sorted(found) == [3, 7]
    assert found[7].index.tolist() == [0, 9]
    assert found[7].value.tolist() == [10, 19]
    sae = coder("standard", d=6, m=10)
    x = torch.randn(4, 6)
    torch.testing.assert_close(
        found[7].apply(sae, x), x + 10 * sae.w_dec[0] + 19 * sae.w_dec[9], rtol=1e-4, atol=1e-4
    )
    assert NeuronSet({"a": units}, (2, 10), site="features", method="x")["a"] == units
