"""The built-in mixture from its name alone: the preset, and the single commands."""

import json
import re
import sys

import pandas as pd
import pytest

from langneurons import Study
from langneurons.artifacts import read_table
from langneurons.cli import app as application
from langneurons.config import loading
from langneurons.config.schema import parse
from langneurons.errors import InputError

SMALL = [
    "languages=[en,hi,zh]",
    "statistics={tokens: 1500, rows: 256}",
    "perplexity={tokens: 500, random: 1, load: 2}",
    "sweep={languages: [hi], values: [zero, s0.5], random: 1, load: 1}",
    "passages={units: 4, passages: 2}",
    "threads=1",
]


def call(*words):
    sys.argv = ["langneurons", "--quiet", *words]
    with pytest.raises(SystemExit) as left:
        application.main()
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("experts") / "run"
    result = Study.from_yaml("experts", SMALL).run(out)
    assert result.failed == []
    return out


def test_a_study_of_experts_has_every_table(run):
    tables = {path.stem: read_table(path) for path in (run / "tables").glob("*.parquet")}
    assert set(tables["perplexity"]["kind"]) == {"own", "random", "load"}
    assert set(tables["sweep"]["value"]) == {"zero", "s0.5"}
    assert {"own", "load"} <= set(tables["sweep"]["kind"])
    routing = tables["routing"]
    assert set(routing["language"]) == {"en", "hi", "zh"}
    assert (routing["pivot"] == "en").all()
    assert routing["halves"].notna().all()
    load = tables["expert_load"].groupby(["language", "layer"])["load"].sum()
    assert load.tolist() == pytest.approx([2.0] * 12)  # two experts a token in four layers
    # An expert that carries many tokens is no control of one that carries few.
    cells = tables["perplexity"]
    assert (cells.groupby(["neurons", "row"])["units"].nunique() == 1).all()


def test_its_report_shows_routing_and_the_explorer_takes_experts(run):
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "Routing by language" in page
    assert "random experts of the same load" in page
    assert "equally loaded experts" in page
    assert 'data-tip="hi, layer 0: divergence' in page
    shown = read_table(run / "passages" / "lape" / "passages.parquet")
    assert set(shown["language"]) <= {"en", "hi", "zh"}
    assert shown["activation"].between(0, 1).all()  # a value is a routing weight
    assert '"name":"lape"' in re.sub(r"\s", "", page)


def test_the_single_commands_work_on_the_mixture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["-l", "en,hi", "--tokens", "800"]
    assert call("collect", "-m", "mini-moe", "--site", "moe.router", *few, "-o", "stats") == 0
    rule = ["-m", "lape", "-p", "top=0.3", "-p", "filter=0.5", "-p", "bar=0.7"]
    assert call("identify", "stats", *rule, "-o", "experts.json", "--json") == 0
    capsys.readouterr()
    measure = ["perplexity", "-n", "experts.json", "-m", "mini-moe", *few]
    controls = ["--statistics", "stats", "--random", "0", "--matched", "0", "--equal-load", "1"]
    assert call(*measure, *controls, "--value", "s-0.5", "-o", "change.parquet") == 0
    table = pd.read_parquet("change.parquet")
    assert {"own", "load"} == set(table["kind"])
    capsys.readouterr()
    assert call(*measure, "--value", "2") == 2
    assert "an expert cannot be set to '2'" in capsys.readouterr().err
    # Not the default site: there are no MLPs beside the experts, and the line says what there is.
    assert call("collect", "-m", "mini-moe", *few, "-o", "other") == 2
    assert "moe." in capsys.readouterr().err


def test_presets_of_mixtures_say_what_a_token_costs(capsys):
    for name in ("qwen3-30b-a3b", "olmoe", "gpt-oss-20b"):
        config = loading.load(name)
        assert config.statistics.site == "moe.router"
        assert config.size.active < config.size.parameters / 4
        assert config.perplexity.load
    assert call("run", "qwen3-30b-a3b", "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["expected"]["memory"] > 2 * 3.0e10  # all experts are held
    stages = {stage["stage"] for stage in plan["stages"]}
    assert {"statistics/bn", "neurons/expert-share", "sweep/lape/sw"} <= stages


@pytest.mark.parametrize("part", [{"perplexity": {"load": 1}}, {
    "perplexity": {}, "sweep": {"languages": ["hi"], "load": 1}}])  # fmt: skip
def test_loads_are_of_experts_alone(part):
    with pytest.raises(InputError, match=r"load is for experts .*units of lape are of mlp\.act"):
        parse({"languages": ["en", "hi"], "neurons": {"lape": {}}, **part})


def test_a_misspelt_site_is_what_is_wrong_and_not_the_loads():
    with pytest.raises(InputError, match=r"unknown site 'moe\.ruter' .*Did you mean 'moe\.router'"):
        parse(
            {
                "languages": ["en", "hi"],
                "statistics": {"site": "moe.ruter"},
                "neurons": {"lape": {}},
                "perplexity": {"load": 1},
            }
        )
