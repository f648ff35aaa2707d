"""Activations as a stream: the model runs, the rows are used and forgotten, nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langneurons.data import Blocks, gather
from langneurons.errors import InputError
from langneurons.models import hook_site
from langneurons.statistics.forward import run_backbone

if TYPE_CHECKING:
    from langneurons.models import LanguageModel


class Stream:
    """Activations of mixed languages in an order fixed by the seed, a buffer at a time.

    Blocks of all languages are dealt out in a random order, anew in every round over the text;
    the rows of some of them make a buffer, which is shuffled. Buffer number n can be had without
    those before it, so that training resumes where it stood.

    Args:
        lm: The model.
        blocks: Language to blocks; each language gets the same number of them (that of the
            smallest), so that none outweighs another.
        site: Where rows are read.
        layers: In which layers, all at once.
        per_buffer: Blocks in a buffer.
        seed: Seed of the order.

    Raises:
        InputError: If a language has no block.
    """

    def __init__(
        self,
        lm: LanguageModel,
        blocks: Mapping[str, Blocks],
        site: str,
        layers: Sequence[int],
        *,
        per_buffer: int = 32,
        seed: int = 0,
    ) -> None:
        self._lm, self._site, self._layers = lm, site, list(layers)
        self._blocks, self._seed = dict(blocks), seed
        least = min((len(item) for item in blocks.values()), default=0)
        if least == 0:
            raise InputError("features are learnt from text: every language needs some.")
        self._places = [(name, number) for name in blocks for number in range(least)]
        self._per_buffer = min(per_buffer, len(self._places))
        self.buffers = len(self._places) // self._per_buffer  # in one round over the text

    def buffer(self, number: int) -> dict[int, Tensor]:
        """Rows of buffer ``number``: layer to float32 (n, width), shuffled alike in all layers."""
        round_, place = divmod(number, self.buffers)
        order = torch.randperm(len(self._places), generator=self._generator(round_))
        chosen = order[place * self._per_buffer : (place + 1) * self._per_buffer].tolist()
        parts: dict[int, list[Tensor]] = {layer: [] for layer in self._layers}
        for name in self._blocks:
            mine = [n for lang, n in (self._places[i] for i in chosen) if lang == name]
            if mine:
                for layer, rows in self._run(self._blocks[name], torch.tensor(mine)).items():
                    parts[layer].append(rows)
        total = sum(len(item) for item in parts[self._layers[0]])
        shuffled = torch.randperm(total, generator=self._generator(-1 - number))
        return {layer: torch.cat(item)[shuffled] for layer, item in parts.items()}

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed((self._seed * 1_000_003 + number) % (1 << 63))

    def _run(self, blocks: Blocks, index: Tensor) -> dict[int, Tensor]:
        batch = gather(blocks, index)
        counted = batch.counted.to(self._lm.device)
        found: dict[int, Tensor] = {}

        def keep(layer: int, activation: Tensor) -> None:
            found[layer] = activation[counted].float()

        with torch.no_grad(), hook_site(self._lm, self._site, keep, self._layers):
            run_backbone(self._lm, batch.input_ids, batch.attention_mask)
        return found

    def batches(self, start: int, size: int) -> Iterator[tuple[int, dict[int, Tensor]]]:
        """Batches of ``size`` rows from buffer ``start`` on, without end, with their buffer."""
        number = start
        while True:
            rows = self.buffer(number)
            total = len(rows[self._layers[0]])
            for first in range(0, total - size + 1, size):
                yield number, {layer: item[first : first + size] for layer, item in rows.items()}
            number += 1
