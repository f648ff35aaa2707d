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
    """Accumulators and token rows of every language on disk, twice where they are merged."""
    from langneurons.statistics.moments import BYTES_PER_UNIT

    rows = min(spec.rows, spec.tokens) * size.layers * size.units * _ROW_BYTES
    state = float(BYTES_PER_UNIT * size.layers * size.units)
    copies = 2 if spec.shards > 1 else 1
    return Takes(disk=float(len(context.languages) * (rows + state) * copies))
