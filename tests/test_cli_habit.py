"""One habit on the command line: the same words, defaults and refusals in every command."""

import inspect
import json
import logging
import subprocess
import sys
import types

import pandas as pd
import pytest
import torch
import typer.main

import tiny
from langneurons import models
from langneurons.cli import app as application
from langneurons.cli import old_words
from langneurons.cli.options import text_sources
from langneurons.errors import InputError
from langneurons.identification import NeuronSet, Units
from langneurons.parts.perplexity.spec import PerplexitySpec
from langneurons.parts.statistics.spec import StatisticsSpec
from langneurons.parts.sweep.spec import SweepSpec
from langneurons.progress import human_time
from study_world import WORDS, files, write_pairs


def commands(group=None, names=()):
    for name, command in (group or typer.main.get_command(application.app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*names, name))
        else:
            yield " ".join((*names, name)), command


COMMANDS = dict(commands())
OPTIONS = {
    name: {word: option for option in command.params for word in option.opts}
    for name, command in COMMANDS.items()
}
RUNS_A_MODEL = ("collect", "identify", "perplexity", "finetune", "evaluate", "sweep", "force")
DRAWS = ("collect", "identify", "perplexity", "finetune", "evaluate", "sweep", "mini build",
         "mini quality")  # fmt: skip
WORKS = (*RUNS_A_MODEL, "run", "mini build")


def test_words_mean_the_same_everywhere():
    for name, options in OPTIONS.items():
        assert "--lang" not in options, name
        for short, long in (("-l", "--languages"), ("-o", "--output"), ("-m", "--model"),
                            ("-t", "--text"), ("-n", "--neurons")):  # fmt: skip
            assert (short in options) == (long in options), (name, long)
            if short in options:
                assert options[short] is options[long]
    for name in RUNS_A_MODEL:
        assert {"--device", "--dtype", "--model", "--trust-remote-code"} <= set(OPTIONS[name]), name
    for name in DRAWS:
        assert "--seed" in OPTIONS[name], name
    for name in WORKS:
        assert "--dry-run" in OPTIONS[name], name
    for name, options in OPTIONS.items():
        if "--text" in options and name != "run":
            assert "--field" in options, name


def test_defaults_of_commands_are_those_of_studies():
    for name, word, spec, field in (
        ("collect", "--rows", StatisticsSpec, "rows"),
        ("collect", "--block", StatisticsSpec, "block"),
        ("collect", "--site", StatisticsSpec, "site"),
        ("perplexity", "--tokens", PerplexitySpec, "tokens"),
        ("perplexity", "--random", PerplexitySpec, "random"),
        ("perplexity", "--value", PerplexitySpec, "value"),
        ("sweep", "--tokens", PerplexitySpec, "tokens"),
        ("sweep", "--random", SweepSpec, "random"),
    ):
        assert OPTIONS[name][word].default == spec.model_fields[field].default, (name, word)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("habit")
    files(root)
    torch.manual_seed(0)
    units = {lang: Units([0, 1], [n, n + 3]) for n, lang in enumerate(WORDS)}
    NeuronSet(units, (tiny.LAYERS, tiny.UNITS)).save(root / "set.json")
    NeuronSet(units, (tiny.LAYERS, tiny.UNITS)).save(root / "mask.tiny.pth")
    (root / "mask.tiny.pth").rename(root / "mask.tiny")
    (root / "stats").mkdir()
    counts = torch.randint(20, 90, (len(WORDS), tiny.LAYERS, tiny.UNITS))
    for lang, count in zip(WORDS, counts, strict=True):
        torch.save({"n": 100, "over_zero": count}, root / f"stats/activation.{lang}.train.tiny-7b")
    torch.save([[torch.tensor([1])]], root / "stats/neurons.pth")
    tiny.model("gpt2").save_pretrained(root / "short")
    tiny.tokenizer().save_pretrained(root / "short")
    (root / "long.en.txt").write_text("the cat and the dog " * 200)
    (root / "nli").mkdir()
    for split in ("train", "test"):
        write_pairs(root / "nli" / f"{split}.en.tsv", "en")
    return root


@pytest.fixture
def run(world, monkeypatch, capsys):
    monkeypatch.chdir(world)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["langneurons", *words])
        with pytest.raises(SystemExit) as left:
            application.main()
        seen = capsys.readouterr()
        return int(left.value.code or 0), seen.out, seen.err

    return call


def test_bare_gives_help_and_nothing_else(run):
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "Usage" in out
    assert out == run("--help")[1]


