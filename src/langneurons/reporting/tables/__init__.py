"""Tables of the report: each a pure function from run tables to a :class:`Table`."""

from langneurons.reporting.tables.base import Column, Table

__all__ = ["Column", "Table"]
