"""The wheel holds all that the built-in study needs, and nothing of it comes from the checkout.

It is built from the source archive, so that the archive is whole too, and installed into an empty
folder without its dependencies, which are those of the environment that runs the tests: what is
covered is the content of the wheel, not the resolution of its requirements. `make test-empty` does
that too, in an environment of its own, which downloads PyTorch.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = built.glob("*.whl")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--target", str(folder), str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def run(installed, cwd, *words):
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_the_archive_holds_what_a_contributor_needs(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for name in ("pyproject.toml", "Makefile", "mkdocs.yml", "scripts/pages.py", "LICENSE",
                 "tests/conftest.py", "docs/index.md", "CITATION.cff"):  # fmt: skip
        assert name in names


def test_the_wheel_has_its_types_data_and_command(installed):
    package = installed / "langneurons"
    assert (package / "py.typed").is_file()
    shipped = {
        path.relative_to(ROOT / "src/langneurons")
        for path in (ROOT / "src/langneurons").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert not [path for path in shipped if not (package / path).is_file()]
    (points,) = installed.glob("langneurons-*.dist-info/entry_points.txt")
    assert "langneurons = langneurons.cli:main" in points.read_text()
    (licence,) = installed.glob("langneurons-*.dist-info/licenses/LICENSE")
    assert "Apache License" in licence.read_text()


def test_the_installed_package_plans_the_study_and_examines_the_machine(installed, tmp_path):
    where = run(installed, tmp_path, "-c", "import langneurons; print(langneurons.__file__)")
    assert where.stdout.startswith(str(installed))
    plan = run(installed, tmp_path, "-m", "langneurons", "run", "mini", "-s", "budget=small",
               "--dry-run", "--json")  # fmt: skip
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["expected"]["stages"] > 50
    doctor = run(installed, tmp_path, "-m", "langneurons", "doctor")
    assert doctor.returncode == 0, doctor.stderr
    assert "torch" in doctor.stdout


def test_the_installed_package_finds_neurons(installed, tmp_path):
    collect = run(installed, tmp_path, "-m", "langneurons", "collect", "-l", "en,hi", "--tokens",
                  "2000", "-o", "stats")  # fmt: skip
    assert collect.returncode == 0, collect.stderr
    found = run(installed, tmp_path, "-m", "langneurons", "identify", "stats", "-p", "top=0.05",
                "--json")  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert sum(json.loads(found.stdout)["units"].values()) > 0


@pytest.mark.fresh
def test_an_empty_environment_installs_the_wheel_and_runs_the_built_in_study(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    tools = tmp_path / "venv" / "bin"
    torch = importlib.metadata.version("torch").partition("+")[0]
    install = [str(tools / "python"), "-m", "pip", "install", "--quiet", f"torch=={torch}", wheel]
    subprocess.run(install, check=True, capture_output=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(tools / "langneurons"), "run", "mini", "-s", "budget=small", "-o", "runs/mini"],
        cwd=tmp_path, env={**environment, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/mini/report/index.html").stat().st_size > 100_000
