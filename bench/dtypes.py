"""How many units of LAPE's sets change when statistics are collected in bfloat16.

The built-in model, or the one named by the variable MODEL with its text by TEXT (a path with
{lang}) and LANGUAGES; the same tokens in float32 and in bfloat16. On a processor that does not
multiply bfloat16 this takes long.
"""

from __future__ import annotations

import os
import time

from rich.console import Console
from rich.table import Table

import langneurons as ln

ON_REQUEST = True
TOKENS = int(os.environ.get("TOKENS", "20000"))
MODEL = os.environ.get("MODEL", "mini")
LANGUAGES = os.environ.get("LANGUAGES", "en,hi,ur,zh").split(",")


def sets(dtype: str) -> tuple[ln.NeuronSet, float]:
    """LAPE's sets of statistics in a dtype, and the seconds that collecting took."""
    lm = ln.load(MODEL, dtype=dtype)
    path = os.environ.get("TEXT")
    texts = {
        lang: ln.read_texts(path.replace("{lang}", lang))
        if path
        else ln.mini.text(lang, tokens=2 * TOKENS)
        for lang in LANGUAGES
    }
    start = time.perf_counter()
    statistics = ln.collect(lm, texts, tokens=TOKENS, rows=0)
    return ln.identify(statistics, method="lape"), time.perf_counter() - start


def run(console: Console) -> None:
    """Print one row a language."""
    plain, seconds = sets("float32")
    half, slower = sets("bfloat16")
    table = Table(box=None, title=f"{MODEL}, LAPE, {TOKENS:,} tokens a language")
    for name in ("language", "float32", "bfloat16", "in both", "Jaccard"):
        table.add_column(name, justify="right")
    for lang in plain:
        both, either = len(plain[lang] & half[lang]), len(plain[lang] | half[lang])
        share = f"{both / either:.3f}" if either else ""
        table.add_row(lang, str(len(plain[lang])), str(len(half[lang])), str(both), share)
    console.print(table)
    console.print(f"collecting took {seconds:.0f} s and {slower:.0f} s")
