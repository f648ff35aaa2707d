"""Gemma 3 270M in float32 against counts computed by brute force, unit by unit."""

import json
from pathlib import Path

import pytest

from langneurons.data import make_blocks, read_texts
from langneurons.models import load
from langneurons.statistics import collect

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "real-models" / "gemma-3-270m-q4_k_m.gguf"
DATA = ROOT.parent / "shared" / "data"
COUNTS = DATA / "gemma-reference" / "counts.safetensors"


@pytest.mark.real
@pytest.mark.skipif(not MODEL.is_file(), reason="run `make real-models` first")
@pytest.mark.skipif(not COUNTS.is_file(), reason="the reference counts are not here")
def test_counts_of_gemma() -> None:
    """Same blocks, same tokens, same counts.

    Activations within float32 rounding of zero fall on either side depending on the shape of the
    batch, the number of threads and the processor, so a unit in a few hundred may be off by a
    token or two of 12,065. A wrong block, mask or site is off by tens in most units.
    """
    from safetensors import safe_open

    lm = load(MODEL)
    with safe_open(COUNTS, framework="pt") as file:
        tokens = json.loads(file.metadata()["tokens"])
        for lang in json.loads(file.metadata()["languages"]):
            text = read_texts(DATA / "xquad" / f"xquad.{lang}.json")[:160]
            blocks = make_blocks(
                text, lm.tokenizer, block=128, tokens=12_000, bos=True, remainder="drop"
            )
            assert blocks.tokens == tokens[lang]
            stats = collect(lm, {lang: blocks}, batch_size=4)
            difference = (stats.count_positive[lang] - file.get_tensor(lang)).abs()
            assert int(difference.max()) <= 4, lang
            assert (difference > 0).double().mean() < 0.01, lang
