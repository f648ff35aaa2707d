"""Evaluation: scores by example, perplexity, intervals, and paired tests between them."""

from langneurons.evaluation.answer_language import answer_language
from langneurons.evaluation.comparison import Comparison, compare
from langneurons.evaluation.effects import unit_effects
from langneurons.evaluation.forcing import detect, force
from langneurons.evaluation.intervals import (
    difference_interval,
    ratio_interval,
    share_interval,
)
from langneurons.evaluation.language_modelling import PerplexityResult, loss_ratio, perplexity
from langneurons.evaluation.matrix import PerplexityChange, perplexity_change
from langneurons.evaluation.paired import holm, mcnemar, permutation
from langneurons.evaluation.planning import planning, seeds_needed, size_needed
from langneurons.evaluation.power import detectable_over_seeds, minimum_detectable_effect
from langneurons.evaluation.qa import generate
from langneurons.evaluation.runner import evaluate
from langneurons.evaluation.scores import Scores
from langneurons.evaluation.seeds import (
    AmongSets,
    Spread,
    across_seeds,
    among_sets,
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
    "difference_interval",
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
    "share_interval",
    "size_needed",
    "specificity",
    "squad_scores",
    "unit_effects",
]
