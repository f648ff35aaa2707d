"""Experts of a mixture: where languages are routed, and what a language's experts are to it."""

import sys
from pathlib import Path

import langneurons as ln
from langneurons.identification.routing import routing_divergence


def main(folder: Path) -> None:
    lm = ln.load("mini-moe")
    languages = ("en", "es", "hi", "zh")
    texts = {lang: ln.mini.text(lang, tokens=3_000) for lang in languages}

    # A unit is an expert; a count is the number of tokens that the router sends to it.
    stats = ln.collect(lm, texts, site="moe.router")
    for lang, apart in routing_divergence(stats, "en").items():
        layers = ", ".join(f"{value:.2f}" for value in apart.tolist())
        print(f"{lang}: routed unlike English by {layers} in layers 0 to {lm.layers - 1}")

    # The experts with the most uneven load over languages, off: never chosen.
    experts = ln.identify(stats, "lape", top=0.25, filter=0.5, bar=0.8)
    print({lang: sorted(found) for lang, found in experts.items()})
    held_out = {lang: ln.mini.text(lang, tokens=800, split="heldout") for lang in languages}
    before = float(ln.perplexity(lm, held_out["zh"]).value)
    with ln.intervene(lm, experts["zh"]):
        off = float(ln.perplexity(lm, held_out["zh"]).value)
    print(f"zh: perplexity {before:.2f}, without its experts {off:.2f}")

    # Busy experts matter anyhow: the control is experts that as many tokens are sent to.
    change = ln.perplexity_change(
        lm, experts.select(["zh"]), held_out, stats=stats, controls={"random": 2, "load": 2}
    )
    table = change.table
    print(table[["row", "column", "kind", "units", "ratio"]].to_string(index=False))
    table.to_csv(folder / "experts_off.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
