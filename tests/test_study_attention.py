"""Attention units: LAPE over an own threshold, masked LoRA on heads, studies with several sites."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import tiny
from finetuning_world import Classes
from identification_make import statistics_of
from langneurons import Study, perplexity_change
from langneurons.errors import InputError
from langneurons.finetuning import finetune, load_adapter
from langneurons.identification import NeuronSet, Units, identify
from langneurons.statistics import Statistics
from study_world import files, short_reports

HEAD = tiny.HIDDEN // tiny.HEADS


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("q", [0.5, 0.9])
def test_pooled_lape_by_definition(absolute, q):
    generator = torch.Generator().manual_seed(3)
    rows = {k: torch.randn(2, 30, 8, generator=generator) for k in ("a", "b", "c")}
    rows["b"][1, :, 4] += 3
    options = {"top": 4, "filter": 0.5, "bar": 0.7, "percentile": "interpolated"}
    found = identify(statistics_of(rows), "lape_pooled", q=q, absolute=absolute, **options)
    size = abs if absolute else float
    share = np.zeros((3, 2, 8))
    for layer in range(2):
        for unit in range(8):
            values = {k: [size(float(x)) for x in rows[k][layer, :, unit]] for k in rows}
            limit = np.quantile([x for item in values.values() for x in item], q)
            for k, item in enumerate(values.values()):
                share[k, layer, unit] = sum(x > limit for x in item) / 30
    entropies = {}
    floor, bar = np.quantile(share, 0.5), np.quantile(share, 0.7)
    for layer, unit in np.ndindex(2, 8):
        p = share[:, layer, unit]
        if (p > floor).any():
            entropies[layer, unit] = -sum(x * math.log(x) for x in p / p.sum() if x > 0)
    taken = sorted(entropies, key=lambda pair: (entropies[pair], pair))[:4]
    for k, name in enumerate(rows):
        assert found[name].pairs() == sorted(u for u in taken if share[k][u] > bar)


@pytest.mark.parametrize(
    ("family", "groups"),
    [("llama", 2), ("gpt2", 4), ("phi3", 2), ("falcon-groups", 2), ("falcon", 1)],
)
def test_lora_on_heads_touches_the_heads_and_what_they_read(family, groups, tmp_path):
    lm = tiny.lm(family)
    heads = {0: [1], 1: [0, 3]}
    units = Units.from_pairs([(layer, h) for layer, found in heads.items() for h in found])
    finetune(
        lm, Classes(), "en", units, site="attn.head", output=tmp_path, attention=False,
        steps=2, batch_size=8, rank=4, learning_rate=1e-2,
    )  # fmt: skip
    adapted = load_adapter(lm, tmp_path)

    def whole(chosen):
        return sorted(h * HEAD + i for h in set(chosen) for i in range(HEAD))

    for layer, chosen in heads.items():
        shared = [h // (tiny.HEADS // groups) for h in chosen]
        expected = {"attn.q": whole(chosen), "attn.k": whole(shared), "attn.v": whole(shared)}
        per_module: dict[int, set[int]] = {}
        for site, wanted in expected.items():
            place = lm.sites[site]
            where = wanted if place.columns is None else place.columns[wanted].tolist()
            module = adapted.sites[site].modules[layer]
            per_module.setdefault(id(module), set()).update(where)
            delta = module.get_delta_weight("default")
            delta = delta.T if family == "gpt2" else delta
            changed = set(delta.abs().sum(1).nonzero().flatten().tolist())
            assert set(where) <= changed
        for site in expected:
            module = adapted.sites[site].modules[layer]
            delta = module.get_delta_weight("default")
            delta = delta.T if family == "gpt2" else delta
            changed = delta.abs().sum(1).nonzero().flatten().tolist()
            assert changed == sorted(per_module[id(module)])
        delta = adapted.sites["attn.out"].modules[layer].get_delta_weight("default")
        delta = delta.T if family == "gpt2" else delta
        assert delta.abs().sum(0).nonzero().flatten().tolist() == whole(chosen)


def test_a_rank_above_a_head_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"rank 9 is above the number of selected units \(8\)"):
        finetune(
            tiny.lm(), Classes(), "en", Units([0], [1]), site="attn.head", output=tmp_path, rank=9
        )


SITES = {"out": "attn.out", "head": "attn.head", "q": "attn.q", "k": "attn.k", "v": "attn.v"}


@pytest.fixture(scope="module")
def attention_run(tmp_path_factory):
    """A study whose neuron sets live at five attention sites and one of the MLP."""
    root = tmp_path_factory.mktemp("attention")
    high = {"method": "activation_probability", "parameters": {"top": 0.25, "split_half": False}}
    pooled = {"method": "lape_pooled", "parameters": {"top": 0.4, "filter": 0.5, "bar": 0.4}}
    study = {
        "name": "attention",
        **files(root),
        "statistics": {"tokens": 400, "block": 32, "rows": 128},
        "neurons": {
            "mlp": {"method": "lape", "parameters": {"top": 0.2}},
            **{
                name: {**(pooled if name == "v" else high), "site": site}
                for name, site in SITES.items()
            },
        },
        "perplexity": {
            "neurons": ["mlp", *SITES], "tokens": 300, "random": 1, "matched": 1, "value": "x0.5",
        },
        "tasks": {"mini-nli": {"limit": 6, "examples": 16, "languages": ["en", "hi"]}},
        "finetune": {"steps": 2, "batch_size": 4, "rank": 2},
        "adapters": {"head": {"neurons": "head:hi", "attention": False}},
        "interventions": {
            "neurons": ["head", "k"], "adapter": "head", "values": ["zero", "P90", "x2"],
            "languages": ["hi"], "random": 1,
        },
    }  # fmt: skip
    (root / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    with short_reports():
        result = Study.from_yaml(root / "study.yaml").run(root / "run")
    assert result.failed == []
    return tiny.lm("llama"), root


def test_the_same_tables_as_for_neurons(attention_run):
    _, root = attention_run
    run = root / "run"
    tables = {path.stem: pd.read_parquet(path) for path in (run / "tables").glob("*.parquet")}
    assert set(tables["neurons"]["neurons"]) == {"mlp", *SITES}
    assert set(tables["perplexity"]["neurons"]) == {"mlp", *SITES}
    assert {"own", "random", "matched"} <= set(tables["perplexity"]["kind"])
    scores = tables["scores"]
    assert {"zero", "P90", "x2"} <= set(scores[scores["neurons"] == "k"]["intervention"])
    widths = {"out": 32, "head": 4, "q": 32, "k": 16, "v": 16}
    for name, site in SITES.items():
        found = NeuronSet.load(run / "neurons" / f"{name}.json")
        assert (found.site, found.shape) == (site, (2, widths[name]))
        assert Statistics.load(run / "statistics" / site).site == site
    # Sets of one site alone are compared.
    assert set(tables["overlap"]["a"]) == {"mlp", *SITES}
    assert (tables["overlap"]["a"] == tables["overlap"]["b"]).all()


def test_scaling_in_a_study_is_that_of_the_library(attention_run):
    lm, root = attention_run
    study = Study.from_yaml(root / "study.yaml")
    from langneurons.interface.workshop import Workshop

    shop = Workshop(study.config, root / "run", study.texts())
    found = NeuronSet.load(root / "run" / "neurons" / "q.json")
    direct = perplexity_change(
        lm, found.select(["hi"]), {"hi": shop.held_out_blocks("hi")}, 0.5, mode="multiply"
    ).table
    table = pd.read_parquet(root / "run" / "tables" / "perplexity.parquet")
    row = table[(table["neurons"] == "q") & (table["row"] == "hi") & (table["column"] == "hi")]
    row = row[row["kind"] == "own"]
    assert row["ratio"].tolist() == pytest.approx(direct["ratio"].tolist(), rel=1e-5)
    assert row["ratio"].item() != 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("neurons.lape.site=attn.haed", "unknown site 'attn.haed' in 'neurons.lape'"),
        ("adapters.x={neurons: ['lape:hi', 'h:hi']}", "its sets are of attn.head and mlp.act"),
        ("perplexity.value=x", "value 'x' is none of zero"),
    ],
)
def test_wrong_sites_and_values_are_refused(change, words):
    with pytest.raises(InputError) as caught:
        Study.from_yaml("mini", [change, "neurons.h={method: lape, site: attn.head}"]).check()
    assert words in str(caught.value)
