"""A frame as HTML: every text from outside is escaped, nothing in it needs a script."""

from __future__ import annotations

import unicodedata
from html import escape

from langneurons.play.session import Column, Frame
from langneurons.play.text import Piece

DARKEST = 8.0
"""Loss in nats from which a token is as dark as can be."""

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6bb1", "#999900")

STYLE = """
.gradio-container { --ln-quiet: color-mix(in srgb, var(--body-text-color) 68%, transparent); }
.ln-cols { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); }
.ln-col { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 12px 14px;
  background: var(--background-fill-primary); min-width: 0; }
.ln-col h3 { margin: 0 0 2px; font-size: 15px; line-height: 1.35; font-weight: 600; }
.ln-own { border-color: var(--color-accent); }
.ln-facts { margin: 0 0 10px; font-size: 13px; color: var(--ln-quiet); }
.ln-facts b { color: var(--body-text-color); font-weight: 600; }
.ln-text { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 17px; line-height: 1.95;
  min-height: 4em; }
.ln-text span { padding: 2px 0 1px; border-bottom: 3px solid transparent;
  background: rgba(214, 93, 14, var(--loss, 0)); }
.ln-text .ln-read { color: var(--ln-quiet); }
.ln-grid { display: grid; grid-template-columns: auto 1fr; gap: 3px 6px; margin-top: 12px;
  font-size: 12px; align-items: center; }
.ln-row { display: flex; height: 11px; background: var(--background-fill-secondary); }
.ln-row i { flex: 1 1 0; min-width: 0; }
.ln-row i.ln-begin { box-shadow: -1px 0 var(--body-text-color); }
.ln-legend { font-size: 13px; color: var(--ln-quiet); margin-top: 10px; }
.ln-scale { display: inline-block; width: 90px; height: 11px; vertical-align: -1px;
  background: linear-gradient(to right, rgba(214, 93, 14, 0), rgba(214, 93, 14, .75)); }
.ln-status { min-height: 1.5em; font-size: 14px; }
.ln-error { border-left: 4px solid #c0392b; padding: 8px 12px; font-size: 15px;
  background: rgba(192, 57, 43, .1); }
"""
"""Style of :func:`columns` and :func:`status`, on Gradio's own colours, light and dark."""


def columns(frame: Frame) -> str:
    """The continuations side by side, with losses, active neurons and their legend."""
    plain = frame.columns[0].prompt_loss
    parts = [_column(column, frame.languages, plain) for column in frame.columns]
    return (
        f'<div class="ln-cols">{"".join(parts)}</div>'
        '<div class="ln-legend">Background: loss of a token, '
        f'0 <span class="ln-scale"></span> {DARKEST:g} nats or more. '
        "Line under a token: the language with the largest share of its neurons active there. "
        "Rows below: that share for every language, token by token; an upright line marks where "
        "the model begins to write.</div>"
    )


def status(frame: Frame) -> str:
    """How far it is and how fast, and what a reader has to know."""
    words = [escape(frame.note)] if frame.note else []
    if frame.written and frame.seconds > 0:
        rate = frame.written / frame.seconds
        each = " in each column" if len(frame.columns) > 1 else ""
        done = "Written" if frame.last else "Writing"
        words.append(f"{done}: {frame.written} tokens, {rate:.1f} a second{each}.")
    elif frame.last:
        words.append("The model ends the text here: it writes nothing.")
    return f'<div class="ln-status">{" ".join(words)}</div>'


def note(text: str) -> str:
    """A word on what is going on."""
    return f'<div class="ln-status">{escape(text)}</div>'


def problem(text: str) -> str:
    """What went wrong, as a sentence."""
    said = text[:1].upper() + text[1:]
    return f'<div class="ln-error" role="alert">{escape(said)}</div>'


def right_to_left(text: str) -> bool:
    """Whether the first letter that has a direction runs from right to left."""
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        if kind in ("L", "R", "AL"):
            return kind != "L"
    return False


def _column(column: Column, languages: tuple[str, ...], plain: float | None) -> str:
    direction = "rtl" if right_to_left("".join(p.text for p in column.pieces)) else "ltr"
    spans = "".join(_span(piece, languages) for piece in column.pieces)
    facts = [f"writes <b>{escape(column.language)}</b>"] if column.language else []
    if column.prompt_loss is not None:
        facts.append(f"prompt: {column.prompt_loss:.2f} nats a token")
        if column.kind != "plain" and plain is not None:
            change = f"{column.prompt_loss - plain:+.2f}".replace("-", "−")
            facts[-1] += f" ({change})"
    if column.done:
        facts.append("ended by the model")
    return (
        f'<section class="ln-col ln-{column.kind}"><h3>{escape(column.title)}</h3>'
        f'<p class="ln-facts">{" · ".join(facts)}</p>'
        f'<div class="ln-text" dir="{direction}">{spans}</div>'
        f"{_grid(column.pieces, languages, direction)}</section>"
    )


def _span(piece: Piece, languages: tuple[str, ...]) -> str:
    shade = 0.0 if piece.loss is None else 0.75 * min(piece.loss / piece.tokens / DARKEST, 1)
    best = max(range(len(languages)), key=piece.active.__getitem__)
    share = piece.active[best]
    line = f"{_colour(best)}{round(255 * share):02x}"
    said = "no loss" if piece.loss is None else f"loss {piece.loss:.2f} nats"
    several = f" ({piece.tokens} tokens)" if piece.tokens > 1 else ""
    active = ", ".join(
        f"{lang} {part:.0%}" for lang, part in zip(languages, piece.active, strict=True)
    )
    tip = escape(f"{said}{several}; active: {active}")
    kind = "ln-written" if piece.written else "ln-read"
    return (
        f'<span class="{kind}" style="--loss:{shade:.3f};border-color:{line}" title="{tip}">'
        f"{escape(piece.text)}</span>"
    )


def _grid(pieces: tuple[Piece, ...], languages: tuple[str, ...], direction: str) -> str:
    begin = next((n for n, piece in enumerate(pieces) if piece.written), -1)
    rows = []
    for place, lang in enumerate(languages):
        cells = "".join(
            f'<i{" class=ln-begin" if number == begin else ""} style="background:'
            f'{_colour(place)}{round(255 * piece.active[place]):02x}"></i>'
            for number, piece in enumerate(pieces)
        )
        rows.append(
            f'<b style="color:{_colour(place)}">{escape(lang)}</b>'
            f'<div class="ln-row" dir="{direction}">{cells}</div>'
        )
    return f'<div class="ln-grid" aria-hidden="true">{"".join(rows)}</div>'


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
