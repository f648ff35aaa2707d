"""What models, statistics and interventions refuse, each by one line that says what to do."""

import dataclasses
import types

import pytest
import torch
from huggingface_hub import errors as hub

import tiny
from langneurons.artifacts import read_json, read_tensors, write_tensors
from langneurons.errors import ArtifactError, InputError
from langneurons.identification import Units
from langneurons.intervention import Value, intervene
from langneurons.intervention.interventions import Intervention
from langneurons.models import LanguageModel, hook_site, load
from langneurons.models.gguf import _check_whole, dequantised
from langneurons.models.layers import decoder_layers
from langneurons.statistics import Statistics, collect
from langneurons.statistics.language import BatchQuantiles

TEXT = {"en": ["one two three four five"], "hi": ["हिन्दी और"]}


def raised(kind):
    error = kind.__new__(kind)
    error.args = ("said the Hub",)
    return error


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (hub.GatedRepoError, "'a/b' is gated: accept its terms"),
        (hub.RepositoryNotFoundError, "no model 'a/b' on the Hub"),
        (hub.RevisionNotFoundError, "but not this revision or file"),
        (hub.LocalEntryNotFoundError, "cannot reach the Hub for 'a/b'"),
        (ConnectionError, "cannot reach the Hub for 'a/b'"),
        (KeyError, "cannot load the model 'a/b'"),
    ],
)
def test_what_goes_wrong_below_transformers_is_one_line(monkeypatch, kind, message):
    from transformers import AutoConfig

    def fails(*words, **options):
        raise ValueError("outer") from raised(kind)

    monkeypatch.setattr(AutoConfig, "from_pretrained", fails)
    with pytest.raises(InputError, match=message) as caught:
        load("a/b")
    assert "\n" not in str(caught.value)


def test_a_gguf_file_that_ends_too_early_and_a_cache_that_is_a_file(tmp_path, monkeypatch):
    path = tiny.write_gguf(tmp_path / "m.gguf", tiny.model())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LANGNEURONS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="set LANGNEURONS_CACHE to a folder that can be written"):
        dequantised(path)
    import gguf

    class Reader(gguf.GGUFReader):
        @property
        def tensors(self):
            first = super().__dict__["tensors"][0] if "tensors" in super().__dict__ else None
            return [types.SimpleNamespace(data_offset=10**9, n_bytes=5, first=first)]

        @tensors.setter
        def tensors(self, value):
            pass

    monkeypatch.setattr(gguf, "GGUFReader", Reader)
    with pytest.raises(InputError, match=r"its header announces 1,000,000,005 bytes"):
        _check_whole(path)


def test_a_model_of_another_library():
    with pytest.raises(InputError, match="object is no model of Transformers"):
        LanguageModel(object(), None, "x")


def test_a_body_without_its_layers():
    with pytest.raises(InputError, match=r"has no list of 7 decoder layers; lists of modules seen"):
        decoder_layers(tiny.model().model, 7)


def test_layers_without_an_mlp_or_an_attention():
    lm = tiny.lm()
    sites = lm.sites
    first, second = sites.plans
    sites.__dict__["plans"] = (first, dataclasses.replace(second, mlp=None, attention=None))
    assert sites["mlp.act"].widths == (tiny.UNITS, 0)
    with pytest.raises(InputError, match=r"differ at 'mlp.act': layer 0 has 48 units, layer 1 has"):
        _ = sites["mlp.act"].width
    with pytest.raises(InputError, match="layer 1 of LlamaModel has no MLP: choose units of other"):
        sites.downs[1]
    assert sites.downs[:1] == [sites.downs[0]]
    with (
        pytest.raises(InputError, match=r"layer 1 of tiny-llama has no 'mlp\.act': choose among"),
        hook_site(lm, "mlp.act", lambda layer, value: None, [1]),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"no unit \(1, 3\): layer 1 of LlamaModel has 0 units at"),
        intervene(lm, Units([1], [3])),
    ):
        pass
    other = tiny.lm().sites
    other.__dict__["plans"] = tuple(dataclasses.replace(p, attention=None) for p in other.plans)
    with pytest.raises(InputError, match="has no attention output projection"):
        _ = other.outputs


