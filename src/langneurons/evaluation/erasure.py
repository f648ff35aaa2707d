"""Erasing language linearly, beside neurons and random subspaces, on equal terms.

A subspace is fitted on the activations of one half of the documents. Then, with the projection in
place in one layer (or in all): what a linear classifier still finds of the language at that place
and behind the last layer, on the other half; the perplexity of every language; and the loss of a
task's answers. Every subspace stands beside random ones of its rank; the neurons of the study
beside as many random units.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from langneurons.data import Blocks, batches
from langneurons.evaluation import ratio_interval
from langneurons.evaluation.examples import AnswerLoss
from langneurons.evaluation.language_modelling import PerplexityResult
from langneurons.evaluation.probing import Labelled, Probe, labelled, share
from langneurons.evaluation.residual import streams
from langneurons.evaluation.together import Change, changed_perplexities
from langneurons.evaluation.token_loss import Head, find_head
from langneurons.identification.evidence import BalancedRows
from langneurons.identification.subspaces import Subspace, fit, of_units, random_subspace
from langneurons.intervention.erasing import erased
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

BEHIND_TOKENS = 1500
"""Most tokens of each language read behind the last layer."""


@dataclass(frozen=True)
class Halves:
    """Token rows of one layer, in two halves that share no document.

    Attributes:
        fitted: Language to (n, width), for fitting subspaces and classifiers.
        train: The same with labels.
        test: The other half.
    """

    fitted: dict[str, torch.Tensor]
    train: Labelled
    test: Labelled


@dataclass(frozen=True)
class Erasure:
    """What erasing does.

    Attributes:
        language: One row a layer, kind and seed: ``layer`` (a number or ``all``), ``kind``,
            ``seed``, ``rank``, ``here`` with ``here_low``, ``here_high`` (share of test tokens
            whose language a classifier finds at the erased place), ``behind`` likewise (behind the
            last layer), ``chance``, ``tokens``.
        cost: One row a layer, kind, seed and language or task: ``measure`` (``perplexity`` as a
            ratio, ``task`` as a rise of the answer's loss in nats), ``on``, ``value``, ``low``,
            ``high``.
    """

    language: pd.DataFrame
    cost: pd.DataFrame


def erase_languages(
    lm: LanguageModel,
    stats: Statistics,
    blocks: Mapping[str, Blocks],
    *,
    layers: Sequence[int],
    kinds: Sequence[str],
    neurons: NeuronSet | None = None,
    random: int = 2,
    tasks: Mapping[str, AnswerLoss] | None = None,
    rows: int = 1000,
    all_layers: bool = True,
    seed: int = 0,
    level: float = 0.95,
    baseline: MutableMapping[str, PerplexityResult] | None = None,
) -> Erasure:
    """Erase every kind of subspace in each layer, and look at what is left and what it costs.

    Args:
        lm: A causal model.
        stats: Statistics with token rows of all languages, at the site that is erased.
        blocks: Held-out text by language; its languages are the ones measured.
        layers: Layers, one at a time.
        kinds: Kinds of subspace, see :mod:`langneurons.identification.subspaces`.
        neurons: A set at the same site; the union of its languages is set to its mean.
        random: Random subspaces of the same rank, and random units.
        tasks: Name to the loss of a task's answers.
        rows: Most token rows of each language.
        all_layers: Also erase in all of ``layers`` at once.
        seed: Seed of random subspaces.
        level: Level of the intervals.
        baseline: Untouched perplexities by language that are known already; missing ones are put
            there.
    """
    halves = {layer: split(stats, layer, rows) for layer in layers}
    plans = _plans(lm, stats, halves, kinds, neurons, random, seed, all_layers)
    found, costs = [], []
    head = find_head(lm)
    plain: MutableMapping[str, PerplexityResult] = {} if baseline is None else baseline
    touched = _perplexities(lm, stats.site, blocks, [parts for _, parts in plans], head, plain)
    before = {name: loss() for name, loss in (tasks or {}).items()}
    untouched = _behind(lm, blocks)
    probe = Probe(untouched.train)
    with track("erasing", len(plans) + 1, "subspaces") as bar:
        base = {"layer": "-", "kind": "none", "seed": 0, "rank": 0}
        found.append({**base, **_behind_share(probe, untouched.test, level), **_nothing(halves)})
        bar.advance()
        for number, (about, parts) in enumerate(plans):
            bar.note(f"{about['kind']} in layer {about['layer']}")
            row = dict(about)
            if len(parts) == 1:
                layer, item = next(iter(parts.items()))
                row |= _here(halves[layer], item, level)
            with erased(lm, stats.site, parts):
                after = _behind(lm, blocks)
                losses = {name: loss() for name, loss in (tasks or {}).items()}
            row |= _behind_share(Probe(after.train), after.test, level)
            found.append({**row, "chance": 1 / len(blocks)})
            for lang in blocks:
                costs.append({**about, "measure": "perplexity", "on": lang,
                              **_ratio(touched[lang][number], plain[lang], level)})  # fmt: skip
            for name in losses:
                costs.append({**about, "measure": "task", "on": name,
                              **_mean(losses[name] - before[name], level)})  # fmt: skip
            bar.advance()
    table = pd.DataFrame(found)
    return Erasure(table.assign(chance=1 / len(blocks)), pd.DataFrame(costs))


def _nothing(halves: Mapping[int, Halves]) -> dict[str, float]:
    """Untouched: the classifier's mean share over the layers looked at."""
    shares = [_here(item, None, 0.95) for item in halves.values()]
    return {key: float(np.mean([found[key] for found in shares])) for key in shares[0]}


def split(stats: Statistics, layer: int, rows: int) -> Halves:
    """Two halves of a layer's token rows, by document, at most ``rows`` of each language."""
    sample = BalancedRows(stats)
    train: dict[str, torch.Tensor] = {}
    test: dict[str, torch.Tensor] = {}
    owners: list[dict[str, NDArray[np.int64]]] = [{}, {}]
    for name in sample.languages:
        half = sample.halves(name)
        data = sample.by_document(name, layer).float()
        documents = sample.documents(name)
        for number, into in enumerate((train, test)):
            kept = np.flatnonzero(half == number)[:rows]
            into[name] = data[torch.from_numpy(kept)]
            owners[number][name] = documents[kept]
    return Halves(train, labelled(train, owners[0]), labelled(test, owners[1]))


def _perplexities(
    lm: LanguageModel,
    site: str,
    blocks: Mapping[str, Blocks],
    plans: Sequence[Mapping[int, Subspace]],
    head: Head,
    known: MutableMapping[str, PerplexityResult],
) -> dict[str, list[PerplexityResult]]:
    """Perplexity of each language with each of several sets of subspaces erased."""
    changes = [Change(min(parts), partial(erased, lm, site, parts)) for parts in plans]
    with track("perplexity, erased", len(plans) * len(blocks), "cells") as bar:
        return changed_perplexities(
            lm, blocks, dict.fromkeys(blocks, tuple(changes)), known, head=head, advance=bar.advance
        )


def _plans(
    lm: LanguageModel,
    stats: Statistics,
    halves: Mapping[int, Halves],
    kinds: Sequence[str],
    neurons: NeuronSet | None,
    random: int,
    seed: int,
    all_layers: bool,
) -> list[tuple[dict[str, Any], dict[int, Subspace]]]:
    """What to erase: by kind and seed, one layer at a time and all together."""
    made: dict[tuple[str, int], dict[int, Subspace]] = {}
    for kind in kinds:
        made[kind, 0] = {layer: fit(item.fitted, kind) for layer, item in halves.items()}
    like = made[kinds[0], 0] if kinds else {
        layer: fit(item.fitted, "mean") for layer, item in halves.items()
    }  # fmt: skip
    rank = len(stats.languages) - 1
    for number in range(seed, seed + random):
        made["random", number] = {
            layer: random_subspace(item, rank, 1000 * number + layer)
            for layer, item in like.items()
        }
    if neurons is not None:
        sets = {("neurons", 0): neurons.union()}
        for number in range(seed, seed + random):
            sets["random units", number] = neurons.random_like(number).union()
        for key, units in sets.items():
            chosen = {layer: of_units(units, layer, item.origin) for layer, item in like.items()}
            made[key] = {layer: item for layer, item in chosen.items() if item.rank}
    plans = []
    for (kind, number), parts in made.items():
        for layer, item in parts.items():
            about = {"layer": str(layer), "kind": kind, "seed": number, "rank": item.rank}
            plans.append((about, {layer: item}))
        if all_layers and len(parts) > 1:
            total = sum(item.rank for item in parts.values())
            plans.append(({"layer": "all", "kind": kind, "seed": number, "rank": total}, parts))
    return plans


def _here(half: Halves, item: Subspace | None, level: float) -> dict[str, float]:
    """What a classifier trained on erased activations finds in erased ones."""
    train, test = half.train, half.test
    if item is not None:
        train = Labelled(item.erase(train.x), train.language, train.document)
        test = Labelled(item.erase(test.x), test.language, test.document)
    hits = Probe(train).predict(test.x) == test.language
    found = share(hits, test.document, level)
    return {"here": found["value"], "here_low": found["low"], "here_high": found["high"]}


@dataclass(frozen=True)
class _Behind:
    train: Labelled
    test: Labelled


def _behind(lm: LanguageModel, blocks: Mapping[str, Blocks]) -> _Behind:
    """The stream behind the last layer on held-out text, halved by document."""
    rows: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] = ({}, {})
    owners: tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]]] = ({}, {})
    for lang, item in blocks.items():
        parts, documents, seen = [], [], 0
        for batch in batches(item, batch_tokens=1024):
            parts.append(streams(lm, batch)[-1])
            owner = batch.document[:, None].expand(batch.counted.shape)[batch.counted]
            documents.append(owner.numpy())
            seen += len(owner)
            if seen >= 2 * BEHIND_TOKENS:
                break
        values, keys = torch.cat(parts), np.concatenate(documents)
        rank = np.unique(keys, return_inverse=True)[1]
        for number in (0, 1):
            kept = np.flatnonzero(rank % 2 == number)[:BEHIND_TOKENS]
            rows[number][lang] = values[torch.from_numpy(kept)]
            owners[number][lang] = keys[kept]
    return _Behind(labelled(rows[0], owners[0]), labelled(rows[1], owners[1]))


