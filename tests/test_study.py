"""Studies: schema, plan, cache, resume, and a whole small run on a tiny model with real files."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

import study_world
from langneurons import Study
from langneurons.config import inputs, loading
from langneurons.config.schema import parse
from langneurons.errors import InputError
from langneurons.stages import records
from langneurons.stages.runner import execute, locked
from langneurons.study.plan import Identity, plan


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a tiny model, three texts and a study file."""
    return study_world.build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def finished(world):
    """The same study, run once."""
    out = world / "run"
    result = Study.from_yaml(world / "study.yaml").run(out)
    assert result.failed == []
    return out


def test_every_preset_is_valid_and_has_a_line_of_description():
    assert {"mini", "text"} <= set(loading.presets())
    for name, line in loading.presets().items():
        assert len(line) > 20
        assert all(study.config.name for study in Study.series(name).values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("langs=[en]", "unknown key 'langs' in the study. Did you mean 'languages'"),
        ("perplexity.valu=mean", "unknown key 'valu' in 'perplexity'. Did you mean 'value'"),
        (
            "adapters.none.hold={neuron: 'lape:hi'}",
            "unknown key 'neuron' in 'adapters.none.hold'. Did you mean 'neurons'",
        ),
        ("perplexity.value=median", "perplexity.value: value 'median' is none of zero, mean"),
        ("statistics.tokens=0", "statistics.tokens"),
        ("languages=[]", "languages"),
        ("languages=[en,en]", "languages named twice: en"),
        ("languages=[../x]", "becomes part of a file name"),
        (
            "perplexity.neurons=[lap]",
            "unknown neuron set 'lap' in 'perplexity'. Did you mean 'lape'",
        ),
        ("adapters.x={neurons: 'lape:xx'}", "unknown language 'xx' in adapter 'x'"),
        ("interventions.values=[mean@xx]", "unknown language 'xx' in value 'mean@xx'"),
        ("budget=tiny", "unknown budget 'tiny'"),
        ("novalue", "must be KEY=VALUE"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(change, words):
    with pytest.raises(InputError) as caught:
        Study.from_yaml("mini", [change])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("neurons.lape.method=lpae", "unknown identification method 'lpae'. Did you mean 'lape'"),
        ("neurons.lape.parameters={topp: 0.1}", "topp"),
        ("neurons.lape.parameters={cutoff: vaule}", "unknown cutoff 'vaule'. Did you mean 'value'"),
        ("tasks.mini-nil={limit: 5}", "unknown task 'mini-nil'. Did you mean 'mini-nli'"),
        ("tasks.mini-nli.languages=[de]", "de"),
        ("finetune.learning_rat=1", "learning_rat"),
    ],
)
def test_unknown_methods_tasks_and_settings_are_found_before_anything_runs(change, words):
    with pytest.raises(InputError) as caught:
        Study.from_yaml("mini", [change, "statistics.tokens=500"]).check()
    assert words in str(caught.value)


def test_overrides_win_over_the_budget():
    small = Study.from_yaml("mini", ["budget=small"]).config
    other = Study.from_yaml("mini", ["budget=small", "statistics.tokens=777"]).config
    assert small.statistics.tokens != 777
    assert other.statistics.tokens == 777
    assert other.perplexity == small.perplexity


def test_includes_are_merged_and_may_not_go_round(tmp_path):
    (tmp_path / "a.yaml").write_text("include: [mini, b.yaml]\nseed: 3\n")
    (tmp_path / "b.yaml").write_text("statistics: {tokens: 123}\n")
    config = loading.load(tmp_path / "a.yaml")
    assert (config.seed, config.statistics.tokens, config.statistics.block) == (3, 123, 128)
    (tmp_path / "c.yaml").write_text("include: c.yaml\n")
    with pytest.raises(InputError, match="includes itself"):
        loading.load(tmp_path / "c.yaml")


def test_norwegian_is_a_language_and_no_truth_value(tmp_path):
    (tmp_path / "a.yaml").write_text("languages: [no, en]\ntext: {no: a.txt, en: b.txt}\n")
    assert loading.load(tmp_path / "a.yaml").languages == ["no", "en"]


def test_a_study_file_cannot_read_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    (tmp_path / "a.yaml").write_text("include: mini\nmodel: ${oc.env:HF_TOKEN}\n")
    config = loading.load(tmp_path / "a.yaml")
    assert "secret-token" not in loading.dump(config)


