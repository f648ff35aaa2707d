"""The report: tables, figures and one self-contained HTML page from a run directory.

Everything here reads plain tables (Parquet) and JSON from the run directory; no model is loaded.
"""

from langneurons.reporting.build import report
from langneurons.reporting.inputs import Run, read_run

__all__ = ["Run", "read_run", "report"]
