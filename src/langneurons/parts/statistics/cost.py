"""What statistics take."""

from __future__ import annotations

from collections.abc import Sequence

from langneurons.interface.context import Context
from langneurons.interface.part import Takes
from langneurons.models.size import Size
from langneurons.parts.statistics.spec import StatisticsSpec
from langneurons.stages.stage import Stage

_ROW_BYTES = 2  # token rows are kept in bfloat16


def takes(spec: StatisticsSpec, context: Context, size: Size, stages: Sequence[Stage]) -> Takes:
    """Accumulators and token rows of every language and site, twice where they are merged."""
    from langneurons.statistics.moments import BYTES_PER_UNIT

    copies = 2 if spec.shards > 1 else 1
    disk = 0.0
    for stage in stages:
        if stage.kind in ("statistics", "merge"):
            units, held = size.at(stage.arguments.get("site", spec.site))
            rows = min(spec.rows, spec.tokens) * held * _ROW_BYTES
            disk += size.layers * (rows + BYTES_PER_UNIT * units) * copies
    return Takes(disk=disk)