def test_held_out_documents_are_never_among_the_others():
    texts = inputs.split(["a", "b", "c", "d", "e", "e", "a", "f", "g", "h"], 0.2, "en")
    assert texts.held_out == ["e", "e", "h"]
    assert not set(texts.held_out) & set(texts.statistics)
    assert sorted(texts.held_out + texts.statistics) == sorted("abcdeeafgh")
    with pytest.raises(InputError, match="too few to hold one in 5 out"):
        inputs.split(["a", "b"], 0.2, "en")


TEXTS = dict.fromkeys(Study.from_yaml("mini").config.languages, "t")
IDENTITY = Identity("model", TEXTS, TEXTS, {"mini-nli": "n", "mini-qa": "q"})


def changed(*overrides: str, identity: Identity = IDENTITY) -> set[str]:
    """Kinds of stages whose key differs from the preset's."""
    before = plan(Study.from_yaml("mini").config, IDENTITY)
    after = plan(Study.from_yaml("mini", overrides).config, identity)
    return {stage.kind for stage in after.stages if after.keys[stage.name] not in
            before.keys.values()}  # fmt: skip


def test_a_changed_key_remakes_only_what_depends_on_it():
    assert changed() == set()
    assert changed("perplexity.tokens=5") == {"perplexity", "tables"}
    assert changed("neurons.lape.parameters.top=0.01") == {
        "neurons", "overlap", "perplexity", "passages", "finetune", "scores", "tables"}  # fmt: skip
    assert changed("passages.near=3") == {"passages", "tables"}
    assert changed("interventions.values=[zero]") == {"tables"}
    assert changed("adapters.english.attention=false") == {"finetune", "scores", "tables"}
    assert changed("tasks.mini-nli.limit=7") == {"scores", "rules", "tables"}
    assert "statistics" in changed(identity=replace(IDENTITY, model="other"))
    held = changed(identity=replace(IDENTITY, held_out={**TEXTS, "ur": "new"}))
    assert held == {"perplexity", "tables"}
    texts = {**TEXTS, "ur": "new"}
    fresh = plan(Study.from_yaml("mini").config, replace(IDENTITY, texts=texts))
    old = plan(Study.from_yaml("mini").config, IDENTITY)
    assert fresh.keys["statistics/en"] == old.keys["statistics/en"]
    assert fresh.keys["statistics/ur"] != old.keys["statistics/ur"]


def test_the_run_directory_describes_itself(world, finished):
    for path in (
        "study.yaml",
        "environment.json",
        "run.json",
        "statistics/hi.safetensors",
        "neurons/lape.json",
        "perplexity/lape/en.parquet",
        "tables/perplexity.parquet",
        "tables/neurons.parquet",
        "tables/overlap.parquet",
        "report/index.html",
    ):
        assert (finished / path).is_file(), path
    run = json.loads((finished / "run.json").read_text())
    assert run["languages"] == list(study_world.WORDS)
    assert {stage["status"] for stage in run["stages"]} == {"done"}
    assert all(stage["seconds"] > 0 for stage in run["stages"])
    table = pd.read_parquet(finished / "tables/perplexity.parquet")
    assert set(table["kind"]) == {"own", "random", "matched"}
    assert ((table["low"] <= table["ratio"]) & (table["ratio"] <= table["high"])).all()


def test_a_second_run_keeps_everything_and_loads_no_model(world, finished, monkeypatch):
    import langneurons.models

    def refuse(*args, **kwargs):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(langneurons.models, "load", refuse)
    result = Study.from_yaml(world / "study.yaml").run(finished)
    assert {outcome.status for outcome in result.outcomes} == {"kept"}


@pytest.mark.usefixtures("short_reports")
def test_two_runs_give_the_same_files(world, finished, tmp_path):
    Study.from_yaml(world / "study.yaml").run(tmp_path / "again")
    for folder in ("statistics", "neurons", "perplexity", "tables"):
        for path in sorted((finished / folder).rglob("*")):
            if path.is_file():
                other = tmp_path / "again" / path.relative_to(finished)
                assert path.read_bytes() == other.read_bytes(), path


