"""Statistics of one language, whole or in parts for several machines, and the parts put together.

The parts hold the blocks that the whole would hold, cut into runs: the same tokens are counted and
the same token rows sampled. Activations agree as far as those of two batchings of one text do (a
forward pass rounds differently in another batch). How many parts there are is the study's choice,
not the executor's: results do not depend on the number of machines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langneurons.errors import InputError
from langneurons.interface.workshop import Workshop
from langneurons.parts.statistics.stages import shard_folder

if TYPE_CHECKING:
    from langneurons.data import Blocks


def statistics(workshop: Workshop, output: Path, language: str, site: str | None = None) -> None:
    """Collect one language's statistics at one site."""
    several(workshop, [(output, {"language": language, "site": site})])


def several(workshop: Workshop, stages: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
    """Collect one language's statistics at several sites, in one pass."""
    from langneurons.statistics import collect_sites

    spec = workshop.context.spec_of("statistics")
    language = stages[0][1]["language"]
    outputs = {about.get("site") or spec.site: output.parent for output, about in stages}
    collect_sites(
        workshop.lm,
        {language: workshop.texts[language].statistics},
        list(outputs),
        tokens=spec.tokens,
        block=spec.block,
        rows=spec.rows,
        seed=workshop.context.seed,
        protocol=workshop.context.protocol,
        outputs=outputs,
    )


def shard(
    workshop: Workshop, output: Path, language: str, part: int, site: str | None = None
) -> None:
    """Collect one part of a language's statistics into a folder of its own."""
    from langneurons.data import make_blocks
    from langneurons.statistics import collect
    from langneurons.statistics.options import resolve

    context = workshop.context
    spec = context.spec_of("statistics")
    options = resolve(
        context.protocol,
        site=site or spec.site,
        block=spec.block,
        rows=spec.rows,
        seed=context.seed,
    )
    blocks = make_blocks(
        workshop.texts[language].statistics,
        workshop.lm.tokenizer,
        block=options.block,
        tokens=spec.tokens,
        bos=options.bos,
        pack=options.pack,
    )
    # Batches whose quantiles are averaged must stay whole.
    together = options.batch_size or 1 if options.quantiles == "batch-mean" else 1
    collect(
        workshop.lm,
        {language: _part(blocks, part, spec.shards, together, language)},
        site=options.site,
        rows=spec.rows,
        seed=context.seed,
        protocol=context.protocol,
        output=output,
    )


def _part(blocks: Blocks, part: int, parts: int, together: int, language: str) -> Blocks:
    groups = -(-len(blocks) // together)
    if groups < parts:
        raise InputError(
            f"text of {language} makes {groups} part(s), fewer than statistics.shards={parts}: "
            "lower it, or give more text."
        )
    start, stop = (groups * n // parts * together for n in (part, part + 1))
    return blocks[start:stop]


def merge(workshop: Workshop, output: Path, language: str, site: str | None = None) -> None:
    """Put the parts of a language's statistics together."""
    from langneurons.statistics import Statistics

    folder = shard_folder(site, language)
    merged: Statistics | None = None
    for part in range(workshop.context.spec_of("statistics").shards):
        found = Statistics.load(workshop.out / folder / str(part))
        merged = found if merged is None else merged.merge(found)
    assert merged is not None
    merged.save(output.parent)
