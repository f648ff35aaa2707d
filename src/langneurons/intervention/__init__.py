"""What to write over units while the model runs, or into its weights.

The names are resolved on first use: reading the words of a study loads no PyTorch.
"""

from typing import TYPE_CHECKING

from langneurons import lazy as _lazy

_HOME = {
    "bake": "langneurons.intervention.baking",
    "intervene": "langneurons.intervention.hooking",
    "Change": "langneurons.intervention.interventions",
    "Intervention": "langneurons.intervention.interventions",
    "as_interventions": "langneurons.intervention.interventions",
    "OutOfRangeWarning": "langneurons.intervention.range",
    "activation_range": "langneurons.intervention.range",
    "share_out_of_range": "langneurons.intervention.range",
    "Steering": "langneurons.intervention.steering",
    "Value": "langneurons.intervention.values",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from langneurons.intervention.baking import bake as bake
    from langneurons.intervention.hooking import intervene as intervene
    from langneurons.intervention.interventions import Change as Change
    from langneurons.intervention.interventions import Intervention as Intervention
    from langneurons.intervention.interventions import as_interventions as as_interventions
    from langneurons.intervention.range import OutOfRangeWarning as OutOfRangeWarning
    from langneurons.intervention.range import activation_range as activation_range
    from langneurons.intervention.range import share_out_of_range as share_out_of_range
    from langneurons.intervention.steering import Steering as Steering
    from langneurons.intervention.values import Value as Value
else:
    __getattr__, __dir__ = _lazy.names(__name__, _HOME)
