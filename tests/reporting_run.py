"""A run directory with planted results, for the tests of the report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from langneurons.reporting.figures import canvas

LANGUAGES = ("en", "es", "fr", "vi", "hi", "ur", "zh")
LAYERS, UNITS = 6, 768


def tips(figure) -> list[str]:
    """What a figure says under the pointer."""
    root = ElementTree.fromstring(canvas.svg(figure, "f"))
    return [item.get("data-tip") for item in root.iter() if item.get("data-tip")]


def _names(text: str) -> list[str]:
    return text.split()


def neurons_table(rng: np.random.Generator, languages=LANGUAGES, sets=("lape", "lape@set")):
    rows = []
    for name in (*sets, "activation_probability"):
        for language in languages:
            weight = np.array([4, 2, 1, 1, 2, 5]) * rng.uniform(0.6, 1.4, LAYERS)
            for layer, units in enumerate(rng.poisson(weight)):
                rows.append((name, language, layer, int(units), UNITS))
    return pd.DataFrame(rows, columns=["neurons", "language", "layer", "units", "total"])


def overlap_table(neurons: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    size = neurons.groupby(["neurons", "language"], sort=False)["units"].sum()
    names = list(dict.fromkeys(neurons["neurons"]))
    languages = list(dict.fromkeys(neurons["language"]))
    total = LAYERS * UNITS
    rows = []
    for i, a in enumerate(names):
        for b in names[i:]:
            for x in languages:
                for y in languages:
                    if a == b and languages.index(y) < languages.index(x):
                        continue
                    m, n = int(size[a, x]), int(size[b, y])
                    if (a, x) == (b, y):
                        shared = m
                    elif x == y and "activation" not in b:
                        shared = int(0.8 * min(m, n))
                    else:
                        shared = int(rng.hypergeometric(m, total - m, n)) if n else 0
                    union = m + n - shared
                    expected = m * n / total
                    p = float(hypergeom.sf(shared - 1, total, m, n))
                    jaccard = shared / union if union else math.nan
                    rows.append((a, b, x, y, m, n, shared, jaccard, expected, p))
    columns = _names("a b language_a language_b size_a size_b shared jaccard expected p_value")
    return pd.DataFrame(rows, columns=columns)


def perplexity_table(
    rng: np.random.Generator, languages=LANGUAGES, name="lape", effect: float = 0.3, draws: int = 10
) -> pd.DataFrame:
    """Own neurons raise the own language's log perplexity by ``effect``, all else stays near 0."""
    rows = []
    for row in languages:
        units = int(rng.integers(8, 40))
        for column in languages:
            kinds = [
                ("own", None),
                *((kind, s) for kind in ("random", "matched") for s in range(draws)),
            ]
            for kind, seed in kinds:
                planted = effect * rng.uniform(0.6, 1.4) if kind == "own" and row == column else 0
                log = planted + rng.normal(0, 0.004)
                base = 20.0 + languages.index(column)
                half = 0.02
                rows.append(
                    (
                        *(name, row, column, kind, seed, "zero", units, base * math.exp(log), base),
                        *(math.exp(log), math.exp(log - half), math.exp(log + half), 120, 20_000),
                    )
                )
    columns = _names(
        "neurons row column kind seed value units perplexity baseline ratio low high "
        "documents tokens"
    )
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"seed": "Int64"})


