"""Presets, grids and series: every one is planned and reckoned without a model or a network."""

import functools
import json
import socket

import pytest
from typer.testing import CliRunner

from langneurons import Study
from langneurons.cli.app import app
from langneurons.config import loading
from langneurons.config.grid import expand
from langneurons.config.schema import parse
from langneurons.errors import InputError
from langneurons.identification.language_sets import LANGUAGE_SETS
from langneurons.models.size import Size
from langneurons.progress import human_bytes, human_time
from langneurons.study.expectation import expect, measured_flops, size_of
from langneurons.study.kinds import kinds
from langneurons.study.plan import Identity, plan

ISSUE = {
    *("mini", "mini-paper", "text", "paper-llama-3.1-8b", "paper-mistral-nemo-12b", "bloomz-7b1"),
    *("experts", "qwen3-30b-a3b", "olmoe", "gpt-oss-20b"),
    *("opt-6.7b", "llama-2-7b", "aya-23-8b", "qwen-3", "gemma-3", "next-check-1", "next-check-2"),
}


def laid_out(config):
    texts = dict.fromkeys(config.languages, "t")
    return plan(config, Identity("model", texts, texts, dict.fromkeys(config.tasks, "x")))


@functools.cache
def series(name):
    """The studies of a preset, read once."""
    return loading.load_series(name)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A text for every language any preset names."""
    root = tmp_path_factory.mktemp("texts")
    languages = {
        lang
        for name in loading.presets()
        for config in series(name).values()
        for lang in config.languages
    }
    for lang in languages:
        lines = [f"{lang} {n} " + "word " * 20 for n in range(2200)]
        (root / f"{lang}.txt").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", sorted(loading.presets()))
def test_every_preset_is_planned_without_network_or_model(name, texts, offline, tmp_path):
    words = ["run", name, "--dry-run", "--json", "-t", str(texts / "{lang}.txt")]
    words += ["-o", str(tmp_path / "run"), "-s", "threads=1"]
    if name == "text":
        words[words.index("-t") + 1] = f"en={texts / 'en.txt'}"
        words += ["-t", f"hi={texts / 'hi.txt'}"]
    config = next(iter(series(name).values()))
    if config.model.endswith(".gguf"):
        words += ["-s", "model=mini"]  # the file itself is fetched by `make real-models`
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    plans = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert len(plans) == len(series(name))
    for found in plans:
        expected = found["expected"]
        assert expected["stages"] == len(found["stages"]) > 0
        assert expected["kept"] == 0
        assert expected["tokens"] > 0
        assert expected["seconds"] > 0
        assert expected["memory"] > 0
        assert expected["disk"] > 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted(loading.presets()))
def test_budgets_of_a_preset_are_smaller_and_bring_nothing_back(name):
    """A budget inherited from an included study must not revive a part that was taken out."""
    whole = next(iter(series(name).values()))
    for budget in whole.budgets:
        part = next(iter(loading.load_series(name, [f"budget={budget}"]).values()))
        assert set(part.tasks) <= set(whole.tasks)
        assert set(part.adapters) <= set(whole.adapters)
        assert set(part.neurons) <= set(whole.neurons)
        without = {key for key, value in whole.model_dump().items() if value is None}
        assert without <= {key for key, value in part.model_dump().items() if value is None}
        counts = [len(laid_out(config).stages) for config in (part, whole)]
        assert counts[0] <= counts[1]


def test_a_dry_run_reads_no_text_of_the_hub_before_there_are_results(offline, tmp_path):
    config = loading.load("qwen-3")
    assert config.text.startswith("hub:")
    words = ["run", "qwen-3", "--dry-run", "--json", "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["expected"]["kept"] == 0


def test_the_presets_of_the_issue_are_there():
    assert set(loading.presets()) >= ISSUE
    assert not any(name.startswith("_") for name in loading.presets())
    with pytest.raises(InputError, match="unknown preset '_paper'"):
        loading.load("_paper")


def test_the_paper_preset_is_the_paper():
    config = loading.load("paper-llama-3.1-8b")
    assert config.protocol == "paper"
    assert (config.statistics.site, config.context().written("activation-probability")) == (
        "mlp.pre",
        "mlp.act",
    )
    assert set(config.languages) == {lang for item in LANGUAGE_SETS.values() for lang in item}
    for name in LANGUAGE_SETS:
        spec = config.neurons[f"lape@{name}"]
        assert (spec.method, spec.languages) == ("lape", name)
        assert spec.parameters == {"top": 0.01, "percentile": "interpolated", "cutoff": "value"}
    assert config.neurons["activation-probability"].parameters["top"] == 0.00125
    assert config.interventions.values == [
        *("mean", "P5", "P10", "P25", "P50", "P75", "P90", "P95", "zero", "-10", "-1", "1", "10")
    ]
    assert config.tasks["xnli"].finetune["recipe"] == "paper-xnli"
    assert config.tasks["xquad"].finetune["recipe"] == "paper-xquad"
    assert {"none", "all", "en", "hi", "en+hi", "random:vi"} <= set(config.adapters)
    laid = laid_out(config)
    # Neurons of a set that lacks a language are not written over in it.
    cells = [stage.arguments for stage in laid.stages if stage.kind == "scores"]
    set1 = {cell["language"] for cell in cells if cell.get("neurons") == "lape@set1"}
    assert set1 == {"vi", "zh"}
    rows = {stage.name for stage in laid.stages if stage.kind == "perplexity"}
    assert "perplexity/lape@set3/kn" in rows
    assert "perplexity/lape@set3/en" not in rows


def test_methods_and_language_sets_make_a_grid_of_neuron_sets():
    study = {
        "languages": ["en", "es", "hi"],
        "methods": ["lape", "average_precision"],
        "language_sets": {"west": ["en", "es"], "all": ["en", "es", "hi"]},
        "neurons": {"lape@west": {"parameters": {"top": 0.2}}},
        "perplexity": {"tokens": 5},
        "sweep": {"languages": ["es"]},
    }
    config = parse(study)
    names = ["lape@west", "lape@all", "average_precision@west", "average_precision@all"]
    assert list(config.neurons) == names
    assert config.neurons["lape@west"].parameters == {"top": 0.2}
    assert config.neurons["average_precision@west"].languages == ["en", "es"]
    assert config.perplexity.neurons == names
    assert config.sweep.neurons == "lape@west"
    assert parse(expand(expand(study))) == config
    with pytest.raises(InputError, match="methods"):
        parse({"languages": ["en"], "methods": 3})


def test_methods_take_parameters():
    config = parse({"languages": ["en", "hi"], "methods": {"lape": {"top": 0.03}, "dln": None}})
    assert config.neurons["lape"].parameters == {"top": 0.03}
    assert config.neurons["dln"].method == "dln"


def test_seeds_repeat_trainings_and_draws_where_nothing_else_is_said():
    config = loading.load("mini", ["seeds=3", "interventions.matched=1"])
    assert config.adapters["none"].seeds == 3
    assert config.adapters["random"].seeds == 2  # the preset says so itself
    assert parse({"languages": ["en"], "seeds": 4, "interventions": {}}).interventions.random == 4


def test_interventions_under_several_adapters_are_cells_of_each():
    one = laid_out(loading.load("mini"))
    two = laid_out(loading.load("mini", ["interventions.adapter=[none,english]"]))
    new = {stage.name for stage in two.stages} - {stage.name for stage in one.stages}
    assert new
    assert all("/english/" in name for name in new)
    with pytest.raises(InputError, match="unknown adapter 'englisch'"):
        loading.load("mini", ["interventions.adapter=[none,englisch]"])


def test_a_series_is_one_study_for_each_member(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "include: mini\nname: s\nseries: {one: {seed: 1}, two: {statistics: {tokens: 9}}}\n"
    )
    found = Study.series(file, ["statistics.rows=7"])
    assert list(found) == ["one", "two"]
    assert found["one"].config.name == "s-one"
    assert (found["one"].config.seed, found["one"].config.statistics.tokens) == (1, 60_000)
    assert (found["two"].config.seed, found["two"].config.statistics.tokens) == (0, 9)
    assert {study.config.statistics.rows for study in found.values()} == {7}
    with pytest.raises(InputError, match="is a series of studies"):
        Study.from_yaml(file)
    file.write_text("include: mini\nseries: {../x: {seed: 1}}\n")
    with pytest.raises(InputError, match="becomes part of a file name"):
        Study.series(file)


def test_the_protocol_changes_every_key():
    strict, paper = (
        laid_out(loading.load("mini", ["statistics.site=mlp.pre", f"protocol={protocol}"]))
        for protocol in ("strict", "paper")
    )
    for stage in strict.stages:
        if stage.kind in ("statistics", "neurons", "perplexity", "scores"):
            assert strict.keys[stage.name] != paper.keys[stage.name], stage.name
    with pytest.raises(InputError, match="paper takes statistics"):
        loading.load("mini", ["statistics.site=mlp.act", "protocol=paper"])


def test_the_size_of_the_built_in_model_is_read_from_its_configuration():
    from langneurons import load

    lm = load("mini")
    size = size_of(loading.load("mini"))
    assert size.parameters == sum(item.numel() for item in lm.model.parameters())
    assert (size.layers, size.units) == (lm.layers, lm.sites["mlp.act"].width)
    output = lm.model.get_output_embeddings().weight
    tied = output is lm.model.get_input_embeddings().weight
    assert size.output == output.numel()
    assert size.body == size.parameters - output.numel() * (1 if tied else 2)


def test_the_size_of_the_built_in_mixture_counts_what_a_token_passes():
    from langneurons import load

    lm = load("mini-moe")
    size = size_of(loading.load("experts"))
    inside, router = lm.sites["moe.act"], lm.sites["moe.router"]
    assert (size.experts, size.chosen, size.inner) == (8, 2, inside.inner)
    assert size.at("moe.router") == (router.width, router.width)
    assert size.at("moe.act") == (inside.width, 2 * inside.inner)
    stacks = sum(w.numel() for module in inside.modules.present for w in module.parameters())
    ends = {id(e): e.numel() for e in (lm.model.get_input_embeddings().weight,
                                      lm.model.get_output_embeddings().weight)}  # fmt: skip
    assert size.parameters == sum(item.numel() for item in lm.model.parameters())
    assert size.body == size.parameters - sum(ends.values()) - stacks * 6 / 8


@pytest.mark.parametrize("site", ["moe.act", "attn.out"])
def test_the_disk_that_statistics_of_a_mixture_take_is_expected(tmp_path, site):
    """Nothing a mixture keeps is left out, whatever its layers are."""
    from langneurons import collect, load, mini

    words = [f"statistics.site={site}", "statistics.tokens=4000", "statistics.rows=3000",
             "statistics.block=50", "languages=[en]", "perplexity=null", "sweep=null",
             "neurons={lape: {method: lape}}", "passages=null"]  # fmt: skip
    config = loading.load("experts", words)
    laid = laid_out(config)
    texts = {"en": mini.text("en", tokens=5000)}
    collect(load("mini-moe"), texts, site=site, block=50, tokens=4000, rows=3000, output=tmp_path)
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert expect(config, laid, laid.stages).disk == pytest.approx(kept, rel=0.3)


def test_the_vocabulary_counts_where_every_token_is_predicted():
    size = Size(parameters=270, layers=1, units=1, hidden=1, body=100, output=170)
    known = kinds()
    assert size.operations(known["finetune"].predicts) == 200
    assert size.operations(known["statistics"].predicts) == 200
    assert size.operations(known["perplexity"].predicts) == 540
    assert size.operations(known["sweep"].predicts) == 540
    assert Size(parameters=270, layers=1, units=1, hidden=1).operations(False) == 540
    mixture = Size(parameters=270, layers=1, units=1, hidden=1, active=30)
    assert mixture.operations(True) == mixture.operations(False) == 60


def test_expectations_follow_the_work_and_the_rates_measured():
    config = loading.load("paper-llama-3.1-8b")
    laid = laid_out(config)
    whole = expect(config, laid, laid.stages, flops=1e15)
    half = expect(config, laid, [s for s in laid.stages if s.kind == "statistics"], flops=1e15)
    assert half.tokens == 16 * 100e6
    # 2 operations a weight and token at 40 % of 1e15 a second.
    assert sum(half.seconds.values()) == pytest.approx(1.6e9 * 2 * 8.03e9 / 4e14)
    assert sum(whole.seconds.values()) > sum(half.seconds.values())
    assert 16e9 < whole.memory < 80e9
    rows = 16 * 16384 * 32 * 14336 * 2
    assert whole.disk > rows
    record = {"stage": "statistics/en", "seconds": 500.0}
    measured = expect(config, laid, [laid["statistics/hi"]], flops=1e15, records=[record])
    assert measured.seconds["statistics/hi"] == pytest.approx(500.0)
    assert "measured for statistics" in measured.source


def test_the_rate_of_the_machine_is_measured_once():
    # Two measurements differ in their last digits.
    assert measured_flops("float32") == measured_flops("float32") > 0


def test_numbers_for_people():
    assert [human_time(t) for t in (5, 600, 20_000, 400_000)] == [
        "5 s",
        "10 min",
        "5.6 h",
        "4.6 days",
    ]
    assert [human_bytes(n) for n in (12, 2.5e6, 3e12)] == ["12 B", "2.5 MB", "3.0 TB"]


def test_a_named_part_that_is_null_is_left_out():
    whole = loading.load("gemma-3-270m-xnli")
    less = loading.load("gemma-3-270m-xnli", ["tasks.xquad=null"])
    assert set(whole.tasks) == {"xnli", "xquad"}
    assert set(less.tasks) == {"xnli"}
