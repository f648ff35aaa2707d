"""Collecting statistics: text in, :class:`Statistics` out, in one pass over each language."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from langneurons.artifacts import digest
from langneurons.data import Blocks, make_blocks
from langneurons.data.expected import Watched, warn_of_other_languages
from langneurons.errors import ArtifactError, InputError, RunError
from langneurons.models import LanguageModel
from langneurons.models.checking import warn_without_beginning
from langneurons.models.running import head_digest, running_state
from langneurons.progress import track
from langneurons.statistics import estimation
from langneurons.statistics.collector import (
    Collector,
    first_limits,
    running_order,
    saved_state,
)
from langneurons.statistics.forward import evaluation_mode
from langneurons.statistics.generating import Prompts, end_tokens, generate_blocks
from langneurons.statistics.group import GatheredRows, Group
from langneurons.statistics.language import BatchQuantiles, LanguageStatistics
from langneurons.statistics.moments import Moments
from langneurons.statistics.options import (
    PAPER_PROBABILITIES,
    Options,
    Resolved,
    check_integer,
)
from langneurons.statistics.sample import (
    MemoryRows,
    RowSample,
    RowSource,
    RowWriter,
    ScratchRows,
    Selection,
    select,
)
from langneurons.statistics.storage import (
    FORMAT,
    check_language,
    language_path,
    load_language,
    save_language,
)
from langneurons.statistics.values import Statistics

Texts = Mapping[str, Iterable[str] | Blocks]


def collect(
    lm: LanguageModel,
    texts: Texts,
    options: Options | None = None,
    *,
    output: str | Path | None = None,
    resume: bool = True,
    checkpoint_blocks: int = 256,
    **fields: Any,
) -> Statistics:
    """Collect what every unit of a site does in every language.

    Languages are collected one after another, each language's blocks made when its turn comes.
    Only the model without its head runs, in evaluation mode whatever mode it is in (and is given
    back as it was). Under ``torch.distributed`` (``accelerate launch``) each process runs a share
    of the blocks, and all return the same statistics.

    Args:
        lm: The model.
        texts: Language to documents, or to blocks made before (``block``, ``tokens``, ``pack`` and
            ``bos`` are then already decided, and refused where they say otherwise). An iterator is
            read once.
        options: What to collect; None: the defaults.
        output: Folder for ``<lang>.safetensors``. Token rows then lie on disk, a run that was
            killed continues from its last checkpoint, and a language that is finished is not
            collected again: finished means the same text, options, dtype and model as it runs now,
            with its adapters and hooks (of generated text also its head and end tokens), and every
            file undamaged. Without it all lies in memory.
        resume: Whether to use what ``output`` already holds.
        checkpoint_blocks: Save the state after so many blocks.
        fields: Fields of :class:`~langneurons.statistics.options.Options` (``site``, ``tokens``,
            ``block``, ``rows``, ``seed``, ``batch_size``, ``protocol``, ``quantiles``, ``pack``,
            ``bos``, ``generated``, ``temperature``), which take precedence over ``options``.

    Returns:
        The statistics.

    Raises:
        InputError: If an argument is out of range, a language has no text or no name that a file
            can have, the model lacks the site, or memory or disk will not do.
        RunError: If the model gives NaN or infinity, or one block does not fit into memory.
    """
    asked = Options.of(options, fields)
    resolved = asked.resolved()
    check_integer("checkpoint_blocks", checkpoint_blocks, 1)
    _check_names(texts)
    shape = (lm.layers, lm.sites[resolved.site].common)
    folder = Path(output) if output is not None else None
    sources = [_Source.read(lm, lang, texts, asked, single=len(texts) == 1) for lang in texts]
    sizes = {source.lang: source.size for source in sources}
    estimation.refuse_if_too_large(estimation.expect(lm, sizes, resolved, folder), folder)
    lm.refresh()
    run = _Run(
        lm, resolved, folder, resume, checkpoint_blocks, Group.current(lm.device), running_state(lm)
    )
    with evaluation_mode(lm.model):
        found = {source.lang: run.language(source) for source in sources}
    return Statistics(resolved.site, shape, lm.fingerprint, found)


def estimate(
    lm: LanguageModel,
    texts: Texts,
    options: Options | None = None,
    *,
    output: str | Path | None = None,
    measure: bool = True,
    **fields: Any,
) -> estimation.Estimate:
    """Say what :func:`collect` with the same arguments would take, without collecting.

    Args:
        lm: The model.
        texts: See :func:`collect`; an iterator is used up.
        options: See :func:`collect`.
        output: See :func:`collect`; nothing is written.
        measure: Run two batches to measure the speed; never of generated text, of which the tokens
            are an upper bound.
        fields: See :func:`collect`.

    Returns:
        Tokens, memory, disk and (if measured) time.

    Raises:
        InputError: See :func:`collect`.
    """
    asked = Options.of(options, fields)
    resolved = asked.resolved()
    _check_names(texts)
    sources = [
        _Source.read(lm, lang, texts, asked, single=number == 0)
        for number, lang in enumerate(texts)
    ]
    folder = Path(output) if output is not None else None
    sizes = {source.lang: source.size for source in sources}
    expected = estimation.expect(lm, sizes, resolved, folder)
    if not measure or asked.generated is not None:
        return expected
    with evaluation_mode(lm.model):
        rate = estimation.measure(lm, sources[0].blocks(), resolved)
    seconds = sum(expected.tokens.values()) / rate
    return replace(expected, tokens_per_second=rate, seconds=seconds)


def _check_names(texts: Texts) -> None:
    if not texts:
        raise InputError("no text: give at least one language.")
    for lang in texts:
        check_language(lang)


@dataclass(frozen=True)
class _Source:
    """Text of one language, looked at once; its blocks are made (again) when they are needed.

    Attributes:
        lang: The language.
        size: Its blocks and counted tokens.
        fingerprint: Fingerprint of the blocks.
        cut: How they are cut, as JSON values.
        blocks: Gives the blocks.
    """

    lang: str
    size: estimation.Size
    fingerprint: str
    cut: dict[str, Any]
    blocks: Callable[[], Blocks]

    @classmethod
    def read(
        cls, lm: LanguageModel, lang: str, texts: Texts, asked: Options, *, single: bool
    ) -> _Source:
        """Cut the text once; the blocks are kept where ``single`` or where it reads only once."""
        text = texts[lang]
        if asked.generated is not None:
            return cls._of_prompts(lm, lang, text, asked)
        watched = text if isinstance(text, Blocks) else Watched(text)
        first = _blocks(lm, lang, watched, asked)
        if isinstance(watched, Watched):
            warn_of_other_languages(watched.seen, lang, texts)
        lead = None if first.cut is None else first.cut.lead
        warn_without_beginning(lm.config, lm.tokenizer, lm.name, lead)
        fingerprint = first.fingerprint
        size = estimation.Size(len(first), first.tokens)
        kept = first if single or isinstance(text, Blocks) or iter(text) is text else None

        def blocks() -> Blocks:
            if kept is not None:
                return kept
            again = _blocks(lm, lang, text, asked)
            if again.fingerprint != fingerprint:
                raise InputError(
                    f"text of {lang!r} gives other documents each time it is read: give a list."
                )
            return again

        return cls(lang, size, fingerprint, _cut(first), blocks)

    @classmethod
    def _of_prompts(
        cls, lm: LanguageModel, lang: str, text: Iterable[str] | Blocks, asked: Options
    ) -> _Source:
        """The text as prompts; what the model writes is known when it has written it."""
        if isinstance(text, Blocks):
            raise InputError(f"prompts of {lang!r} must be texts, not blocks: give the texts.")
        new = asked.generated
        assert new is not None
        options = asked.resolved()
        try:
            prompts = Prompts(lm, text, options.bos)
        except InputError as error:
            raise InputError(f"text of {lang!r}: {error}") from error
        how: dict[str, Any] = {
            "generated": new,
            "temperature": float(asked.temperature),
            "tokens": asked.tokens,
            "head": head_digest(lm),  # chooses the tokens, and is not in the fingerprint
            "ends": sorted(set(end_tokens(lm))),
        }
        if asked.temperature > 0:  # draws depend on who stands beside whom
            how["batch_size"] = asked.batch_size

        def blocks() -> Blocks:
            return generate_blocks(
                lm, prompts, new, temperature=asked.temperature, seed=options.seed,
                tokens=asked.tokens, batch_size=asked.batch_size, name=f"Written text {lang}",
            )  # fmt: skip

        size = estimation.Size(len(prompts.ids), new * len(prompts.ids))
        cut = {"block": None, "pack": False, "lead": None, **how}
        return cls(lang, size, digest("generated", prompts.ids, prompts.keys, how), cut, blocks)


def _blocks(lm: LanguageModel, lang: str, text: Iterable[str] | Blocks, asked: Options) -> Blocks:
    options = asked.resolved()
    if isinstance(text, Blocks):
        blocks = text
        _refuse_other_cut(lang, blocks, asked)
    else:
        try:
            blocks = make_blocks(
                text, lm.tokenizer, block=options.block, tokens=asked.tokens, bos=options.bos,
                pack=options.pack,
            )  # fmt: skip
        except InputError as error:
            raise InputError(f"text of {lang!r}: {error}") from error
    if blocks.tokens == 0:
        raise InputError(f"text of {lang!r}: the blocks hold no token to count; give more text.")
    return blocks


def _refuse_other_cut(lang: str, blocks: Blocks, asked: Options) -> None:
    """Blocks were cut before: an option that says otherwise would be recorded, but not true."""
    cut = _cut(blocks)
    lead = cut["lead"]
    facts = {
        "block": cut["block"],
        "pack": cut["pack"],
        "bos": None if lead is None else bool(lead),
    }
    for name, fact in facts.items():
        given = getattr(asked, name)
        if given is not None and given != fact:
            raise InputError(
                f"{name}={given!r} does not hold for the blocks given for {lang!r}, which are "
                f"already cut ({name}={fact!r}): leave it out, or give the texts."
            )
    if asked.tokens is not None and blocks.tokens > asked.tokens + blocks.input_ids.shape[1]:
        raise InputError(
            f"the blocks given for {lang!r} hold {blocks.tokens} tokens, more than "
            f"tokens={asked.tokens}: leave it out, or give the texts."
        )


def _cut(blocks: Blocks) -> dict[str, Any]:
    """How the blocks were cut, as JSON values; None where blocks made by hand do not tell."""
    if blocks.cut is not None:
        return {**asdict(blocks.cut), "lead": list(blocks.cut.lead)}
    packed = blocks.token_document is not None
    return {"block": blocks.input_ids.shape[1], "pack": packed, "lead": None}


def _finished(folder: Path | None, lang: str, key: str) -> LanguageStatistics | None:
    """Statistics of this key that the folder already holds, whole and undamaged."""
    if folder is None or not language_path(folder, lang).is_file():
        return None
    try:
        stored = load_language(language_path(folder, lang))
        item = stored.item
        if item.key != key:
            return None
        if item.sample is not None:
            for layer in range(stored.shape[0]):
                item.sample.rows.layer(layer)  # compares its checksum
    except (ArtifactError, InputError):
        return None
    return item


@dataclass(frozen=True)
class _Run:
    """What is the same for all languages of one collection."""

    lm: LanguageModel
    options: Resolved
    folder: Path | None
    resume: bool
    checkpoint_blocks: int
    group: Group
    state: dict[str, str]

    def language(self, source: _Source) -> LanguageStatistics:
        """Statistics of one language, found in the folder or collected."""
        lm, options = self.lm, self.options
        about = {
            **options.identity(),
            **source.cut,
            "dtype": str(lm.dtype).removeprefix("torch."),
            **({"state": self.state} if self.state else {}),
        }
        key = digest(FORMAT, lm.fingerprint["sha256"], source.fingerprint, about)
        done = _finished(self.folder, source.lang, key) if self.resume else None
        return done or self._collect(source.lang, source.blocks(), about, key)

    def _collect(
        self, lang: str, blocks: Blocks, about: dict[str, Any], key: str
    ) -> LanguageStatistics:
        lm, options, group, folder = self.lm, self.options, self.group, self.folder
        selection = select(blocks, options.limit, options.seed)
        shape = (lm.layers, len(selection), lm.sites[options.site].common)
        dtype = estimation.row_dtype(lm, options)
        scratch, state, saved = None, None, None
        pass_key = digest(key, blocks.fingerprint, group.rank, group.size)
        if folder is not None:
            scratch = folder / f".{lang}.{group.rank}.partial"
            state = scratch / "state.safetensors"
            saved = saved_state(state, pass_key) if self.resume else None
            if saved is None and scratch.exists():
                shutil.rmtree(scratch)
        writer: RowWriter = _writer(scratch, shape, dtype)
        keep_order = options.quantiles == "batch-mean"
        collector = Collector(
            lm,
            options.site,
            blocks,
            group.share(running_order(blocks, keep_order)),
            selection,
            writer,
            keep_order,
            first_limits(lm, options.batch_size),
        )
        if saved is not None:
            collector.restore(saved)
        save = _checkpointer(collector, state, pass_key, self.checkpoint_blocks)
        with track(f"Statistics {lang}", total=_share_tokens(collector), unit="tokens") as bar:
            done = collector.order[: collector.progress.done]
            bar.skip(int(blocks.counted[done].sum()))
            collector.run(bar.advance, save)
        moments = group.merge(collector.moments())
        _check_finite(lm, lang, moments)
        source: RowSource = writer if group.size == 1 else GatheredRows(writer, group)
        item = LanguageStatistics(
            tokens=moments.tokens,
            count=moments.count,
            moments=moments,
            sample=_sample(options, selection, source),
            batch_quantiles=_quantiles(collector, group),
            texts=(blocks.fingerprint,),
            options=about,
            key=key,
        )
        return self._finish(lang, item, scratch)

    def _finish(
        self, lang: str, item: LanguageStatistics, scratch: Path | None
    ) -> LanguageStatistics:
        """Bring the result where it belongs: to the folder, or into every process's memory."""
        lm, group, folder = self.lm, self.group, self.folder
        shape = (lm.layers, lm.sites[self.options.site].common)
        if folder is None or scratch is None:
            if group.size > 1 and item.sample is not None:
                layers = [item.sample.rows.layer(layer) for layer in range(lm.layers)]
                rows = MemoryRows(torch.stack(layers))
                item = replace(item, sample=replace(item.sample, rows=rows))
            return item
        whole = Statistics(self.options.site, shape, lm.fingerprint, {lang: item})
        if group.rank == 0:
            item = save_language(whole, lang, folder)
        elif item.sample is not None:
            for layer in range(lm.layers):
                item.sample.rows.layer(layer)
        group.barrier()
        shutil.rmtree(scratch)
        if group.rank != 0:
            item = load_language(language_path(folder, lang)).item
        return item


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


def _share_tokens(collector: Collector) -> int:
    return int(collector.blocks.counted[collector.order].sum())


def _checkpointer(
    collector: Collector, state: Path | None, key: str, every: int
) -> Callable[[], None]:
    last = collector.progress.done

    def checkpoint() -> None:
        nonlocal last
        done = collector.progress.done
        if state is not None and done - last >= every and done < len(collector.order):
            collector.save(state, key)
            last = done

    return checkpoint


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
