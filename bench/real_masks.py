"""Masked LoRA on a real model: does it matter whose units learn? Against the spread between seeds.

``langneurons run gemma-3-270m-masks -t 'FOLDER/{lang}.txt' ...``, then ``python -m bench.real_masks
RUN`` prints accuracy of every training, the mean difference to training no MLP units, random units
and equally active ones with its t interval over seeds, and all sets at once. Without RUN: the
trainings of all records together, all chosen sets at once, and `docs/figures/gemma-masks.svg`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd

from bench._markdown import printed
from langneurons.artifacts import read_table, write_text
from langneurons.evaluation import among_sets, holm
from langneurons.evaluation.seeds import differences_over_seeds
from langneurons.reporting import style
from langneurons.reporting.figures import canvas

RESULTS = Path(__file__).resolve().parent / "results"
RECORDS = ("masks-2026-11-25", "masks-2026-11-29", "masks-attention-2026-11-29")
FIGURE = RESULTS.parents[1] / "docs" / "figures" / "gemma-masks.svg"
NAMES = {
    "none": "no MLP units",
    "target": "Hindi's",
    "en": "English's",
    "en+hi": "English's and Hindi's",
    "probability": "Hindi's, activation probability",
    "random": "random",
    "matched": "equally active",
    "all": "all units",
}
LANGUAGES = {"en": "English", "hi": "Hindi"}
REFERENCES = ("none", "random", "matched")
KINDS = {True: ("with LoRA on attention", style.BLUE, "o"),
         False: ("without", style.VERMILLION, "s")}  # fmt: skip


def accuracies(scores: pd.DataFrame, trained: pd.DataFrame) -> list[list[str]]:
    """One row an adapter: trained weights and the accuracy of every seed, by language."""
    plain = scores[(scores["metric"] == "accuracy") & (scores["intervention"] == "none")]
    weights = trained.groupby("adapter")["trainable"].first()
    languages = list(dict.fromkeys(plain["language"]))
    rows = []
    for adapter, group in plain.groupby("adapter", sort=False):
        cells = []
        for language in languages:
            own = group[group["language"] == language].sort_values("seed")["value"]
            each = ", ".join(f"{value:.1f}" for value in own)
            cells.append(f"{own.mean():.1f} ({each})" if len(own) else "")
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


def by_training(adapters: pd.DataFrame) -> list[list[str]]:
    """One row an adapter, reference and language: each training's difference, paired by item."""
    rows = []
    table = adapters[adapters["metric"] == "accuracy"]
    for key, group in table.groupby(["language", "adapter", "reference"], sort=False):
        each = [f"{row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"
                for row in group.sort_values("seed").itertuples()]  # fmt: skip
        rows.append([*map(str, key), ", ".join(each)])
    return rows


def at_once(sets: pd.DataFrame) -> list[list[str]]:
    """One row a language and kind of adapter: the test of all sets, and the pooled spread."""
    return [
        [row.language, "yes" if row.attention else "no", f"{row.sets}", f"{row.seeds}",
         f"{row.f:.2f}", f"{row.p_value:.2g}", f"{row.p_holm:.2g}", f"{row.std:.1f}",
         f"{row.detectable:.1f}"]
        for row in sets[sets["metric"] == "accuracy"].itertuples()
    ]  # fmt: skip


def of_one_size(scores: pd.DataFrame, trained: pd.DataFrame) -> list[list[str]]:
    """One row a language: the sets among which most have the same size, at once.

    Larger sets learn more: only of one size is it whose units learn.
    """
    chosen = trained[~trained["units"].isin(["none", "all"])]
    size = chosen.drop_duplicates("adapter").set_index("adapter")[["trainable", "attention"]]
    most = tuple(size.value_counts().index[0])
    adapters = [name for name, row in size.iterrows() if tuple(row) == most]
    plain = scores[(scores["metric"] == "accuracy") & (scores["intervention"] == "none")]
    plain = plain[plain["adapter"].isin(adapters)]
    found = {lang: among_sets(group) for lang, group in plain.groupby("language", sort=False)}
    corrected = holm([item.p_value for item in found.values()])
    return [
        [str(lang), ", ".join(adapters), f"{item.f:.2f}", f"{item.p_value:.2g}", f"{p:.2g}",
         f"{item.std:.1f}", f"{item.detectable:.1f}"]
        for (lang, item), p in zip(found.items(), corrected, strict=True)
    ]  # fmt: skip


def recorded() -> pd.DataFrame:
    """Accuracy of every training in the records' first tables: which set, attention, seed."""
    rows = []
    for name in RECORDS:
        text = (RESULTS / f"{name}.txt").read_text(encoding="utf-8")
        head, _, *lines = (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in text.split("\n\n")[1].splitlines()
        )
        for adapter, _, *cells in lines:
            chosen = adapter.removesuffix(":hi")
            for column, cell in zip(head[2:], cells, strict=True):
                for seed, value in enumerate(re.findall(r"\d+\.\d", cell)[1:]):
                    rows.append({
                        "adapter": chosen.removesuffix("-alone"), "seed": seed,
                        "attention": not chosen.endswith("-alone"),
                        "language": column.partition(":")[0], "value": float(value),
                    })  # fmt: skip
    return pd.DataFrame(rows)


