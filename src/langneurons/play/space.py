"""The page as a folder that runs as a Space of the Hugging Face Hub."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import replace
from pathlib import Path

import torch

import langneurons
from langneurons.artifacts import expanded, write_text
from langneurons.errors import InputError
from langneurons.play.page import gradio
from langneurons.play.session import Session
from langneurons.statistics import Statistics
from langneurons.statistics.sample import MemoryRows

ROWS = 500
"""Token rows of a language that go along: enough for a percentile, small enough for a page."""
EXTRAS = ("gguf", "language-id")
"""Extras whose packages the Space installs."""

_APP = '''"""The live page of langneurons, as a Space."""

from pathlib import Path

from langneurons.play import open_session
from langneurons.play.page import launch_options, page

HERE = Path(__file__).resolve().parent
MODEL = {model}
demo = page(open_session(MODEL, HERE / "neurons.json", {statistics}))

if __name__ == "__main__":
    demo.launch(**launch_options())
'''

_README = """---
title: Language neurons of {name}
emoji: 🗣️
colorFrom: blue
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "3.11"
app_file: app.py
pinned: false
---

Change the neurons of a language in {name} and read what it then writes, beside the same change of
{others}.

Made by `langneurons play --export`, version {version}. On your own machine:
`pip install -r requirements.txt && python app.py`. As a Space: make one with the SDK Gradio and
upload this folder (`hf upload USER/SPACE . --repo-type space`).
"""


def export(session: Session, model: str, folder: Path) -> list[Path]:
    """Write the folder: page, requirements, README, package, neurons, statistics, a local model.

    Args:
        session: What the page is to show.
        model: The model as it was loaded: a file or folder goes along, a Hub id is fetched by the
            Space.
        folder: A folder that does not exist or is empty.

    Returns:
        What lies in it.

    Raises:
        InputError: If the folder holds something, or Gradio is not installed.
    """
    version = gradio().__version__
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{str(folder)!r} is not an empty folder: give a new one.")
    folder.mkdir(parents=True, exist_ok=True)
    session.neurons.save(folder / "neurons.json")
    if session.statistics is not None:
        thinned(session.statistics, ROWS).save(folder / "statistics")
    statistics = "None" if session.statistics is None else 'HERE / "statistics"'
    write_text(folder / "app.py", _APP.format(model=_model(model, folder), statistics=statistics))
    write_text(folder / "requirements.txt", "\n".join(requirements(version)) + "\n")
    _, kind = session.control(0)
    readme = _README.format(
        name=session.lm.name,
        gradio=version,
        version=langneurons.__version__,
        others="random neurons" + (" that are active as often" if kind != "random" else ""),
    )
    write_text(folder / "README.md", readme)
    # The version that found these neurons, whatever is published by then.
    source = Path(langneurons.__file__).parent
    shutil.copytree(
        source, folder / "langneurons", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    return sorted(folder.iterdir())


def _model(model: str, folder: Path) -> str:
    """The model as app.py names it; a local one is copied."""
    path = expanded(model)
    if path.is_file():
        shutil.copy2(path, folder / path.name)
        return f"str(HERE / {path.name!r})"
    if path.is_dir():
        shutil.copytree(path, folder / path.resolve().name)
        return f"str(HERE / {path.resolve().name!r})"
    return repr(model)


def requirements(gradio_version: str, package: str = "langneurons") -> list[str]:
    """Lines of requirements.txt: what the package needs, and this version of Gradio.

    Args:
        gradio_version: The version that the folder was made with.
        package: The installed package whose needs they are.

    Raises:
        InputError: If it is not installed, so that nobody knows them.
    """
    from packaging.requirements import Requirement

    try:
        declared = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"{package} is not installed, its requirements are not known: pip install it."
        ) from error
    lines = {f"gradio=={gradio_version}"}
    for requirement in map(Requirement, declared):
        marker = requirement.marker
        if requirement.name != "gradio" and (
            marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *EXTRAS))
        ):
            lines.add(f"{requirement.name}{requirement.specifier}")
    return sorted(lines)


def thinned(statistics: Statistics, rows: int) -> Statistics:
    """The same statistics with fewer token rows: the first of a sample are a sample."""
    kept = {}
    for lang, item in statistics.by_language.items():
        sample = item.sample
        if sample is not None and len(sample) > rows:
            layers = [sample.rows.layer(n)[:rows] for n in range(statistics.shape[0])]
            sample = replace(
                sample,
                limit=rows,
                keys=sample.keys[:rows],
                documents=sample.documents[:rows],
                positions=sample.positions[:rows],
                token_ids=sample.token_ids[:rows],
                rows=MemoryRows(torch.stack(layers)),
            )
            item = replace(item, sample=sample)
        kept[lang] = item
    return Statistics(statistics.site, statistics.shape, statistics.model, kept)
