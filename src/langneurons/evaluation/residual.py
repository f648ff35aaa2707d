"""What an intervention does to the residual stream that every next layer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from langneurons.data import Blocks, batches
from langneurons.evaluation.intervals import ratio_interval
from langneurons.evaluation.touched import Interventions, intervened
from langneurons.models import hook_site
from langneurons.progress import track
from langneurons.statistics.forward import run_backbone

if TYPE_CHECKING:
    from langneurons.data.blocks import Batch
    from langneurons.models import LanguageModel

QUANTITIES = ("norm_ratio", "cosine", "displacement")
BATCH_TOKENS = 1024


def residual_change(
    lm: LanguageModel,
    blocks: Blocks,
    interventions: Mapping[str, Interventions],
    *,
    level: float = 0.95,
) -> pd.DataFrame:
    """How the stream behind every layer changes, in norm and in direction.

    With r the stream behind a layer at one counted token in the untouched model, and s the same
    under an intervention (everything before the layer touched too): ``norm_ratio`` = |s| / |r|,
    ``cosine`` = s.r / (|s| |r|), ``displacement`` = |s - r| / |r|. The mean over tokens is shown;
    its interval resamples documents.

    Args:
        lm: The model.
        blocks: Text, usually held-out text of one language.
        interventions: Label to what is written.
        level: Level of the intervals.

    Returns:
        One row an intervention, layer and quantity: ``label``, ``layer``, ``quantity``, ``value``,
        ``low``, ``high``, ``tokens``, ``documents``. Layer l is what layer l + 1 reads. Streams of
        one batch are held in memory: 1024 x layers x hidden floats.
    """
    documents = len(blocks.document_keys)
    shape = (len(interventions), lm.layers, len(QUANTITIES), documents)
    sums = torch.zeros(shape, dtype=torch.float64)
    counts = torch.zeros(documents, dtype=torch.float64)
    # Blocks may mix documents: let each token carry its own where offsets stand.
    owners = replace(blocks, position=blocks.documents())
    total = blocks.tokens * (1 + len(interventions))
    with track("residual stream", total, "tokens") as bar:
        for batch in batches(owners, batch_tokens=BATCH_TOKENS):
            owner = batch.position[batch.counted]
            counts.index_add_(0, owner, torch.ones(len(owner), dtype=torch.float64))
            plain = streams(lm, batch)
            bar.advance(len(owner))
            for number, done in enumerate(interventions.values()):
                with intervened(lm, done):
                    touched = streams(lm, batch)
                for layer in range(lm.layers):
                    found = change(plain[layer], touched[layer])
                    sums[number, layer].index_add_(1, owner, found)
                bar.advance(len(owner))
    used = counts > 0
    rows = []
    for number, label in enumerate(interventions):
        for layer in range(lm.layers):
            for place, quantity in enumerate(QUANTITIES):
                part = sums[number, layer, place][used].numpy()
                low, high = ratio_interval(part, counts[used].numpy(), level=level)
                rows.append(
                    {
                        "label": label,
                        "layer": layer,
                        "quantity": quantity,
                        "value": float(part.sum() / counts.sum()),
                        "low": low,
                        "high": high,
                        "tokens": int(counts.sum()),
                        "documents": int(used.sum()),
                    }
                )
    return pd.DataFrame(rows)


def streams(lm: LanguageModel, batch: Batch, site: str = "resid") -> list[Tensor]:
    """A site's values at the counted tokens of a batch, one (n, width) float32 tensor a layer."""
    found: dict[int, Tensor] = {}

    def keep(layer: int, activation: Tensor) -> None:
        found[layer] = activation[batch.counted.to(activation.device)].float().cpu()

    with torch.no_grad(), hook_site(lm, site, keep):
        run_backbone(lm, batch.input_ids, batch.attention_mask)
    return [found[layer] for layer in range(lm.layers)]


def change(plain: Tensor, touched: Tensor) -> Tensor:
    """The three quantities of each token, float64 (3, n); rows of norm 0 count as unchanged.

    Args:
        plain: (n, hidden), the untouched stream.
        touched: (n, hidden), the same tokens under the intervention.
    """
    r, s = plain.double(), touched.double()
    size, other = r.norm(dim=1), s.norm(dim=1)
    ratio = other / size
    cosine = ((r * s).sum(1) / (size * other)).clamp(-1, 1)
    displacement = (s - r).norm(dim=1) / size
    still = (size == 0) & (other == 0)
    found = torch.stack([ratio, cosine, displacement])
    unchanged = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)[:, None]
    return torch.where(still, unchanged, found)