def chosen_at_once(plain: pd.DataFrame) -> list[list[str]]:
    """One row a language, with LoRA on attention and without: all chosen sets at once."""
    chosen = plain[~plain["adapter"].isin(["none", "all"]) & plain["language"].isin(LANGUAGES)]
    groups = list(chosen.groupby(["attention", "language"], sort=False))
    found = [among_sets(group) for _, group in groups]
    corrected = holm([item.p_value for item in found])
    return [
        [language, "yes" if attention else "no", ", ".join(dict.fromkeys(group["adapter"])),
         f"{item.f:.2f}", f"{item.p_value:.2g}", f"{p:.2g}", f"{item.std:.1f}",
         f"{item.detectable:.1f}"]
        for ((attention, language), group), item, p in zip(groups, found, corrected, strict=True)
    ]  # fmt: skip


def against(plain: pd.DataFrame) -> list[list[str]]:
    """One row a language, kind, set and reference: difference over seeds, Holm over all."""
    shown = plain[plain["language"].isin(LANGUAGES)].rename(columns={"attention": "task"})
    where = ["task", "language", "seed"]
    table = shown.merge(shown.rename(columns={"adapter": "reference", "value": "than"}), on=where)
    table = table[table["reference"].isin(REFERENCES) & (table["adapter"] != table["reference"])]
    order = table["reference"].map(REFERENCES.index)
    table = table.loc[order.sort_values(kind="stable").index]
    found = differences_over_seeds(table.assign(
        metric="accuracy", reference_seed=table["seed"], difference=table["value"] - table["than"],
    ))  # fmt: skip
    return [
        [row.language, "yes" if row.task else "no", row.adapter, row.reference,
         f"{row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}]", f"{row.std:.1f}",
         f"{row.p_value:.2g}", f"{p:.2g}"]
        for row, p in zip(found.itertuples(), holm(found["p_value"]), strict=True)
    ]  # fmt: skip


def draw(plain: pd.DataFrame) -> None:
    """A point a training, a bar at the mean of the seeds: whose rows learned, by language."""
    names = [name for name in NAMES if name in set(plain["adapter"])]
    with style.figure_style("gemma-masks"):
        figure = canvas.blank(0.9 + 0.36 * len(names))
        figure.set_facecolor("white")  # readable on a dark page
        panels = figure.subplots(1, len(LANGUAGES), sharey=True)
        for axes, (language, title) in zip(panels, LANGUAGES.items(), strict=True):
            for attention, (label, colour, mark) in KINDS.items():
                for place, name in enumerate(names):
                    rows = plain[(plain["adapter"] == name) & (plain["language"] == language)
                                 & (plain["attention"] == attention)]  # fmt: skip
                    y = place + (-0.16 if attention else 0.16)
                    axes.plot(rows["value"], [y] * len(rows), mark, ms=4, color=colour, alpha=0.8)
                    if len(rows):
                        middle = rows["value"].mean()
                        axes.plot([middle] * 2, [y - 0.13, y + 0.13], color=colour, lw=2)
                axes.plot([], [], mark, color=colour, ms=4, label=label)
            axes.axvline(100 / 3, color=style.INK, lw=0.7, ls="--", label="guessing")
            axes.set_title(title)
            axes.set_xlabel("XNLI accuracy, %")
        panels[0].set_yticks(range(len(names)), [NAMES[name] for name in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        write_text(FIGURE, canvas.titled(canvas.svg(figure, FIGURE.stem)))


def main(run: Path) -> None:
    names = ("scores", "finetuning", "adapters", "adapter_seeds", "adapter_sets")
    tables = {name: read_table(run / "tables" / f"{name}.parquet") for name in names}
    languages = list(dict.fromkeys(tables["scores"]["language"]))
    columns = ["adapter", "trained weights", *(f"{lang}: mean (seeds), %" for lang in languages)]
    printed(columns, accuracies(tables["scores"], tables["finetuning"]))
    columns = ["language", "adapter", "against", "points, t interval over seeds", "spread",
               "p, Holm", "detectable"]  # fmt: skip
    printed(columns, differences(tables["adapter_seeds"]))
    columns = ["language", "adapter", "against", "each training"]
    printed(columns, by_training(tables["adapters"]))
    columns = ["language", "LoRA on attention", "sets", "seeds", "F", "p", "p, Holm",
               "spread, pooled", "detectable"]  # fmt: skip
    printed(columns, at_once(tables["adapter_sets"]))
    columns = ["language", "sets of one size", "F", "p", "p, Holm", "spread, pooled", "detectable"]
    printed(columns, of_one_size(tables["scores"], tables["finetuning"]))


def together() -> None:
    """What the records hold, all of them together."""
    plain = recorded()
    columns = ["language", "LoRA on attention", "chosen sets", "F", "p", "p, Holm",
               "spread, pooled", "detectable"]  # fmt: skip
    printed(columns, chosen_at_once(plain))
    columns = ["language", "LoRA on attention", "set", "against", "points, t interval over seeds",
               "spread", "p", "p, Holm"]  # fmt: skip
    printed(columns, against(plain))
    draw(plain)


if __name__ == "__main__":
    main(Path(sys.argv[1])) if len(sys.argv) > 1 else together()
