"""langneurons: which parts of a multilingual language model belong to a language?

The public names below are resolved on first use, so that ``import langneurons`` stays fast and
loads neither PyTorch nor Transformers.

Example:
    >>> import langneurons as ln
    >>> lm = ln.load("mini")  # doctest: +SKIP
    >>> texts = {"en": ln.mini.text("en"), "hi": ln.mini.text("hi")}  # doctest: +SKIP
    >>> stats = ln.collect(lm, texts)  # doctest: +SKIP
    >>> neurons = ln.identify(stats, method="lape")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langneurons import lazy as _lazy
from langneurons.display import provide as _provide
from langneurons.threads import prepare as _prepare
from langneurons.version import __version__

_prepare()  # how threads wait is read when PyTorch is loaded, so it is chosen before
_provide("langneurons.reporting.notebook")  # what draws values in a notebook; imported when used

_HOME = {
    "ArtifactError": "langneurons.errors",
    "InputError": "langneurons.errors",
    "LangNeuronsError": "langneurons.errors",
    "RunError": "langneurons.errors",
    "LanguageModel": "langneurons.models",
    "load": "langneurons.models",
    "NeuronSet": "langneurons.identification",
    "Units": "langneurons.identification",
    "Directions": "langneurons.identification",
    "find_directions": "langneurons.identification",
    "identify": "langneurons.identification",
    "Statistics": "langneurons.statistics",
    "collect": "langneurons.statistics",
    "Intervention": "langneurons.intervention",
    "Steering": "langneurons.intervention",
    "Value": "langneurons.intervention",
    "intervene": "langneurons.intervention",
    "finetune": "langneurons.finetuning",
    "Scores": "langneurons.evaluation",
    "compare": "langneurons.evaluation",
    "evaluate": "langneurons.evaluation",
    "perplexity": "langneurons.evaluation",
    "perplexity_change": "langneurons.evaluation",
    "squad_scores": "langneurons.evaluation",
    "read_texts": "langneurons.data",
    "Study": "langneurons.study",
}
_MODULES = ("mini",)

__all__ = ["__version__", *sorted(_HOME), *_MODULES]

__getattr__, __dir__ = _lazy.names(__name__, _HOME, _MODULES)

if TYPE_CHECKING:
    from langneurons import mini as mini
    from langneurons.data import read_texts as read_texts
    from langneurons.errors import ArtifactError as ArtifactError
    from langneurons.errors import InputError as InputError
    from langneurons.errors import LangNeuronsError as LangNeuronsError
    from langneurons.errors import RunError as RunError
    from langneurons.evaluation import Scores as Scores
    from langneurons.evaluation import compare as compare
    from langneurons.evaluation import evaluate as evaluate
    from langneurons.evaluation import perplexity as perplexity
    from langneurons.evaluation import perplexity_change as perplexity_change
    from langneurons.evaluation import squad_scores as squad_scores
    from langneurons.finetuning import finetune as finetune
    from langneurons.identification import Directions as Directions
    from langneurons.identification import NeuronSet as NeuronSet
    from langneurons.identification import Units as Units
    from langneurons.identification import find_directions as find_directions
    from langneurons.identification import identify as identify
    from langneurons.intervention import Intervention as Intervention
    from langneurons.intervention import Steering as Steering
    from langneurons.intervention import Value as Value
    from langneurons.intervention import intervene as intervene
    from langneurons.models import LanguageModel as LanguageModel
    from langneurons.models import load as load
    from langneurons.statistics import Statistics as Statistics
    from langneurons.statistics import collect as collect
    from langneurons.study import Study as Study
