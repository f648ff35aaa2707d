"""One language's pass: which sites are still to be read, one pass for them all, and their files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from langneurons.artifacts import digest
from langneurons.data import Blocks
from langneurons.errors import ArtifactError, InputError, RunError
from langneurons.models import LanguageModel
from langneurons.progress import track
from langneurons.statistics import estimation
from langneurons.statistics.collector import (
    Collector,
    first_limits,
    run,
    running_order,
    saved_state,
)
from langneurons.statistics.group import GatheredRows, Group
from langneurons.statistics.language import BatchQuantiles, LanguageStatistics
from langneurons.statistics.moments import Moments
from langneurons.statistics.options import PAPER_PROBABILITIES, Resolved
from langneurons.statistics.routed import row_width
from langneurons.statistics.sample import (
    MemoryRows,
    RowSample,
    RowSource,
    RowWriter,
    ScratchRows,
    Selection,
    select,
)
from langneurons.statistics.storage import FORMAT, language_path, load_language, save_language
from langneurons.statistics.values import Statistics


@dataclass(frozen=True)
class Pass:
    """What is the same for all languages and sites of one collection.

    Attributes:
        lm: The model, in evaluation mode.
        options: What is collected at each site; they differ in the site alone.
        folders: Site to the folder of its files; sites without one stay in memory.
        resume: Whether to use what the folders already hold.
        checkpoint_blocks: Save the state after so many blocks.
        group: The processes that share the blocks.
        state: What makes the model run otherwise than its weights say.
    """

    lm: LanguageModel
    options: Sequence[Resolved]
    folders: Mapping[str, Path]
    resume: bool
    checkpoint_blocks: int
    group: Group
    state: dict[str, str]

    def language(
        self, lang: str, fingerprint: str, cut: Mapping[str, Any], blocks: Callable[[], Blocks]
    ) -> dict[str, LanguageStatistics]:
        """Statistics of one language by site, each found in its folder or collected.

        Args:
            lang: The language.
            fingerprint: Of its text.
            cut: How its blocks are cut.
            blocks: Gives the blocks, if any site needs them.
        """
        sites = [_SitePass.of(self, options, lang, fingerprint, cut) for options in self.options]
        found = {item.options.site: item.finished() for item in sites}
        left = [item for item in sites if found[item.options.site] is None]
        made = self._collect(lang, left, blocks()) if left else {}
        return {site: item or made[site] for site, item in found.items()}

    def _collect(
        self, lang: str, sites: Sequence[_SitePass], blocks: Blocks
    ) -> dict[str, LanguageStatistics]:
        options = sites[0].options
        selection = select(blocks, options.limit, options.seed)
        order = self.group.share(running_order(blocks, options.quantiles == "batch-mean"))
        begun = [site.begin(blocks, order, selection) for site in sites]
        collectors = [item.collector for item in begun]

        def save() -> None:
            for item in begun:
                item.save_when_due()

        with track(f"Statistics {lang}", int(blocks.counted[order].sum()), "tokens") as bar:
            done = order[: min(item.progress.done for item in collectors)]
            bar.skip(int(blocks.counted[done].sum()))
            run(collectors, bar.advance, save)
        return {site.options.site: site.end(item) for site, item in zip(sites, begun, strict=True)}


@dataclass(frozen=True)
class _SitePass:
    """One site of one language: its key, and its files where it has some."""

    of_all: Pass
    options: Resolved
    lang: str
    about: dict[str, Any]
    key: str

    @classmethod
    def of(
        cls, of_all: Pass, options: Resolved, lang: str, fingerprint: str, cut: Mapping[str, Any]
    ) -> _SitePass:
        about = {
            **options.identity(),
            **cut,
            "dtype": str(of_all.lm.dtype).removeprefix("torch."),
            **({"state": of_all.state} if of_all.state else {}),
        }
        key = digest(FORMAT, of_all.lm.fingerprint["sha256"], fingerprint, about)
        return cls(of_all, options, lang, about, key)

    @property
    def folder(self) -> Path | None:
        return self.of_all.folders.get(self.options.site)

    @property
    def shape(self) -> tuple[int, int]:
        return self.of_all.lm.layers, self.of_all.lm.sites[self.options.site].common

    @property
    def scratch(self) -> Path | None:
        rank = self.of_all.group.rank
        return None if self.folder is None else self.folder / f".{self.lang}.{rank}.partial"

    def finished(self) -> LanguageStatistics | None:
        """Statistics of this key that the folder already holds, whole and undamaged."""
        if not self.of_all.resume or self.folder is None:
            return None
        path = language_path(self.folder, self.lang)
        if not path.is_file():
            return None
        try:
            stored = load_language(path)
            item = stored.item
            if item.key != self.key:
                return None
            if item.sample is not None:
                for layer in range(stored.shape[0]):
                    item.sample.rows.layer(layer)  # compares its checksum
        except (ArtifactError, InputError):
            return None
        return item

    def begin(self, blocks: Blocks, order: torch.Tensor, selection: Selection) -> _Begun:
        """A collector at the beginning, or where a stopped pass had come to."""
        lm, options, group = self.of_all.lm, self.options, self.of_all.group
        saved, state, scratch = None, None, self.scratch
        pass_key = digest(self.key, blocks.fingerprint, group.rank, group.size)
        if scratch is not None:
            state = scratch / "state.safetensors"
            saved = saved_state(state, pass_key) if self.of_all.resume else None
            if saved is None and scratch.exists():
                shutil.rmtree(scratch)
        shape = (lm.layers, len(selection), row_width(lm.sites[options.site]))
        writer = _writer(scratch, shape, estimation.row_dtype(lm, options))
        collector = Collector(
            lm,
            options.site,
            blocks,
            order,
            selection,
            writer,
            options.quantiles == "batch-mean",
            first_limits(lm, options.batch_size),
        )
        if saved is not None:
            collector.restore(saved)
        every = self.of_all.checkpoint_blocks
        return _Begun(collector, writer, state, pass_key, every, collector.progress.done)

    def end(self, begun: _Begun) -> LanguageStatistics:
        """What all processes have seen, in memory or in the folder."""
        lm, options, group = self.of_all.lm, self.options, self.of_all.group
        collector, writer = begun.collector, begun.writer
        moments = group.merge(collector.moments())
        _check_finite(lm, self.lang, moments)
        routing = group.merge_routing(collector.routed())
        source: RowSource = writer if group.size == 1 else GatheredRows(writer, group)
        item = LanguageStatistics(
            tokens=moments.tokens,
            count=moments.count,
            moments=moments,
            sample=_sample(options, collector.selection, source),
            batch_quantiles=_quantiles(collector, group),
            routing=routing,
            texts=(collector.blocks.fingerprint,),
            options=self.about,
            key=self.key,
        )
        return self._placed(item)

    def _placed(self, item: LanguageStatistics) -> LanguageStatistics:
        """Bring the result where it belongs: to the folder, or into every process's memory."""
        lm, group = self.of_all.lm, self.of_all.group
        folder, scratch = self.folder, self.scratch
        if folder is None or scratch is None:
            if group.size > 1 and item.sample is not None:
                layers = [item.sample.rows.layer(layer) for layer in range(lm.layers)]
                rows = MemoryRows(torch.stack(layers))
                item = replace(item, sample=replace(item.sample, rows=rows))
            return item
        whole = Statistics(self.options.site, self.shape, lm.fingerprint, {self.lang: item})
        if group.rank == 0:
            item = save_language(whole, self.lang, folder)
        elif item.sample is not None:
            for layer in range(lm.layers):
                item.sample.rows.layer(layer)
        group.barrier()
        shutil.rmtree(scratch)
        if group.rank != 0:
            item = load_language(language_path(folder, self.lang)).item
        return item


