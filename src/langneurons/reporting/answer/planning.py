"""Findings on sizes: what one point would take."""

from __future__ import annotations

import pandas as pd

from langneurons.reporting.answer.base import Sentence
from langneurons.reporting.numbers import count, listing, number


def planned(planning: pd.DataFrame) -> list[Sentence]:
    """Sizes at which one point of each task would be found, beside what there is.

    Args:
        planning: The ``planning`` table.
    """
    said = []
    flat = planning[~(planning["detectable"] > 0)]
    planning = planning[planning["detectable"] > 0]
    for name, part in planning[planning["of"] == "examples"].groupby("name", sort=False):
        small = part[part["detectable"] <= 1]
        text = (
            f"{name}: one point would be found four times in five with "
            f"{count(part['needed'].median(), 'example')} a language (median over languages; "
            f"{number(part['size'].median(), 0)} here, which find "
            f"{number(part['detectable'].median(), 1)} points)"
        )
        enough = f"; here it would be found in {listing(list(small['lang']))}" if len(small) else ""
        said.append(Sentence(f"{text}{enough}.", "caution" if small.empty else "finding"))
    for row in planning[planning["of"] == "seeds"].to_dict("records"):
        text = (
            f"{row['name']}: two trainings that differ by one point take "
            f"{count(row['needed'], 'seed')} each; {number(row['size'], 0)} here find "
            f"{number(row['detectable'], 1)} points."
        )
        said.append(Sentence(text, "caution" if row["detectable"] > 1 else "finding"))
    for row in flat[flat["of"] == "seeds"].to_dict("records"):
        text = (
            f"{row['name']}: every score was the same with each of "
            f"{count(row['size'], 'seed')}, as at a floor or a ceiling; how many seeds a "
            "difference takes cannot be told."
        )
        said.append(Sentence(text, "caution"))
    return said
