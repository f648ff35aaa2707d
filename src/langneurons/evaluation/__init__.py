"""Evaluation: scores by example, perplexity, intervals, and paired tests between them."""

from langneurons.evaluation.answer_language import answer_language
from langneurons.evaluation.comparison import (
    Comparison,
    compare,
    holm,
    mcnemar,
    minimum_detectable_effect,
    permutation,
)
from langneurons.evaluation.effects import unit_effects
from langneurons.evaluation.forcing import detect, force
from langneurons.evaluation.intervals import ratio_interval
from langneurons.evaluation.language_modelling import PerplexityResult, loss_ratio, perplexity
from langneurons.evaluation.matrix import PerplexityChange, perplexity_change
from langneurons.evaluation.planning import planning, seeds_needed, size_needed
from langneurons.evaluation.qa import generate
from langneurons.evaluation.runner import evaluate
from langneurons.evaluation.scores import Scores
from langneurons.evaluation.seeds import (
    AmongSets,
    Spread,
    across_seeds,
    among_sets,
    detectable_over_seeds,
    differences_over_seeds,
)
from langneurons.evaluation.specificity import specificity
from langneurons.evaluation.squad import squad_scores

__all__ = [
    "AmongSets",
    "Comparison",
    "PerplexityChange",
    "PerplexityResult",
    "Scores",
    "Spread",
    "across_seeds",
    "among_sets",
    "answer_language",
    "compare",
    "detect",
    "detectable_over_seeds",
    "differences_over_seeds",
    "evaluate",
    "force",
    "generate",
    "holm",
    "loss_ratio",
    "mcnemar",
    "minimum_detectable_effect",
    "permutation",
    "perplexity",
    "perplexity_change",
    "planning",
    "ratio_interval",
    "seeds_needed",
    "size_needed",
    "specificity",
    "squad_scores",
    "unit_effects",
]