def scores_table(
    rng: np.random.Generator,
    languages=LANGUAGES,
    *,
    level: float = 75.0,
    gain: float = 0.0,
    adapter_gain: float = 0.0,
    control_gain: float = 0.0,
    n: int = 1000,
    tasks=("mini-nli", "mini-qa"),
    values=("zero", "mean", "P10", "P90"),
    seeds=(0,),
) -> pd.DataFrame:
    """Task scores with a planted effect of the overwrite and of the adapter, in points."""
    rows = []
    for task in tasks:
        metrics = ["accuracy"] if "nli" in task else ["exact_match", "f1"]
        for language in languages:
            train = language == "en"
            for metric in metrics:
                chance = 100 / 3 if metric == "accuracy" else math.nan
                half = 196 * math.sqrt(max(level, 1) / 100 * (1 - level / 100) / n)
                names = ["none", "target:" + language, "english", "random"]
                for adapter in names:
                    for seed in seeds:
                        shift = adapter_gain if adapter.startswith("target") else 0.0
                        base = level + 10 * train + shift + rng.normal(0, 0.2)
                        common = (task, adapter, language, metric)
                        rows.append(
                            (*common, "none", "-", "-", seed, n, base, base - half, base + half)
                            + (math.nan,) * 6
                            + (chance,)
                        )
                        if adapter != "none":
                            continue
                        cells = [("own", "lape", 0), *(("random", "lape", s) for s in range(3))]
                        for value in values:
                            for units, name, draw in cells:
                                planted = gain if units == "own" else control_gain
                                d = planted + rng.normal(0, 0.15)
                                se = 0.6
                                z = abs(d) / se
                                p = math.erfc(z / math.sqrt(2))
                                rows.append(
                                    (
                                        *(*common, value, units, name, draw, n),
                                        *(base + d, base + d - half, base + d + half),
                                        *(d, d - 1.96 * se, d + 1.96 * se, p, min(1, 30 * p)),
                                        *(2.8 * se, chance),
                                    )
                                )
    columns = _names(
        "task adapter language metric intervention units neurons seed n value low high "
        "difference difference_low difference_high p_value p_holm mde chance"
    )
    return pd.DataFrame(rows, columns=columns)


def rules_table(languages=LANGUAGES, level: float = 55.0) -> pd.DataFrame:
    rows = []
    for task, metric in (("mini-nli", "accuracy"), ("mini-qa", "f1")):
        for language in languages:
            for place, rule in enumerate(("person_blind", "random_copy", "bag_of_words")):
                for subset, shift in (("all", 0), ("two holders", -10)):
                    value = level - 8 * place + shift
                    rows.append((task, language, rule, subset, metric, value, 1000))
    columns = _names("task language rule subset metric value n")
    return pd.DataFrame(rows, columns=columns)


def odd_rows_table() -> pd.DataFrame:
    columns = _names("task language n no_gold romanised replaced english cut")
    return pd.DataFrame([("mini-nli", "hi", 1000, 0, 70, 3, 0, 12)], columns=columns)


def planning_table() -> pd.DataFrame:
    columns = _names("of name lang size detectable needed")
    rows = [
        ("examples", "mini-nli, accuracy", "hi", 1000, 1.68, 2823),
        ("seeds", "mini-nli, accuracy, none", "all", 3, 1.2, 5),
        ("tokens", "lape", "hi", 20000, 0.4, 3300),
    ]
    return pd.DataFrame(rows, columns=columns)


def finetuning_table(languages=LANGUAGES) -> pd.DataFrame:
    rows = []
    for task in ("mini-nli", "mini-qa"):
        for adapter in ("none", "english", "random", *(f"target:{x}" for x in languages)):
            units = adapter.split(":")[0]
            rows.append((adapter, task, "en", units, 0, 41_000, 23.5, 0.41))
    columns = _names("adapter task train_language units seed trainable seconds loss")
    return pd.DataFrame(rows, columns=columns)


def sweep_table(languages=("hi", "vi")) -> pd.DataFrame:
    rows = []
    for language in languages:
        for kind, slope in (("own", 0.02), ("random", 0.003)):
            for value in (-10, -5, -1, 0, 1, 5, 10):
                ratio = math.exp(slope * abs(value) + 0.01)
                rows.append((value, "0.5 %", language, kind, ratio, ratio * 0.98, ratio * 1.02))
    columns = _names("value units language kind ratio low high")
    return pd.DataFrame(rows, columns=columns)


