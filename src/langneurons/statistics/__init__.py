"""Statistics of activations: exact counts, moments, extremes and a sample of token rows."""

from langneurons.statistics.collecting import collect, collect_sites, estimate
from langneurons.statistics.estimation import Estimate
from langneurons.statistics.forward import run_backbone
from langneurons.statistics.language import LanguageStatistics, quantiles_of
from langneurons.statistics.options import Options
from langneurons.statistics.values import Statistics

__all__ = [
    "Estimate",
    "LanguageStatistics",
    "Options",
    "Statistics",
    "collect",
    "collect_sites",
    "estimate",
    "quantiles_of",
    "run_backbone",
]
