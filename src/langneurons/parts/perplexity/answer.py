"""A run's answer to the question whether languages need their own neurons."""

from __future__ import annotations

import pandas as pd

from langneurons.parts.perplexity import figures
from langneurons.parts.perplexity.rows import perplexity_rows
from langneurons.parts.perplexity.sentences import carried
from langneurons.reporting.about import model_name
from langneurons.reporting.aggregate import extreme
from langneurons.reporting.figures.beside import NARROW, with_controls
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing
from langneurons.reporting.sections import Answer, Picture
from langneurons.reporting.sentences import Sentence, ratio

QUESTION = (
    "Does a language need its own neurons: does overwriting them raise that language's perplexity "
    "more than any other language's, and more than as many random neurons would?"
)


def answer(run: Run) -> Answer | None:
    """The answer for the neuron set and value that do most, and the figure that carries it.

    Args:
        run: The run.
    """
    table = run.table("perplexity")
    rows = pd.DataFrame() if table is None else perplexity_rows(table)
    if table is None or rows.empty:
        return None
    held = rows.assign(held=carried(rows))
    counted = held.groupby(["neurons", "value"], sort=False)["held"].sum()
    name, value = counted.idxmax()  # the first of several
    mine = held[(held["neurons"] == name) & (held["value"] == value)]
    shown = table[(table["neurons"] == name) & (table["value"] == value)]
    picture = Picture(
        "answer",
        f"Perplexity of {model_name(run)} on a language's own text with its {name} neurons set to "
        f"{value}, as a ratio to untouched (dot, with 95 % interval)"
        f"{with_controls(shown['kind'])}.",
        figures.controls(shown, NARROW),
    )
    return Answer(QUESTION, verdict(mine), more(mine), picture)


def verdict(rows: pd.DataFrame) -> Sentence:
    """The answer in one sentence, with size and place.

    Args:
        rows: Rows of :func:`perplexity_rows` of one set and value, with ``held``: the rise is
            shown, the language's own, and beyond every control.
    """
    yes, no = rows[rows["held"]], rows[~rows["held"]]
    what = f"{rows['value'].iloc[0]} written over them"
    if yes.empty:
        worst = extreme(rows, "ratio", largest=True)
        text = (
            f"Not shown for any of {count(len(rows), 'language')}: {what} changes perplexity most "
            f"on {worst['language']} ({ratio(worst)})."
        )
        return Sentence(text, "none")
    worst = extreme(yes, "ratio", largest=True)
    whom = f"In part, for {listing(list(map(str, yes['language'])))}"
    whom = "Yes, for every language" if no.empty else whom
    text = f"{whom}: {what} raises perplexity most on {worst['language']} ({ratio(worst)})"
    text += f"; not shown for {listing(list(map(str, no['language'])))}." if len(no) else "."
    return Sentence(text, "finding")


def more(rows: pd.DataFrame) -> list[Sentence]:
    """Why it is not shown where it is not, and what the run leaves open.

    Args:
        rows: As for :func:`verdict`.
    """
    said = []
    for what, bad in (
        ("no rise is shown", ~rows["shown"]),
        ("another language's perplexity rises more", rows["shown"] & ~rows["dominant"]),
        (
            "some control draw does as much",
            rows["shown"] & rows["dominant"] & ~rows["held"],
        ),
    ):
        found = listing([str(lang) for lang in rows.loc[bad, "language"]])
        if found:
            said.append(f"{found}: {what}")
    tones = [Sentence("; ".join(said) + ".", "none")] if said else []
    text = "This run measured no task, so it says nothing of what the neurons do for one."
    return [*tones, Sentence(text, "caution")]
