"""Scores of every cell, and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from langneurons.artifacts import read_json
from langneurons.interface.results import Results
from langneurons.parts.adapters.spec import (
    CONTROLS,
    WHOLE,
    AdapterSpec,
    adapter_runs,
    adapter_units,
    choice_of,
    is_base,
    shot_words,
)

if TYPE_CHECKING:
    from langneurons.evaluation import Scores

LEVEL = 0.95

Trained = Mapping[str, AdapterSpec]
"""Adapters by name."""


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Scores by cell, odd examples, trainings, and adapters against each other.

    Scores of trainings with examples of the target language are no transfer: they stand in
    ``supervision`` alone.
    """
    from langneurons.evaluation import differences_over_seeds

    trained = results.context.spec_of("adapters") or {}
    every = load_scores(results)
    shot = {run for run, (name, _) in adapter_runs(trained).items() if trained[name].shots}
    found = {cell: scored for cell, scored in every.items() if cell.run not in shot}
    scored, compared = scores(trained, found), adapters(trained, found)
    return {
        "scores": scored,
        "odd_rows": odd_rows(found),
        "adapters": compared,
        "adapter_seeds": differences_over_seeds(compared),
        "adapter_sets": adapter_sets(trained, scored),
        "two_holders": two_holders(trained, found),
        "finetuning": finetuning(results),
        "supervision": supervision(trained, every),
    }


@dataclass(frozen=True)
class Cell:
    """Where scores stand: the training, the language tested, and what was overwritten.

    Attributes:
        task: Name of the task.
        run: Name of the training.
        language: Language tested.
        value: What was written; ``"none"`` for nothing.
        units: Over which units: ``"own"``, ``"random"``, ``"matched"``, ``"-"`` for none.
        neurons: Name of the neuron set, ``"-"`` for none.
        seed: Seed of a random draw.
    """

    task: str
    run: str
    language: str
    value: str = "none"
    units: str = "-"
    neurons: str = "-"
    seed: int = 0

    @property
    def plain(self) -> Cell:
        """The cell without an intervention."""
        return Cell(self.task, self.run, self.language)


Found = dict[Cell, "Scores"]


def load_scores(results: Results) -> Found:
    """All per-example scores of a run by their cell."""
    from langneurons.evaluation import Scores

    return {
        Cell(
            task=arguments["task"],
            run=arguments["adapter"],
            language=arguments["language"],
            value=arguments["value"],
            units=arguments["units"],
            neurons=arguments.get("neurons", "-"),
            seed=int(arguments.get("seed", 0)),
        ): Scores.load(path)
        for path, arguments in results.paths("scores").items()
    }


def scores(trained: Trained, found: Found) -> pd.DataFrame:
    """One row a cell and metric: the score, and its paired difference to no intervention.

    Holm's correction runs over the cells of one task and metric.
    """
    runs = adapter_runs(trained)
    rows: list[dict[str, Any]] = []
    for cell, scored in found.items():
        name, adapter_seed = runs[cell.run]
        untouched = cell == cell.plain
        plain = None if untouched else found.get(cell.plain)
        for metric in scored.metrics:
            row = {
                "task": cell.task,
                "adapter": name,
                "language": cell.language,
                "metric": metric,
                "intervention": cell.value,
                "units": cell.units,
                "neurons": cell.neurons,
                "seed": adapter_seed if untouched else cell.seed,
            }
            rows.append({**row, **_level(scored, metric), **_change(scored, plain, metric)})
    return _corrected(pd.DataFrame(rows), ["task", "metric"])


ODD = ("no_gold", "romanised", "replaced", "english", "cut")


def odd_rows(found: Found) -> pd.DataFrame:
    """One row a task and language with any odd example: how many there are of each kind.

    ``no_gold`` is left out of the score, ``romanised``, ``replaced`` (holds U+FFFD) and ``english``
    (a field left in English) are facts of the data, ``cut`` lost the end of its context.
    """
    counted: dict[tuple[str, str], dict[str, Any]] = {}
    for cell, scored in found.items():
        if cell != cell.plain or (cell.task, cell.language) in counted:
            continue
        rows = scored.rows
        marks = {name: int((rows[name] > 0).sum()) for name in ODD[1:] if name in rows}
        known = {"n": len(rows), "no_gold": len(rows) - scored.n}
        counted[cell.task, cell.language] = {**dict.fromkeys(ODD, 0), **known, **marks}
    return pd.DataFrame(
        [
            {"task": task, "language": language, **counts}
            for (task, language), counts in counted.items()
            if any(counts[name] for name in ODD)
        ]
    )


