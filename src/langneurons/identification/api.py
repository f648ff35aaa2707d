"""``identify``: one way to call every method."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from langneurons.artifacts import digest
from langneurons.data import Blocks
from langneurons.errors import InputError
from langneurons.identification.language_sets import resolve_languages
from langneurons.identification.method import METHODS, Found, Method, ModelInput
from langneurons.identification.neuron_set import NeuronSet
from langneurons.identification.selection import take
from langneurons.identification.units import Units
from langneurons.statistics.forward import evaluation_mode

if TYPE_CHECKING:
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics


def identify(
    statistics: Statistics | None = None,
    method: str = "lape",
    languages: str | Iterable[str] | None = None,
    *,
    model: LanguageModel | None = None,
    texts: Mapping[str, Iterable[str] | Blocks] | None = None,
    per_language: float | None = None,
    per_layer: float | None = None,
    reading: Literal["all", "routed"] | None = None,
    **parameters: Any,
) -> NeuronSet:
    """Find which units belong to which language.

    Args:
        statistics: Collected statistics; may be left out for methods that read the model alone.
        method: A name of :data:`METHODS`.
        languages: Languages to compare, or the name of a language set (``"set1"`` to ``"set6"``,
            ``"set_xnli"``); None takes all. No new pass over the text is needed for a subset.
        model: For methods that need the model (gradient, relevance, transfer).
        texts: Language to texts or blocks, for the same methods; an iterator is read once.
        per_language: Quota: instead of the method's own number, the best so many (int) or this
            share of all units (float) for each language, by the method's score, among the units
            that the method admits for the language.
        per_layer: Quota: the same for each layer of each language.
        reading: Of units inside experts (``moe.act`` and its like): whether shares and means are of
            all tokens or of the routed ones, see :meth:`Statistics.read_as`; None: as the
            statistics are read, by default of all. Recorded with the neurons.
        parameters: The method's own; see its documentation.

    Returns:
        The neurons, with every parameter, threshold and fingerprint recorded.

    Raises:
        InputError: If the method, a parameter or a language is not known, what the method reads
            is missing, or the languages are too few to compare.
    """
    entry = METHODS.get(method)
    resolved = entry.resolve(parameters)
    if reading is not None and statistics is not None:
        statistics = statistics.read_as(reading)
    if entry.needs == "model":
        made = _on_model(
            entry, resolved, statistics, languages, model, texts, per_language, per_layer
        )
    else:
        made = _on_statistics(entry, resolved, statistics, languages, per_language, per_layer)
    empty = [language for language, units in made.items() if not len(units)]
    if empty:
        warnings.warn(
            f"method {method!r} finds no unit for language {', '.join(empty)}.", stacklevel=2
        )
    return made


def _on_statistics(
    entry: Method,
    resolved: dict[str, Any],
    statistics: Statistics | None,
    languages: str | Iterable[str] | None,
    per_language: float | None,
    per_layer: float | None,
) -> NeuronSet:
    if statistics is None:
        raise InputError(f"method {entry.name!r} reads statistics: collect them first.")
    chosen = resolve_languages(languages, statistics.languages)
    _enough(entry, chosen)
    selected = statistics.select(chosen)
    present = selected.present
    if 0 < len(present) < selected.shape[0]:
        # Layers without the site have no units: shares, percentiles and quotas are of the others.
        found = entry.on_statistics(selected.in_layers(present), **resolved)
        found = _among_layers(found, present, selected.shape)
    else:
        found = entry.on_statistics(selected, **resolved)
    if all(item.routing is not None for item in selected.by_language.values()):
        resolved = {**resolved, "reading": selected.reading}
    return _neurons(
        entry, resolved, found, selected.site, statistics.model, statistics.fingerprint,
        per_language, per_layer,
    )  # fmt: skip


def _among_layers(found: Found, layers: Sequence[int], shape: tuple[int, int]) -> Found:
    """What was found in some layers as part of all, the others without any unit."""

    def whole(part: Tensor, empty: float) -> Tensor:
        spread = part.new_full(shape, empty)
        spread[list(layers)] = part
        return spread

    return replace(
        found,
        scores={lang: whole(score, -torch.inf) for lang, score in found.scores.items()},
        selected={lang: whole(mask, False) for lang, mask in found.selected.items()},
    )


def _on_model(
    entry: Method,
    resolved: dict[str, Any],
    statistics: Statistics | None,
    languages: str | Iterable[str] | None,
    model: LanguageModel | None,
    texts: Mapping[str, Iterable[str] | Blocks] | None,
    per_language: float | None,
    per_layer: float | None,
) -> NeuronSet:
    if model is None or texts is None:
        raise InputError(f"method {entry.name!r} reads the model: give model=... and texts=...")
    chosen = resolve_languages(languages, texts)
    _enough(entry, chosen)
    selected = None
    if statistics is not None:
        selected = statistics.select(resolve_languages(chosen, statistics.languages))
    read = {language: _read(texts[language]) for language in chosen}
    model.refresh()
    with evaluation_mode(model.model):
        found = entry.on_model(ModelInput(model, read, selected), **resolved)
    source = digest(
        *(part for language in chosen for part in (language, _text_key(read[language])))
    )
    return _neurons(
        entry, resolved, found, found.site or str(resolved["site"]), model.fingerprint, source,
        per_language, per_layer,
    )  # fmt: skip


def _read(texts: Iterable[str] | Blocks) -> Sequence[str] | Blocks:
    """Documents that can be read more than once, as method and key both do."""
    if isinstance(texts, Blocks):
        return texts
    return [texts] if isinstance(texts, str) else list(texts)


def _text_key(texts: Sequence[str] | Blocks) -> str:
    return texts.fingerprint if isinstance(texts, Blocks) else digest(list(texts))


def _enough(entry: Method, languages: Sequence[str]) -> None:
    if len(languages) < entry.least:
        raise InputError(
            f"method {entry.name!r} compares languages and needs at least {entry.least}, "
            f"got {len(languages)} ({', '.join(languages)}): add another language."
        )


def _neurons(
    entry: Method,
    resolved: Mapping[str, Any],
    found: Found,
    site: str,
    model: Mapping[str, Any] | None,
    source: str,
    per_language: float | None,
    per_layer: float | None,
) -> NeuronSet:
    masks = found.selected
    if per_language is not None or per_layer is not None:
        masks = {name: take(score, per_language, per_layer) for name, score in found.scores.items()}
    units = {name: Units.from_mask(mask) for name, mask in masks.items()}
    shape = next(iter(masks.values())).shape
    return NeuronSet(
        units,
        (shape[0], shape[1]),
        site=site,
        method=entry.name,
        parameters={
            **resolved,
            **({} if per_language is None else {"per_language": per_language}),
            **({} if per_layer is None else {"per_layer": per_layer}),
            "languages": list(units),
            **({"found": found.facts} if found.facts else {}),
        },
        model=model,
        statistics=source,
        scores={
            name: found.scores[name][units[name].layers, units[name].indices].to(torch.float64)
            for name in units
        },
    )
