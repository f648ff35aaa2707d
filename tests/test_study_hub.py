"""Commits of what is read from the Hub, from a server that answers as the Hub does."""

from __future__ import annotations

import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import constants

import study_world
from langneurons.config import inputs
from langneurons.provenance import hub
from langneurons.study import Study

MODEL, OLD, DATA = "a" * 40, "b" * 40, "c" * 40
COMMITS = {
    "/api/models/owner/model": MODEL,
    "/api/models/owner/model/revision/v1": OLD,
    "/api/models/owner/model/revision/refs/pr/3": "d" * 40,
    "/api/datasets/facebook/xnli": DATA,
}


class Hub(BaseHTTPRequestHandler):
    """``/api/{models,datasets}/REPOSITORY[/revision/REVISION]``; what is not there is a 404."""

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if path.startswith(("/api/models/", "/api/datasets/")):  # the library asks for more
            self.server.asked.append(path)
        sha = COMMITS.get(path)
        if self.server.broken or sha is None:
            self.send_response(500 if self.server.broken else 404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            return
        body = json.dumps({"id": path, "sha": sha, "siblings": [], "tags": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub on this machine, and an empty cache of files."""
    found = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    found.asked, found.broken = [], False
    thread = threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{found.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    huggingface_hub.close_session()
    yield found
    huggingface_hub.close_session()
    found.shutdown()
    found.server_close()
    thread.join()


NAMES = [
    ("model", "owner/model", None),
    ("model", "owner/model", "v1"),
    ("model", "owner/model", "refs/pr/3"),
    ("dataset", "facebook/xnli", None),
]
FOUND = {
    "model:owner/model@main": MODEL,
    "model:owner/model@v1": OLD,
    "model:owner/model@refs/pr/3": "d" * 40,
    "dataset:facebook/xnli@main": DATA,
}


def test_commits_are_those_of_kind_and_revision(server):
    assert hub.resolve(NAMES, {}) == FOUND
    assert server.asked == list(COMMITS)


def test_what_is_written_down_is_not_asked_again(server, tmp_path):
    hub.write(tmp_path, FOUND)
    assert hub.read(tmp_path) == FOUND
    assert hub.resolve(NAMES, hub.read(tmp_path)) == FOUND
    assert server.asked == []
    known = {"model:owner/model@main": "e" * 40}  # as it was when the run began
    assert hub.resolve(NAMES, known) == {**FOUND, **known}
    assert "/api/models/owner/model" not in server.asked


def test_nothing_is_written_where_nothing_comes_from_the_hub(tmp_path):
    hub.write(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    assert hub.read(tmp_path) == {}
    hub.write(tmp_path, FOUND)
    next(tmp_path.rglob("commits.json")).write_text("{", encoding="utf-8")
    assert hub.read(tmp_path) == {}


def test_a_repository_that_is_not_there_is_left_out(server):
    assert hub.resolve([("model", "owner/none", None), NAMES[1]], {}) == {
        "model:owner/model@v1": OLD
    }


def cached(folder, kind, repository, commit, reference="main"):
    place = folder / f"{kind}s--{repository.replace('/', '--')}"
    (place / "snapshots" / commit).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / reference).write_text(f"{commit}\n", encoding="utf-8")


@pytest.mark.parametrize("why", ["broken", "offline", "unresolved"])
def test_without_the_hub_the_cache_says_it(why, server, tmp_path, monkeypatch):
    cached(tmp_path / "cache", "model", "owner/model", OLD)
    names = [NAMES[0], ("model", "owner/model", OLD), NAMES[3]]
    server.broken = why == "broken"
    if why == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if why == "unresolved":
        monkeypatch.setattr("langneurons.models.loading.hub_unresolved", lambda: True)
    assert hub.resolve(names, {}) == {
        "model:owner/model@main": OLD,
        f"model:owner/model@{OLD}": OLD,
    }
    assert bool(server.asked) == (why == "broken")


def test_the_hub_goes_before_the_cache(server, tmp_path):
    cached(tmp_path / "cache", "model", "owner/model", OLD)
    assert hub.resolve(NAMES[:1], {}) == {"model:owner/model@main": MODEL}


def test_a_model_is_its_commit(server, monkeypatch):
    def identity(revision=None, known=None):
        commits = hub.resolve(NAMES, known or {})
        return inputs.model_identity("owner/model", revision, commits)

    before = identity()
    assert before == identity() != identity("v1")
    monkeypatch.setitem(COMMITS, "/api/models/owner/model", "e" * 40)
    assert identity() not in (before, identity("v1"))
    assert identity(known=FOUND) == before


def test_a_data_set_that_has_moved_is_another_plan_but_for_a_run_that_has_begun(
    server, tmp_path, monkeypatch
):
    world = study_world.build(tmp_path)
    words = ["tasks={xnli: {}}", "adapters={none: {}}", "languages=[en, hi]"]

    def keys(out=None):
        plan = Study.from_yaml(world / "study.yaml", words).plan(out=out)
        return {stage.name: plan.keys[stage.name] for stage in plan.stages}

    before = keys()
    scores = {name for name in before if name.startswith("scores/")}
    assert scores
    hub.write(tmp_path / "run", {"dataset:facebook/xnli@main": DATA})
    monkeypatch.setitem(COMMITS, "/api/datasets/facebook/xnli", "e" * 40)
    after = keys()
    assert {name for name in before if before[name] != after[name]} >= scores
    assert before["statistics/en"] == after["statistics/en"]
    assert keys(tmp_path / "run") == before
