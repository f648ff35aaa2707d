"""A language's own weights trained on its raw text: its section of the report."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.parts.enhancement.tables import OTHERS, OWN
from langneurons.reporting.figures.dots import dots
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing, number, with_interval
from langneurons.reporting.sections import Block, Picture, Section
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables.plain import plain

NAMES = {
    "own": "own units",
    "random": "random units",
    "matched": "equally active units",
    "other": "another language's units",
    "all": "all MLP units",
    "lora": "LoRA of equal size",
    "full": "all weights",
}


def sections(run: Run) -> Iterator[Section]:
    """What training the language's own weights does to it, to others and to transfer."""
    table, against = run.table("enhancement"), run.table("enhancement_against")
    if table is None or table.empty:
        return
    transfer, rates = run.table("enhancement_transfer"), run.table("enhancement_rates")
    blocks: list[Block] = [
        _picture(table, "itself", "the language itself"),
        _picture(table, OTHERS, "all other languages, each with the same weight"),
        plain(
            table,
            "enhancement",
            "Perplexity after training",
            "Ratio to before, by the language trained on, what learnt, and the language measured. "
            "Intervals over documents; seeds low and high: over seeds.",
        ),
    ]
    said = list(sentences(table, against))
    if against is not None and len(against):
        blocks.append(
            plain(
                against,
                "enhancement_against",
                "Own units against each other arm",
                "Mean loss with own units less that with the arm, nats a token, below 0 where own "
                "units are better; intervals over seeds, then over documents.",
            )
        )
    if transfer is not None and len(transfer):
        said += transfer_sentences(transfer)
        blocks.append(
            plain(
                transfer,
                "enhancement_transfer",
                "Transfer",
                "The task learnt in the training language after the training on text, less the "
                "same without it, in points; intervals over seeds, then over groups of examples.",
            )
        )
    if rates is not None:
        title = "Learning rates"
        caption = "Loss on text apart, nats a token, by learning rate; the least is chosen."
        blocks.append(plain(rates, "enhancement_rates", title, caption))
    single = run.table("enhancement_seeds")
    if single is not None:
        caption = "Perplexity before and after each training."
        blocks.append(plain(single, "enhancement_seeds", "Single trainings", caption))
    yield Section("enhancement", "Training a language's own weights", said, blocks)


def _picture(table: pd.DataFrame, which: str, words: str) -> Picture:
    wanted = table["language"] if which == "itself" else which
    lines = table[table["measured"] == wanted]
    lines = lines.assign(what=lines["arm"].map(NAMES))
    # One seed has no interval over seeds.
    ends = ("seeds_low", "seeds_high") if lines["seeds"].min() > 1 else ("low", "high")
    over = "seeds" if lines["seeds"].min() > 1 else "documents"
    return Picture(
        f"enhancement_{which}",
        f"Perplexity of {words} after training on raw text, as a ratio to before (line: 1), by "
        f"what learnt; intervals over {over}.",
        dots(lines, "language", "what", ("ratio", *ends), "ratio of perplexity", reference=1.0),
    )


def sentences(table: pd.DataFrame, against: pd.DataFrame | None) -> Iterator[Sentence]:
    """What own units do, whether more than each control, and where a rate was cut off.

    Args:
        table: The ``enhancement`` table.
        against: The ``enhancement_against`` table.
    """
    for language, group in table[table["arm"] == OWN].groupby("language", sort=False):
        by = group.set_index("measured")
        if language not in by.index:
            continue
        row = by.loc[str(language)]
        text = f"{language}: training its own units takes its perplexity to ×{_span(row)} of before"
        if OTHERS in by.index:
            text += f", that of the other languages to ×{_span(by.loc[OTHERS])}"
        beyond = row["high"] < 1 or row["low"] > 1
        yield Sentence(f"{text} (intervals over documents).", "finding" if beyond else "none")
    if against is not None and len(against):
        for arm, group in against.groupby("arm", sort=False):
            yield from _compared(
                str(arm), group[group["measured"] == group["language"]], "the loss"
            )
            others = group[group["measured"] == OTHERS]
            yield from _compared(str(arm), others, "the loss of other languages")
    chosen = table.drop_duplicates(["language", "arm"])
    cut = chosen[chosen["edge"]]
    if len(cut):
        places = [f"{row['language']} {NAMES[row['arm']]}" for _, row in cut.iterrows()]
        yield Sentence(
            f"The best learning rate was the smallest or largest tried for {listing(places)}: "
            "another one may do better there.",
            "caution",
        )


def _compared(arm: str, rows: pd.DataFrame, what: str) -> Iterator[Sentence]:
    if rows.empty:
        return
    name = NAMES[arm]
    if rows["seeds"].max() < 2:
        yield Sentence(
            f"Own units beside {name}: trained once, so nothing is said of other trainings.",
            "caution",
        )
        return
    parts = [
        f"{row['language']} "
        f"{with_interval(row['difference'], row['low'], row['high'], 3, signed=True)}"
        for _, row in rows.iterrows()
    ]
    shown = rows[rows["p_holm"] < 0.05]
    better = [str(row["language"]) for _, row in shown.iterrows() if row["difference"] < 0]
    worse = [str(row["language"]) for _, row in shown.iterrows() if row["difference"] > 0]
    ends = []
    if better:
        ends.append(f"lower with own units in {listing(better)}")
    if worse:
        ends.append(f"higher in {listing(worse)}")
    if not ends:
        ends.append(
            f"no difference found (one of {number(rows['detectable'].median(), 3)} would have been)"
        )
    yield Sentence(
        f"Own units less {name}, {what} in nats a token over "
        f"{count(int(rows['seeds'].min()), 'seed')}: {listing(parts)}; after Holm's correction "
        f"{' and '.join(ends)}.",
        "finding" if better or worse else "none",
    )


def transfer_sentences(table: pd.DataFrame) -> list[Sentence]:
    """Whether the task is better in the language after it was trained on.

    Args:
        table: The ``enhancement_transfer`` table.
    """
    said = []
    own = table[table["measured"] == table["language"]]
    for arm, rows in own.groupby("arm", sort=False):
        parts = [
            f"{row['language']} "
            f"{with_interval(row['difference'], row['low'], row['high'], 1, signed=True)}"
            for _, row in rows.iterrows()
        ]
        found = bool(((rows["low"] > 0) | (rows["high"] < 0)).any())
        smallest = number(rows["detectable"].median(), 1)
        said.append(
            Sentence(
                f"Transfer after training {NAMES[str(arm)]}, points against none: {listing(parts)}"
                f" (over seeds, not corrected; about {smallest} points would have been found).",
                "finding" if found else "none",
            )
        )
    return said


def _span(row: pd.Series) -> str:
    return with_interval(row["ratio"], row["low"], row["high"], 3)
