"""Where output goes: results on standard output, the rest on standard error, plain in pipes."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from langneurons.cli import app as application

PLAN = ["run", "mini", "-s", "budget=small", "--dry-run"]
COLLECT = ["collect", "-l", "en", "--tokens", "300", "-o", "stats"]


def call(tmp_path, *words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "langneurons", *words],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("place", ["before", "after", "short"])
def test_quiet_may_stand_anywhere_and_leaves_the_result(tmp_path, monkeypatch, capfd, place):
    words = {
        "before": ["--quiet", *COLLECT],
        "after": [*COLLECT, "--quiet"],
        "short": [*COLLECT, "-q"],
    }[place]
    if place == "before":  # what is said when everything is first imported is quiet too
        seen = call(tmp_path, *words)
        code, out, err = seen.returncode, seen.stdout, seen.stderr
    else:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["langneurons", *words])
        with pytest.raises(SystemExit) as left:
            application.main()
        code, (out, err) = int(left.value.code or 0), capfd.readouterr()
    assert code == 0, err
    assert err == ""
    assert out.startswith("Statistics: stats")


@pytest.mark.slow
def test_json_is_all_of_standard_output(tmp_path):
    for words in (PLAN, COLLECT, ["identify", "stats", "--method", "average_precision"]):
        if words[0] == "identify":
            call(tmp_path, "--quiet", "collect", "-l", "en,hi", "--tokens", "300", "-o", "stats")
        seen = call(tmp_path, *words, "--json")
        assert seen.returncode == 0, seen.stderr
        assert isinstance(json.loads(seen.stdout), dict)
        assert "\x1b" not in seen.stdout + seen.stderr


def on_a_terminal(tmp_path, *words, **environment):
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "langneurons", *words], stdout=slave, stderr=slave, stdin=slave,
        cwd=tmp_path, env={**os.environ, "TERM": "xterm-256color", **environment},
    )  # fmt: skip
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(master)
    assert child.wait() == 0
    return seen.decode()


def test_a_terminal_gets_colours_unless_no_color_says_otherwise(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    assert "NO_COLOR" not in environment
    assert "\x1b[1m" in on_a_terminal(tmp_path, "presets")
    plain = on_a_terminal(tmp_path, "presets", NO_COLOR="1")
    assert "mini" in plain
    # Bold is no colour (no-color.org); colours are.
    assert not any(f"\x1b[{code}m" in plain for code in range(30, 50))


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["idenify"], "'identify'"),
        (["neurons", "shwo", "x"], "'show'"),
        (["run", "mni"], "'mini'"),
        (["run", "--modle", "x"], "--model"),
        (["identify", "x", "--methdo", "lape"], "--method"),
        (["--quite", "run"], "--quiet"),
    ],
)
def test_a_mistyped_word_names_the_nearest(tmp_path, words, near):
    seen = call(tmp_path, *words)
    assert seen.returncode == 2
    assert near in seen.stderr
    assert len(seen.stderr.strip().splitlines()) == 1


def test_the_shell_completes_commands(tmp_path):
    # The installed command itself, as a shell asks it.
    command = Path(sys.executable).with_name("langneurons")
    asked = subprocess.run(
        [command], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "_LANGNEURONS_COMPLETE": "complete_bash",
             "COMP_WORDS": "langneurons id", "COMP_CWORD": "1"},
    )  # fmt: skip
    assert asked.stdout.split() == ["identify"]


@pytest.mark.parametrize("words", [["-c", "import langneurons"], ["-m", "langneurons", "--help"]])
def test_start_is_quick_because_nothing_heavy_is_imported(tmp_path, words):
    heavy = {"torch", "transformers", "pandas", "numpy", "scipy", "matplotlib", "datasets", "peft"}
    seen = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert seen.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in seen.stderr.splitlines()}
    assert "langneurons" in imported
    assert not heavy & imported
