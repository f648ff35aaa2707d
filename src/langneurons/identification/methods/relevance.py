"""Relevance: what a language's prediction loses without the unit's own value."""

from __future__ import annotations

from typing import Any

import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from langneurons.data import Blocks
from langneurons.errors import InputError
from langneurons.identification.attribution import mean_loss, to_blocks
from langneurons.identification.evidence import finite_scores
from langneurons.identification.gradients import gradients
from langneurons.identification.method import Found, ModelInput, method
from langneurons.identification.selection import check_integer, highest, take_top
from langneurons.models import LanguageModel
from langneurons.models.fingerprint import same_model
from langneurons.progress import track
from langneurons.statistics import collect


@method("relevance", needs="model")
def relevance(
    given: ModelInput,
    *,
    site: str = "mlp.act",
    top: float = 0.00125,
    check: int = 8,
    check_tokens: int | None = 4096,
    block: int = 256,
    tokens: int | None = None,
    batch_tokens: int = 1024,
) -> Found:
    """Units whose replacement by their mean in the other languages costs the language most.

    r_k(u) = mean over tokens of language k of (dL/da) (m_o(u) - a),

    with m_o the mean over the other languages (each with equal weight) and L the next-token loss
    (nats): the first-order rise of the loss per token when the unit takes, in language k, the
    value it has elsewhere. Necessity, not activity. The ``top`` share of all units is taken for
    each language.

    How good the first order is, is measured: for the ``check`` best units of each language the
    replacement is carried out and ``facts["agreement"]`` gives predicted and exact rise with their
    Pearson and Spearman correlation.

    Source: after CRANE (arXiv 2601.04664), in the first-order form of attribution patching.

    Complexity: one forward and one backward pass over the text (see
    :mod:`langneurons.identification.gradients`), plus one forward pass for each checked unit and,
    where no statistics are given, one for the means.

    Args:
        given: Model, whose weights stay frozen, texts, and, where the user has them, statistics of
            the same languages at the same site; without them they are collected from the texts.
        site: Site of the units.
        top: Share (float) or number (int) of all units to take for each language.
        check: Best units of each language to check by exact replacement; 0 for none.
        check_tokens: Tokens of each language on which they are checked, whole blocks evenly spaced;
            None takes all. Prediction and replacement are of the same tokens.
        block: Tokens in a block, where texts are given.
        tokens: Stop each language after so many tokens; None takes all.
        batch_tokens: Most positions in a batch.

    Raises:
        InputError: If the statistics are of another site, shape or model.
    """
    check_integer("check", check, 0)
    check_integer("check_tokens", check_tokens, 1)
    lm, statistics = given.lm, given.statistics
    blocks = to_blocks(lm, given.texts, block, tokens)
    shape = (lm.layers, lm.sites[site].width)
    if statistics is None:
        statistics = collect(lm, blocks, site=site, rows=0)
    if statistics.site != site or tuple(statistics.shape) != shape:
        raise InputError(
            f"the statistics are of {statistics.site} {tuple(statistics.shape)}, the units of "
            f"{site} {shape}: collect them on this model and site."
        )
    if not same_model(statistics.model, lm.fingerprint):
        raise InputError(
            f"the statistics are of another model than {lm.name!r}: collect them on this one."
        )
    means = {language: statistics.mean(language) for language in blocks}
    scores, agreement = {}, {}
    for language, item in blocks.items():
        others = [mean for name, mean in means.items() if name != language]
        elsewhere = torch.stack(others).mean(0)
        scores[language] = _scores(lm, item, site, elsewhere, batch_tokens, language)
        if check:
            part, predicted = _spaced(item, check_tokens), scores[language]
            if part is not item:
                predicted = _scores(lm, part, site, elsewhere, batch_tokens, language)
            best = torch.nonzero(highest(scores[language], check))
            agreement[language] = _agreement(
                lm, part, site, predicted, elsewhere, best, batch_tokens, language
            )
    facts = {"agreement": agreement} if check else {}
    return Found(scores=scores, selected=take_top(scores, top), facts=facts)


def _scores(
    lm: LanguageModel,
    blocks: Blocks,
    site: str,
    elsewhere: Tensor,
    batch_tokens: int,
    language: str,
) -> Tensor:
    """First-order rise of the loss (nats per token) of each unit, float64 (L, U)."""
    found = gradients(
        lm, blocks, site, batch_tokens=batch_tokens, name="relevance", language=language
    )
    # The mean of slope x (elsewhere - a), with sums that do not know what is elsewhere.
    rise = elsewhere.to(found.slope) * found.slope - found.product
    return finite_scores(rise, language, "relevance")


def _spaced(blocks: Blocks, tokens: int | None) -> Blocks:
    """Evenly spaced blocks with about so many counted tokens; all if there are fewer."""
    if tokens is None or blocks.tokens <= tokens:
        return blocks
    share = tokens / blocks.tokens
    number = min(len(blocks), max(1, round(share * len(blocks))))
    return blocks[torch.linspace(0, len(blocks) - 1, number).round().long()]


def _agreement(
    lm: LanguageModel,
    blocks: Blocks,
    site: str,
    score: Tensor,
    elsewhere: Tensor,
    best: Tensor,
    batch_tokens: int,
    language: str,
) -> dict[str, Any]:
    """Predicted against exact rise of the loss (nats per token) for the best units."""
    units = best.tolist()
    exact = []
    with track(f"exact replacement {language}", len(units), "units") as bar:
        before = mean_loss(lm, blocks, batch_tokens=batch_tokens)
        for layer, index in units:
            value = float(elsewhere[layer, index])
            after = mean_loss(
                lm, blocks, batch_tokens=batch_tokens, site=site, replace=(layer, index, value)
            )
            exact.append(after - before)
            bar.advance()
    predicted = [float(score[layer, index]) for layer, index in units]
    found: dict[str, Any] = {"units": units, "predicted": predicted, "exact": exact}
    found["tokens"] = blocks.tokens
    if len(set(predicted)) > 1 and len(set(exact)) > 1:
        found["pearson"] = float(pearsonr(predicted, exact).statistic)
        found["spearman"] = float(spearmanr(predicted, exact).statistic)
    return found
