"""The live page: a prompt, a language's neurons changed, and what the model then writes.

:class:`Session` is the model's part: plain values in, a generator of plain values out. The page
around it (:mod:`langneurons.play.page`) needs the extra ``play`` and imports Gradio when used.
"""

from langneurons.play.change import ACTIONS, SCOPES, Change, interventions
from langneurons.play.naming import name_language, scripts
from langneurons.play.session import Column, Frame, Session
from langneurons.play.sources import open_session
from langneurons.play.text import Piece

__all__ = [
    "ACTIONS",
    "SCOPES",
    "Change",
    "Column",
    "Frame",
    "Piece",
    "Session",
    "interventions",
    "name_language",
    "open_session",
    "scripts",
]