@dataclass
class _Begun:
    """A pass of one site on its way."""

    collector: Collector
    writer: RowWriter
    state: Path | None
    key: str
    every: int
    last: int

    def save_when_due(self) -> None:
        """Save the state after every so many blocks, unless all is done."""
        done = self.collector.progress.done
        if self.state is None or done >= len(self.collector.order):
            return
        if done - self.last >= self.every:
            self.collector.save(self.state, self.key)
            self.last = done


def _writer(scratch: Path | None, shape: tuple[int, int, int], dtype: torch.dtype) -> RowWriter:
    if scratch is None:
        return MemoryRows(torch.zeros(shape, dtype=dtype))
    layers, rows, units = shape
    try:
        return ScratchRows(scratch / "rows", layers, rows, units, dtype)
    except OSError as error:
        raise InputError(
            f"cannot write to {str(scratch.parent)!r} ({error.strerror}): "
            "choose another output folder or mend its permissions."
        ) from error


def _check_finite(lm: LanguageModel, lang: str, moments: Moments) -> None:
    wrong = (~torch.isfinite(moments.absolute)).nonzero()
    if len(wrong):
        layer, unit = wrong[0].tolist()
        raise RunError(
            f"{lm.name} gives NaN or infinity in text of {lang!r} (first: layer {layer}, unit "
            f"{unit}): load it with dtype bfloat16 or float32."
        )


def _sample(options: Resolved, selection: Selection, source: RowSource) -> RowSample | None:
    if options.limit == 0:
        return None
    return RowSample(
        options.limit,
        options.seed,
        selection.keys,
        selection.documents,
        selection.positions,
        selection.token_ids,
        source,
    )


def _quantiles(collector: Collector, group: Group) -> BatchQuantiles | None:
    if collector.quantile_sum is None:
        return None
    total = torch.stack(group.gather(collector.quantile_sum)).sum(0)
    batches = sum(int(part) for part in group.gather(torch.tensor([collector.batches])))
    return BatchQuantiles(PAPER_PROBABILITIES, total / batches, batches)
