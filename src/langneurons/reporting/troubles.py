"""What went wrong in a run: said before anything else."""

from __future__ import annotations

from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing
from langneurons.reporting.sentences import Sentence

MOST = 5
"""Failed stages named one by one; further ones are counted (all are in the table of stages)."""


def troubles(run: Run) -> list[Sentence]:
    """Stages that failed or were skipped, results that are missing or old, and warnings.

    Args:
        run: The run; ``run.json`` holds its ``stages`` (name, status, reason) and, where there are
            any, ``warnings`` (sentences).
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
    warnings = [Sentence(str(text), "caution") for text in run.info.get("warnings", ())]
    return [*(Sentence(text, "failure") for text in said), *warnings]


def _sentence(stage: dict[str, object]) -> str:
    """A stage's reason as the end of a sentence."""
    reason = str(stage.get("reason") or "no reason is recorded").strip()
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."
