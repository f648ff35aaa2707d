"""Statistics are those of the model as it ran, the text and the options: never others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

import tiny
from langneurons import NeuronSet, identify, intervene
from langneurons.data import make_blocks
from langneurons.errors import ArtifactError, InputError
from langneurons.finetuning.targets import choose
from langneurons.identification import Units
from langneurons.intervention import Intervention, Value, bake
from langneurons.models import LanguageModel, wrap
from langneurons.models.running import running_state
from langneurons.statistics import Options, Statistics, collect, estimate

TEXTS = [f"Nr {n}: " + "the cat and the dog, चित्र 猫। " * (n % 4 + 1) for n in range(6)]
OTHER = [text.replace("Nr", "No") for text in TEXTS]
FAST = {"block": 24, "rows": 20, "batch_size": 4}


def adapted(lm: LanguageModel, scale: float = 1.0, **options: Any) -> LanguageModel:
    """The model under a LoRA that changes much."""
    config = LoraConfig(target_modules=["gate_proj", "v_proj"], **options)
    model = get_peft_model(lm.model, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, scale, generator=torch.Generator().manual_seed(1))
    return lm.with_model(model.eval())


def same(one: Statistics, other: Statistics) -> bool:
    return one.fingerprint == other.fingerprint


# ------------------------------------------------------------------ the folder


def plain(lm: LanguageModel) -> AbstractContextManager[object]:
    return nullcontext(lm)


def under_zero(lm: LanguageModel) -> AbstractContextManager[object]:
    return intervene(lm, Units.from_mask(torch.ones(lm.layers, tiny.UNITS)), 1.0)


def with_foreign_hook(lm: LanguageModel) -> AbstractContextManager[object]:
    return lm.layer_modules[0].mlp.down_proj.register_forward_hook(lambda *a: a[2] * 2)


def in_place(lm: LanguageModel) -> AbstractContextManager[object]:
    with torch.no_grad():
        lm.layer_modules[0].mlp.gate_proj.weight.mul_(-1)
    return nullcontext()


def past_autograd(lm: LanguageModel) -> AbstractContextManager[object]:
    lm.layer_modules[0].mlp.gate_proj.weight.data.mul_(-1)
    return nullcontext()


def in_bfloat16(lm: LanguageModel) -> AbstractContextManager[object]:
    lm.model.bfloat16()
    return nullcontext()


def under_autocast(lm: LanguageModel) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16)


def injected(lm: LanguageModel) -> AbstractContextManager[object]:
    """An adapter put into the very modules of the model at hand."""
    adapted(lm)
    return nullcontext()


@pytest.mark.parametrize(
    "change",
    [under_zero, with_foreign_hook, in_place, past_autograd, in_bfloat16, under_autocast, injected],
)
def test_a_folder_never_gives_the_statistics_of_another_state(
    tmp_path: Path, change: Callable[[LanguageModel], AbstractContextManager[object]]
) -> None:
    lm, fresh = tiny.lm(), tiny.lm()
    before = collect(lm, {"xx": TEXTS}, output=tmp_path, **FAST)
    with change(lm):
        changed = collect(lm, {"xx": TEXTS}, output=tmp_path, **FAST)
    with change(fresh):
        expected = collect(fresh, {"xx": TEXTS}, **FAST)
    assert same(changed, expected)
    assert not same(changed, before)
    # And what was stored then is not taken for that of the plain model.
    again = collect(tiny.lm(), {"xx": TEXTS}, output=tmp_path, **FAST)
    assert same(again, before)
    with pytest.raises(InputError, match=r"different models|collected differently"):
        before.merge(collect(tiny.lm(), {"yy": OTHER}, **FAST).merge(changed))


def test_base_and_adapter_have_their_own_statistics(tmp_path: Path) -> None:
    base = collect(tiny.lm(), {"xx": TEXTS}, output=tmp_path, **FAST)
    one, two = adapted(tiny.lm()), adapted(tiny.lm(), scale=2.0)
    first = collect(one, {"xx": TEXTS}, output=tmp_path, **FAST)
    second = collect(two, {"xx": TEXTS}, output=tmp_path, **FAST)
    assert len({base.fingerprint, first.fingerprint, second.fingerprint}) == 3
    # An adapter has no say while it is switched off: then it is the base that runs.
    with one.model.disable_adapter():
        off = collect(one, {"xx": TEXTS}, **FAST)
    assert off.fingerprint == base.fingerprint
    assert off["xx"].key == base["xx"].key
    for left, right in ((base, first), (first, second)):
        other = collect(one if left is base else two, {"yy": OTHER}, **FAST)
        with pytest.raises(InputError, match="adapters, weights or hooks"):
            left.merge(other)
        with pytest.raises(InputError, match="adapters, weights or hooks"):
            left.merge(right.select([]).merge(other)).merge(right)


def test_a_fully_tuned_model_has_its_own_statistics(tmp_path: Path) -> None:
    lm = tiny.lm()
    base = collect(lm, {"xx": TEXTS}, output=tmp_path, **FAST)
    tuned = lm.with_model(tiny.model(seed=1))
    assert tuned.fingerprint == lm.fingerprint
    assert "weights" in running_state(tuned)
    assert not same(collect(tuned, {"xx": TEXTS}, output=tmp_path, **FAST), base)


def test_saved_modules_of_an_adapter_count_as_adapter() -> None:
    lm = tiny.lm()
    before = tiny.lm().fingerprint
    other = adapted(lm, modules_to_save=["embed_tokens"])
    assert other.fingerprint == before
    first = running_state(other)["adapter"]
    with torch.no_grad():
        other.backbone.embed_tokens.modules_to_save.default.weight[3].add_(1)
    assert running_state(other)["adapter"] != first
    assert "weights" not in running_state(other)


def test_one_changed_element_shows_when_all_are_read() -> None:
    lm = tiny.lm()
    before = lm.fingerprint["sha256"]
    weight = lm.layer_modules[1].mlp.down_proj.weight
    weight.data[5, 7] += 1.0  # without a mark, and between the sampled elements
    lm.refresh()
    assert lm.fingerprint["sha256"] == before
    lm.refresh(full=True)
    assert lm.fingerprint["sha256"] != before
    assert lm.fingerprint["sha256"] == wrap(lm.model, lm.tokenizer).fingerprint["sha256"]


def test_a_new_default_of_the_library_changes_no_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = tiny.lm()
    kind = type(lm.config)
    before, plain_dict = lm.fingerprint["sha256"], kind.to_dict

    def later(self: Any) -> dict[str, Any]:
        found = plain_dict(self)
        found["rope_parameters"] = {**found["rope_parameters"], "new_key": 1.0}
        return {**found, "attention_temperature": 1.0}

    monkeypatch.setattr(kind, "to_dict", later)
    assert tiny.lm().fingerprint["sha256"] == before
    monkeypatch.undo()
    assert tiny.lm(rms_norm_eps=1e-3).fingerprint["sha256"] != before
    theta = {"rope_theta": 7.0, "rope_type": "default"}
    assert tiny.lm(rope_parameters=theta).fingerprint["sha256"] != before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"rows": 10},
        {"block": 16},
        {"pack": True},
        {"bos": True},
        {"tokens": 30},
        {"site": "mlp.pre"},
        {"quantiles": "exact"},
        {"quantiles": "batch-mean"},
    ],
)
def test_every_option_is_in_the_key(tmp_path: Path, change: dict[str, Any]) -> None:
    lm = tiny.lm()
    collect(lm, {"xx": TEXTS}, output=tmp_path, **FAST)
    found = collect(lm, {"xx": TEXTS}, output=tmp_path, **{**FAST, **change})
    expected = collect(lm, {"xx": TEXTS}, **{**FAST, **change})
    assert same(found, expected)
    assert found["xx"].options == expected["xx"].options


def test_options_are_an_object_or_its_fields(tmp_path: Path) -> None:
    lm = tiny.lm()
    options = Options(block=24, rows=20, site="mlp.pre")
    one = collect(lm, {"xx": TEXTS}, options)
    assert same(one, collect(lm, {"xx": TEXTS}, block=24, rows=20, site="mlp.pre"))
    assert collect(lm, {"xx": TEXTS}, options, site="mlp.act").site == "mlp.act"
    assert estimate(lm, {"xx": TEXTS}, options, measure=False).tokens == one.tokens
    with pytest.raises(InputError, match=r"option of a collection.*'row'"):
        collect(lm, {"xx": TEXTS}, row=20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 1.5}, "rows must be a whole number, not 1.5"),
        ({"rows": True}, "rows must be a whole number"),
        ({"block": "64"}, "block must be a whole number"),
        ({"tokens": 0}, "tokens must be at least 1"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"pack": 3}, "pack must be true or false"),
        ({"checkpoint_blocks": 0}, "checkpoint_blocks must be at least 1"),
    ],
)
def test_a_wrong_value_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        collect(tiny.lm(), {"xx": TEXTS}, **options)


@pytest.mark.parametrize("lang", ["../x", "a/b", "", ".en", "a:b", "a\nb"])
def test_a_language_that_is_no_file_name_is_refused_before_the_pass(
    tmp_path: Path, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny.lm()
    monkeypatch.setattr(lm.backbone, "forward", None)  # nothing may run
    with pytest.raises(InputError, match="cannot be a file name"):
        collect(lm, {"en": TEXTS, lang: TEXTS}, output=tmp_path)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ blocks made before


@pytest.mark.parametrize("wrong", [{"block": 16}, {"pack": True}, {"bos": True}, {"tokens": 9}])
def test_given_blocks_refuse_what_they_are_not(wrong: dict[str, Any]) -> None:
    lm = tiny.lm()
    blocks = make_blocks(TEXTS, lm.tokenizer, block=24, bos=False)
    with pytest.raises(InputError, match=f"{next(iter(wrong))}=.*leave it out"):
        collect(lm, {"xx": blocks}, **wrong)


def test_given_blocks_are_recorded_as_they_are() -> None:
    lm = tiny.lm()
    blocks = make_blocks(TEXTS, lm.tokenizer, block=20, pack=True, bos=True, prefix_tokens=2)
    found = collect(lm, {"xx": blocks}, rows=8)["xx"].options
    assert found["block"] == 20
    assert found["pack"] is True
    assert found["lead"] == [lm.tokenizer.bos_token_id]
    assert found["prefix_tokens"] == 2
    same_text = collect(lm, {"xx": TEXTS}, rows=8, block=20, pack=True, bos=True)["xx"].options
    assert {**found, "prefix_tokens": 0} == same_text
    collect(lm, {"xx": blocks}, rows=8, block=20, pack=True, bos=True)  # says the same: fine
    by_hand = replace(blocks, cut=None)
    assert collect(lm, {"xx": by_hand}, rows=8)["xx"].options["lead"] is None


def test_texts_that_read_once_are_read_once(tmp_path: Path) -> None:
    lm = tiny.lm()
    listed = collect(lm, {"xx": TEXTS, "yy": OTHER}, **FAST)
    streamed = collect(lm, {"xx": iter(TEXTS), "yy": (text for text in OTHER)}, **FAST)
    assert same(listed, streamed)


class _Changing:
    """Text that is another one whenever it is read."""

    def __init__(self) -> None:
        self.times = 0

    def __iter__(self) -> Any:
        self.times += 1
        return iter([f"{self.times} {text}" for text in TEXTS])


def test_text_that_changes_while_it_is_read_is_refused() -> None:
    with pytest.raises(InputError, match="other documents each time"):
        collect(tiny.lm(), {"xx": _Changing(), "yy": OTHER}, **FAST)


@pytest.mark.parametrize("method", ["gradient", "relevance", "transfer"])
def test_generators_of_other_texts_have_other_keys(method: str) -> None:
    lm = tiny.lm()

    def found(first: list[str], kind: Callable[[list[str]], Any]) -> NeuronSet:
        texts = {"xx": kind(first), "yy": kind(OTHER)}
        return identify(method=method, model=lm, texts=texts, top=3)

    one, two = found(TEXTS, iter), found(TEXTS[:4], iter)
    assert one.statistics != two.statistics
    assert one.statistics == found(TEXTS, list).statistics
    assert one == found(TEXTS, list)


def test_dropout_is_off_and_every_mode_given_back() -> None:
    lm = tiny.lm("gpt2", resid_pdrop=0.5, attn_pdrop=0.5)
    before = collect(lm, {"xx": TEXTS}, **FAST)
    kept = lm.layer_modules[1].mlp
    lm.model.train()
    kept.eval()
    modes = [module.training for module in lm.model.modules()]
    assert same(collect(lm, {"xx": TEXTS}, **FAST), before)
    estimate(lm, {"xx": TEXTS}, **FAST)
    texts = {"xx": TEXTS, "yy": OTHER}
    noisy = identify(method="gradient", model=lm, texts=texts, top=3)
    assert [module.training for module in lm.model.modules()] == modes
    lm.model.eval()
    assert noisy == identify(method="gradient", model=lm, texts=texts, top=3)


# ------------------------------------------------------------------ merging


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed 0 and 1"),
        ({"block": 16}, "block 24 and 16"),
        ({"pack": True}, "pack False and True"),
        ({"bos": True}, "beginning of blocks"),
        ({"quantiles": "exact"}, "quantiles sample and exact"),
    ],
)
def test_texts_of_a_language_merge_only_if_collected_alike(
    change: dict[str, Any], told: str
) -> None:
    lm = tiny.lm()
    one = collect(lm, {"xx": TEXTS}, **FAST)
    two = collect(lm, {"xx": OTHER}, **{**FAST, **change})
    with pytest.raises(InputError, match=f"collected differently.*{told}"):
        one.merge(two)
    if "seed" not in change and "quantiles" not in change:
        with pytest.raises(InputError, match=told):
            one.merge(collect(lm, {"yy": OTHER}, **{**FAST, **change}))


def test_statistics_of_other_dtypes_do_not_merge() -> None:
    one, lm = collect(tiny.lm(), {"xx": TEXTS}, **FAST), tiny.lm()
    lm.model.bfloat16()
    with pytest.raises(InputError, match="dtype float32 and bfloat16"):
        one.merge(collect(lm, {"yy": OTHER}, **FAST))


def test_a_part_that_one_side_lacks_is_named() -> None:
    lm = tiny.lm()
    one = collect(lm, {"xx": TEXTS}, **FAST)
    with pytest.raises(InputError, match="has no token rows"):
        one.merge(collect(lm, {"xx": OTHER}, **{**FAST, "rows": 0}))
    counts = Statistics.from_counts({"xx": one["xx"].count}, one.tokens, lm.fingerprint)
    with pytest.raises(InputError, match="has no means and deviations"):
        counts.merge(one)
    paper = collect(lm, {"xx": OTHER}, **FAST, quantiles="batch-mean")
    bare = paper["xx"].__class__(**{**vars(one["xx"]), "options": {}})
    with pytest.raises(InputError, match="has no quantiles of batches"):
        paper["xx"].merge(bare, "xx")


def test_a_merged_sample_has_the_smaller_limit() -> None:
    lm = tiny.lm()
    few, many = (collect(lm, {"xx": t}, **{**FAST, "rows": n})
                 for t, n in ((TEXTS, 10), (OTHER, 30)))  # fmt: skip
    for merged in (few.merge(many), many.merge(few)):
        assert len(merged.keys("xx")) == 10
        assert merged["xx"].sample.limit == merged["xx"].options["rows"] == 10
        whole = collect(lm, {"xx": [*TEXTS, *OTHER]}, **{**FAST, "rows": 10})
        assert torch.equal(merged.keys("xx"), whole.keys("xx"))


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("harm", ["gone", "cut", "flipped", "foreign"])
def test_rows_that_are_missing_or_damaged_are_noticed(tmp_path: Path, harm: str) -> None:
    lm = tiny.lm()
    first = collect(lm, {"xx": TEXTS}, output=tmp_path, **FAST)
    before = first.quantile("xx", 0.4)
    path = tmp_path / "xx.rows" / "001.safetensors"
    data = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(data[:-40])
    elif harm == "flipped":
        data[-9] ^= 4
        path.write_bytes(data)
    else:
        other = collect(lm, {"xx": OTHER}, output=tmp_path / "other", **FAST)
        assert other.languages == ("xx",)
        path.write_bytes((tmp_path / "other" / "xx.rows" / "001.safetensors").read_bytes())
    if harm != "flipped":  # loading looks at what costs nothing to look at
        with pytest.raises(ArtifactError, match=r"001.safetensors.*(again|other statistics)"):
            Statistics.load(tmp_path)
    again = collect(lm, {"xx": TEXTS}, output=tmp_path, **FAST)
    assert torch.equal(again.quantile("xx", 0.4), before)
    assert torch.equal(Statistics.load(tmp_path).quantile("xx", 0.4), before)


# ------------------------------------------------------------------ use elsewhere


def found_at(lm: LanguageModel, site: str) -> tuple[NeuronSet, Statistics]:
    stats = collect(lm, {"xx": TEXTS, "yy": OTHER}, site=site, rows=0, block=24)
    return identify(stats, top=0.2, filter=0.1, bar=0.0), stats


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny.lm()


def test_one_language_of_a_set_keeps_its_site(lm: LanguageModel) -> None:
    neurons, stats = found_at(lm, "attn.q")
    units = neurons["xx"]
    assert units.site == "attn.q"
    assert Intervention(units).site == "attn.q"
    assert (units | neurons["yy"]).site == (units & neurons["yy"]).site == "attn.q"
    assert units.in_layers([0]).site == neurons.union().site == neurons.top(2)["xx"].site
    with intervene(lm, units, Value.mean(stats, "xx")):
        pass
    assert choose(lm, units).site == "attn.q"
    for use in (
        lambda: intervene(lm, units, site="mlp.act").__enter__(),
        lambda: bake(lm, units, site="mlp.act"),
        lambda: choose(lm, units, "mlp.act"),
    ):
        with pytest.raises(InputError, match=r"found at 'attn\.q'"):
            use()
    with pytest.raises(InputError, match="different sites"):
        NeuronSet({"xx": units}, (2, 48), site="mlp.act")
    with pytest.raises(InputError, match="different sites"):
        _ = units | found_at(lm, "mlp.act")[0]["xx"]


def test_coordinates_of_the_hidden_vector_may_change_their_site(lm: LanguageModel) -> None:
    units = found_at(lm, "mlp.pre")[0]["xx"]
    assert Intervention(units).site == "mlp.pre"
    assert Intervention(units, protocol="paper").site == "mlp.act"
    with intervene(lm, units, site="mlp.out"):
        pass


def test_sets_values_and_statistics_of_another_model_are_refused(lm: LanguageModel) -> None:
    neurons, stats = found_at(lm, "mlp.act")
    other = tiny.lm(seed=1)
    theirs, their_stats = found_at(other, "mlp.act")
    units, free = neurons["xx"], Units([0], [1])
    uses = {
        "intervene": lambda: intervene(other, units).__enter__(),
        "bake": lambda: bake(other, units),
        "finetune": lambda: choose(other, units),
        "value": lambda: intervene(other, free, Value.mean(stats, "xx")).__enter__(),
        "others": lambda: intervene(other, free, Value.mean_of_others(stats, "xx")).__enter__(),
        "baked value": lambda: bake(other, free, Value.mean(stats, "xx"), mode="multiply"),
        "clip": lambda: Value.clip(Value.mean(stats, "xx"), Value.maximum(their_stats, "xx")),
        "relevance": lambda: identify(
            stats, "relevance", model=other, texts={"xx": TEXTS, "yy": OTHER}
        ),
        "control": lambda: neurons.random_like(0, matched="rate", statistics=their_stats),
        "combined": lambda: neurons | theirs,
        "units": lambda: units & theirs["xx"],
        "statistics": lambda: stats.merge(their_stats),
        "set": lambda: NeuronSet({"xx": units}, (2, 48), model=other.fingerprint),
    }
    told = {}
    for what, use in uses.items():
        with contextlib.suppress(InputError):
            use()
            told[what] = "accepted"
    assert not told
    # The adapted model is the same model: its sets and values go on being usable.
    tuned = adapted(lm)
    with intervene(tuned, units, Value.mean(stats, "xx")):
        pass