def finetuning(results: Results) -> pd.DataFrame:
    """One row a training: what learnt, for how long, and to which loss."""
    rows = []
    for path, arguments in results.paths("finetune").items():
        record = read_json(path / "langneurons.json")
        name, task, seed = (arguments[key] for key in ("adapter", "task", "seed"))
        spec = results.context.spec_of("adapters")[name]
        rows.append(
            {
                "adapter": name,
                "task": task,
                "train_language": record["lang"],
                "units": " + ".join(adapter_units(spec)),
                "shots": " + ".join(shot_words(spec)),
                "attention": spec.attention,
                "seed": seed,
                "trainable": record["trainable"],
                "seconds": record["seconds"],
                "loss": record["losses"][-1]["loss"] if record["losses"] else None,
            }
        )
    return pd.DataFrame(rows)


def adapters(trained: Trained, found: Found) -> pd.DataFrame:
    """One row a training, metric and reference: paired difference to what it stands against.

    The references are the adapters that train no MLP units and those that train random ones, with
    attention or without alike, of the same seed where there are several. Holm's correction runs
    over one task, metric and reference.
    """
    runs = adapter_runs(trained)
    kinds = {
        name: "none" if units == ["none"] else "random" if _random(units) else ""
        for name, units in ((name, adapter_units(spec)) for name, spec in trained.items())
    }
    attention = {name: spec.attention for name, spec in trained.items()}
    rows: list[dict[str, Any]] = []
    for cell, scored in found.items():
        name, seed = runs[cell.run]
        if cell != cell.plain or is_base(trained[name]):
            continue
        for other, (reference, other_seed) in runs.items():
            base = found.get(replace(cell, run=other))
            fits = kinds[reference] and reference != name and _same_seed(runs, other, name, seed)
            fits = fits and attention[reference] == attention[name]
            if base is None or not fits:
                continue
            for metric in scored.metrics:
                change = _change(scored, base, metric)
                rows.append(
                    {
                        "task": cell.task,
                        "language": cell.language,
                        "metric": metric,
                        "adapter": name,
                        "reference": reference,
                        "seed": seed,
                        "reference_seed": other_seed,
                        "n": scored.n,
                        "difference": change["difference"],
                        "low": change["difference_low"],
                        "high": change["difference_high"],
                        "p_value": change["p_value"],
                        "mde": change["mde"],
                    }
                )
    return _corrected(pd.DataFrame(rows), ["task", "metric", "reference"])


def adapter_sets(trained: Trained, scored: pd.DataFrame) -> pd.DataFrame:
    """One row a task, language and metric: adapters of chosen units compared at once, over seeds.

    What is asked is whether it matters whose MLP units learn: adapters that train none or all are
    left out, and those with LoRA on attention and those without are families of their own. Of
    adapters with several seeds the largest group with the same seeds is taken; Holm's correction
    runs over one task and metric.
    """
    from langneurons.evaluation import among_sets

    if scored.empty:
        return scored
    chosen = {
        name: spec.attention
        for name, spec in trained.items()
        if adapter_units(spec) not in ([word] for word in WHOLE)
    }
    plain = scored[(scored["intervention"] == "none") & scored["adapter"].isin(chosen)]
    plain = plain.assign(attention=plain["adapter"].map(chosen))
    rows = []
    cell = ["task", "language", "metric", "attention"]
    for key, group in plain.groupby(cell, sort=False):
        seeds = group.groupby("adapter")["seed"].agg(frozenset)
        same = seeds[seeds.map(len) > 1].value_counts()
        if same.empty or same.iloc[0] < 2:
            continue
        repeated = group[group["adapter"].map(seeds) == same.index[0]]
        rows.append({**dict(zip(cell, key, strict=True)), **asdict(among_sets(repeated))})
    return _corrected(pd.DataFrame(rows), ["task", "metric"])


