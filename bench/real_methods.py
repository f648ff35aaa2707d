"""Every identification method on a real model, in one table.

``langneurons run gemma-3-270m-methods -t 'FOLDER/{lang}.json'``, then ``python -m
bench.real_methods RUN`` prints what the run found, as Markdown.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from bench._markdown import printed
from langneurons.artifacts import read_json, read_table
from langneurons.evaluation import specificity
from langneurons.identification import NeuronSet, compare

REFERENCE = "lape"
KINDS = ("own", "others", "random", "matched")


def spanned(line: dict[str, Any], kind: str) -> str:
    """A ratio with its interval."""
    return f"{line[kind]:.2f} [{line[f'{kind}_low']:.2f}, {line[f'{kind}_high']:.2f}]"


def facts(found: NeuronSet) -> dict[str, str]:
    """What a method says of its own reliability."""
    said = found.parameters.get("found", {})
    cells = {}
    if "split_half_jaccard" in said:
        halves = [value for value in said["split_half_jaccard"].values() if value == value]
        mean = sum(halves) / len(halves)
        cells["reliability"] = f"split half {mean:.2f} (chance {said['chance_jaccard']:.4f})"
    if "agreement" in said:
        parts = [item.get("pearson") for item in said["agreement"].values()]
        known = [value for value in parts if value is not None]
        if known:
            cells["reliability"] = f"exact replacement r = {sum(known) / len(known):.2f}"
    return cells


def table(run: Path) -> pd.DataFrame:
    """One row a neuron set, in the study's order."""
    lines = specificity(read_table(run / "tables" / "perplexity.parquet")).to_dict("records")
    names = [line["neurons"] for line in lines]
    sets = {name: NeuronSet.load(run / "neurons" / f"{name}.json") for name in names}
    shared = compare({name: sets[name] for name in (REFERENCE, *names)})
    shared = shared[shared["set"] == REFERENCE].groupby("other_set")
    jaccard, chance = shared["jaccard"].mean(), shared["jaccard_expected"].mean()
    rows = []
    for line in lines:
        name = line["neurons"]
        same = name == REFERENCE
        languages = line["languages"]
        rows.append(
            {
                "set": name,
                "units": " ".join(str(len(units)) for units in sets[name].values()),
                f"Jaccard with {REFERENCE} (chance)": "1"
                if same
                else f"{jaccard[name]:.3f} ({chance[name]:.3f})",
                **{kind: spanned(line, kind) for kind in KINDS},
                "beyond others": f"{line['beyond_others']} of {languages}",
                "specific": f"{line['specific']} of {languages}",
                "reliability": facts(sets[name]).get("reliability", ""),
            }
        )
    return pd.DataFrame(rows)


def main(run: Path) -> None:
    info = read_json(run / "run.json")
    print(f"{info['model']['name']}, {' '.join(info['languages'])}\n")
    made = table(run)
    printed(list(made.columns), made.itertuples(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-methods"))
