"""How fast the live page writes: three continuations side by side.

    python -m bench.play gemma.gguf

Neurons are drawn at random, as many as LAPE takes (1 %), as which ones they are costs nothing.
"""

from __future__ import annotations

import argparse
import time

import torch

import langneurons as ln
from langneurons.identification import NeuronSet, Units
from langneurons.play import Change, Session

PROMPT = "The capital of France is Paris, and the capital of"
LANGUAGES = ("en", "hi")


def measure(model: str, tokens: int) -> dict[str, float]:
    """Speed on this machine as it is, and processor time, which other work hardly changes."""
    lm = ln.load(model)
    width = lm.sites["mlp.act"].widest
    count = lm.layers * width
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))[: count // 100]
    parts = drawn.chunk(len(LANGUAGES))
    units = {
        lang: Units(part // width, part % width)
        for lang, part in zip(LANGUAGES, parts, strict=True)
    }
    session = Session(lm, NeuronSet(units, (lm.layers, width)))
    change = Change(("hi",), "off")
    for _ in session.run(PROMPT, change, tokens=2):  # weights read from disk, caches filled
        pass
    begun = time.monotonic()
    frames = session.run(PROMPT, change, tokens=tokens)
    next(frames)
    read = time.monotonic() - begun
    spent = time.process_time()
    *_, last = frames
    return {
        "read": read,
        "rate": last.written / last.seconds,
        "cpu": (time.process_time() - spent) / last.written,
        "columns": len(last.columns),
    }


def main() -> None:
    """Print the speed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--tokens", type=int, default=24)
    given = parser.parse_args()
    found = measure(given.model, given.tokens)
    print(
        f"{given.model}: prompt read in {found['read']:.2f} s, {found['rate']:.1f} tokens/s for "
        f"each of {found['columns']} continuations, {found['cpu']:.3f} s of processor time a "
        f"token of all of them, {torch.get_num_threads()} thread(s)"
    )


if __name__ == "__main__":
    main()
