"""Published autoencoders: every form that is met; what does not fit is refused beforehand."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import tiny
from langneurons.data import make_blocks
from langneurons.errors import ArtifactError, InputError
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.language import feature_statistics
from langneurons.features.published import check_published, folders, load_published
from langneurons.features.quality import quality
from langneurons.study import Study
from study_world import build

D, M, K = 6, 20, 3
X = torch.randn(9, D, generator=torch.Generator().manual_seed(5))


def write(folder, tensors=None, d=D, **config):
    """An autoencoder as others publish it, with a configuration of theirs."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    weights = {"W_enc": normal(d, M), "b_enc": normal(M), "W_dec": normal(M, d), "b_dec": normal(d)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({**weights, **(tensors or {})}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": d, "d_sae": M, **config}))
    return folder


def by_definition(folder, kind):
    w = load_file(folder / "sae_weights.safetensors")
    before = (X - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    if kind == "standard":
        return before.relu()
    kept = torch.zeros_like(before)
    for row, values in enumerate(before):
        best = values.topk(K).indices
        kept[row, best] = values[best].relu()
    return kept


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({}, "standard"),  # the first versions name no architecture
        ({"architecture": "standard"}, "standard"),
        ({"architecture": "standard", "activation_fn": "relu"}, "standard"),
        ({"architecture": "topk", "k": K}, "topk"),
        ({"activation_fn": "topk", "activation_fn_kwargs": {"k": K}}, "topk"),
        (
            {"architecture": "standard", "activation_fn_str": "topk",
             "activation_fn_kwargs": {"k": K}},
            "topk",
        ),
        ({"architecture": "topk", "activation_fn_kwargs": {"k": K}}, "topk"),
    ],
)  # fmt: skip
def test_an_activation_is_what_the_configuration_says(tmp_path, config, kind):
    found = Autoencoder.load(write(tmp_path, **config))
    assert found.kind == kind
    torch.testing.assert_close(found.encode(X), by_definition(tmp_path, kind))


@pytest.mark.parametrize("name", ["finetuning_scaling_factor", "scaling_factor"])
def test_factors_of_features_are_used_or_refused(tmp_path, name):
    factors = torch.linspace(0.5, 2, M)
    write(tmp_path / "used", {name: factors}, finetuning_scaling_factor=True)
    plain = Autoencoder.load(write(tmp_path / "plain"))
    used = Autoencoder.load(tmp_path / "used")
    z = plain.encode(X)
    assert torch.equal(used.encode(X), z)
    torch.testing.assert_close(used.decode(z), plain.decode(z * factors))
    write(tmp_path / "ones", {name: torch.ones(M)})
    assert torch.equal(Autoencoder.load(tmp_path / "ones").decode(z), plain.decode(z))
    write(tmp_path / "unsaid", {name: factors})
    with pytest.raises(InputError, match=r"holds factors of its features .*finetuning_scaling_f"):
        Autoencoder.load(tmp_path / "unsaid")


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        ({}, {"activation_fn": "tanh-relu"}, "has the activation 'tanh-relu', which is not known"),
        ({}, {"activation_fn": "topk"}, "does not say its k"),
        ({}, {"architecture": "gated"}, "architecture of a sparse autoencoder 'gated'"),
        ({"W_skip": torch.ones(D, D)}, {}, r"weights that no kind known here has \(W_skip\)"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path, tensors, config, message):
    with pytest.raises(InputError, match=message):
        Autoencoder.load(write(tmp_path, tensors, **config))


@pytest.mark.parametrize(
    ("config", "site", "layer", "message"),
    [
        ({"hook_name": "blocks.4.hook_resid_post"}, "resid", 4, None),
        ({"hook_name": "blocks.5.hook_resid_pre"}, "resid", 4, None),
        ({"metadata": {"hook_name": "blocks.4.mlp.hook_post"}}, "mlp.out", 4, None),
        ({"hook_name": "blocks.4.attn.hook_z"}, "attn.out", 4, None),
        ({"hook_name": "resid.4"}, "resid", 4, None),
        ({"hook_layer": 4}, "resid", 4, None),
        ({}, "resid", 4, None),
        ({"hook_name": "blocks.4.hook_resid_post"}, "resid", 3, "'resid' of layer 4 .blocks.4"),
        ({"hook_name": "blocks.4.hook_resid_pre"}, "resid", 4, "reads 'resid' of layer 3"),
        ({"hook_name": "resid.4"}, "resid", 1, "reads 'resid' of layer 4"),
        ({"hook_name": "blocks.4.mlp.hook_post"}, "resid", 4, "'mlp.out' of layer 4"),
        ({"hook_layer": 4}, "resid", 5, "reads 'resid' of layer 4, not 'resid' of layer 5"),
        ({"hook_name": "blocks.4.hook_mlp_out"}, "resid", 4, "hook_mlp_out, which is no site"),
        ({"hook_name": "blocks.4.attn.hook_z", "hook_head_index": 2}, "attn.out", 4, "one attent"),
    ],
)
def test_layer_and_site_are_held_against_the_configuration(tmp_path, config, site, layer, message):
    place = write(tmp_path / str(layer), **config)
    path = str(place.parent / "{layer}")
    if message is None:
        check_published(path, [layer], site, width=D)
        return
    with pytest.raises(InputError, match=message):
        check_published(path, [layer], site, width=D)


