"""Studies: the grid of statistics, neurons, interventions, adapters and scores, as one plan."""

from langneurons.config.loading import presets
from langneurons.config.schema import StudyConfig
from langneurons.study.result import Result
from langneurons.study.study import Study

__all__ = ["Result", "Study", "StudyConfig", "presets"]
