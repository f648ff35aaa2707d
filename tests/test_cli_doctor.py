"""`langneurons doctor` against real servers, packages and folders, good and bad ones."""

import http.server
import json
import socket
import sys
import threading

import pytest
import typer
from huggingface_hub import constants

from langneurons.cli import information


@pytest.fixture
def hub(monkeypatch):
    """A server that answers as the Hub does, with the status the test asks for."""
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        status = 200

        def do_GET(self):
            asked.append(self.path)
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *words):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield Answer
    assert asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("token", ["", "hf_written_by_a_test"])
def test_a_hub_that_answers(hub, monkeypatch, status, token):
    hub.status = status
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent/token")
    state, problems = information.hub_access()
    assert state == ("answers, logged in" if token else "answers, not logged in")
    assert bool(problems) == (not token)
    assert token == "" or token not in state + str(problems)


def test_a_hub_out_of_reach_and_one_switched_off(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        state, problems = information.hub_access()
    assert state.startswith("out of reach")
    assert "give a folder or a .gguf file" in problems[0]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    state, problems = information.hub_access()
    assert state.startswith("switched off")
    assert "HF_HUB_OFFLINE is set" in problems[0]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with requirements of every kind."""
    folder = tmp_path / "needy-1.0.dist-info"
    folder.mkdir()
    needs = ["numpy>=1.0", "torch<1", "no-such-package-anywhere>=2", "ray>=999; extra == 'ray'"]
    lines = ["Metadata-Version: 2.1", "Name: needy", "Version: 1.0", "Provides-Extra: ray"]
    text = "\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs), ""])
    (folder / "METADATA").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return "needy"


def test_what_is_missing_or_too_old_is_named_with_the_cure(package):
    said = information.unmet_requirements(package)
    assert len(said) == 2
    assert "<1 is needed (pip install 'torch<1')" in said[0]
    assert "no-such-package-anywhere is missing" in said[1]
    assert information.unmet_requirements("no-such-package-anywhere") == []


def test_an_unmet_requirement_is_exit_code_1(package, monkeypatch, capsys):
    real = information.unmet_requirements
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(information, "unmet_requirements", lambda: real(package))
    with pytest.raises(typer.Exit) as left:
        information.doctor(as_json=True)
    assert left.value.exit_code == 1
    seen = json.loads(capsys.readouterr().out)
    assert any("no-such-package-anywhere" in line for line in seen["will_not_work"])
    assert {"cache of the Hub", "memory", "Hub", "torch"} <= set(seen["checks"])


def test_a_missing_extra_and_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setitem(information._EXTRAS, "wings", ("no_such_module_anywhere", "flying"))
    assert information.missing_extras()[-1] == (
        "wings",
        "flying: the extra wings is missing (pip install 'langneurons[wings]')",
    )
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LANGNEURONS_CACHE", str(tmp_path / "file" / "cache"))
    rows, problems = information.cache_state()
    assert rows[1][1].endswith("not writable")
    assert "reading .gguf files" in problems[-1]
    monkeypatch.setenv("LANGNEURONS_CACHE", str(tmp_path / "new" / "cache"))
    rows, problems = information.cache_state()
    assert rows[1][1].endswith("GB free")
    assert not [line for line in problems if "gguf" in line]
