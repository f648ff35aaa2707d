"""Where a session comes from: files that a user names, or the built-in world made at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langneurons.defaults import BUILT_IN
from langneurons.errors import InputError
from langneurons.identification import NeuronSet, identify
from langneurons.models import load
from langneurons.models.gguf import cache_folder
from langneurons.play.session import Session
from langneurons.statistics import Statistics, collect

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

MINI = BUILT_IN[0]
MINI_TOKENS = 4000
"""Tokens a language from which the built-in world's statistics are made at once."""
MINI_TOP = 0.05
"""LAPE's share of units there, as in the study ``mini``."""


def open_session(
    model: str = MINI,
    neurons: str | Path | NeuronSet | None = None,
    statistics: str | Path | Statistics | None = None,
    *,
    dtype: str = "auto",
) -> Session:
    """Load what a session needs.

    The built-in world needs no files: its statistics are collected in seconds, and kept. Statistics
    without neurons are enough: LAPE finds the neurons in them.

    Args:
        model: As for :func:`langneurons.load`.
        neurons: A neuron set or its file.
        statistics: Statistics or their folder.
        dtype: As for :func:`langneurons.load`.

    Raises:
        InputError: If there is neither of both for another model than ``mini``, or one cannot be
            used.
    """
    if model != MINI and neurons is None and statistics is None:
        raise InputError(
            "the page needs language neurons of this model: add --statistics DIR (from "
            "`langneurons collect`) or --neurons FILE (from `langneurons identify`)."
        )
    stats = statistics if isinstance(statistics, Statistics | None) else Statistics.load(statistics)
    found = neurons if isinstance(neurons, NeuronSet | None) else NeuronSet.load(neurons)
    lm = load(model, dtype=dtype)
    if stats is None and model == MINI:
        stats = mini_statistics(lm)
    if found is None:
        assert stats is not None
        # As many as the study of the built-in world takes; LAPE's default elsewhere.
        options: dict[str, Any] = {"top": MINI_TOP} if model == MINI else {}
        found = identify(stats, method="lape", **options)
    return Session(lm, found, stats)


def mini_statistics(lm: LanguageModel, folder: Path | None = None) -> Statistics:
    """Small statistics of the built-in world, collected once and kept.

    Args:
        lm: The built-in model.
        folder: Where they are kept; default within the cache.
    """
    from langneurons import mini

    texts = {lang: mini.text(lang, tokens=MINI_TOKENS) for lang in mini.LANGUAGES}
    place = folder or cache_folder() / "play" / MINI
    return collect(lm, texts, tokens=MINI_TOKENS, block=128, rows=1024, output=place)
