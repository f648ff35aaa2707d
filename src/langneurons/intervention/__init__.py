"""What to write over units while the model runs, or into its weights."""

from langneurons.intervention.baking import bake
from langneurons.intervention.hooking import intervene
from langneurons.intervention.interventions import Intervention, as_interventions
from langneurons.intervention.range import OutOfRangeWarning, activation_range, share_out_of_range
from langneurons.intervention.values import Value

__all__ = [
    "Intervention",
    "OutOfRangeWarning",
    "Value",
    "activation_range",
    "as_interventions",
    "bake",
    "intervene",
    "share_out_of_range",
]
