"""What went wrong in a run: said before anything else."""

from __future__ import annotations

from collections.abc import Iterator

from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing
from langneurons.reporting.sentences import Sentence

MOST = 5
"""Failed stages named one by one; further ones are counted (all are in the table of stages)."""


def troubles(run: Run) -> list[Sentence]:
    """Stages that failed or were skipped, and results that are missing, old or made otherwise.

    Args:
        run: The run; ``run.json`` holds its ``stages`` (name, status, reason), stages whose result
            in place is of ``earlier_code`` (stage to modules that differ), and what results of one
            kind were ``made_differently`` in (kind, what, values with their stages).
    """
    stages = {str(stage.get("name")): stage for stage in run.info.get("stages", ())}
    failed = [name for name, stage in stages.items() if stage.get("status") == "failed"]
    skipped = [name for name, stage in stages.items() if stage.get("status") == "skipped"]
    said = [f"Stage {name} failed: {_sentence(stages[name])}" for name in failed[:MOST]]
    if len(failed) > MOST:
        said.append(f"{count(len(failed) - MOST, 'more stage')} failed: {listing(failed[MOST:])}.")
    if skipped:
        said.append(
            f"Not run for want of what failed: {count(len(skipped), 'stage')} "
            f"({listing(skipped, MOST)})."
        )
    if "tables" in (*failed, *skipped):
        said.append(
            "The tables could not be made again: what is shown below is older than this run."
        )
    elif failed or skipped:
        said.append("What depends on them is missing below; the same command tries them again.")
    return [*(Sentence(text, "failure") for text in said), *_warnings(run)]


def _warnings(run: Run) -> Iterator[Sentence]:
    """Results of other code, and results that stand beside each other but were made otherwise."""
    earlier = run.info.get("earlier_code") or {}
    if earlier:
        modules = sorted({str(module) for names in earlier.values() for module in names})
        yield Sentence(
            f"Results of earlier code were kept on purpose: {count(len(earlier), 'stage')} "
            f"({listing(list(map(str, earlier)), MOST)}); changed since: {listing(modules, MOST)}.",
            "caution",
        )
    for row in run.info.get("made_differently") or ():
        groups = [
            f"{value} ({count(len(stages), 'stage')}, such as {stages[0]})"
            for value, stages in row["values"].items()
        ]
        yield Sentence(
            f"Results of {row['kind']} that stand beside each other were not made alike: "
            f"{row['what']} {listing(groups)}. Differences between them may come from that.",
            "caution",
        )


def _sentence(stage: dict[str, object]) -> str:
    """A stage's reason as the end of a sentence."""
    reason = str(stage.get("reason") or "no reason is recorded").strip()
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."
