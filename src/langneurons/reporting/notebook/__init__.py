"""Values in a notebook: the report's tables and figures for NeuronSet, Statistics and Scores."""

from langneurons.reporting.notebook.drawing import Drawing
from langneurons.reporting.notebook.views import html, plot

__all__ = ["Drawing", "html", "plot"]
