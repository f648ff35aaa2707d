"""Switch a language off: zero its neurons, and see what that costs it, the others and controls."""

import sys
from pathlib import Path

import langneurons as ln


def main(folder: Path) -> None:
    lm = ln.load("mini")
    languages = ("en", "hi", "ur")
    stats = ln.collect(lm, {lang: ln.mini.text(lang, tokens=6_000) for lang in languages})
    neurons = ln.identify(stats, method="lape", top=0.05)
    held_out = {lang: ln.mini.text(lang, tokens=1_000, split="heldout") for lang in languages}

    # The pattern: inside the block the neurons are overwritten, behind it the model is as before.
    before = float(ln.perplexity(lm, held_out["hi"]).value)
    with ln.intervene(lm, neurons["hi"], value=0.0):
        off = float(ln.perplexity(lm, held_out["hi"]).value)
    assert float(ln.perplexity(lm, held_out["hi"]).value) == before
    print(f"hi: perplexity {before:.2f}, with its neurons at zero {off:.2f}")

    # The claim needs controls: random units of the same number, and units as active as they are.
    # Each line is a cell: "row" is the language whose neurons are off, "column" that of the text.
    # "own" must lie above every "random" and "matched" ratio of its cell; else it is not shown that
    # the damage comes from Hindi's neurons.
    change = ln.perplexity_change(
        lm, neurons.select(["hi"]), held_out, value=0.0, stats=stats,
        controls={"random": 2, "matched": 2},
    )  # fmt: skip
    table = change.table
    print(table[["row", "column", "kind", "ratio"]].to_string(index=False))
    table.to_csv(folder / "switched_off.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