def two_holders(trained: Trained, found: Found) -> pd.DataFrame:
    """Scores on items in whose text two people or more have what is asked, where a task says so.

    There the person decides: a rule that only finds the asked relation does no better than
    drawing among the holders.
    """
    runs = adapter_runs(trained)
    rows = []
    for cell, scored in found.items():
        if cell != cell.plain or "holders" not in scored.rows:
            continue
        part = replace(scored, rows=scored.rows[scored.rows["holders"] >= 2])
        name, seed = runs[cell.run]
        for metric in part.metrics:
            row = {"task": cell.task, "adapter": name, "seed": seed, "language": cell.language}
            rows.append({**row, "metric": metric, **_level(part, metric)})
    return pd.DataFrame(rows)


def supervision(trained: Trained, found: Found) -> pd.DataFrame:
    """One row a training, language and metric of a curve over examples of the target language.

    A curve is of one choice of units, attention and units held; its points are the trainings with
    k examples of one language, the one without any among them, and the scores that language's.
    ``difference`` is the paired difference to training no MLP units with the same k (and seed).
    Holm's correction runs over one task, metric and language.
    """
    runs = adapter_runs(trained)
    curves = {
        name: (tuple(adapter_units(spec)), spec.attention, str(spec.hold))
        for name, spec in trained.items()
    }
    learned = {(curves[name], lang) for name, spec in trained.items() for lang in spec.shots or ()}
    rows: list[dict[str, Any]] = []
    for cell, scored in found.items():
        name, seed = runs[cell.run]
        shots, hold = trained[name].shots or {}, trained[name].hold
        if cell != cell.plain or (curves[name], cell.language) not in learned:
            continue
        if set(shots) - {cell.language}:
            continue  # examples of another language too: no point of this curve
        units, *others = curves[name]
        base = next(
            (
                found[replace(cell, run=run)]
                for run, (other, _) in runs.items()
                if curves[other] == (("none",), *others)
                and units != ("none",)
                and (trained[other].shots or {}) == shots
                and _same_seed(runs, run, name, seed)
                and replace(cell, run=run) in found
            ),
            None,
        )
        for metric in scored.metrics:
            rows.append(
                {
                    "task": cell.task,
                    "language": cell.language,
                    "metric": metric,
                    "units": " + ".join(units),
                    "attention": trained[name].attention,
                    "held": "-" if hold is None else hold.neurons,
                    "shots": shots.get(cell.language, 0),
                    "seed": seed,
                    **_level(scored, metric),
                    **_change(scored, base, metric),
                }
            )
    return _corrected(pd.DataFrame(rows), ["task", "metric", "language"])


def _random(units: list[str]) -> bool:
    return units != ["all"] and all(choice_of(choice)[0] in CONTROLS for choice in units)


def _same_seed(runs: dict[str, tuple[str, int]], other: str, name: str, seed: int) -> bool:
    """Whether a reference's training pairs with this one: equal seeds, or one has no other."""
    reference, other_seed = runs[other]
    seeds = [sum(item[0] == adapter for item in runs.values()) for adapter in (reference, name)]
    return min(seeds) == 1 or other_seed == seed


def _corrected(table: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    from langneurons.evaluation import holm

    if len(table):
        table["p_holm"] = table.groupby(family)["p_value"].transform(holm)
    return table


def _level(scored: Scores, metric: str) -> dict[str, Any]:
    low, high = scored.interval(metric, level=LEVEL)
    return {
        "n": scored.n,
        "value": scored.value(metric),
        "low": low,
        "high": high,
        "chance": scored.chance(metric),
    }


def _change(scored: Scores, other: Scores | None, metric: str) -> dict[str, float]:
    from langneurons.evaluation import compare

    if other is None:
        names = ("difference", "difference_low", "difference_high", "p_value", "mde")
        return dict.fromkeys(names, float("nan"))
    change = compare(scored, other, metric=metric, level=LEVEL)
    return {
        "difference": change.difference,
        "difference_low": change.low,
        "difference_high": change.high,
        "p_value": change.p_value,
        "mde": change.minimum_detectable_effect,
    }
