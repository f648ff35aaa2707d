"""The paper's findings, one by one: what was published, what this run shows, and do they agree.

A finding is *reproduced* or *not reproduced* only where this run's data carry it, and where they
would say the same without any one of the languages; else it is *open*. Published figures are
worked out from ``published.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from langneurons.parts.adapters.comparisons import adapters, compared_with
from langneurons.parts.paper.compared import methods_of
from langneurons.parts.paper.published import published
from langneurons.parts.perplexity.rows import perplexity_rows
from langneurons.parts.tasks.comparisons import interventions, trained_on
from langneurons.reporting.aggregate import same_language
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing, number, with_interval
from langneurons.reporting.sentences import places
from langneurons.reporting.tables import Column, Table

Verdict = Literal["reproduced", "not reproduced", "open", "the paper says both"]
RESOLUTION = 3.0
"""Points: "no effect" counts as reproduced only where a change of this size would be seen."""

FEWEST = 3
"""Languages and random draws without which the matrix of perplexity changes says too little."""

RULE = (
    "Reproduced or not: what the data say of all languages and of all but any one, so that no "
    "single language decides; open: they disagree, or too little could be seen."
)
"""How a verdict comes about, for the caption."""

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
        f"and whether the finding is reproduced. {RULE} That nothing changes "
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


def judged(rows: pd.DataFrame, judge: Callable[[pd.DataFrame], Verdict]) -> tuple[Verdict, str]:
    """A verdict that no single language decides.

    Args:
        rows: What is judged, with a column ``language``.
        judge: From such rows to the verdict they speak for.

    Returns:
        The verdict of all rows where it stays the same without any one language, else ``open``
        (whatever one language shows, the verdict then never turns into the opposite one); and the
        languages it hangs on, as words for behind what the run shows.
    """
    said = judge(rows)
    languages = list(dict.fromkeys(rows["language"]))
    if said == "open":
        return said, ""
    if len(languages) < 2:
        return "open", "; one language alone decides nothing"
    without = {lang: judge(rows[rows["language"] != lang]) for lang in languages}
    turned = [str(lang) for lang, other in without.items() if other != said]
    if turned:
        return "open", f"; the verdict would be {said}, but not without {listing(turned, 3)}"
    return said, ""


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
        held = group.assign(held=dominant & (group["beyond_random"] | group["random"].isna()))
        beyond = int(held["held"].sum())
        none = not bool(group["shown"].any())
        draws = int(group["random_draws"].min())
        verdict: Verdict = "open"
        why = ""
        if len(group) >= FEWEST and draws >= FEWEST:
            verdict, why = judged(held, _mostly)
        yield Finding(
            f"Setting a language's {name} neurons to zero raises its own perplexity most.",
            "the diagonal of the PPXC matrix dominates (its numbers are not published)",
            f"own language raised most, beyond {count(draws, 'random draw')}, in {beyond} of "
            f"{count(len(group), 'language')}"
            + ("; no rise could be shown at all" if none else "")
            + why,
            verdict,
        )


def _mostly(rows: pd.DataFrame) -> Verdict:
    """Whether more than half of the languages hold."""
    return "reproduced" if int(rows["held"].sum()) * 2 > len(rows) else "not reproduced"


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
            f"{count(len(seen), 'comparison')} on languages not trained on: "
            f"{int((seen['difference'] < 0).sum())} fall, "
            f"{int((seen['difference'] > 0).sum())} rise, median "
            f"{number(seen['difference'].median(), 2, signed=True)}; {len(gains)} significant "
            f"{'gain' if len(gains) == 1 else 'gains'}, {len(credited)} beyond random neurons"
            + (f" ({places(credited)})" if len(credited) else "")
        )
        if len(reach):
            here += f"; detectable: {number(reach.median(), 1)} points (median)"
        verdict, why = judged(seen, _nothing_gained)
        here += why
    yield Finding(
        "Overwriting language neurons at test time improves nothing.", said, here, verdict
    )


def _nothing_gained(seen: pd.DataFrame) -> Verdict:
    """Whether no gain of own neurons is credited to them, where one would have been seen."""
    gains = seen[seen["significant"] & (seen["difference"] > 0)]
    if gains["beyond_controls"].any():
        return "not reproduced"
    controlled = bool((gains["controls"] > 0).all())
    return "reproduced" if controlled and _fine(seen["mde"].dropna()) else "open"


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
    verdict, why = judged(tests, _lower_harms_more)
    yield Finding(
        "Writing a low percentile destroys the task while writing zero does little.",
        "; ".join(parts) + " points (XNLI)",
        f"{listing(sorted(set(low['intervention'])))}: mean {number(means[0], 2, signed=True)}, "
        f"{harmed[0]} of {count(len(low), 'comparison')} a significant loss; zero: mean "
        f"{number(means[1], 2, signed=True)}, {harmed[1]} of {len(zero)}{why}",
        verdict,
    )


def _lower_harms_more(tests: pd.DataFrame) -> Verdict:
    """Whether low percentiles harm more often, and more, than zero does."""
    shares, means = [], []
    for values in (LOW, ("zero",)):
        rows = tests[tests["intervention"].isin(values)]
        if rows.empty:
            return "open"
        shares.append(float((rows["significant"] & (rows["difference"] < 0)).mean()))
        means.append(float(rows["difference"].mean()))
    if not any(shares):
        return "open"
    agrees = shares[0] > shares[1] and means[0] < means[1]
    return "reproduced" if agrees else "not reproduced"


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
    verdict, why = judged(rows, _no_adapter_gains)
    yield Finding(
        "Fine-tuning only the language neurons is no better than leaving the MLP alone.",
        said,
        f"{count(len(rows), 'comparison')} on languages not trained on: {len(up)} significant "
        f"{'gain' if len(up) == 1 else 'gains'}{' (' + places(up) + ')' if len(up) else ''}; best "
        f"{top} points ({best['task']}, {best['language']}, {best['adapter']}); detectable: "
        f"{number(rows['mde'].median(), 1)} points (median){why}",
        verdict,
    )


def _no_adapter_gains(rows: pd.DataFrame) -> Verdict:
    """Whether no adapter gains, where a gain would have been seen."""
    if (rows["significant"] & (rows["difference"] > 0)).any():
        return "not reproduced"
    return "reproduced" if _fine(rows["mde"]) else "open"


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
