"""Parts beyond the paper's own study, each where the run has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting.answer import beyond as answer
from langneurons.reporting.figures import beyond as figures
from langneurons.reporting.figures import parts as part_figures
from langneurons.reporting.inputs import Run
from langneurons.reporting.sections.base import Block, Picture, Section, Tabs
from langneurons.reporting.tables.plain import plain
from langneurons.reporting.tables.scores import slug


def _panels(
    table: pd.DataFrame, stem: str, draw: Callable[[pd.DataFrame], Figure], caption: str
) -> list[tuple[str, list[Picture]]]:
    """A figure for each neuron set and language; ``{}`` in the caption names them."""
    made = []
    for (name, language), group in table.groupby(["neurons", "language"], sort=False):
        label = f"{name}, {language}"
        picture = Picture(
            f"{stem}_{slug(str(name))}_{slug(str(language))}",
            caption.format(f"the {name} neurons of {language}"),
            draw(group),
        )
        made.append((label, [picture]))
    return made


def single_units(run: Run) -> Iterator[Section]:
    """The units that matter most, one at a time."""
    table = run.table("unit_effects")
    if table is None:
        return
    caption = "Perplexity ratio when a single unit is overwritten, largest first, by language."
    ranked = table.sort_values("ratio", ascending=False)
    yield Section(
        "part-unit_effects",
        "Effect of single units",
        list(answer.unit_effects(table)),
        [
            Picture("unit_effects", caption, part_figures.unit_effects(table)),
            plain(ranked, "unit_effects", "Effect of single units", caption),
        ],
    )


def forced(run: Run) -> Iterator[Section]:
    """Which language is written with neurons switched off and on."""
    table = run.table("forcing")
    if table is None:
        return
    caption = (
        "Language detected in the generated text with one language's neurons switched off and "
        "another's switched on: share of outputs, and their number."
    )
    yield Section(
        "part-forcing",
        "Forcing the output language",
        list(answer.forcing(table)),
        [
            Picture("forcing", caption, part_figures.forcing(table)),
            plain(table, "forcing", "Forcing the output language", caption),
        ],
    )


def fallen_back(run: Run) -> Iterator[Section]:
    """Which language is written when languages are switched off one after another."""
    table = run.table("fallback")
    if table is None:
        return
    caption = (
        "Language detected in the continuations of {} prompts with languages switched off one "
        "after another, each time the language written instead, and with as many random units in "
        "their place: share of outputs, and their number."
    )
    panels = [
        (
            str(start),
            [
                Picture(
                    f"fallback_{slug(str(start))}",
                    caption.format(start),
                    part_figures.fallback(group),
                )
            ],
        )
        for start, group in table.groupby("start", sort=False)
    ]
    title = "Fallback between languages"
    yield Section(
        "part-fallback",
        title,
        list(answer.fallback(table)),
        [Tabs("fallback", panels), plain(table, "fallback", title, caption.format("a language's"))],
    )


def deactivated(run: Run) -> Iterator[Section]:
    """Values written beside the units' own range and the next layer's view."""
    table, stream = run.table("deactivation"), run.table("residual")
    if table is None:
        return
    panels = _panels(
        table,
        "deactivation",
        figures.deactivation,
        "Perplexity ratio when {} are overwritten with each value (dot with interval; marks: draws "
        "of random and of equally active units), and the share of units for which the value is "
        "unusual or impossible.",
    )
    blocks: list[Block] = [Tabs("deactivation", panels)]
    blocks.append(
        plain(
            table,
            "deactivation",
            "Every value",
            "Perplexity ratio for every value, kind of units and draw, with the shares of units "
            "written below or above all they show, outside their own P1 to P99, and outside what "
            "the activation function gives; distance: in own standard deviations.",
        )
    )
    if stream is not None:
        caption = (
            "Mean displacement |s - r| / |r| of the residual stream behind every layer, untouched "
            "(r) against overwritten (s), when {} are overwritten."
        )
        blocks.append(Tabs("residual", _panels(stream, "residual", figures.residual, caption)))
        blocks.append(
            plain(
                stream,
                "residual",
                "The residual stream, every layer",
                "Change of the residual stream behind every layer: norm ratio |s| / |r|, cosine, "
                "displacement |s - r| / |r|; means over tokens, intervals over documents.",
            )
        )
    yield Section("deactivation", "True deactivation", list(answer.deactivation(table)), blocks)


def crossed(run: Run) -> Iterator[Section]:
    """The paper's crossed site against the right one."""
    table = run.table("crossing")
    if table is None:
        return
    caption = (
        "Perplexity ratio when {} are overwritten with a statistic of the activation (right), "
        "with one of the pre-activation as the paper's released code does (paper), with the same "
        "moved into the activation's range, and with the pre-activation's at its own place."
    )
    yield Section(
        "crossing",
        "The site question",
        list(answer.crossing(table)),
        [
            Tabs("crossing", _panels(table, "crossing", figures.crossing, caption)),
            plain(
                table,
                "crossing",
                "Every reading",
                "Readings of a statistic: perplexity ratio, share of values out of the "
                "activation's range, and on rows of the paper's reading the loss beyond the "
                "reading in range (nats a token), its share of the whole damage, and the loss "
                "against the right reading.",
            ),
        ],
    )


def information(run: Run) -> Iterator[Section]:
    """Language and task information of units, beside units of the same activity."""
    table, harm = run.table("polysemanticity"), run.table("polysemanticity_harm")
    if table is None or not {"carries", "own", "matched"} <= set(table.columns):
        return
    panels = [
        (
            str(name),
            [
                Picture(
                    f"polysemanticity_{slug(str(name))}",
                    f"Share of the {name} neurons of each language that carry information on the "
                    "language, on the task's labels within it, and on both, beside units of the "
                    "same layers and activity (n: neurons). By chance 5 % carry task information.",
                    figures.information(group),
                )
            ],
        )
        for name, group in table.groupby("neurons", sort=False)
    ]
    blocks: list[Block] = [Tabs("polysemanticity", panels)]
    for name, title, caption in (
        ("polysemanticity", "Shares", "Share of units that carry each kind of information."),
        (
            "polysemanticity_harm",
            "Harm and information",
            "Rank correlation of the harm of overwriting a unit (rise of the answer's loss) with "
            "what it carries; given: what is held constant.",
        ),
        (
            "polysemanticity_units",
            "Every unit",
            "Activity, language and task information of every unit, own and equally active; harm "
            "where it was measured.",
        ),
    ):
        found = run.table(name)
        if found is not None:
            blocks.append(plain(found, name, title, caption))
    yield Section(
        "polysemanticity", "Polysemanticity", list(answer.polysemanticity(table, harm)), blocks
    )