def write_run(folder: Path, tables: dict[str, pd.DataFrame], name: str = "mini", **info) -> Path:
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for key, table in tables.items():
        table.to_parquet(folder / "tables" / f"{key}.parquet", index=False)
    run = {
        "name": name,
        "model": {
            "name": "mini",
            "revision": None,
            "sha256": "ab" * 32,
            "layers": LAYERS,
            "units": UNITS,
            "architecture": "LlamaForCausalLM",
        },
        "languages": list(LANGUAGES),
        "command": "langneurons run mini -o runs/mini",
        "version": "0.1.0",
        "protocol": "strict",
        "budget": "full",
        "started": "2026-01-01T10:00:00+00:00",
        "finished": "2026-01-01T10:07:00+00:00",
        "seconds": 420.0,
        "stages": [
            {"name": "statistics:hi", "seconds": 12.5, "status": "run", "reason": "new"},
            {"name": "identify:lape", "seconds": 0.4, "status": "kept", "reason": "key unchanged"},
        ],
        "parameters": {"seed": 0, "lape": {"top": 0.01, "filter": 0.95}, "languages": ["en", "hi"]},
        **info,
    }
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    environment = {"python": "3.11.7", "torch": "2.13.0", "device": "cpu", "dtype": "float32"}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    return folder


def full_run(folder: Path, seed: int = 0, **scores) -> Path:
    rng = np.random.default_rng(seed)
    neurons = neurons_table(rng)
    return write_run(
        folder,
        {
            "neurons": neurons,
            "overlap": overlap_table(neurons, rng),
            "perplexity": pd.concat(
                [
                    perplexity_table(rng),
                    perplexity_table(rng, name="activation_probability", effect=0.003),
                ]
            ),
            "scores": scores_table(rng, **scores),
            "rules": rules_table(),
            "odd_rows": odd_rows_table(),
            "planning": planning_table(),
            "finetuning": finetuning_table(),
            "sweep": sweep_table(),
        },
    )


def explored(
    folder: Path, languages, units=((0, 3), (1, 700), (5, 12)), text="plain words"
) -> None:
    """What the stage ``passages`` leaves for set ``lape``: unit i belongs to language i mod n."""
    rng = np.random.default_rng(0)
    counts = [int(40 * math.exp(-bin_ / 6)) for bin_ in range(32)]
    shapes, passages, near, members = [], [], [], []
    for place, (layer, index) in enumerate(units):
        own = languages[place % len(languages)]
        members.append((layer, index, own, float(len(units) - place)))
        for language in languages:
            mean = 0.5 if language == own else 0.1
            shapes.append(
                (
                    *(layer, index, language, -0.2, 2.0, counts, 0.4, mean, 0.3, -0.28, 2.6),
                    *(-0.1, 0.0, mean, 0.6, 1.4),
                )
            )
        for rank in range(3):
            value = 2.5 - 0.1 * rank
            lengths = [len(text) + 1, len(" marked"), len("\nend")]
            strengths = [0.65 * value, value, -0.1]
            passages.append(
                (
                    *(layer, index, rank + 1, own, value, f"… {text} ", "marked", "\nend"),
                    *(lengths, strengths),
                )
            )
        other = units[(place + 1) % len(units)]
        near.append((layer, index, 1, *other, float(rng.uniform(0.3, 0.9))))
        near.append((layer, index, 2, 2, 99, -0.25))
    tables = {
        "units": (members, "layer index language score"),
        "distributions": (
            shapes,
            "layer index language low high counts positive mean std minimum maximum "
            "q05 q25 q50 q75 q95",
        ),
        "passages": (
            passages,
            "layer index rank language activation before token after lengths strengths",
        ),
        "neighbours": (near, "layer index rank other_layer other_index correlation"),
    }
    (folder / "passages" / "lape").mkdir(parents=True)
    for name, (rows, columns) in tables.items():
        table = pd.DataFrame(rows, columns=_names(columns))
        table.to_parquet(folder / "passages" / "lape" / f"{name}.parquet", index=False)
