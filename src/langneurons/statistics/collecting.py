"""Collecting statistics: text in, :class:`Statistics` out, in one pass over each language."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from langneurons.artifacts import digest
from langneurons.data import Blocks, make_blocks
from langneurons.data.expected import Watched, warn_of_other_languages
from langneurons.errors import InputError
from langneurons.models import LanguageModel
from langneurons.models.checking import warn_without_beginning
from langneurons.models.running import head_digest, running_state
from langneurons.statistics import estimation
from langneurons.statistics.forward import evaluation_mode
from langneurons.statistics.generating import Prompts, end_tokens, generate_blocks
from langneurons.statistics.group import Group
from langneurons.statistics.options import Options, check_integer
from langneurons.statistics.passing import Pass
from langneurons.statistics.storage import check_language
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
    site = asked.resolved().site
    folders = {} if output is None else {site: output}
    return collect_sites(
        lm, texts, [site], asked,
        outputs=folders, resume=resume, checkpoint_blocks=checkpoint_blocks,
    )[site]  # fmt: skip


def collect_sites(
    lm: LanguageModel,
    texts: Texts,
    sites: Sequence[str],
    options: Options | None = None,
    *,
    outputs: Mapping[str, str | Path] | None = None,
    resume: bool = True,
    checkpoint_blocks: int = 256,
    **fields: Any,
) -> dict[str, Statistics]:
    """Collect what every unit of several sites does, in one pass over each language.

    Each site's statistics are those of :func:`collect` at that site alone, to the last bit, unless
    a batch did not fit into memory and was made smaller for all.

    Args:
        lm: The model.
        texts: See :func:`collect`.
        sites: Names of sites, each once.
        options: See :func:`collect`; their site is left out.
        outputs: Site to folder, another one for each; see ``output`` of :func:`collect`. A site
            that is finished in its folder takes no part in the pass, and sites that a stop has left
            at different places meet again.
        resume: See :func:`collect`.
        checkpoint_blocks: See :func:`collect`.
        fields: See :func:`collect`.

    Returns:
        Site to its statistics, in the order given.

    Raises:
        InputError: See :func:`collect`; or if a site or folder is given twice, or a folder for a
            site that is not collected.
        RunError: See :func:`collect`.
    """
    asked = Options.of(options, fields)
    each = [replace(asked, site=site).resolved() for site in sites]
    check_integer("checkpoint_blocks", checkpoint_blocks, 1)
    _check_names(texts)
    folders = {site: Path(folder) for site, folder in (outputs or {}).items()}
    _check_sites(sites, folders)
    for item in each:
        if lm.sites[item.site].inner is not None and item.quantiles == "batch-mean":
            raise InputError(
                f"quantiles of batches are not taken at {item.site!r}, where every unit has its "
                "own tokens: use quantiles='sample' (protocol='strict')."
            )
    shapes = {item.site: (lm.layers, lm.sites[item.site].common) for item in each}
    sources = [_Source.read(lm, lang, texts, asked, single=len(texts) == 1) for lang in texts]
    sizes = {source.lang: source.size for source in sources}
    expected = [estimation.expect(lm, sizes, item, folders.get(item.site)) for item in each]
    estimation.refuse_if_too_large(
        estimation.together(expected), next(iter(folders.values()), None)
    )
    lm.refresh()
    run = Pass(
        lm, each, folders, resume, checkpoint_blocks, Group.current(lm.device), running_state(lm)
    )
    with evaluation_mode(lm.model):
        found = {
            source.lang: run.language(source.lang, source.fingerprint, source.cut, source.blocks)
            for source in sources
        }
    return {
        site: Statistics(
            site, shape, lm.fingerprint, {lang: item[site] for lang, item in found.items()}
        )
        for site, shape in shapes.items()
    }


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


def _check_sites(sites: Sequence[str], folders: Mapping[str, Path]) -> None:
    if isinstance(sites, str) or not sites or len(set(sites)) < len(sites):
        raise InputError(f"sites must be a list of names, each once, not {sites!r}.")
    for site in folders:
        if site not in sites:
            raise InputError(f"a folder for {site!r}, which is not among the sites: name it there.")
    if len({folder.absolute() for folder in folders.values()}) < len(folders):
        raise InputError("sites need a folder each: their files have the same names.")


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
