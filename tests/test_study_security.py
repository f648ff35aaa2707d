"""The threat model (docs/threat-model.md), one test or more for each of its points."""

import ast
import json
import os
import pickle
import shutil
import socket
from pathlib import Path

import pytest
import yaml

import study_world
from langneurons import Study
from langneurons.artifacts import read_json
from langneurons.cli import app as application
from langneurons.config import loading
from langneurons.errors import InputError, LangNeuronsError
from langneurons.provenance import environment
from langneurons.stages import records

SOURCE = Path(loading.__file__).resolve().parents[1]


TOKEN = "hf_" + "abcdefghijklmnop" * 2
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return study_world.build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def run(world):
    """A whole study, in a home folder, with a token about, on hostile text, off the network."""

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    english = world / "en.txt"
    hostile = [f"{EVIL} {line}" for line in study_world.documents("en")]
    english.write_text("\n".join(hostile), encoding="utf-8")
    words = ["langneurons", "run", str(world / "tasks.yaml"), "-s", f"name={TOKEN}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(world))
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr("sys.argv", words)
        result = Study.from_yaml(world / "tasks.yaml", ["threads=1"]).run(world / "run")
    assert result.failed == []
    return world / "run"


class Trap:
    """An object that, unpickled, leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def calls():
    """Every call in the package, as (file, function's name, keywords)."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                words = {word.arg: ast.unparse(word.value) for word in node.keywords}
                yield path, node, ast.unparse(node.func), words


# 1. Nothing is unpickled


@pytest.mark.usefixtures("short_reports")
def test_a_pickle_in_place_of_an_artifact_is_refused_and_not_run(world, run, tmp_path):
    out, sprung = tmp_path / "run", tmp_path / "sprung"
    study = Study.from_yaml(world / "tasks.yaml", ["threads=1"])
    shutil.copytree(run, out)
    trap = pickle.dumps(Trap(sprung))
    for name in ("statistics/hi.safetensors", "neurons/lape.json", "perplexity/lape/hi.parquet"):
        (out / name).write_bytes(trap)
    result = study.run(out)
    assert result.failed == []
    ran = {outcome.name for outcome in result.outcomes if outcome.status == "done"}
    assert ran == {"statistics/hi", "neurons/lape", "perplexity/lape/hi"}
    assert not sprung.exists()


def test_a_pickle_as_published_neurons_is_read_as_data_only(tmp_path):
    from langneurons import NeuronSet

    path, sprung = tmp_path / "x.pth", tmp_path / "sprung"
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(LangNeuronsError):
        NeuronSet.load(path)
    assert not sprung.exists()


def test_the_package_calls_nothing_that_unpickles():
    banned = {"pickle.load", "pickle.loads", "joblib.load", "dill.load", "marshal.loads",
              "cloudpickle.load", "cloudpickle.loads", "shelve.open", "pandas.read_pickle",
              "pd.read_pickle"}  # fmt: skip
    for path, _, name, words in calls():
        assert name not in banned, path
        if name == "torch.load":
            assert words.get("weights_only") == "True", path
        if name in ("np.load", "numpy.load"):
            assert words.get("allow_pickle", "False") == "False", path


# 2. No code of a model's repository


def test_a_model_with_code_of_its_own_is_not_run_unless_asked_for(world, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (world / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    sprung = tmp_path / "sprung"
    (folder / "own.py").write_text(
        f"from pathlib import Path\nPath({str(sprung)!r}).touch()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class Own(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    config |= {"model_type": "own", "architectures": ["Own"], "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))
    change = [f"model={folder}", "threads=1", "perplexity=null"]
    study = Study.from_yaml(world / "study.yaml", change)
    with pytest.raises(InputError, match="brings Python code of its own"):
        study.run(tmp_path / "run")
    assert not sprung.exists()
    result = study.run(tmp_path / "run", trust_remote_code=True)
    assert result.failed == []
    assert sprung.exists()


def test_a_study_file_cannot_ask_for_code():
    with pytest.raises(InputError, match="unknown key 'trust_remote_code'"):
        loading.load("mini", ["trust_remote_code=true"])
    for path, _, _, words in calls():
        assert words.get("trust_remote_code") != "True", path


# 3. Weights as safetensors only


def test_tensors_are_written_as_safetensors_only(run):
    kinds = {path.suffix for path in run.rglob("*") if path.is_file()}
    assert ".safetensors" in kinds
    assert not kinds & {".bin", ".pt", ".pth", ".pkl", ".pickle", ".npy", ".npz", ".ckpt"}
    for path, _, name, _ in calls():
        assert name not in {"np.save", "numpy.save", "pickle.dump", "pickle.dumps"}, path
        if name == "torch.save":  # `neurons export` for code that reads the published lists
            assert path.name == "formats.py"


# 4. YAML without objects


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system ['touch SPRUNG']\nlanguages: [en]\n",
        "name: !!python/name:os.system\nlanguages: [en]\n",
        "languages: !!python/tuple [en]\n",
    ],
)
def test_a_study_file_makes_no_objects(tmp_path, text):
    file = tmp_path / "a.yaml"
    file.write_text(text.replace("SPRUNG", str(tmp_path / "sprung")))
    with pytest.raises(InputError, match="no valid YAML"):
        loading.load(file)
    assert not (tmp_path / "sprung").exists()


def test_overrides_and_environment_are_plain_text(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuv")
    config = loading.load("mini", ["model='${oc.env:HF_TOKEN}'"])
    assert "hf_abc" not in loading.dump(config)
    with pytest.raises(InputError):
        loading.load("mini", ["name=!!python/object/apply:os.getcwd []"])
    for path, _, name, words in calls():
        assert name not in ("yaml.unsafe_load", "yaml.full_load"), path
        if name == "yaml.load":
            assert words["Loader"] == "_Loader", path
    assert issubclass(loading._Loader, yaml.SafeLoader)


# 5. Results stay under the run directory


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", "..", "a\nb", "a\n", "", ".hidden"])
@pytest.mark.parametrize("place", ["name", "languages", "neurons", "adapters", "tasks", "series"])
def test_names_that_leave_the_run_directory_are_refused(name, place):
    given = {
        "name": name,
        "languages": [name, "en"],
        "neurons": {name: {"method": "lape"}},
        "adapters": {name: {"neurons": "none"}},
        "tasks": {name: {"source": "mini-nli"}},
        "series": {name: {"seed": 1}},
    }[place]
    study = {place: given} if place != "languages" else {place: given, "text": "mini"}
    with pytest.raises(InputError, match="becomes part of a file name"):
        Study.series("mini", changes={"perplexity": None, "interventions": None, **study})


def test_every_output_of_every_preset_lies_under_the_run_directory():
    from langneurons.study.plan import Identity, plan

    for name in loading.presets():
        for config in loading.load_series(name).values():
            texts = dict.fromkeys(config.languages, "t")
            laid = plan(config, Identity("m", texts, texts, dict.fromkeys(config.tasks, "x")))
            for stage in laid.stages:
                for place in (*stage.outputs, *stage.scratch):
                    assert not Path(place).is_absolute()
                    assert ".." not in Path(place).parts


def test_a_record_that_names_a_file_elsewhere_deletes_nothing_there(world, run, tmp_path):
    out, victim = tmp_path / "run", tmp_path / "victim.txt"
    shutil.copytree(run, out)
    victim.write_text("mine")
    study = Study.from_yaml(world / "tasks.yaml", ["threads=1"])
    path = out / ".stages" / "neurons~lape.json"
    record = read_json(path)
    record["files"]["../victim.txt"] = "0" * 64
    record["key"] = "other"
    path.write_text(json.dumps(record))
    laid = study.plan()
    records.begin(out, laid, laid["neurons/lape"])
    assert not (out / "neurons" / "lape.json").exists()
    assert victim.read_text() == "mine"
    path.write_text(json.dumps(record))
    records.settle(out, laid)  # what is set aside is taken from the run directory alone
    assert victim.read_text() == "mine"


# 6. No shell


def test_no_shell_is_ever_started():
    for path, node, name, words in calls():
        assert name not in {"os.system", "os.popen", "eval", "exec"}, path
        assert words.get("shell") != "True", path
        if name.startswith("subprocess."):
            assert isinstance(node.args[0], ast.List), f"{path}: a command must be a list"


# 7. What a run remembers


def test_a_run_remembers_what_it_needs_and_no_secret(world, run):
    for path in sorted(run.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            assert str(world).encode() not in data, path
            assert TOKEN.encode() not in data, path
    about, machine = read_json(run / "run.json"), read_json(run / "environment.json")
    assert about["command"] == "langneurons run ~/tasks.yaml -s name=***"
    assert (about["seed"], about["dtype"], about["executor"]) == (0, "float32", "local")
    assert about["version"]
    assert len(about["model"]["sha256"]) == 64
    assert machine["device"] == "cpu"
    assert {"torch", "transformers", "peft", "langneurons"} <= set(machine["versions"])
    assert "commit" in machine
    for stage in about["stages"]:
        record = read_json(run / ".stages" / f"{stage['name'].replace('/', '~')}.json")
        assert len(record["key"]) == 64
        assert record["files"]


@pytest.mark.parametrize(
    "secret",
    ["hf_abcdefghijklmnopqrst", "sk-abcdefghijklmnop1234", "ghp_abcdefghijklmnop1234"],
)
def test_tokens_are_taken_out_of_text(secret):
    assert environment.public(f"--token {secret} -o x") == "--token *** -o x"
    assert environment.public("https://me:pass@host/x") == "https://***@host/x"
    assert environment.public("hf:model sk-ip") == "hf:model sk-ip"


# 8. Text from data stays text


def test_markup_in_data_is_shown_not_run(run):
    for page in (run / "report").rglob("*.html"):
        assert EVIL not in page.read_text(encoding="utf-8")


# 9. The network is used only where something is named that lies there


def test_a_run_on_local_files_opens_no_connection(run):
    assert (run / "report" / "index.html").is_file()  # made where a connection would have failed


def test_ray_sends_no_report_of_use():
    from langneurons.stages import cluster

    text = Path(cluster.__file__).read_text(encoding="utf-8")
    assert 'setdefault("RAY_USAGE_STATS_ENABLED", "0")' in text


def test_bad_input_shows_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["langneurons", "run", "no-such-study"])
    with pytest.raises(SystemExit) as ended:
        application.main()
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert os.environ.get("HF_TOKEN", "none") not in capsys.readouterr().err
