"""A tiny model, three texts and a study of them on disk, for tests of whole studies."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from langneurons.artifacts import write_text
from langneurons.study import Study

WORDS = {
    "en": "the cat and the dog run over the hill to the house near a river",
    "es": "el gato y el perro corren por la colina hasta la casa junto al río",
    "hi": "बिल्ली और कुत्ता पहाड़ी पर नदी के पास घर तक दौड़ते हैं",
}


def documents(lang: str, count: int = 40) -> list[str]:
    words = WORDS[lang].split()
    return [
        " ".join(words[(start * 7 + step * (1 + start % 5)) % len(words)] for step in range(30))
        for start in range(count)
    ]


def files(root: Path, **model: Any) -> dict[str, Any]:
    """Write a tiny model (with options of its configuration) and its texts into a folder.

    Returns:
        The keys of a study that say where they are.
    """
    lm = tiny.lm("llama", **model)
    lm.model.save_pretrained(root / "model")
    lm.tokenizer.save_pretrained(root / "model")
    for lang in WORDS:
        (root / f"{lang}.txt").write_text("\n".join(documents(lang)), encoding="utf-8")
    return {
        "model": str(root / "model"),
        "languages": list(WORDS),
        "text": str(root / "{lang}.txt"),
    }


def build(root: Path) -> Path:
    """Write model, texts and ``study.yaml`` into a folder; returns the folder."""
    study = {
        "name": "tiny",
        **files(root),
        "statistics": {"tokens": 600, "block": 32, "rows": 128},
        "neurons": {
            "lape": {"method": "lape", "parameters": {"top": 0.2}},
            "two": {"method": "lape", "languages": ["en", "hi"], "parameters": {"top": 0.2}},
        },
        "perplexity": {"neurons": ["lape"], "tokens": 600, "random": 1, "matched": 1},
    }
    (root / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    (root / "xnli").mkdir()
    for lang in WORDS:
        for split in ("dev", "test"):
            write_pairs(root / "xnli" / f"{split}.{lang}.tsv", lang)
    (root / "tasks.yaml").write_text(
        yaml.safe_dump(
            {
                "include": "study.yaml",
                "tasks": {"xnli": {"source": f"xnli:{root / 'xnli'}", "train_split": "dev"}},
                "finetune": {"steps": 6, "batch_size": 4, "rank": 2, "checkpoint_every": 2},
                "adapters": {"none": {}, "hi": {"neurons": "lape:hi"}},
                "interventions": {
                    **{"neurons": ["lape"], "values": ["zero", "P10"], "random": 1},
                    "languages": ["es", "hi"],  # English has no units in this model
                },
            }
        ),
        encoding="utf-8",
    )
    return root


def write_pairs(path: Path, lang: str, count: int = 24) -> None:
    """Premises and hypotheses of an XNLI file, with labels that follow from nothing."""
    found = documents(lang, 2 * count)
    labels = ("entailment", "neutral", "contradiction")
    rows = [f"{labels[n % 3]}\t{found[2 * n][:60]}\t{found[2 * n + 1][:30]}" for n in range(count)]
    path.write_text("label\tpremise\thypothesis\n" + "\n".join(rows) + "\n", encoding="utf-8")


def run_apart(
    study: str,
    out: str,
    overrides: list[str],
    file_limit: int | None = None,
    figures: bool = True,
) -> None:
    """A whole run as the command line does it, for a process of its own.

    Args:
        study: File or preset.
        out: Run directory.
        overrides: ``KEY=VALUE`` words.
        file_limit: Largest file the process may write, as on a disk that fills.
        figures: Whether the report is drawn; see :func:`short_reports`.
    """
    import sys

    from langneurons.cli.app import main

    if file_limit is not None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    words = [word for item in overrides for word in ("-s", item)]
    sys.argv = ["langneurons", "run", study, "-o", out, "-s", "threads=1", *words]
    with Path(f"{out}.log").open("a", encoding="utf-8") as log:
        sys.stdout = sys.stderr = log
        with contextlib.nullcontext() if figures else short_reports():
            main()


def apart() -> Any:
    """Processes that start at once: a server holds what a study imports, and forks."""
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "transformers", "peft", "langneurons.study", "langneurons.finetuning",
         "langneurons.evaluation", "langneurons.reporting", "study_world"]
    )  # fmt: skip
    return context


def contents(out: Path) -> dict[str, bytes]:
    """Every result of a run directory by its path: what two equal runs must have in common."""
    folders = ("shards", "statistics", "neurons", "perplexity", "scores", "rules", "tables")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for folder in folders
        for path in sorted((out / folder).rglob("*"))
        if path.is_file()
    }


def short_report(_study: Study, out: Path) -> Path:
    """A page and a table beside it, for tests that do not ask what a report says."""
    for name in ("tables/a.csv", "index.html"):
        write_text(out / "report" / name, str(time.time_ns()))
    return out / "report" / "index.html"


@contextlib.contextmanager
def short_reports() -> Iterator[None]:
    """Studies of this process write :func:`short_report` in this block: figures take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "report", short_report)
        yield