def test_width_model_and_one_folder_for_several_layers(tmp_path):
    write(tmp_path / "0", model_name="gpt2-small")
    with pytest.raises(InputError, match=r"reads 6 activations, 'resid' of the model has 32"):
        check_published(str(tmp_path / "0"), [0], "resid", width=32)
    with pytest.warns(UserWarning, match="was trained on 'gpt2-small', not on 'owner/gemma'"):
        check_published(str(tmp_path / "0"), [0], "resid", model="owner/gemma")
    check_published(str(tmp_path / "0"), [0], "resid", model="someone/GPT2-small")
    with pytest.raises(InputError, match=r"is one folder for the layers 0, 1: write \{layer\}"):
        folders(str(tmp_path / "0"), [0, 1])
    write(tmp_path / "1")
    (tmp_path / "1" / "cfg.json").write_text(json.dumps({"d_in": 7}))
    with pytest.raises(ArtifactError, match="its weights read 6 activations, its configuration sa"):
        check_published(str(tmp_path / "1"), [1], "resid")
    (tmp_path / "1" / "sae_weights.safetensors").write_bytes(b"cut")
    with pytest.raises(ArtifactError, match="is damaged"):
        check_published(str(tmp_path / "1"), [1], "resid")
    assert set(load_published(str(tmp_path / "0"), [0], "resid", width=D, model="gpt2-small")) == {
        0
    }


def test_a_wrong_width_is_one_line_wherever_features_are_used(tmp_path):
    lm = tiny.lm("llama")
    coders = {0: Autoencoder.load(write(tmp_path / "0"))}
    blocks = {"en": make_blocks(["the cat and the dog"], lm.tokenizer, block=8)}
    for use in (lambda: quality(lm, blocks, "resid", coders),
                lambda: feature_statistics(lm, blocks, "resid", coders)):  # fmt: skip
        with pytest.raises(InputError, match="features of layer 0 read 6 activations"):
            use()


def test_a_study_says_so_before_anything_runs(tmp_path):
    root = build(tmp_path)
    study = yaml.safe_load((root / "study.yaml").read_text())
    for layer in (0, 1):
        write(root / "saes" / str(layer), d=tiny.HIDDEN, hook_name=f"resid.{layer}")

    def plan(**part):
        study["features"] = {"own": {"site": "resid", "layers": [0, 1], **part}}
        (root / "features.yaml").write_text(yaml.safe_dump(study))
        return Study.from_yaml(root / "features.yaml").plan()

    assert plan(path=str(root / "saes/{layer}"))
    with pytest.raises(InputError, match=r"features.own: .* one folder for the layers 0, 1"):
        plan(path=str(root / "saes/0"))
    with pytest.raises(InputError, match=r"features.own: .* reads 'resid' of layer 1 .* layer 0"):
        plan(path=str(root / "saes/1"), layers=[0])
    write(root / "saes/0", d=7)
    with pytest.raises(InputError, match=r"features.own: .* reads 7 activations, .* has 32"):
        plan(path=str(root / "saes/{layer}"))
    with pytest.raises(InputError, match=r"features.own: .* is no sparse autoencoder"):
        plan(path=str(root / "none/{layer}"), layers=None)
    study["model"] = "someone/not-at-hand"
    assert plan(path=str(root / "saes/{layer}"), layers=None)


def test_an_autoencoder_below_the_home_folder_is_in_the_key_by_its_content(tmp_path, monkeypatch):
    from langneurons.parts.features.stages import _published

    monkeypatch.setenv("HOME", str(tmp_path))
    weights = tmp_path / "sae" / "3" / "weights.bin"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"one")
    first = _published("~/sae/{layer}")
    assert len(first) == 1
    weights.write_bytes(b"two")
    assert _published("~/sae/{layer}") != first


def test_features_need_as_many_languages_as_their_method():
    from types import SimpleNamespace

    from langneurons.parts.features.spec import FeaturesSpec, verify

    with pytest.raises(InputError, match=r"features\.topk: method .lape. compares at least 2"):
        verify({"topk": FeaturesSpec()}, SimpleNamespace(languages=["en"]))
