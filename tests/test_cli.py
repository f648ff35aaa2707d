"""The command line: what people type, what they get, and what a wrong word gives."""

import json
import os
import subprocess
import sys

import pytest

from langneurons.cli import app as application
from langneurons.version import __version__


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command line in this process; gives exit code, output and errors."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["langneurons", *words])
        with pytest.raises(SystemExit) as left:
            application.main()
        seen = capsys.readouterr()
        return int(left.value.code or 0), seen.out, seen.err

    return call


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "en.txt"
    path.write_text("\n".join(f"The cat number {n} sat on the mat." for n in range(60)))
    return path


def test_version_and_help(run):
    assert run("--version") == (0, f"langneurons {__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    for command in ("run", "collect", "identify", "perplexity", "finetune", "evaluate", "report",
                    "neurons", "presets", "doctor", "explain", "mini"):  # fmt: skip
        assert command in out


@pytest.mark.parametrize(
    "command",
    ["run", "collect", "identify", "perplexity", "finetune", "evaluate", "report", "explain"],
)
def test_every_command_shows_an_example(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"langneurons {command}" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run", "mni"], "unknown preset 'mni'. Did you mean 'mini'?"),
        (["run", "none.yaml"], "cannot read study file 'none.yaml'"),
        (["run", "-s", "sead=1"], "unknown key 'sead' in the study. Did you mean 'seed'?"),
        (["run", "--model", "x.gguf"], "needs text"),
        (["run", "-m", "x.gguf", "-l", "en,hi"], "no model 'x.gguf'"),
        (["run", "-s", "statistics.site=mlp.atc"], "Did you mean 'mlp.act'?"),
        (["run", "-t", "en"], "must be LANG=PATH"),
        (["run", "-t", "a/{lang}.txt"], "needs --languages"),
        (["collect", "-t", "en=none.txt", "-o", "x"], "none.txt"),
        (["identify", "nowhere"], "nowhere"),
        (["evaluate", "mini-nil"], "unknown task 'mini-nil'. Did you mean 'mini-nli'?"),
        (["evaluate", "mini-nli", "--value", "zero"], "--value and --neurons go together"),
        (["finetune", "mini-nli", "-o", "x", "--units", "hi"], "needs --neurons"),
        (["finetune", "mini-nli", "-o", "x", "-p", "rnak=3"], "Did you mean 'rank'"),
        (["neurons", "show", "none.json"], "none.json"),
        (["report", "nowhere"], "no run directory"),
        (["explain", "mini", "neurons/lpae"], "Did you mean 'neurons/lape'"),
        (["explain", "."], "is no run directory (it has no study.yaml)"),
        (["explain", "minni"], "unknown stage 'minni'"),
        (["run", "--nope"], "--nope"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("--quiet", *words)
    assert code == 2, err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_where_an_error_came_from(run):
    code, _, err = run("run", "mni", "--debug")
    assert code == 2
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\x00\x01\x02binary\x00", "binary"),
        ("latin-1: caf\xe9".encode("latin-1"), "UTF-8"),
        (b"Too short.\n", "less than one block"),
    ],
)
def test_unusable_text_names_language_and_file(run, tmp_path, text, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hi.txt").write_bytes(content)
    code, _, err = run("--quiet", "run", "-t", f"en={text}", "-t", "hi=hi.txt", "-o", "out")
    assert code == 2
    assert "hi" in err
    assert "hi.txt" in err
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(run, tmp_path, text):
    (tmp_path / "file").write_text("")
    code, _, err = run("--quiet", "run", "-t", f"en={text}", "-o", str(tmp_path / "file" / "out"))
    assert code == 2
    assert "file' is a file: give a folder" in err


def test_presets_and_doctor_speak_json(run):
    code, out, _ = run("presets", "--json")
    assert code == 0
    assert "mini" in json.loads(out)
    code, out, _ = run("doctor", "--json")
    assert code == 0
    assert json.loads(out)["versions"]["torch"]


def test_no_color_and_pipes_give_plain_text(tmp_path):
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
    shown = subprocess.run(
        [sys.executable, "-m", "langneurons", "presets"],
        capture_output=True, text=True, check=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert "mini" in shown.stdout
    assert "\x1b" not in shown.stdout
