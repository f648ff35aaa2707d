"""What cannot be used is refused before it gives numbers: missing weights, wrong kinds, names."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from langneurons.errors import InputError
from langneurons.models import load
from langneurons.models.checking import check_complete, check_path, check_vocabulary
from langneurons.models.gguf import dequantised
from langneurons.models.loading import check, load_tokenizer
from langneurons.models.plain import positions
from langneurons.statistics import collect


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    lm = tiny.lm("llama")
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder


def copy(saved: Path, to: Path, change, **config) -> Path:
    """The saved model with its weights or its configuration changed."""
    shutil.copytree(saved, to)
    state = {name: item.clone() for name, item in load_file(saved / "model.safetensors").items()}
    save_file(change(state), to / "model.safetensors", metadata={"format": "pt"})
    written = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**written, **config}))
    return to


def without(part: str):
    return lambda state: {name: item for name, item in state.items() if part not in name}


def prefixed(prefix: str):
    return lambda state: {prefix + name: item for name, item in state.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (prefixed("_orig_mod."), r"names begin with '_orig_mod.', .* save model._orig_mod\."),
        (prefixed("module."), r"names begin with 'module.'"),
        (prefixed("other."), r"lm_head.weight, .* and 18 more: fetch or save it whole"),
        (without("layers.1."), r"model.layers.1.input_layernorm.weight, .*and 6 more: fetch"),
        (without("layers.0.mlp.up"), r"numbers: model.layers.0.mlp.up_proj.weight: fetch"),
        (without("model.norm.weight"), r"numbers: model.norm.weight"),
        (without("embed_tokens"), r"model.embed_tokens.weight"),
        (without("lm_head"), r"lm_head.weight: it was saved without its language-model head"),
    ],
)
def test_a_missing_weight_is_named_and_never_drawn_at_random(saved, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        load(copy(saved, tmp_path / "m", change), device="cpu")
    assert "\n" not in str(caught.value)


def test_every_single_weight_is_needed(saved, tmp_path):
    names = list(load_file(saved / "model.safetensors"))
    assert len(names) == 21
    for number, name in enumerate(names):
        broken = copy(saved, tmp_path / str(number), without(name))
        with pytest.raises(InputError, match=name):
            load(broken, device="cpu")


def test_a_classifier_without_the_model_s_own_head_is_refused(tmp_path):
    from transformers import AutoModelForSequenceClassification

    net = tiny.model("llama")
    classifier = AutoModelForSequenceClassification.from_config(net.config)
    classifier.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"lm_head.weight: it was saved without its lang"):
        load(tmp_path, device="cpu")


def test_a_body_whose_head_is_its_embedding_is_whole(tmp_path):
    net = tiny.model("llama", tie_word_embeddings=True)
    net.model.save_pretrained(tmp_path)  # the body alone, names without their prefix
    tiny.tokenizer().save_pretrained(tmp_path)
    ids = torch.arange(3, 13)[None]
    with torch.no_grad():
        expected = net(input_ids=ids).logits
        assert torch.equal(load(tmp_path, device="cpu").model(input_ids=ids).logits, expected)


def test_a_gguf_file_without_a_weight_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LANGNEURONS_CACHE", str(tmp_path / "cache"))
    net = tiny.model("llama")
    path = tiny.write_gguf(tmp_path / "m.gguf", net)
    assert dequantised(path).is_dir()
    import gguf

    class Short(gguf.GGUFWriter):
        def add_tensor(self, name, *words, **options):
            if name != "blk.1.ffn_up.weight":
                super().add_tensor(name, *words, **options)

    monkeypatch.setattr(gguf, "GGUFWriter", Short)
    with pytest.raises(InputError, match=r"model.layers.1.mlp.up_proj.weight"):
        load(tiny.write_gguf(tmp_path / "short.gguf", net))


def test_complete_by_what_transformers_says():
    check_complete({"missing_keys": set(), "unexpected_keys": {"score.weight"}}, "m")
    with pytest.raises(InputError, match=r"'m' lacks weights"):
        check_complete({"missing_keys": {"a.weight"}}, "m")


def test_models_of_another_kind_say_what_they_are(saved, tmp_path):
    from transformers import MT5Config, MT5ForConditionalGeneration

    config = MT5Config(vocab_size=300, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    MT5ForConditionalGeneration(config).save_pretrained(tmp_path / "mt5")  # and no tokenizer
    for refuse in (load, check):
        with pytest.raises(InputError, match=r"kind 'mt5', an encoder and a decoder: give a dec"):
            refuse(tmp_path / "mt5")
    llava = copy(saved, tmp_path / "llava", dict, model_type="llava")
    for refuse in (load, check):
        with pytest.raises(InputError, match="kind 'llava', no causal language model"):
            refuse(llava)
    own = copy(
        saved, tmp_path / "own", dict, model_type="mine",
        auto_map={"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"},
    )  # fmt: skip
    for refuse in (load, check):
        with pytest.raises(InputError, match=r"Python code of its own.*--trust-remote-code"):
            refuse(own)
    known = copy(
        saved, tmp_path / "known", dict, model_type="t5",
        auto_map={"AutoModelForCausalLM": "m.M"},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"Python code of its own.*--trust-remote-code"):
        check(known)


def test_an_adapter_and_a_folder_without_tokenizer(saved, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text('{"base_model_name_or_path": "a/base"}')
    for refuse in (load, check, load_tokenizer):
        with pytest.raises(InputError, match=r"an adapter, no model.*\(a/base\), and this folder"):
            refuse(tmp_path / "adapter")
    (tmp_path / "adapter/adapter_config.json").write_text("[")
    with pytest.raises(InputError, match=r"model it was trained on, and this folder as the adap"):
        load(tmp_path / "adapter")
    bare = copy(saved, tmp_path / "bare", dict)
    for file in bare.glob("token*"):
        file.unlink()
    for refuse in (load, check, load_tokenizer):
        with pytest.raises(InputError, match="holds no tokenizer: put the model's own there"):
            refuse(bare)


def test_a_tokenizer_larger_than_the_embedding(saved, tmp_path):
    small = copy(saved, tmp_path / "small", dict, vocab_size=250)
    with pytest.raises(InputError, match=r"has 50 tokens beyond the 250 rows .*\(the first is"):
        check(small)
    lm = tiny.lm("llama", vocab_size=250)
    lm.model.save_pretrained(tmp_path / "real")
    lm.tokenizer.save_pretrained(tmp_path / "real")
    with pytest.raises(InputError, match=r"tokens beyond the 250 rows of the embedding"):
        load(tmp_path / "real", device="cpu")
    check_vocabulary(tiny.tokenizer(), None, "unknown size")


def test_an_added_token_beyond_the_embedding_is_refused_where_text_holds_it(tmp_path):
    # As in Gemma 3, whose image token has no row in the text model's embedding.
    net = tiny.model("llama", vocab_size=len(tiny.tokenizer()))
    tiny.tokenizer().save_pretrained(tmp_path)
    net.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "tokenizer.json").read_text())
    last = {**written["added_tokens"][-1], "id": len(tiny.tokenizer()), "content": "<image>"}
    written["added_tokens"].append({**last, "special": False})
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    lm = load(tmp_path, device="cpu")
    collect(lm, {"en": ["the cat"]}, rows=0)
    with pytest.raises(InputError, match=r"token '<image>' .* the embedding of .* has no row"):
        collect(lm, {"en": ["the <image> cat"]}, rows=0)


@pytest.mark.parametrize("family", sorted(tiny.FAMILIES))
def test_positions_of_every_family_are_those_that_can_be_run(family):
    lm = tiny.lm(family)
    assert lm.positions == positions(lm.config)
    longer = torch.randint(3, 200, (1, tiny.POSITIONS + 9))
    if lm.positions is None:
        with torch.no_grad():
            lm.model(input_ids=longer)  # positions are computed: no error
        lm.check_ids(longer)
        return
    assert lm.positions == tiny.POSITIONS
    with torch.no_grad():
        lm.model(input_ids=longer[:, : tiny.POSITIONS])
    lm.check_ids(longer[:, : tiny.POSITIONS])
    with pytest.raises(InputError, match=r"137 tokens is longer than the 128 positions"):
        lm.check_ids(longer)


def test_a_block_longer_than_the_positions_is_one_line():
    lm = tiny.lm("gpt2")
    with pytest.raises(InputError, match=r"longer than the 128 positions of tiny-gpt2.*--block"):
        collect(lm, {"en": ["the cat and the dog " * 60]}, rows=0, block=256)
    from langneurons.data import make_blocks
    from langneurons.evaluation import perplexity

    blocks = make_blocks(["the cat and the dog " * 60], lm.tokenizer, block=256)
    with pytest.raises(InputError, match="longer than the 128 positions"):
        perplexity(lm, blocks)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("modle", "Did you mean 'model'"),
        ("modles/model", None),
        ("here/modle", "Did you mean 'here/model'"),
        ("here/other", "no such folder or file; give"),
        ("./model2", "no such folder"),
        ("a/b/c", "no such folder"),
        ("weights.safetensors", "no such folder"),
        ("gemma.guf", "Did you mean 'gemma.gguf'"),
        ("minni", "Did you mean 'mini'"),
        ("folder/", "no such folder"),
        ("C:\\models", "no such folder"),
        ("gpt2", None),
        ("google/gemma-3-270m", None),
    ],
)
def test_a_mistyped_folder_is_not_looked_up_on_the_hub(tmp_path, monkeypatch, name, hint):
    monkeypatch.chdir(tmp_path)
    for folder in ("model", "here/model"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    (tmp_path / "gemma.gguf").write_bytes(b"GGUF")
    if hint is None:
        check_path(name)
        return
    with pytest.raises(InputError, match=hint):
        check_path(name)


def test_check_reads_what_is_at_hand(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert check(saved) is None
    lm = tiny.lm("gpt2")
    lm.model.save_pretrained(tmp_path / "gpt2")
    lm.tokenizer.save_pretrained(tmp_path / "gpt2")
    assert check(tmp_path / "gpt2") == tiny.POSITIONS
    assert check("someone/model-not-in-the-cache") is None
    (tmp_path / "bad.gguf").write_bytes(b"PK")
    with pytest.raises(InputError, match="no GGUF file"):
        check(tmp_path / "bad.gguf")
    assert check("someone/model:file.gguf") is None
