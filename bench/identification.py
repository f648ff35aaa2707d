"""Identification: LAPE and dln at the size of an 8B model, every method against per-unit loops.

dln runs on two of the layers and is scaled to all. Times are those of the process on one thread, so
that other work on the machine counts little, except where the clock is named. A per-unit loop is
the definition, one unit after the other, with scikit-learn's or numpy's own functions; it runs on
fewer units and is compared per unit.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from bench._planting import plant
from bench._ratios import note
from langneurons.identification import identify
from langneurons.identification.attribution import mean_loss, to_blocks
from langneurons.identification.methods.transfer import _batches, _columns, _gain
from langneurons.statistics import LanguageStatistics, Statistics, collect
from langneurons.statistics.moments import Moments
from langneurons.statistics.sample import RowSample

LAYERS, UNITS = 32, 14336
LAPE_LANGUAGES, DLN_LANGUAGES, DLN_ROWS, DLN_LAYERS = 21, 7, 4096, 2
SMALL_UNITS, SMALL_ROWS, SMALL_LANGUAGES, LOOPED = 2048, 1024, 4, 32


class _SameRows:
    """Every layer has the same rows; at full size all layers would take 26 GB."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows

    def layer(self, index: int) -> torch.Tensor:
        """Rows (n, units)."""
        return self._rows


def random_statistics(layers: int, units: int, rows: int, languages: int) -> Statistics:
    """Normal activations whose mean differs by unit and language."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for number in range(languages):
        values = torch.randn(rows, units, generator=generator).add_(
            torch.randn(units, generator=generator) * 0.3
        )
        mean, squares = values.mean(0).double(), (values.var(0, correction=0) * rows).double()
        every = {
            "count": (values > 0).sum(0),
            "mean": mean,
            "squares": squares,
            "absolute": values.abs().sum(0).double(),
            "minimum": values.amin(0).double(),
            "maximum": values.amax(0).double(),
        }
        moments = Moments.from_tensors(
            rows, {name: item.expand(layers, units).contiguous() for name, item in every.items()}
        )
        keys = torch.arange(rows)
        made[f"l{number}"] = LanguageStatistics(
            tokens=rows,
            count=moments.count,
            moments=moments,
            sample=RowSample(
                None, 0, keys, keys // 64, keys, keys, _SameRows(values.to(torch.bfloat16))
            ),
        )
    return Statistics("mlp.act", (layers, units), None, made)


def timed(work: Callable[[], Any]) -> float:
    """Seconds of the process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def lape_at_full_size() -> tuple[float, float]:
    """Seconds, and MiB of the whole process, for LAPE on 32 x 14336 units and 21 languages."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    counts = {
        f"l{k}": torch.randint(0, 10**8, (LAYERS, UNITS), generator=generator)
        for k in range(LAPE_LANGUAGES)
    }
    statistics = Statistics.from_counts(counts, dict.fromkeys(counts, 10**8))
    seconds = timed(lambda: identify(statistics, "lape"))
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def dln_at_full_width(threads: int) -> tuple[float, float]:
    """Seconds of one thread, and by the clock on all, for dln on a few layers of 14336 units."""
    statistics = random_statistics(DLN_LAYERS, UNITS, DLN_ROWS, DLN_LANGUAGES)
    alone = timed(lambda: identify(statistics, "dln"))
    torch.set_num_threads(threads)
    start = time.perf_counter()
    identify(statistics, "dln")
    together = time.perf_counter() - start
    torch.set_num_threads(1)
    return alone, together


def loops(statistics: Statistics) -> dict[str, Callable[[int], Any]]:
    """Each method's score of one unit of layer 0, for all languages, by definition."""
    names = statistics.languages
    rows = {k: statistics.rows(k, 0).float().numpy() for k in names}
    rates = {k: statistics.prob_positive(k)[0].tolist() for k in names}
    moments = {k: (statistics.mean(k)[0].tolist(), statistics.std(k)[0].tolist()) for k in names}
    truth = {k: np.repeat([name == k for name in names], SMALL_ROWS) for k in names}

    def spread(u: int) -> float:
        total = sum(rates[k][u] for k in names)
        shares = [rates[k][u] / total for k in names]
        return -sum(p * math.log(p) for p in shares if p > 0)

    def h(p: float) -> float:
        return -sum(x * math.log(x) for x in (p, 1 - p) if x > 0)

    def information(u: int) -> list[float]:
        found = []
        for k in names:
            other = sum(rates[j][u] for j in names if j != k) / (len(names) - 1)
            found.append(h((rates[k][u] + other) / 2) - (h(rates[k][u]) + h(other)) / 2)
        return found

    def difference(u: int) -> list[float]:
        found = []
        for k in names:
            others = [moments[j][0][u] for j in names if j != k]
            middle = sum(others) / len(others)
            variance = sum(
                moments[j][1][u] ** 2 + (moments[j][0][u] - middle) ** 2 for j in names if j != k
            ) / len(others)
            spread = math.sqrt((moments[k][1][u] ** 2 + variance) / 2)
            found.append((moments[k][0][u] - middle) / spread)
        return found

    def over_pooled(u: int) -> list[float]:
        limit = np.quantile(np.concatenate([rows[k][:, u] for k in names]), 0.9)
        return [float((rows[k][:, u] > limit).mean()) for k in names]

    def detector(measure: Callable[..., float]) -> Callable[[int], list[float]]:
        def score(u: int) -> list[float]:
            values = np.concatenate([rows[k][:, u] for k in names])
            return [measure(truth[k], values) for k in names]

        return score

    def overlap(u: int) -> float:
        values = np.concatenate([rows[k][:, u] for k in names])
        low = max(values.mean() - 3 * values.std(), -0.4)
        edges = np.array(
            [-np.inf, *np.linspace(low, values.mean() + 3 * values.std(), 401), np.inf]
        )
        parts = {k: np.histogram(rows[k][:, u], edges)[0] / SMALL_ROWS for k in names}
        share = {(a, b): np.minimum(parts[a], parts[b]).sum() for a, b in combinations(names, 2)}
        costs = []
        for size in range(1, len(names)):
            for group in combinations(names[1:], size):
                across = [s for (a, b), s in share.items() if (a in group) != (b in group)]
                costs.append(max(across))
        return float(min(costs))

    return {
        "lape": spread,
        "entropy_lambda": spread,
        "mutual_information": information,
        "difference": difference,
        "activation_probability": over_pooled,
        "average_precision": detector(average_precision_score),
        "auroc": detector(roc_auc_score),
        "dln": overlap,
    }


