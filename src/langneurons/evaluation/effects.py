"""How much each single unit matters: perplexity with one unit overwritten at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from langneurons.data import Blocks
from langneurons.evaluation.language_modelling import PerplexityResult, loss_ratio
from langneurons.evaluation.together import perplexities
from langneurons.evaluation.token_loss import find_head
from langneurons.identification import Units
from langneurons.intervention import Intervention
from langneurons.intervention.interventions import Mode
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.models import LanguageModel


def unit_effects(
    lm: LanguageModel,
    units: Units,
    blocks: Blocks,
    value: Any = 0.0,
    *,
    mode: Mode = "set",
    site: str = "mlp.act",
    keep: int = 5,
    screen: int = 4,
    baseline: PerplexityResult | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Find the units of a set that do most of its damage.

    Every unit is overwritten alone on the first ``screen`` blocks; the ``keep`` that raise the
    loss most are then measured on all blocks. Cost: units x screen + keep x blocks forward passes,
    without the layers below the unit's.

    Args:
        lm: A causal model.
        units: Units to try.
        blocks: Held-out text of one language.
        value: What is written over a unit.
        mode: How it is written, see :class:`~langneurons.intervention.Intervention`.
        site: Where the units live.
        keep: Units measured on all blocks.
        screen: Blocks of the first look.
        baseline: Untouched perplexity on all blocks, if known already.
        level: Level of the intervals, over documents.

    Returns:
        One row a kept unit, largest first: ``layer``, ``index``, ``ratio`` (of perplexity to
        untouched), ``low``, ``high``, ``tokens``, ``documents``.
    """
    head = find_head(lm)
    few = blocks[: min(screen, len(blocks))]

    def alone(place: int) -> Intervention:
        one = Units([int(units.layers[place])], [int(units.indices[place])])
        return Intervention(units=one, value=value, mode=mode, site=site)

    single = [alone(place) for place in range(len(units))]
    passes = len(single) + min(keep, len(single)) + (baseline is None)
    with track("single units", passes, "units") as bar:
        screened = perplexities(lm, few, single, head=head, advance=bar.advance)
        losses = torch.tensor([found.loss for found in screened], dtype=torch.float64)
        best = losses.argsort(descending=True, stable=True)[:keep].tolist()
        wanted: list[Intervention | None] = [single[place] for place in best]
        if baseline is None:
            wanted.append(None)
        measured = perplexities(lm, blocks, wanted, head=head, advance=bar.advance)
        plain = baseline or measured[-1]
        rows = [
            {
                "layer": int(units.layers[place]),
                "index": int(units.indices[place]),
                **loss_ratio(touched, plain, level=level),
            }
            for place, touched in zip(best, measured, strict=False)
        ]
    table = pd.DataFrame(
        rows, columns=["layer", "index", "ratio", "low", "high", "tokens", "documents"]
    )
    return table.sort_values("ratio", ascending=False, kind="stable", ignore_index=True)
