"""What trainings on raw text take."""

from __future__ import annotations

from collections.abc import Sequence

from langneurons.interface.context import Context
from langneurons.interface.part import Takes
from langneurons.models.size import Size
from langneurons.parts.enhancement.spec import UNITS, EnhancementSpec
from langneurons.stages.stage import Stage

_ACTIVATIONS = 34  # bytes a token, layer and hidden unit kept for the backward pass, 16 bit
_SHARE = 0.05  # of all units; LAPE's share of enhancement, as a rule of thumb


def takes(spec: EnhancementSpec, context: Context, size: Size, stages: Sequence[Stage]) -> Takes:
    """Peak of a training step of the largest arm; the units' weights on disk.

    Weights that learn, gradients and AdamW's two moments are float32; a model that is trained
    whole lies on disk while it is measured.
    """
    from langneurons.finetuning import get_recipe

    batch = get_recipe("enhancement", **spec.finetune).batch_size
    units = 3.0 * size.hidden * size.units * size.layers
    learns = size.parameters if "full" in spec.arms else units if "all" in spec.arms else 0.0
    step = batch * spec.block * size.layers * size.hidden * _ACTIVATIONS
    kept = sum(stage.kind == "enhancement" and stage.arguments["arm"] in UNITS for stage in stages)
    disk = 4 * _SHARE * units * kept + (4 * size.parameters if "full" in spec.arms else 0.0)
    return Takes(16 * max(learns, _SHARE * units) + step, disk)
