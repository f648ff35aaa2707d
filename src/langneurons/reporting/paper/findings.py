"""The paper's findings, one by one: what was published, what this run shows, and do they agree.

A finding is *reproduced* or *not reproduced* only where this run's data carry it; where nothing
could be seen either way it is *open*. Published figures are worked out from ``published.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from langneurons.reporting.about import compared_with, trained_on
from langneurons.reporting.aggregate import (
    adapters,
    interventions,
    perplexity_rows,
    same_language,
)
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing, number, with_interval
from langneurons.reporting.paper.compared import methods_of
from langneurons.reporting.paper.published import published
from langneurons.reporting.tables import Column, Table

Verdict = Literal["reproduced", "not reproduced", "open", "the paper says both"]
RESOLUTION = 3.0
"""Points: "no effect" counts as reproduced only where a change of this size would be seen."""

FEWEST = 3
"""Languages and random draws without which the matrix of perplexity changes says too little."""

LOW = ("P5", "P10")
"""Values the paper found to be the harmful ones."""


@dataclass(frozen=True)
class Finding:
    """One finding of the paper beside a run.

    Attributes:
        claim: What the paper finds.
        published: The published numbers behind it.
        here: What this run shows.
        verdict: Whether it agrees.
    """

    claim: str
    published: str
    here: str
    verdict: Verdict


def findings(run: Run) -> list[Finding]:
    """All findings that the run has data on, in the paper's order."""
    return [finding for make in _FINDINGS for finding in make(run)]


def table(found: list[Finding]) -> Table:
    """The findings as a table.

    Args:
        found: What :func:`findings` returns.
    """
    data = pd.DataFrame([vars(finding) for finding in found])
    return Table(
        "paper_findings",
        "The paper's findings, one by one",
        "What the paper finds, the published numbers behind it (single runs), what this run shows, "
        "and whether the finding is reproduced. Open: this run cannot tell; that nothing changes "
        f"counts as reproduced only where a change of {number(RESOLUTION, 0)} points would have "
        "been seen (median detectable change), and the matrix of perplexity changes only over "
        f"{FEWEST} languages and {FEWEST} random draws or more.",
        data,
        [
            Column("claim", "the paper finds"),
            Column("published", "published"),
            Column("here", "here"),
            Column("verdict", "verdict", "short"),
        ],
    )


def _dominance(run: Run) -> Iterator[Finding]:
    perplexity = run.table("perplexity")
    rows = pd.DataFrame() if perplexity is None else perplexity_rows(perplexity)
    if rows.empty:
        return
    methods = methods_of(run)
    for (name, value), group in rows.groupby(["neurons", "value"], sort=False):
        if value != "zero" or methods.get(str(name)) not in ("lape", "activation_probability"):
            continue
        dominant = group["dominant"] & group["shown"]
        beyond = int((dominant & (group["beyond_random"] | group["random"].isna())).sum())
        none = not bool(group["shown"].any())
        draws = int(group["random_draws"].min())
        verdict: Verdict = "open"
        if len(group) >= FEWEST and draws >= FEWEST:
            verdict = "reproduced" if beyond * 2 > len(group) else "not reproduced"
        yield Finding(
            f"Setting a language's {name} neurons to zero raises its own perplexity most.",
            "the diagonal of the PPXC matrix dominates (its numbers are not published)",
            f"own language raised most, beyond {count(draws, 'random draw')}, in {beyond} of "
            f"{count(len(group), 'language')}"
            + ("; no rise could be shown at all" if none else ""),
            verdict,
        )


def _overlap(run: Run) -> Iterator[Finding]:
    overlap = run.table("overlap")
    rows = pd.DataFrame() if overlap is None else same_language(overlap)
    if rows.empty:
        return
    methods = methods_of(run)
    pairs = list(rows.groupby(["a", "b"], sort=False))
    most = max(len(group) for _, group in pairs)
    for (a, b), group in pairs:
        if len(group) < most:
            continue  # a set of fewer languages
        pair = {methods.get(str(a)), methods.get(str(b))}
        if pair != {"lape", "activation_probability"}:
            continue
        mean, chance = group["jaccard"].mean(), group["expected_jaccard"].mean()
        yield Finding(
            "LAPE and activation-probability neurons overlap largely, or are largely disjoint.",
            "no number",
            f"{a} and {b}: mean Jaccard index {number(mean, 3)} over "
            f"{count(len(group), 'language')}, by chance {number(chance, 3)}; above chance in "
            f"{int(group['above'].sum())}",
            "the paper says both",
        )


