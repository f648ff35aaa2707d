"""A real multilingual model on a laptop: Gemma 3 270M, four languages, minutes on two cores.

`make real-models` fetches the file; a `.gguf` file, folder or Hub name does as well. The text here
is that of the built-in world, so that the script runs as it stands: for findings take your own.
"""

import sys
from pathlib import Path

import langneurons as ln

MODEL = "real-models/gemma-3-270m-q4_k_m.gguf"
LANGUAGES = ("en", "es", "hi", "zh")


def main(folder: Path, model: str = MODEL, tokens: int = 8_000) -> ln.NeuronSet:
    # bfloat16 is four times as fast where the processor multiplies it, and much slower elsewhere.
    lm = ln.load(model, dtype="bfloat16")
    texts = {lang: ln.mini.text(lang, tokens=tokens) for lang in LANGUAGES}
    stats = ln.collect(lm, texts, tokens=tokens, rows=512, output=folder / "stats")
    neurons = ln.identify(stats, method="lape")  # 1 % of all units, the usual quota
    neurons.save(folder / "lape.json")
    for lang, units in neurons.items():
        print(f"{lang}: {len(units)} of {lm.layers * stats.shape[1]:,} neurons")
    held_out = {lang: ln.mini.text(lang, tokens=300, split="heldout") for lang in LANGUAGES}
    change = ln.perplexity_change(
        lm, neurons.select(["hi"]), held_out, value=0.0, stats=stats, tokens=300,
        controls={"random": 1, "matched": 1},
    )  # fmt: skip
    table = change.table
    print(table[["row", "column", "kind", "ratio"]].to_string(index=False))
    table.to_csv(folder / "hindi_off.csv", index=False)
    return neurons


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