TEXTS = ["-m", "model", "-t", "{lang}.txt", "-l", "en,es,hi"]
DRY = {
    "collect": ["collect", *TEXTS, "-o", "none"],
    "identify": ["identify", "stats", "--method", "all"],
    "perplexity": ["perplexity", "-n", "set.json", *TEXTS, "-o", "none.csv"],
    "sweep": ["sweep", "-n", "set.json", *TEXTS, "--bands", "2", "-o", "none.csv"],
    "finetune": ["finetune", "xnli:nli", "-m", "model", "-n", "set.json", "--units", "hi", "-o",
                 "none"],
    "evaluate": ["evaluate", "xnli:nli", "-m", "model", "-l", "en", "-o", "none"],
    "force": ["force", "the cat", "-n", "set.json", "-m", "model", "--off", "en", "-o", "none.csv"],
    "mini build": ["mini", "build", "-o", "none"],
}  # fmt: skip


@pytest.mark.parametrize("name", DRY)
def test_a_dry_run_says_what_would_be_done_and_does_nothing(run, world, monkeypatch, name):
    before = sorted(world.rglob("*"))
    if name != "collect":  # whose plan measures the model
        monkeypatch.setattr(models, "load", None)
    code, out, err = run("--quiet", *DRY[name], "--dry-run")
    assert code == 0, err
    assert out.count("\n") >= (1 if name == "collect" else 3)
    assert sorted(world.rglob("*")) == before
    if name not in ("mini build", "collect"):
        code, out, _ = run("--quiet", *DRY[name], "--dry-run", "--json")
        assert json.loads(out)["dry_run"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "modle"], "Hub name. Did you mean 'model'?"),
        (["-m", "adapter"], "holds an adapter, no model"),
        (["-m", "t5"], "is a model of the kind 't5'"),
        (["-m", "bare"], "holds no tokenizer"),
        (["-m", "own"], "--trust-remote-code"),
        (["-m", "short", "--block", "256"], "a block of 256 tokens is longer than the 128 posi"),
    ],
)
@pytest.mark.parametrize("name", ["collect", "perplexity", "sweep", "evaluate", "force"])
def test_a_dry_run_refuses_what_the_run_would(run, world, monkeypatch, name, words, message):
    for folder, content in (
        ("adapter/adapter_config.json", "{}"),
        ("t5/config.json", '{"model_type": "t5"}'),
        ("bare/config.json", '{"model_type": "gpt2"}'),
        ("own/config.json", '{"model_type": "t5", "auto_map": {"AutoModelForCausalLM": "m.M"}}'),
    ):
        (world / folder).parent.mkdir(exist_ok=True)
        (world / folder).write_text(content)
    if "short" in words and name in ("evaluate", "force"):
        pytest.skip("prompts are no blocks")
    given = [word for word in DRY[name] if word not in ("-m", "model")] + words
    if "short" in words:
        given = [word.replace("{lang}.txt", "long.{lang}.txt") for word in given]
        given[given.index("-l") + 1] = "en"
    monkeypatch.setattr(models, "load", None)
    code, _, err = run("--quiet", *given, "--dry-run")
    assert code == 2, err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_text_and_languages_together():
    given = ["en=a.txt", "hi=b.txt", "en=c.txt"]
    assert text_sources(given, "en") == {"en": ["a.txt", "c.txt"]}
    assert text_sources(given, "hi,en") == {"hi": ["b.txt"], "en": ["a.txt", "c.txt"]}
    assert text_sources(["x.txt"], "hi") == {"hi": ["x.txt"]}
    assert text_sources(None, "hi,en") == {}
    with pytest.raises(InputError, match=r"--languages names ur, --text does not: add --text ur"):
        text_sources(given, "en,ur")
    with pytest.raises(InputError, match="must be LANG=PATH"):
        text_sources(["x.txt"], "hi,en")


def test_the_field_of_a_table_can_be_said(run, world):
    rows = [f"{n},the cat number {n}" for n in range(9)]
    (world / "table.csv").write_text("id,body\n" + "\n".join(rows) + "\n")
    words = ["--quiet", "collect", "-m", "model", "-l", "en", "-t", "table.csv", "-o", "fields"]
    code, _, err = run(*words)
    assert code == 2
    assert "(id, body); name the field (--field NAME)" in err
    code, out, err = run(*words, "--field", "body")
    assert code == 0, err
    assert "tokens: en" in out
    assert "has no column 3" in run(*words, "--field", "3")[2]


