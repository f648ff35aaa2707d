"""Masked LoRA on a real model: does it matter whose units learn? Against the spread between seeds.

``langneurons run gemma-3-270m-masks -t 'FOLDER/{lang}.txt' ...``, then ``python -m bench.real_masks
RUN`` prints accuracy of every training, and the mean difference to training no MLP units, random
units and equally active ones, with its t interval over seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from bench._markdown import printed
from langneurons.artifacts import read_table


def accuracies(scores: pd.DataFrame, trained: pd.DataFrame) -> list[list[str]]:
    """One row an adapter: trained weights and the accuracy of every seed, by language."""
    plain = scores[(scores["metric"] == "accuracy") & (scores["intervention"] == "none")]
    weights = trained.groupby("adapter")["trainable"].first()
    rows = []
    for adapter, group in plain.groupby("adapter", sort=False):
        cells = []
        for _, own in group.groupby("language", sort=False):
            each = ", ".join(f"{value:.1f}" for value in own.sort_values("seed")["value"])
            cells.append(f"{own['value'].mean():.1f} ({each})")
        rows.append([adapter, f"{weights[adapter]:,.0f}", *cells])
    return rows


def differences(seeds: pd.DataFrame) -> list[list[str]]:
    """One row an adapter, reference and language."""
    return [
        [
            row.language,
            row.adapter,
            row.reference,
            f"{row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}]",
            f"{row.std:.1f}",
            f"{row.p_holm:.2f}",
            f"{row.detectable:.1f}",
        ]
        for row in seeds[seeds["metric"] == "accuracy"].sort_values("language").itertuples()
    ]


def main(run: Path) -> None:
    tables = {name: read_table(run / "tables" / f"{name}.parquet")
              for name in ("scores", "finetuning", "adapter_seeds")}  # fmt: skip
    languages = list(dict.fromkeys(tables["scores"]["language"]))
    columns = ["adapter", "trained weights", *(f"{lang}: mean (seeds), %" for lang in languages)]
    printed(columns, accuracies(tables["scores"], tables["finetuning"]))
    columns = ["language", "adapter", "against", "points, t interval over seeds", "spread",
               "p, Holm", "detectable"]  # fmt: skip
    printed(columns, differences(tables["adapter_seeds"]))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-masks"))
