"""A study and its result in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from langneurons.errors import InputError, unknown
from langneurons.interface.part import ordered
from langneurons.reporting.notebook import Drawing, markup
from langneurons.reporting.numbers import number
from langneurons.reporting.tables import Column, Table
from langneurons.reporting.troubles import troubles
from langneurons.study.report import answer, compose, read

if TYPE_CHECKING:
    from langneurons.config.schema import StudyConfig
    from langneurons.stages.runner import Outcome


def study_html(config: StudyConfig, out: Path | None) -> str:
    """What a study is made of, and the answer of its last run.

    Args:
        config: The study.
        out: Run directory of its last run in this session, if any.
    """
    context = config.context()
    found = [(part, context.spec_of(part.word)) for part in ordered() if part.spec is not None]
    rows = [
        {"part": part.noun or part.word, "name": name, "how": spec.told() or name}
        for part, specs in found
        if part.many
        for name, spec in specs.items()
    ]
    single = [(part, spec) for part, spec in found if not part.many and spec]
    facts = [
        ("model", config.model),
        ("languages", " ".join(config.languages)),
        ("budget", config.budget),
        *[(part.word, spec.told()) for part, spec in single if spec.told()],
        ("parts", ", ".join(part.word for part, _ in single if not part.default())),
    ]
    columns = [Column("part", "part"), Column("name", "name"), Column("how", "how")]
    shown = Table("study", "Study", "", pd.DataFrame(rows), columns)
    blocks = [markup.table(shown)]
    if out is not None and (out / "run.json").is_file():
        blocks.append(_answer(out))
    return markup.page(f"Study {config.name}", facts, *blocks)


def result_html(out: Path, outcomes: Sequence[Outcome], report: Path | None, seconds: float) -> str:
    """What a run came to: its answer, what failed, and where the report lies.

    Args:
        out: Run directory.
        outcomes: One a stage.
        report: Its page, if there is one.
        seconds: Time it took.
    """
    counted = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ("done", "kept", "failed", "skipped")
    }
    facts = [(status, str(many)) for status, many in counted.items() if many]
    facts.append(("seconds", number(seconds, 0)))
    blocks = [_answer(out)] if (out / "run.json").is_file() else []
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        data = pd.DataFrame([{"stage": o.name, "reason": o.reason} for o in failed])
        columns = [Column("stage", "failed"), Column("reason", "reason")]
        blocks.append(markup.table(Table("failed", "Failed", "", data, columns)))
    if report is not None:
        blocks.append(Markup("<p>Report: <code>{}</code></p>").format(str(report)))
    return markup.page(f"Run {out}", facts, *blocks)


def _answer(out: Path) -> Markup:
    run = read(out)
    found = answer(run)
    said = [*troubles(run), *([] if found is None else [found.verdict])]
    return Markup("").join(Markup("<p>{}</p>").format(sentence.text) for sentence in said)


def plot(out: Path | None, kind: str | None) -> Drawing:
    """A figure of a run's report by its file name.

    Args:
        out: Run directory.
        kind: Name without suffix, as under ``report/figures``; None takes the first one
            that a part calls its own (``Part.figure``), or the first.

    Raises:
        InputError: If there is no run or no such figure; the message names those there are.
    """
    if out is None:
        raise InputError("nothing has been run yet: run the study, or give out=RUN_DIRECTORY.")
    pictures = {picture.name: picture for picture in compose(read(out)).pictures()}
    if not pictures:
        raise InputError(f"the run in {str(out)!r} has no figure: run more of the study.")
    usual = tuple(part.figure for part in ordered() if part.figure)
    first = next((name for name in pictures if name.startswith(usual)), None)
    name = kind or first or next(iter(pictures))
    if name not in pictures:
        raise unknown("figure", name, pictures)
    return Drawing(pictures[name].figure, pictures[name].caption)