@pytest.mark.usefixtures("short_reports")
@pytest.mark.parametrize("how", ["damage", "truncate", "remove"])
def test_damaged_results_are_found_named_and_made_again(world, finished, tmp_path, how):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    target = out / "neurons/lape.json"
    before = target.read_bytes()
    if how == "damage":
        target.write_bytes(before.replace(b"1", b"2", 1))
    elif how == "truncate":
        target.write_bytes(before[:50])
    else:
        target.unlink()
    result = Study.from_yaml(world / "study.yaml").run(out)
    ran = {outcome.name: outcome.reason for outcome in result.outcomes if outcome.status == "done"}
    assert list(ran) == ["neurons/lape"]
    assert "neurons/lape.json" in ran["neurons/lape"]
    assert target.read_bytes() == before


@pytest.mark.usefixtures("short_reports")
def test_languages_taken_out_leave_nothing_behind(world, finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    fewer = Study.from_yaml(world / "study.yaml", changes={"languages": ["hi", "en"]})
    assert fewer.run(out).failed == []
    fresh = Study.from_yaml(world / "study.yaml", changes={"languages": ["hi", "en"]})
    fresh.run(tmp_path / "fresh")
    for name in ("neurons", "overlap", "perplexity"):
        table = pd.read_parquet(out / "tables" / f"{name}.parquet")
        pd.testing.assert_frame_equal(
            table, pd.read_parquet(tmp_path / "fresh" / "tables" / f"{name}.parquet")
        )
    assert set(table["row"]) | set(table["column"]) == {"hi", "en"}


def test_one_failed_stage_does_not_stop_the_others(world, tmp_path):
    made = Study.from_yaml(world / "study.yaml")
    laid = made.plan()

    def run(stage):
        if stage.name == "neurons/two":
            raise RuntimeError("planted\nfault")
        path = tmp_path / stage.output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(stage.name)

    outcomes = {outcome.name: outcome for outcome in execute(tmp_path, laid, run)}
    assert outcomes["neurons/two"].status == "failed"
    assert outcomes["neurons/two"].reason == "RuntimeError: planted"
    assert outcomes["overlap"].status == "skipped"
    assert outcomes["perplexity/lape/en"].status == "done"
    assert outcomes["tables"].status == "done"
    again = {outcome.name: outcome.status for outcome in execute(tmp_path, laid, run)}
    assert again["perplexity/lape/en"] == "kept"
    assert again["neurons/two"] == "failed"


def test_a_study_without_neuron_sets_fine_tunes_and_reports(world, tmp_path):
    none = ["neurons=null", "perplexity=null", "interventions=null", "adapters.hi=null"]
    made = Study.from_yaml(world / "tasks.yaml", overrides=none)
    result = made.run(tmp_path)
    assert result.failed == []
    assert set(pd.read_parquet(tmp_path / "tables" / "scores.parquet")["adapter"]) == {"none"}
    assert result.report is not None


def test_what_an_interrupted_stage_left_is_kept_for_it_and_for_no_other(tmp_path):
    config = Study.from_yaml("mini").config
    laid = plan(config, IDENTITY)
    stage = laid["finetune/mini-nli/none"]
    left = tmp_path / stage.output / "checkpoint"
    records.begin(tmp_path, laid, stage)
    left.mkdir(parents=True)
    records.begin(tmp_path, laid, stage)
    assert left.exists()
    other = plan(config.model_copy(update={"seed": 9}), IDENTITY)
    records.begin(tmp_path, other, stage)
    assert not left.exists()


def test_only_one_run_works_in_a_directory(tmp_path):
    second = locked(tmp_path)
    with locked(tmp_path), pytest.raises(InputError, match="another run is working"):
        second.__enter__()


@pytest.mark.usefixtures("short_reports")
def test_no_home_path_or_secret_ends_in_the_records(world, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(world))
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    Study.from_yaml(world / "study.yaml", ["perplexity=null"]).run(tmp_path / "run")
    for name in ("study.yaml", "run.json", "environment.json"):
        text = (tmp_path / "run" / name).read_text()
        assert str(world) not in text, name
        assert "secret-token" not in text


def test_parse_reports_the_number_of_other_faults():
    with pytest.raises(InputError, match=r"\(1 more\)"):
        parse({"languages": ["en"], "seed": "x", "statistics": {"tokens": "y"}})
