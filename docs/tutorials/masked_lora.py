"""Masked LoRA: train on English with only Hindi's neurons learning, and test in Hindi."""

import sys
from pathlib import Path

import langneurons as ln


def main(folder: Path, examples: int = 600, limit: int = 100) -> ln.Scores:
    lm = ln.load("mini")
    texts = {lang: ln.mini.text(lang, tokens=6_000) for lang in ("en", "hi", "ur")}
    neurons = ln.identify(ln.collect(lm, texts), method="lape", top=0.05)
    settings = {"epochs": 1, "batch_size": 32, "learning_rate": 2e-3, "rank": 8, "limit": examples}
    # Two adapters that differ in the units alone: no claim about units without the other.
    own = ln.finetune(lm, "mini-nli", "en", neurons["hi"], output=folder / "hi", **settings)
    plain = ln.finetune(lm, "mini-nli", "en", "none", output=folder / "none", **settings)
    print(f"trainable: {own.trainable:,} with the neurons, {plain.trainable:,} without")
    scores = {
        name: ln.evaluate(lm, "mini-nli", "hi", adapter=adapter.path, limit=limit)
        for name, adapter in (("own", own), ("plain", plain))
    }
    change = ln.compare(scores["own"], scores["plain"])  # paired, example by example
    print(scores["own"])
    print(
        f"difference {change.difference:+.1f}, interval {change.interval}, p {change.p_value:.2f}"
    )
    return scores["own"]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
