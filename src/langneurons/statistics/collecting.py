"""Collecting statistics: text in, :class:`Statistics` out, in one pass over each language."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from langneurons.artifacts import digest
from langneurons.data import Blocks, make_blocks
from langneurons.errors import ArtifactError, InputError, RunError
from langneurons.models import LanguageModel
from langneurons.progress import track
from langneurons.statistics import estimation
from langneurons.statistics.collector import (
    Collector,
    first_limits,
    running_order,
    saved_state,
)
from langneurons.statistics.group import GatheredRows, Group
from langneurons.statistics.language import BatchQuantiles, LanguageStatistics
from langneurons.statistics.moments import Moments
from langneurons.statistics.options import (
    DEFAULT_ROWS,
    PAPER_PROBABILITIES,
    Options,
    Quantiles,
    resolve,
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
from langneurons.statistics.storage import FORMAT, language_path, load_language, save_language
from langneurons.statistics.values import Statistics

Texts = Mapping[str, Iterable[str] | Blocks]


def collect(
    lm: LanguageModel,
    texts: Texts,
    *,
    site: str | None = None,
    tokens: int | None = None,
    block: int | None = None,
    rows: int = DEFAULT_ROWS,
    seed: int = 0,
    batch_size: int | None = None,
    output: str | Path | None = None,
    protocol: str = "strict",
    resume: bool = True,
    quantiles: Quantiles | None = None,
    pack: bool | None = None,
    bos: bool | None = None,
    checkpoint_blocks: int = 256,
) -> Statistics:
    """Collect what every unit of a site does in every language.

    Languages are collected one after another. Only the model without its head runs. Under
    ``torch.distributed`` (``accelerate launch``) each process runs a share of the blocks, and all
    return the same statistics.

    Args:
        lm: The model.
        texts: Language to documents, or to blocks made before (block, tokens, pack and bos are
            then already decided).
        site: Site to read; None: the protocol's (``mlp.act``; ``paper``: ``mlp.pre``).
        tokens: Stop each language with the block in which so many tokens are counted.
        block: Positions in a block; None: the protocol's (256; ``paper``: 512).
        rows: Token rows to keep for quantiles; 0 for none.
        seed: Seed of the sample of rows.
        batch_size: Blocks in a batch; None finds it by itself. Halved after an out-of-memory.
        output: Folder for ``<lang>.safetensors``. Token rows then lie on disk, a run that was
            killed continues from its last checkpoint, and a language that is finished is not
            collected again. Without it all lies in memory.
        protocol: ``"strict"``, or ``"paper"``: what the paper's released code does (mean over
            batches of per-batch quantiles of ``mlp.pre``, packed blocks of 512 tokens).
        resume: Whether to use what ``output`` already holds.
        quantiles: See :class:`langneurons.statistics.options.Options`; None: the protocol's.
        pack: Fill blocks across document boundaries; None: the protocol's.
        bos: See :func:`langneurons.data.make_blocks`; None: the protocol's.
        checkpoint_blocks: Save the state after so many blocks.

    Returns:
        The statistics.

    Raises:
        InputError: If an argument is out of range, a language has no text, the model lacks the
            site, or memory or disk will not do.
        RunError: If the model gives NaN or infinity, or one block does not fit into memory.
    """
    options = resolve(
        protocol, site=site, quantiles=quantiles, rows=rows, seed=seed, block=block, pack=pack,
        bos=bos, batch_size=batch_size,
    )  # fmt: skip
    if checkpoint_blocks < 1:
        raise InputError(f"checkpoint_blocks must be at least 1, not {checkpoint_blocks}.")
    shape = (lm.layers, lm.sites[options.site].width)
    blocks = _all_blocks(lm, texts, options, tokens)
    folder = Path(output) if output is not None else None
    estimation.refuse_if_too_large(estimation.expect(lm, blocks, options, folder), folder)
    group = Group.current(lm.device)
    found: dict[str, LanguageStatistics] = {}
    for lang, item in blocks.items():
        key = _key(lm, item, options)
        done = _finished(folder, lang, key) if resume else None
        if done is None:
            done = _collect_language(
                lm, lang, item, options, key, folder, resume, checkpoint_blocks, group
            )
        found[lang] = done
    return Statistics(options.site, shape, lm.fingerprint, found)


def estimate(
    lm: LanguageModel,
    texts: Texts,
    *,
    site: str | None = None,
    tokens: int | None = None,
    block: int | None = None,
    rows: int = DEFAULT_ROWS,
    batch_size: int | None = None,
    output: str | Path | None = None,
    protocol: str = "strict",
    quantiles: Quantiles | None = None,
    pack: bool | None = None,
    bos: bool | None = None,
    measure: bool = True,
) -> estimation.Estimate:
    """Say what :func:`collect` with the same arguments would take, without collecting.

    Args:
        lm: The model.
        texts: See :func:`collect`.
        site: See :func:`collect`.
        tokens: See :func:`collect`.
        block: See :func:`collect`.
        rows: See :func:`collect`.
        batch_size: See :func:`collect`.
        output: See :func:`collect`; nothing is written.
        protocol: See :func:`collect`.
        quantiles: See :func:`collect`.
        pack: See :func:`collect`.
        bos: See :func:`collect`.
        measure: Run two batches to measure the speed.

    Returns:
        Tokens, memory, disk and (if measured) time.

    Raises:
        InputError: See :func:`collect`.
    """
    options = resolve(
        protocol, site=site, quantiles=quantiles, rows=rows, seed=0, block=block, pack=pack,
        bos=bos, batch_size=batch_size,
    )  # fmt: skip
    blocks = _all_blocks(lm, texts, options, tokens)
    folder = Path(output) if output is not None else None
    expected = estimation.expect(lm, blocks, options, folder)
    if not measure:
        return expected
    rate = estimation.measure(lm, next(iter(blocks.values())), options)
    seconds = sum(expected.tokens.values()) / rate
    return replace(expected, tokens_per_second=rate, seconds=seconds)


def _all_blocks(
    lm: LanguageModel, texts: Texts, options: Options, tokens: int | None
) -> dict[str, Blocks]:
    if not texts:
        raise InputError("no text: give at least one language.")
    return {lang: _blocks(lm, lang, item, options, tokens) for lang, item in texts.items()}


def _blocks(
    lm: LanguageModel,
    lang: str,
    text: Iterable[str] | Blocks,
    options: Options,
    tokens: int | None,
) -> Blocks:
    if isinstance(text, Blocks):
        blocks = text
    else:
        try:
            blocks = make_blocks(
                text, lm.tokenizer, block=options.block, tokens=tokens, bos=options.bos,
                pack=options.pack,
            )  # fmt: skip
        except InputError as error:
            raise InputError(f"text of {lang!r}: {error}") from error
    if blocks.tokens == 0:
        raise InputError(f"text of {lang!r}: the blocks hold no token to count; give more text.")
    return blocks


def _key(lm: LanguageModel, blocks: Blocks, options: Options) -> str:
    """Content key of one language: model, text, and every option that decides the result."""
    model = lm.fingerprint["sha256"]
    return digest(FORMAT, model, str(lm.dtype), blocks.fingerprint, options.identity())


def _finished(folder: Path | None, lang: str, key: str) -> LanguageStatistics | None:
    """Statistics of this key that the folder already holds, whole and undamaged."""
    if folder is None or not language_path(folder, lang).is_file():
        return None
    try:
        _, statistics = load_language(language_path(folder, lang))
    except (ArtifactError, InputError):
        return None
    item = statistics[next(iter(statistics.languages))]
    return item if item.key == key else None


def _collect_language(
    lm: LanguageModel,
    lang: str,
    blocks: Blocks,
    options: Options,
    key: str,
    folder: Path | None,
    resume: bool,
    checkpoint_blocks: int,
    group: Group,
) -> LanguageStatistics:
    selection = select(blocks, options.limit, options.seed)
    shape = (lm.layers, len(selection), lm.sites[options.site].width)
    dtype = estimation.row_dtype(lm, options)
    scratch, state, saved = None, None, None
    pass_key = digest(key, group.rank, group.size)
    if folder is not None:
        scratch = folder / f".{lang}.{group.rank}.partial"
        state = scratch / "state.safetensors"
        saved = saved_state(state, pass_key) if resume else None
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
    with track(f"Statistics {lang}", total=_share_tokens(collector), unit="tokens") as bar:
        done = collector.order[: collector.progress.done]
        bar.skip(int(blocks.counted[done].sum()))
        collector.run(bar.advance, _checkpointer(collector, state, pass_key, checkpoint_blocks))
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
        options={**options.identity(), "dtype": str(lm.dtype).removeprefix("torch.")},
        key=key,
    )
    return _finish(lm, lang, item, options, folder, scratch, group)


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


def _sample(options: Options, selection: Selection, source: RowSource) -> RowSample | None:
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


def _finish(
    lm: LanguageModel,
    lang: str,
    item: LanguageStatistics,
    options: Options,
    folder: Path | None,
    scratch: Path | None,
    group: Group,
) -> LanguageStatistics:
    """Bring the result where it belongs: to the folder, or into the memory of every process."""
    shape = (lm.layers, lm.sites[options.site].width)
    if folder is None or scratch is None:
        if group.size > 1 and item.sample is not None:
            layers = [item.sample.rows.layer(layer) for layer in range(lm.layers)]
            item = replace(item, sample=replace(item.sample, rows=MemoryRows(torch.stack(layers))))
        return item
    whole = Statistics(options.site, shape, lm.fingerprint, {lang: item})
    if group.rank == 0:
        item = save_language(whole, lang, folder)
    elif item.sample is not None:
        for layer in range(lm.layers):
            item.sample.rows.layer(layer)
    group.barrier()
    shutil.rmtree(scratch)
    if group.rank != 0:
        _, statistics = load_language(language_path(folder, lang))
        item = statistics[lang]
    return item