def test_a_published_list_takes_the_shape_of_the_model_at_hand(run, world):
    few = ["--tokens", "60", "--block", "32", "--random", "1"]
    code, out, err = run("perplexity", "-n", "mask.tiny", *TEXTS, *few, "--json", "-q")
    assert code == 0, err
    assert {row["row"] for row in json.loads(out)} == set(WORDS)  # -l names its languages
    assert "assumed" not in err
    code, out, _ = run(
        "neurons", "show", "mask.tiny", "-l", "en,es,hi", "--shape", "2x48", "--json"
    )
    assert code == 0
    assert json.loads(out)["shape"] == [2, 48]
    assert json.loads(run("neurons", "show", "set.json", "-l", "hi", "--json")[1])["units"] == {
        "hi": 2
    }
    assert (
        "unknown language of the neuron set 'ur'"
        in run("neurons", "show", "set.json", "-l", "ur")[2]
    )
    code, out, err = run("neurons", "compare", "set.json", "mask.tiny", "-l", "en,es,hi", "--json")
    assert code == 0, err
    assert {row["jaccard"] for row in json.loads(out)} == {1.0}
    assert "assumed" not in err
    assert run("neurons", "export", "mask.tiny", "x.csv", "-l", "a,b,c", "--shape", "2x48")[0] == 0
    assert set(pd.read_csv(world / "x.csv")["language"]) == {"a", "b", "c"}
    assert "must be LAYERSxUNITS" in run("neurons", "show", "mask.tiny", "--shape", "48")[2]


def test_identify_reads_published_counts_as_they_lie(run, world):
    code, out, err = run("--quiet", "identify", "stats", "-p", "top=0.2", "--json", "-o", "f.json")
    assert code == 0, err
    assert set(json.loads(out)["units"]) == set(WORDS)
    (world / "stats/model.safetensors").write_bytes(b"weights of something")
    assert run("--quiet", "identify", "stats", "-p", "top=0.2", "-o", "g.json")[0] == 0
    (world / "stats/model.safetensors").unlink()
    code, _, err = run("--quiet", "identify", "stats", "-l", "en,ur")
    assert code == 2
    assert "unknown language of the statistics 'ur'" in err


def test_a_task_of_the_harness_is_looked_for_before_the_model(run, monkeypatch):
    class Manager:
        all_tasks = ("xnli_en",)

        def __init__(self, **options):
            pass

    found = types.ModuleType("lm_eval.tasks")
    found.TaskManager = Manager
    monkeypatch.setitem(sys.modules, "lm_eval", types.ModuleType("lm_eval"))
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", found)
    monkeypatch.setattr(models, "load", None)
    code, _, err = run("--quiet", "evaluate", "harness:xnli_eng", "-m", "model")
    assert code == 2
    assert "lm-evaluation-harness has no task 'xnli_eng'" in err
    code, out, err = run("--quiet", "evaluate", "harness:xnli_en", "-m", "model", "--dry-run")
    assert (code, err) == (0, "")
    assert "those of the harness" in out


def test_a_language_is_forced_on_prompts_of_one_s_own(run, world):
    (world / "prompts.txt").write_text("a second prompt\nthe third\n")
    words = ["force", "the cat and", "--file", "prompts.txt", "-n", "set.json", "-m", "model",
             "--off", "en", "--on", "hi", "--value", "5", "--new-tokens", "4"]  # fmt: skip
    code, out, err = run("--quiet", *words, "-o", "forced.csv")
    assert code == 0, err
    assert out.count("> ") == 3
    table = pd.read_csv(world / "forced.csv")
    assert list(table["changed"].unique()) == ["nothing", "en off, hi on at 5"]
    assert list(table["prompt"][:3]) == ["the cat and", "a second prompt", "the third"]
    plain = models.load(world / "model", device="cpu")
    ids = plain.tokenizer("the cat and", return_tensors="pt")
    with torch.no_grad():
        written = plain.model.generate(**ids, max_new_tokens=4, do_sample=False)
    expected = plain.tokenizer.decode(written[0, ids.input_ids.shape[1] :])
    assert expected.strip().startswith(table["continuation"][0])
    # The second half is what the two interventions give by hand.
    from langneurons.intervention import Intervention, intervene

    found = NeuronSet.load(world / "set.json")
    changes = [
        Intervention(units=found["en"], value=0.0, site="mlp.act"),
        Intervention(units=found["hi"], value=5.0, site="mlp.act"),
    ]
    with intervene(plain, changes), torch.no_grad():
        written = plain.model.generate(**ids, max_new_tokens=4, do_sample=False)
    expected = plain.tokenizer.decode(written[0, ids.input_ids.shape[1] :])
    assert expected.strip().startswith(table["continuation"][3])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["force", "x", "--on", "hi"], "force needs a neuron set"),
        (["force", "x", "-n", "set.json"], "force changes nothing: give --off LANG"),
        (["force", "-n", "set.json", "--on", "hi"], "no prompt: give some in quotes"),
        (["force", "x", "-n", "set.json", "--on", "ur"], "unknown language with units 'ur'"),
        (["force", "x", "-n", "set.json", "--on", "hi"], "the value P90 comes from statistics"),
        (["perplexity", "-n", "set.json", "-o", "x"], "--output x must end in .parquet or .csv"),
        (["finetune", "mini-nli", "-o", "x", "-l", "en,hi"], "must name one language"),
        (["sweep", "-n", "set.json", "-l", ","], "--languages names no language"),
        (["identify", "stats", "--method", "gradient", "--dry-run"], "reads the model: add --mo"),
    ],
)
def test_refused_in_one_line(run, words, message):
    code, _, err = run("--quiet", *words)
    assert code == 2, err
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("typed", "new"),
    [
        (["collect", "--what-if"], ["collect", "--dry-run"]),
        (["sweep", "--lang=hi"], ["sweep", "--languages=hi"]),
        (["finetune", "t", "--lang", "hi"], ["finetune", "t", "--languages", "hi"]),
    ],
)
def test_old_words_still_work_and_name_the_new(capsys, typed, new):
    assert old_words.renewed(typed) == new
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the old word goes with the next version" in said
    assert old_words.renewed(new) == new
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (5, "5 s"),
        (600, "10 min"),
        (6 * 3600, "6.0 h"),
        (5 * 86400, "5.0 days"),
        (100 * 86400, "3 months"),
        (18056.9 * 86400, "49 years"),
        (1e12, "31,688 years"),
    ],
)
def test_durations_in_units_people_read(seconds, said):
    assert human_time(seconds) == said