def _identify(statistics: Statistics, name: str) -> None:
    options = {"split_half": False} if name == "activation_probability" else {}
    identify(statistics, name, **options)


def _each(loop: Callable[[int], Any]) -> None:
    for unit in range(LOOPED):
        loop(unit)


def against_loops(console: Any) -> None:
    """Time per unit of each method that reads statistics, fast and looped in turn."""
    statistics = random_statistics(1, SMALL_UNITS, SMALL_ROWS, SMALL_LANGUAGES)
    for name, loop in loops(statistics).items():
        fast, slow = [], []
        for _ in range(3):
            fast.append(timed(partial(_identify, statistics, name)) / SMALL_UNITS)
            slow.append(timed(partial(_each, loop)) / LOOPED)
        a, b = float(np.median(fast)), float(np.median(slow))
        note(f"{name}, a unit", a * 1e6, "a loop over units", b * 1e6, unit="us")
        console.print(
            f"{name}: {a * 1e6:,.1f} us a unit, per-unit loop {b * 1e6:,.1f} us: "
            f"{b / a:,.0f} times as fast"
        )


def on_the_model(console: Any) -> None:
    """Gradient methods against replacing unit by unit; transfer against a loop over units."""
    planted = plant(documents=8)
    texts = planted.texts
    statistics = collect(planted.lm, texts, rows=0)
    blocks = to_blocks(planted.lm, texts, 256, None)
    units = planted.kinds.size
    replaced = timed(
        lambda: [
            mean_loss(planted.lm, blocks["aa"], batch_tokens=1024, site="mlp.act", replace=unit)
            for unit in ((0, 1, 0.0), (1, 1, 0.0), (2, 1, 0.0))
        ]
    )
    looped = replaced / 3 * units * len(texts)
    for name in ("gradient", "relevance"):
        options = {"check": 0} if name == "relevance" else {}
        seconds = timed(
            lambda name=name, options=options: identify(
                statistics, name, model=planted.lm, texts=texts, **options
            )
        )
        note(f"{name}, {units} units", seconds, "replacing one after the other", looped)
        console.print(
            f"{name}: {seconds:.2f} s for {units} units, replacing one after the other "
            f"{looped:.0f} s: {looped / seconds:,.0f} times as fast"
        )
    found = next(_batches(planted.lm, blocks["aa"], range(1), 4096, "transfer"))[0]
    columns = _columns(planted.lm.sites["mlp.out"].modules[0]).float()
    goal = found.output.mean(0)
    base = found.output - found.added

    def loop(u: int) -> torch.Tensor:
        moved = base + found.values[:, u, None] * found.scale * columns[:, u]
        cosine = torch.nn.functional.cosine_similarity
        return (cosine(moved, goal[None]) - cosine(base, goal[None])).mean()

    slow = timed(partial(_each, loop)) / LOOPED
    fast = (
        timed(lambda: [_gain(found, columns, goal, slice(None)) for _ in range(20)])
        / 20
        / columns.shape[1]
    )
    note("transfer, a unit", fast * 1e6, "a loop over units", slow * 1e6, unit="us")
    console.print(
        f"transfer: {fast * 1e6:,.2f} us a unit, per-unit loop {slow * 1e6:,.1f} us: "
        f"{slow / fast:,.0f} times as fast"
    )


def run(console: Any) -> None:
    """Print all measurements."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, memory = pool.apply(lape_at_full_size)
            note(
                f"LAPE at {LAYERS} x {UNITS} units, {LAPE_LANGUAGES} languages", seconds,
                wanted="2 s",
            )  # fmt: skip
            console.print(
                f"LAPE {LAYERS} x {UNITS} x {LAPE_LANGUAGES} languages: {seconds:.2f} s "
                f"(target 2), {memory:,.0f} MiB in all (target 2048)"
            )
            alone, together = (s * LAYERS / DLN_LAYERS for s in dln_at_full_width(threads))
            note(f"dln at {LAYERS} x {UNITS} units", alone, wanted="60 s on two cores")
            console.print(
                f"dln {LAYERS} x {UNITS} x {DLN_LANGUAGES} languages x {DLN_ROWS} rows, from "
                f"{DLN_LAYERS} layers: {alone:.1f} s of the process on one thread, "
                f"{together:.1f} s by the clock on {threads} (target 60 on two idle cores)"
            )
            against_loops(console)
            on_the_model(console)
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    from rich.console import Console

    run(Console())
