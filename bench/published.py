"""The published runs of arXiv 2503.17456 read again with intervals: `python -m bench published`.

The authors published one score a run, no items and no seeds. Without the items the pairing is lost:
the interval of a difference is that of two independent samples, which is wider than a paired one
would be. For F1, whose spread is not published either, the variance is bounded by p (1 - p).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from langneurons.parts.paper.published import published

Z = 1.96
BY_METHOD = ("zero", "mean", "P5", "P10", "P90")
SHORT = {"lape": "LAPE", "activation_probability": "activation prob."}


def changes() -> pd.DataFrame:
    """One row an intervention: its change in points and the half width of its 95 % interval."""
    table = published()
    table = table[(table["value"] != "none") & table["untouched"].notna()].copy()
    before, after = table["untouched"] / 100, table["score"] / 100
    variance = (before * (1 - before) + after * (1 - after)) / table["n"]
    return table.assign(half=100 * Z * np.sqrt(variance))


def items_for(points: float, variance: float, power: float = 0.8) -> int:
    """Items at which a difference is found at 5 % (two-sided) with a power: (z z)^2 variance / d^2.

    Args:
        points: The difference in points.
        variance: Of one item's difference: 2 p (1 - p) of two independent samples, the share of
            items that change of a paired one.
        power: Chance to find it.
    """
    z = norm.ppf(0.975) + norm.ppf(power)
    return math.ceil(variance * (100 * z / points) ** 2)


def line(name: str, part: pd.DataFrame) -> str:
    """How many rise and fall, and how many of them beyond their interval."""
    change, half = part["change"], part["half"]
    return (
        f"  {name:<22} {len(part):>3} cells: {int((change > 0).sum()):>2} rise "
        f"({int((change > half).sum())} beyond the interval), {int((change < 0).sum()):>2} fall "
        f"({int((change < -half).sum())} beyond), median {change.median():+.2f}, "
        f"half width {half.median():.1f} points"
    )


def run(console: Any) -> None:
    """Print both tasks, by value and some values by method, and the masked LoRA."""
    table = changes()
    plain = table[table["adapter"] == "none"]
    for (task, metric), part in plain.groupby(["task", "metric"]):
        console.print(f"{task}, {metric}, no LoRA on the MLP")
        console.print(line("all values", part))
        for value, cells in part.groupby("value"):
            console.print(line(str(value), cells))
        for (method, value), cells in part.groupby(["method", "value"]):
            if value in BY_METHOD:
                console.print(line(f"{SHORT.get(method, method)}, {value}", cells))
    untouched = published()
    untouched = untouched[untouched["value"] == "none"]
    keys = ["model", "task", "metric", "method", "language_set", "language"]
    base = untouched[untouched["adapter"] == "none"].groupby([*keys[:3], "language"])["score"]
    masked = untouched[untouched["adapter"] != "none"].copy()
    index = pd.MultiIndex.from_frame(masked[[*keys[:3], "language"]])
    masked["untouched"] = base.first().reindex(index).to_numpy()
    masked = masked[masked["untouched"].notna()]
    before, after = masked["untouched"] / 100, masked["score"] / 100
    masked["change"] = masked["score"] - masked["untouched"]
    masked["half"] = 100 * Z * np.sqrt(
        (before * (1 - before) + after * (1 - after)) / masked["n"])  # fmt: skip
    console.print("items needed to find one point with 80 % power")
    console.print(f"  two independent samples at 70 %: {items_for(1, 2 * 0.7 * 0.3):,} each")
    for share in (0.02, 0.05, 0.1):
        console.print(f"  paired, {100 * share:.0f} % of the items change: {items_for(1, share):,}")
    console.print("LoRA on chosen rows of the MLP against none, no intervention")
    for (task, metric), part in masked.groupby(["task", "metric"]):
        console.print(line(f"{task} {metric}", part))