def _behind_share(probe: Probe, test: Labelled, level: float) -> dict[str, float]:
    # Documents are numbered within each language.
    clusters = test.language * 1_000_003 + test.document
    found = share(probe.predict(test.x) == test.language, clusters, level)
    return {
        "behind": found["value"],
        "behind_low": found["low"],
        "behind_high": found["high"],
        "tokens": len(test.language),
    }


def _ratio(touched: PerplexityResult, plain: PerplexityResult, level: float) -> dict[str, float]:
    from langneurons.evaluation import loss_ratio

    found = loss_ratio(touched, plain, level=level)
    return {"value": found["ratio"], "low": found["low"], "high": found["high"]}


def _mean(values: NDArray[np.float64], level: float) -> dict[str, float]:
    low, high = ratio_interval(values, np.ones(len(values)), level=level)
    return {"value": float(values.mean()), "low": low, "high": high}


def move(
    lm: LanguageModel,
    stats: Statistics,
    blocks: Blocks,
    source: str,
    target: str,
    *,
    layer: int,
    kinds: Sequence[str],
    random: int = 2,
    rows: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    baseline: MutableMapping[str, PerplexityResult] | None = None,
) -> pd.DataFrame:
    """Move one language's text to another within each kind of subspace.

    The part of an activation in the subspace is set to the target language's mean. A classifier
    trained on untouched activations says which language it then takes the source's tokens for.

    Args:
        lm: A causal model.
        stats: Statistics with token rows at the site.
        blocks: Held-out text of the source language.
        source: Language of the text.
        target: Language moved to.
        layer: Layer.
        kinds: Kinds of subspace.
        random: Random subspaces of the same rank.
        rows: Most token rows of each language.
        seed: Seed of the random ones.
        level: Level of the intervals.
        baseline: Untouched perplexities by language that are known already; the source's is put
            there where it is missing.

    Returns:
        One row a kind and seed: ``kind``, ``seed``, ``rank``, ``taken_for_target`` with ``_low``
        and ``_high``, ``taken_for_source``, and ``ratio``, ``low``, ``high`` of the perplexity.
    """
    half = split(stats, layer, rows)
    names = list(half.fitted)
    probe = Probe(half.train)
    own = half.test.language == names.index(source)
    x, documents = half.test.x[torch.from_numpy(own)], half.test.document[own]
    mean = half.fitted[target].mean(0)
    made = {(kind, 0): fit(half.fitted, kind) for kind in kinds}
    first = next(iter(made.values()))
    for number in range(seed, seed + random):
        made["random", number] = random_subspace(first, len(names) - 1, number)
    head = find_head(lm)
    plain: MutableMapping[str, PerplexityResult] = {} if baseline is None else baseline
    towards = {about: item.towards(mean) for about, item in made.items()}
    parts = [{layer: there} for there in towards.values()]
    results = _perplexities(lm, stats.site, {source: blocks}, parts, head, plain)[source]
    found = []
    for ((kind, number), item), touched in zip(made.items(), results, strict=True):
        guess = probe.predict(towards[kind, number].erase(x))
        taken = share(guess == names.index(target), documents, level)
        ratio = _ratio(touched, plain[source], level)
        found.append(
            {
                "kind": kind,
                "seed": number,
                "rank": item.rank,
                "taken_for_target": taken["value"],
                "taken_low": taken["low"],
                "taken_high": taken["high"],
                "taken_for_source": float((guess == names.index(source)).mean()),
                "ratio": ratio["value"],
                "low": ratio["low"],
                "high": ratio["high"],
            }
        )
    return pd.DataFrame(found)
