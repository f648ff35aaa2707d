"""Studies: the grid of statistics, neurons, interventions, adapters and scores, as one plan."""

from langneurons.study.loading import presets
from langneurons.study.schema import StudyConfig
from langneurons.study.study import Result, Study

__all__ = ["Result", "Study", "StudyConfig", "presets"]
