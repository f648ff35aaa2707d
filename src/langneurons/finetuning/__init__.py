"""Training in which, of the MLP, only chosen units learn; adapters in PEFT's own layout."""

from langneurons.finetuning.adapter import Adapter, load_adapter
from langneurons.finetuning.recipe import RECIPES, Recipe, get_recipe
from langneurons.finetuning.run import continue_pretraining, finetune
from langneurons.finetuning.targets import trainable_parameters

__all__ = [
    "RECIPES",
    "Adapter",
    "Recipe",
    "continue_pretraining",
    "finetune",
    "get_recipe",
    "load_adapter",
    "trainable_parameters",
]
