"""How strongly a unit fires on every token of a passage: the passages pass through the model again.

A document is cut into the blocks it was cut into when statistics were collected, so a token has the
context, and the activation, that its sampled row holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from langneurons.data.blocks import Blocks, make_blocks
from langneurons.models.hooks import hook_site
from langneurons.progress import track
from langneurons.statistics.forward import evaluation_mode, run_backbone

if TYPE_CHECKING:
    from torch import Tensor

    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

_TOKENS = 4096  # of a batch


def strengths(
    lm: LanguageModel,
    statistics: Statistics,
    documents: Mapping[tuple[str, int], str],
    wanted: Sequence[Mapping[str, Any]],
) -> list[np.ndarray | None]:
    """Activations of one unit along each passage.

    Args:
        lm: The model of the statistics.
        statistics: They say how their text was cut.
        documents: (language, content key) to the document.
        wanted: Mappings with ``language``, ``key`` (of the document), ``layer``, ``index``, and the
            tokens ``first`` to ``last`` (not included) of the document.

    Returns:
        For each, float32 (tokens), NaN where a token is in no block; None where text was packed or
        generated, so that a document alone does not have the context it was collected in.
    """
    found: list[np.ndarray | None] = [None] * len(wanted)
    lm.refresh()
    for language in dict.fromkeys(str(item["language"]) for item in wanted):
        how = statistics[language].options
        if how.get("pack") or how.get("block") is None or how.get("generated"):
            continue
        chosen = [at for at, item in enumerate(wanted) if item["language"] == language]
        keys = sorted({int(wanted[at]["key"]) for at in chosen})
        blocks = make_blocks(
            [documents[language, key] for key in keys],
            lm.tokenizer,
            block=int(how["block"]),
            bos=bool(how["lead"]) if how.get("lead") is not None else None,
        )
        spans = _places(blocks, keys, [wanted[at] for at in chosen])
        units = torch.tensor([[wanted[at]["layer"], wanted[at]["index"]] for at in chosen])
        values = _run(lm, statistics.site, blocks, spans, units, language)
        for at, (_, _, owner), value in zip(chosen, spans, values, strict=True):
            made = np.full(int(wanted[at]["last"]) - int(wanted[at]["first"]), np.nan, np.float32)
            made[owner] = value
            found[at] = made
    return found


Span = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Block and column of a passage's tokens, and the tokens' places in the passage."""


def _places(blocks: Blocks, keys: list[int], wanted: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Where the tokens of passages lie; those in no block are left out."""
    row, column = (part.numpy() for part in blocks.counted.nonzero(as_tuple=True))
    document = blocks.documents()[row, column].numpy()
    position = blocks.position[row, column].numpy()
    order = np.lexsort((position, document))
    document, position = document[order], position[order]
    number = {key: at for at, key in enumerate(keys)}
    spans = []
    for item in wanted:
        start, stop = np.searchsorted(
            document, [number[int(item["key"])], number[int(item["key"])] + 1]
        )
        inside = np.arange(int(item["first"]), int(item["last"]))
        at = start + np.searchsorted(position[start:stop], inside)
        known = (at < stop) & (position[np.minimum(at, len(position) - 1)] == inside)
        place = order[at[known]]
        spans.append((row[place], column[place], known.nonzero()[0]))
    return spans


def _run(
    lm: LanguageModel,
    site: str,
    blocks: Blocks,
    spans: Sequence[Span],
    units: Tensor,
    language: str,
) -> list[np.ndarray]:
    """Activation of each passage's unit at each of its tokens; only blocks with passages run."""
    sizes = np.array([len(rows) for rows, _, _ in spans])
    rows = torch.from_numpy(np.concatenate([span[0] for span in spans]))
    columns = torch.from_numpy(np.concatenate([span[1] for span in spans]))
    each = units.repeat_interleave(torch.from_numpy(sizes), dim=0)
    values = torch.full((len(rows),), torch.nan)
    needed = rows.unique()
    step = max(1, _TOKENS // blocks.input_ids.shape[1])
    with track(f"passages {language}", len(needed), "blocks") as bar, torch.no_grad():
        for begin in range(0, len(needed), step):
            batch = needed[begin : begin + step]
            here = torch.isin(rows, batch)

            def keep(layer: int, value: Tensor, batch: Tensor = batch, here: Tensor = here) -> None:
                mine = (here & (each[:, 0] == layer)).nonzero()[:, 0]
                if len(mine):
                    place = torch.searchsorted(batch, rows[mine])
                    taken = value[
                        place.to(value.device),
                        columns[mine].to(value.device),
                        each[mine, 1].to(value.device),
                    ]
                    values[mine] = taken.float().cpu()

            with evaluation_mode(lm.model), hook_site(lm, site, keep):
                run_backbone(lm, blocks.input_ids[batch], blocks.attention_mask[batch])
            bar.advance(len(batch))
    return np.split(values.numpy(), np.cumsum(sizes)[:-1])
