"""What every page shares: tables, figures, sections, and one self-contained HTML page.

Everything here reads plain tables (Parquet) and JSON from the run directory; no model is loaded.
The parts of a study bring their own sections; :mod:`langneurons.study.report` composes them.
"""
