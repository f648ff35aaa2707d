"""How good a built-in model is: one study of it, and its table as lines of text."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PRESET = "mini-quality"
METRICS = ("accuracy", "exact_match")


def measure(model: str, device: str, seed: int, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Run the study of a model and take the table from it.

    Args:
        model: ``mini``, ``mini-moe``, or the folder of a built model.
        device: Where it runs.
        seed: Of the fine-tunings, the tasks and the random draws.
        overrides: Further ``KEY=VALUE`` words for the study.

    Returns:
        What :func:`table` gives.

    Raises:
        RunError: If a stage failed.
    """
    from langneurons.errors import RunError
    from langneurons.study import Study

    place = f"statistics.site={_site(model)}"
    words = [f"model={model}", f"device={device}", f"seed={seed}", place, *overrides]
    study = Study.from_yaml(PRESET, words)
    with tempfile.TemporaryDirectory() as folder:
        result = study.run(folder)
        if result.failed:
            first = result.failed[0]
            raise RunError(
                f"{first.name}: {first.reason.strip().rstrip('.')}; run the study itself to see "
                f"more: langneurons run {PRESET} -s model={model} -s {place}."
            )
        return table(Path(folder), study.config.languages, str(study.config.train_language))


def _site(model: str) -> str:
    """Where the units of a built-in model are: inside its experts, where it is the mixture."""
    from langneurons.artifacts import read_json
    from langneurons.config.inputs import model_path

    config = model_path(model) / "config.json"
    mixture = config.is_file() and "num_local_experts" in read_json(config)
    return "moe.act" if mixture else "mlp.act"


def table(run: Path, languages: Sequence[str], home: str) -> dict[str, Any]:
    """The table from a run of the study.

    Args:
        run: Run directory.
        languages: Languages in order.
        home: The language trained on.

    Returns:
        ``tasks`` (task to language to ``all`` and ``two_holders``, in %, means over fine-tunings),
        ``gaps`` (for each fine-tuning, by how many points the other languages stay below the one
        trained on in mini-NLI), ``rules`` (task to rule to the same two), ``neurons`` (how many),
        ``own`` and ``random`` (relative change of the language's own perplexity under its units,
        and the largest of the random draws), ``dominant`` and ``beyond_random`` (languages whose
        own change is the largest of its row, and larger than every random draw's).
    """
    from langneurons.artifacts import read_table
    from langneurons.identification import NeuronSet

    def read(name: str) -> pd.DataFrame:
        return read_table(run / "tables" / f"{name}.parquet")

    scores, hard = (
        found[found["metric"].isin(METRICS)] for found in map(read, ("scores", "two_holders"))
    )
    rules = read("rules")
    parts = {"all": scores, "two_holders": hard}
    means = {
        name: part.groupby(["task", "language"])["value"].mean() for name, part in parts.items()
    }
    tasks = {
        str(task): {
            lang: {name: float(mean[task, lang]) for name, mean in means.items()}
            for lang in languages
        }
        for task in dict.fromkeys(scores["task"])
    }
    nli = scores[scores["task"] == "mini-nli"].pivot_table("value", "seed", "language")
    gaps = nli[home] - nli[[lang for lang in languages if lang != home]].mean(axis=1)
    at_home = rules[rules["language"] == home]
    said: dict[str, dict[str, dict[str, float]]] = {}
    for row in at_home.to_dict("records"):
        said.setdefault(str(row["task"]), {}).setdefault(str(row["rule"]), {})[
            str(row["subset"]).replace(" ", "_")
        ] = float(row["value"])
    cells = read("perplexity")
    own = cells[cells["kind"] == "own"].pivot_table("ratio", "row", "column") - 1
    drawn = cells[(cells["kind"] == "random") & (cells["row"] == cells["column"])]
    random = drawn.groupby("row")["ratio"].max() - 1
    found = NeuronSet.load(run / "neurons" / "lape.json")
    rows = [lang for lang in languages if lang in own.index]
    return {
        "tasks": tasks,
        "gaps": [float(gap) for gap in gaps],
        "rules": said,
        "neurons": {lang: len(found[lang]) for lang in languages},
        "own": {lang: float(own.loc[lang, lang]) for lang in rows},
        "random": {lang: float(random[lang]) for lang in rows},
        "dominant": [lang for lang in rows if own.loc[lang, lang] == own.loc[lang].max()],
        "beyond_random": [lang for lang in rows if own.loc[lang, lang] > random[lang]],
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The table as lines of text, for the terminal.

    Args:
        found: What :func:`table` gives.
    """
    nli, qa = found["tasks"]["mini-nli"], found["tasks"]["mini-qa"]
    out = ["language   NLI (two holders)   QA (two holders)   neurons   own change   random <="]
    for lang, count in found["neurons"].items():
        a, b = nli[lang], qa[lang]
        own, random = (found[name].get(lang, float("nan")) for name in ("own", "random"))
        out.append(
            f"{lang:<8} {a['all']:6.1f} ({a['two_holders']:5.1f})   "
            f"{b['all']:12.1f} ({b['two_holders']:5.1f}) {count:10d} {own:11.1%} {random:13.1%}"
        )
    for task, rules in found["rules"].items():
        for name, score in rules.items():
            hard = f" ({score['two_holders']:.1f})" if "two_holders" in score else ""
            out.append(f"{task} {name}: {score['all']:.1f}{hard}")
    gaps = ", ".join(f"{gap:.1f}" for gap in found["gaps"])
    out.append(f"mini-NLI, other languages below the one trained on, by fine-tuning: {gaps}")
    out.append(
        f"rows whose own language suffers most: {len(found['dominant'])} of {len(found['own'])}; "
        f"beyond every random draw: {len(found['beyond_random'])}"
    )
    return out
