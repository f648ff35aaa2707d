"""Autoencoders in the layouts of Gemma Scope 2 and Qwen-Scope: by definition, and refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from langneurons.errors import ArtifactError, InputError
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.published import load_published
from langneurons.parts.features.stages import _published

D, M, K = 6, 20, 3
X = torch.randn(9, D, generator=torch.Generator().manual_seed(5))
POINT = "model.layers.4.output"


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


def gemma(folder, tensors=None, **config):
    folder.mkdir(parents=True)
    params = {"w_enc": drawn(D, M), "w_dec": drawn(M, D), "b_enc": drawn(M), "b_dec": drawn(D),
              "threshold": drawn(M).abs()}  # fmt: skip
    save_file({**params, **(tensors or {})}, folder / "params.safetensors")
    about = {"architecture": "jump_relu", "hf_hook_point_in": POINT, "hf_hook_point_out": POINT,
             "model_name": "gemma-3-270m", **config}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(about))
    return params


def qwen(folder, name="layer4.sae.pt"):
    folder.mkdir(parents=True)
    params = {"W_enc": drawn(M, D), "W_dec": drawn(D, M), "b_enc": drawn(M), "b_dec": drawn(D)}
    torch.save(params, folder / name)
    return params


def test_gemma_scope_2_by_definition(tmp_path):
    p = gemma(tmp_path / "layer_4_width_16k_l0_small")
    path = str(tmp_path / "layer_{layer}_width_16k_l0_small")
    found = load_published(path, [4], "resid", width=D, model="google/gemma-3-270m")[4]
    before = X.double() @ p["w_enc"].double() + p["b_enc"].double()
    z = torch.where(before > p["threshold"], before, 0.0)
    torch.testing.assert_close(found.encode(X).double(), z, atol=1e-5, rtol=1e-5)
    out = z @ p["w_dec"].double() + p["b_dec"].double()
    torch.testing.assert_close(found.decode(found.encode(X)).double(), out, atol=1e-5, rtol=1e-5)
    assert (found.kind, found.features) == ("jumprelu", M)
    with pytest.raises(InputError, match="reads 'resid' of layer 4"):
        load_published(
            str(tmp_path / "layer_4_width_16k_l0_small"), [3], "resid", width=D, model=""
        )
    with pytest.raises(InputError, match="reads 6 activations, 'resid' of the model has 7"):
        load_published(path, [4], "resid", width=7, model="gemma-3-270m")


def test_qwen_scope_by_definition(tmp_path):
    p = qwen(tmp_path / f"SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}")
    path = str(tmp_path / f"SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}" / "layer{layer}.sae.pt")
    found = load_published(path, [4], "resid", width=D, model="Qwen/Qwen3-1.7B-Base")[4]
    before = X.double() @ p["W_enc"].double().T + p["b_enc"].double()
    z = torch.zeros_like(before)
    for row, values in enumerate(before):
        best = values.topk(K).indices
        z[row, best] = values[best].relu()
    torch.testing.assert_close(found.encode(X).double(), z, atol=1e-5, rtol=1e-5)
    out = z @ p["W_dec"].double().T + p["b_dec"].double()
    torch.testing.assert_close(found.decode(found.encode(X)).double(), out, atol=1e-5, rtol=1e-5)
    again = tmp_path / "again"  # and it is saved as SAELens reads it
    found.save(again)
    assert torch.equal(Autoencoder.load(again).encode(X), found.encode(X))


def test_what_these_suites_hold_besides_is_refused(tmp_path):
    out = "model.layers.4.post_feedforward_layernorm.output"
    gemma(tmp_path / "transcoder", hf_hook_point_out=out)
    with pytest.raises(InputError, match=r"is a transcoder, from model\.layers\.4\.output to"):
        Autoencoder.load(tmp_path / "transcoder")
    gemma(tmp_path / "skip", {"affine_skip_connection": torch.ones(D, D)})
    with pytest.raises(InputError, match="it holds affine_skip_connection"):
        Autoencoder.load(tmp_path / "skip")
    gemma(tmp_path / "mlp", hf_hook_point_in=out, hf_hook_point_out=out)
    with pytest.raises(InputError, match=r"post_feedforward_layernorm\.output, which is no site"):
        Autoencoder.load(tmp_path / "mlp")
    qwen(tmp_path / "renamed")
    with pytest.raises(InputError, match="does not say its layer and k: use the names"):
        Autoencoder.load(tmp_path / "renamed" / "layer4.sae.pt")
    with pytest.raises(InputError, match=r"no file .*layer9\.sae\.pt"):
        Autoencoder.load(tmp_path / "L0_3" / "layer9.sae.pt")


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_is_unpickled_but_weights(tmp_path, capsys):
    (tmp_path / "X-L0_3").mkdir()
    torch.save({"W_enc": Evil()}, tmp_path / "X-L0_3" / "layer4.sae.pt")
    with pytest.raises(ArtifactError, match="is damaged"):
        Autoencoder.load(tmp_path / "X-L0_3" / "layer4.sae.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("write", [gemma, qwen])
def test_changed_weights_are_seen_in_the_keys_of_a_study(tmp_path, write):
    """Be a layer a folder or one file."""
    write(tmp_path / "L0_3" / "4" if write is gemma else tmp_path / "L0_3")
    path = str(tmp_path / "L0_3" / ("{layer}" if write is gemma else "layer{layer}.sae.pt"))
    before = _published(path)
    weights = next(file for file in (tmp_path / "L0_3").rglob("*.[sp]*t*") if file.is_file())
    weights.write_bytes(weights.read_bytes()[:-1])
    assert before
    assert _published(path) != before
