"""How threads wait and how many start: what OpenMP itself reports, and groups of containers."""

import os
import subprocess
import sys

import pytest

from langneurons import threads

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="libgomp reports what it has read")


def started(code, **given):
    """What libgomp says it has read (its own report), and what the code printed."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in threads.WAITING + threads.COUNTS
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **given, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    read = [line.strip().split(" = ") for line in done.stderr.splitlines() if " = " in line]
    return {name.removeprefix("[host] "): value.strip("'") for name, value in read}, done.stdout


@LINUX
def test_pytorch_starts_with_threads_that_sleep_while_they_wait():
    found, said = started(
        "import langneurons; from langneurons import threads; import torch\n"
        "print(threads.waiting(), threads.not_set())"
    )
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert found["GOMP_SPINCOUNT"] == "0"
    assert "chosen by langneurons" in said
    assert "[]" in said


@LINUX
@pytest.mark.parametrize(
    "given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "77"}], ids=["policy", "spins"]
)
def test_what_the_user_set_stands(given):
    found, said = started(
        "import langneurons, os; from langneurons import threads; import torch\n"
        "print(threads.waiting(), os.environ.get('OMP_WAIT_POLICY'))",
        **given,
    )
    ((name, value),) = given.items()
    assert found[name] == value
    assert f"as the environment says ({name}={value})" in said
    assert said.split()[-1] == given.get("OMP_WAIT_POLICY", "None")


@LINUX
def test_a_pytorch_that_already_runs_is_said_to_spin():
    found, said = started(
        "import torch, os; import langneurons; from langneurons import threads\n"
        "print(threads.waiting(), threads.not_set(), os.environ.get('OMP_WAIT_POLICY'))"
    )
    assert found["GOMP_SPINCOUNT"] != "0"
    assert "spinning" in said
    assert "set OMP_WAIT_POLICY=PASSIVE in the environment" in said
    assert said.split()[-1] == "None"  # nor are processes started from here told a falsehood


def test_threads_follow_a_quota_where_nobody_chose():
    assert threads.choices({}, None, 8) == {"OMP_WAIT_POLICY": "PASSIVE"}
    assert threads.choices({}, 2.0, 8)["OMP_NUM_THREADS"] == "2"
    assert threads.choices({}, 1.5, 8)["OMP_NUM_THREADS"] == "2"
    assert threads.choices({}, 0.25, 8)["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in threads.choices({}, 8.0, 8)
    for name in threads.COUNTS:
        assert "OMP_NUM_THREADS" not in threads.choices({name: "5"}, 2.0, 8)
    for name in threads.WAITING:
        assert threads.choices({name: "1"}, None, 8) == {}


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


GROUPS = {
    "none": ({}, None),
    "version 2": (
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"},
        1.5,
    ),
    "version 2, unlimited": (
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"},
        None,
    ),
    "version 2, the group above allows less": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
        },
        2.0,
    ),
    "version 2, the host's path in a container": (
        {"proc/self/cgroup": "0::/docker/1f\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"},
        3.0,
    ),
    "version 2 beside 1": (
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/\n0::/u\n",
            "sys/fs/cgroup/unified/u/cpu.max": "100000 50000\n",
        },
        2.0,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "4:memory:/m\n3:cpu,cpuacct:/c\n",
            "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/m/cpu.max": "1 100000\n",
        },
        2.5,
    ),
    "version 1, unlimited": (
        {
            "proc/self/cgroup": "1:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
}


@pytest.mark.parametrize("name", list(GROUPS))
def test_the_quota_of_a_control_group(tmp_path, name):
    files, wanted = GROUPS[name]
    assert threads.quota(tree(tmp_path, files)) == wanted


def test_cores_are_the_lesser_of_affinity_and_quota(monkeypatch):
    monkeypatch.setattr(threads, "affinity", lambda: 4)
    for limit, wanted in ((None, 4), (2.0, 2), (0.1, 1), (16.0, 4)):
        monkeypatch.setattr(threads, "quota", lambda limit=limit: limit)
        assert threads.cores() == wanted