def test_heads_that_do_not_divide_the_projection():
    lm = tiny.lm()
    lm.sites._config.num_attention_heads = 5
    with pytest.raises(InputError, match=r"which 5 heads do not share evenly. Use the site"):
        lm.sites._resolve("attn.head")


def test_projections_of_an_unknown_kind(monkeypatch):
    monkeypatch.setattr("langneurons.models.attention.layouts", lambda *_: iter(()))
    lm = tiny.lm("phi3")
    with pytest.raises(
        InputError, match=r"act as such; projections seen in layer 0: self_attn.qkv"
    ):
        lm.sites["attn.q"]


def test_a_folder_of_statistics_that_is_none(tmp_path):
    write_tensors(tmp_path / "x.safetensors", {"count": torch.ones(2)}, {"format": "other"})
    with pytest.raises(InputError, match="holds no statistics of this format"):
        Statistics.load(tmp_path)
    collect(tiny.lm(), TEXT, block=8, rows=0, output=tmp_path / "good")
    file = tmp_path / "good" / "en.safetensors"
    tensors, metadata = read_tensors(file)
    write_tensors(file, {"mean": tensors["mean"]}, metadata)
    with pytest.raises(ArtifactError, match=r"en.safetensors' is damaged \("):
        Statistics.load(tmp_path / "good")


def test_a_file_of_another_model_among_statistics(tmp_path):
    collect(tiny.lm(), {"en": TEXT["en"]}, block=8, rows=0, output=tmp_path / "s")
    collect(tiny.lm(seed=1), {"hi": TEXT["hi"]}, block=8, rows=0, output=tmp_path / "t")
    (tmp_path / "t" / "hi.safetensors").rename(tmp_path / "s" / "hi.safetensors")
    with pytest.raises(InputError, match=r"hi.safetensors' does not belong to the others"):
        Statistics.load(tmp_path / "s")


def test_quantiles_of_other_probabilities():
    one, other = (BatchQuantiles(p, torch.zeros(1, 2, 3), 1) for p in ((0.1,), (0.9,)))
    with pytest.raises(InputError, match="quantiles of different probabilities do not merge"):
        one.merge(other)


def test_blocks_without_a_token_to_count():
    from langneurons.data import make_blocks

    lm = tiny.lm()
    blocks = make_blocks(TEXT["en"], lm.tokenizer, block=8)
    nothing = dataclasses.replace(blocks, counted=torch.zeros_like(blocks.counted))
    with pytest.raises(InputError, match="text of 'en': the blocks hold no token to count"):
        collect(lm, {"en": nothing}, rows=0)


def test_files_that_are_not_there_or_no_object(tmp_path):
    with pytest.raises(InputError, match=r"no file .*x.safetensors': check the path"):
        read_tensors(tmp_path / "x.safetensors")
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"x.json' holds no JSON object"):
        read_json(tmp_path / "x.json")


def test_an_intervention_by_chance_needs_ids():
    lm = tiny.lm()
    change = Intervention(Units([0], [1]), probability=0.5)
    with (
        intervene(lm, change),
        pytest.raises(InputError, match="with a probability needs token ids"),
    ):
        lm.model(inputs_embeds=torch.zeros(1, 3, tiny.HIDDEN))


def test_bounds_of_a_clipped_value():
    here = dataclasses.replace(Value.constant(0.0), site="mlp.act")
    there = dataclasses.replace(Value.constant(1.0), site="mlp.pre")
    with pytest.raises(InputError, match="statistics of different sites: take one site"):
        Value.clip(here, there)
    with pytest.raises(InputError, match="must be numbers or statistics"):
        Value.clip(Value.clip(0.0, 1.0), 2.0)