def test_every_command_is_described():
    for name, command in COMMANDS.items():
        assert inspect.cleandoc(command.help or ""), name


def test_a_run_takes_the_same_words_in_place_of_the_study_s_keys(run, monkeypatch):
    from langneurons.study import Study

    seen = {}

    def series(cls, preset, overrides, changes):
        seen.update(changes)
        raise InputError("seen enough.")

    monkeypatch.setattr(Study, "series", classmethod(series))
    words = ["--device", "cpu", "--dtype", "float32", "--seed", "3", "--field", "body"]
    assert run("run", "mini", *words)[0] == 2
    assert seen == {"device": "cpu", "dtype": "float32", "seed": 3, "field": "body"}
    seen.clear()
    run("run", "mini")
    assert seen == {}


def test_a_study_says_which_field_holds_its_text(world):
    import yaml

    from langneurons.study import Study

    for lang in ("en", "hi"):
        rows = [f"{n};{lang} document number {n} of some length" for n in range(40)]
        (world / f"rows.{lang}.csv").write_text("id;body\n" + "\n".join(rows) + "\n")
    study = {"model": str(world / "model"), "languages": ["en", "hi"], "field": "body",
             "text": str(world / "rows.{lang}.csv"), "statistics": {"block": 32}}  # fmt: skip
    (world / "rows.yaml").write_text(yaml.safe_dump(study))
    texts = Study.from_yaml(world / "rows.yaml").texts()
    assert texts["hi"].statistics[0] == "hi document number 0 of some length"
    with pytest.raises(InputError, match=r"text of en: .*name the field \(--field NAME\)"):
        Study.from_yaml(world / "rows.yaml", ["field=null"]).texts()


def test_explain_takes_the_run_first_and_its_old_form_still(run):
    code, out, err = run("explain", "mini", "statistics/en")
    assert code == 0, err
    assert out.startswith("statistics/en: would run")
    code, again, err = run("explain", "statistics/en", "-o", "runs/mini")
    assert (code, again) == (0, out)
    assert "explain STAGE -o RUN is now explain RUN STAGE" in err


def test_a_set_of_another_model_is_refused_by_every_command(run, world):
    NeuronSet({"en": Units([1], [30]), "hi": Units([1], [31])}, (2, 40)).save(world / "other.json")
    small = ["-m", "model", "-n", "other.json"]
    for words in (
        ["perplexity", *small, "-t", "{lang}.txt", "-l", "en,hi"],
        ["sweep", *small, "-t", "en.txt", "-l", "en"],
        ["finetune", "xnli:nli", *small, "--units", "hi", "-o", "none"],
        ["evaluate", "xnli:nli", *small, "--value", "zero", "-l", "en"],
        ["force", "the cat", *small, "--off", "en"],
    ):
        code, _, err = run("--quiet", *words)
        assert code == 2, words
        assert "2 layers x 40 units" in err, words
    assert not (world / "none").exists()


def test_retries_of_the_hub_are_not_told_one_by_one():
    code = (
        "from langneurons.cli import app; app._options()\n"
        "from huggingface_hub.utils import logging; print(logging.get_verbosity())"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(seen.stdout) == logging.ERROR