def _no_gain(run: Run) -> Iterator[Finding]:
    scores = run.table("scores")
    tests = pd.DataFrame() if scores is None else interventions(scores, trained_on(run))
    if tests.empty:
        return
    theirs = published()
    cells = theirs[(theirs["task"] == "xnli") & (theirs["adapter"] == "none")]
    cells = cells[cells["value"] != "none"]["change"]
    said = (
        f"XNLI, {len(cells)} cells: {int((cells < 0).sum())} fall, {int((cells > 0).sum())} rise, "
        f"median {number(cells.median(), 2, signed=True)}, best "
        f"{number(cells.max(), 2, signed=True)} points"
    )
    seen = tests[~tests["at_chance"]]
    gains = seen[seen["significant"] & (seen["difference"] > 0)]
    credited = gains[gains["beyond_controls"]]
    reach = seen["mde"].dropna()
    here = "every score is at chance"
    verdict: Verdict = "open"
    if len(seen):
        here = (
            f"{count(len(seen), 'comparison')}: {int((seen['difference'] < 0).sum())} fall, "
            f"{int((seen['difference'] > 0).sum())} rise, median "
            f"{number(seen['difference'].median(), 2, signed=True)}; {len(gains)} significant "
            f"{'gain' if len(gains) == 1 else 'gains'}, {len(credited)} beyond random neurons"
        )
        if len(reach):
            here += f"; detectable: {number(reach.median(), 1)} points (median)"
        controlled = bool((gains["controls"] > 0).all())
        if len(credited):
            verdict = "not reproduced"
        elif controlled and _fine(reach):
            verdict = "reproduced"
    yield Finding(
        "Overwriting language neurons at test time improves nothing.", said, here, verdict
    )


def _low_values(run: Run) -> Iterator[Finding]:
    scores = run.table("scores")
    tests = pd.DataFrame() if scores is None else interventions(scores, trained_on(run))
    if tests.empty:
        return
    tests = tests[~tests["at_chance"]]
    low, zero = tests[tests["intervention"].isin(LOW)], tests[tests["intervention"] == "zero"]
    theirs = published()
    theirs = theirs[(theirs["task"] == "xnli") & (theirs["adapter"] == "none")]
    parts = [
        f"{name}: mean {number(rows['change'].mean(), 2, signed=True)}, worst "
        f"{number(rows['change'].min(), 1, signed=True)}"
        for name, rows in (
            ("P5 and P10", theirs[theirs["value"].isin(LOW)]),
            ("zero", theirs[theirs["value"] == "zero"]),
        )
    ]
    if low.empty or zero.empty:
        return
    harmed = [int((rows["significant"] & (rows["difference"] < 0)).sum()) for rows in (low, zero)]
    means = [float(rows["difference"].mean()) for rows in (low, zero)]
    verdict: Verdict = "open"
    if any(harmed):
        shares = harmed[0] / len(low), harmed[1] / len(zero)
        agrees = shares[0] > shares[1] and means[0] < means[1]
        verdict = "reproduced" if agrees else "not reproduced"
    yield Finding(
        "Writing a low percentile destroys the task while writing zero does little.",
        "; ".join(parts) + " points (XNLI)",
        f"{listing(sorted(set(low['intervention'])))}: mean {number(means[0], 2, signed=True)}, "
        f"{harmed[0]} of {count(len(low), 'comparison')} a significant loss; zero: mean "
        f"{number(means[1], 2, signed=True)}, {harmed[1]} of {len(zero)}",
        verdict,
    )


def _lora(run: Run) -> Iterator[Finding]:
    scores = run.table("scores")
    base = compared_with(run)
    if scores is None or run.table("finetuning") is None or not base.none:
        return
    rows = adapters(scores, base.none, run.table("adapters"), trained_on(run))
    rows = rows[~rows["adapter"].isin(base.names()) & ~rows["at_chance"]]
    theirs = published()
    theirs = theirs[(theirs["task"] == "xnli") & (theirs["value"] == "none")]
    plain = theirs[theirs["adapter"] == "none"].groupby(["model", "language"])["score"].first()
    tuned = theirs[theirs["adapter"] != "none"]
    change = (
        tuned["score"]
        - plain.reindex(pd.MultiIndex.from_frame(tuned[["model", "language"]])).to_numpy()
    )
    said = (
        f"XNLI, {count(len(change), 'run')}: {number(change.min(), 2, signed=True)} to "
        f"{number(change.max(), 2, signed=True)} points against no LoRA on the MLP"
    )
    if rows.empty:
        return
    up = rows[rows["significant"] & (rows["difference"] > 0)]
    best = rows.loc[rows["difference"].idxmax()]
    top = with_interval(best["difference"], best["low"], best["high"], 1, signed=True)
    yield Finding(
        "Fine-tuning only the language neurons is no better than leaving the MLP alone.",
        said,
        f"{count(len(rows), 'comparison')}: {len(up)} significant "
        f"{'gain' if len(up) == 1 else 'gains'}; best {top} points ({best['task']}, "
        f"{best['language']}, {best['adapter']}); detectable: {number(rows['mde'].median(), 1)} "
        "points (median)",
        "not reproduced" if len(up) else "reproduced" if _fine(rows["mde"]) else "open",
    )


def _fine(detectable: pd.Series) -> bool:
    """Whether half of the comparisons or more could have shown a change that matters."""
    return bool(detectable.median() <= RESOLUTION)


_FINDINGS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    _overlap,
    _dominance,
    _no_gain,
    _low_values,
    _lora,
)
