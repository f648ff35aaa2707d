"""How often tests and intervals are right: planted effects, at the sizes of the docs.

Examples lie in groups (premises of three hypotheses, paragraphs of about five questions). A share
of them changes between two results, each on its own or whole groups together, to either side, and
an effect of 0 to 10 points is planted as more changes to one side. Printed are rejections at 5 %
(without effect: false ones), how often the interval of the difference holds the truth, and what the
examples' own scores' intervals hold. Cells in which fewer than ten groups change on average are
marked: there no test can keep its level from below, and no interval hold 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench._markdown import printed
from langneurons.evaluation import (
    difference_interval,
    mcnemar,
    minimum_detectable_effect,
    permutation,
    share_interval,
)

ON_REQUEST = True
TRIALS, WITHOUT_EFFECT = 1000, 4000
PATTERNS = 999
EFFECTS = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
FEW = 10

PARAGRAPHS = (1, 3, *(4,) * 6, *(5,) * 16, 12)
"""Questions on each of the paragraphs of XQuAD that a limit of 120 draws."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """How examples lie in groups.

    Attributes:
        name: What has these sizes.
        sizes: Examples of each group.
        parts: Whether an example may change by a part of a point (F1).
    """

    name: str
    sizes: tuple[int, ...]
    parts: bool = False

    @property
    def groups(self) -> list[int]:
        """Group of each example."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes).tolist()


DESIGNS = (
    Design("XNLI, 360 in 120 premises", (3,) * 120),
    Design("XNLI, 240 in 80 premises", (3,) * 80),
    Design("mini-NLI, 999 in 333 texts", (3,) * 333),
    Design("360 single examples", (1,) * 360),
    Design("XQuAD EM, 120 in 25 paragraphs", PARAGRAPHS),
    Design("XQuAD F1, 120 in 25 paragraphs", PARAGRAPHS, parts=True),
    Design("XQuAD F1, 32 in 6 paragraphs", (1, 4, 5, 5, 5, 12), parts=True),
)


def changes(
    design: Design, share: float, effect: float, together: bool, rng: np.random.Generator
) -> Array:
    """Paired differences of one pair of results, in points, one an example.

    Args:
        design: Sizes.
        share: Share of the examples (or groups) that change.
        effect: Mean difference planted, in points; changes to the other side stop at none.
        together: Whether whole groups change.
        rng: Source of the draws.
    """
    # A change by a part is two thirds of a whole one on average, so there must be more of them.
    size = 2 / 3 if design.parts else 1.0
    net = effect / 100 / size
    up, down = (share + net) / 2, max(0.0, (share - net) / 2)
    up = net + down
    count = len(design.sizes) if together else sum(design.sizes)
    sides = rng.choice([1.0, -1.0, 0.0], count, p=[up, down, 1 - up - down])
    if together:
        sides = np.repeat(sides, design.sizes)
    return 100 * sides * (rng.beta(2, 1, len(sides)) if design.parts else 1.0)


def _paired(difference: Array) -> tuple[Array, Array]:
    """Right or wrong in both results, with this difference."""
    return (difference > 0).astype(float), (difference < 0).astype(float)


def difference_row(design: Design, share: float, effect: float, together: bool) -> list[str]:
    rng = np.random.default_rng(int(1000 * share + effect) + 7 * together)
    groups = np.asarray(design.groups)
    alone = hits = held = 0
    changed = 0.0
    trials = TRIALS if effect else WITHOUT_EFFECT
    for trial in range(trials):
        difference = changes(design, share, effect, together, rng)
        sums = np.bincount(groups, weights=difference)
        changed += float((sums != 0).sum()) / trials
        hits += permutation(sums, resamples=PATTERNS, seed=trial) < 0.05
        if not design.parts:
            alone += mcnemar(*_paired(difference)) < 0.05
        low, high = difference_interval(difference, groups.tolist(), whole=100.0)
        held += low <= effect <= high
    few = " *" if changed < FEW else ""
    pilot = minimum_detectable_effect(
        changes(design, share, 0.0, together, rng), groups.tolist(), whole=100.0
    )
    ignoring = "" if design.parts else f"{100 * alone / trials:.1f}"
    return [
        design.name, "together" if together else "singly", f"{100 * share:.0f}", f"{effect:.0f}",
        f"{100 * hits / trials:.1f}{few}", ignoring, f"{100 * held / trials:.1f}{few}",
        f"{pilot:.1f}",
    ]  # fmt: skip


def level_row(design: Design, score: float, likeness: float) -> list[str]:
    """Coverage of the interval of a score of which groups' own scores are beta distributed."""
    rng = np.random.default_rng(int(1000 * score + 10 * likeness))
    groups, held = np.asarray(design.groups), 0
    spread = (1 - likeness) / likeness
    for _ in range(TRIALS):
        own = rng.beta(score * spread, (1 - score) * spread, len(design.sizes))[groups]
        low, high = share_interval((rng.random(len(groups)) < own).astype(float), groups.tolist())
        held += low <= score <= high
    return [design.name, f"{100 * score:.0f}", f"{likeness}", f"{100 * held / TRIALS:.1f}"]


def run(console: Console) -> None:
    console.print(
        f"{TRIALS} pairs of results a row ({WITHOUT_EFFECT} without effect), tests at 5 %, "
        f"{PATTERNS} patterns of signs; * marks "
        f"fewer than {FEW} groups that change on average\n"
    )
    columns = [
        "examples", "change", "share, %", "effect", "found, %", "found by McNemar, %",
        "interval holds it, %", "detectable, one pilot",
    ]  # fmt: skip
    rows = [
        difference_row(design, share, effect, together)
        for design in DESIGNS
        for together in ((False, True) if max(design.sizes) > 1 else (False,))
        for share in (0.1, 0.3)
        for effect in EFFECTS
    ]
    printed(columns, rows)
    scores = [
        level_row(design, score, likeness)
        for design in DESIGNS
        if not design.parts
        for likeness in (0.05, 0.5)
        for score in (0.35, 0.6, 0.9, 0.98)
    ]
    columns = ["examples", "score, %", "likeness in a group", "interval holds it, %"]
    printed(columns, scores)
