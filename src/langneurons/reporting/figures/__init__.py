"""Figures: each a pure function from a table to a Matplotlib figure.

The functions do not save or show anything; :mod:`langneurons.reporting.figures.canvas` does.
"""
