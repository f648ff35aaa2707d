"""Add an identification method: one function under `@method`, and every command knows it.

In the package the function would be a file of its own in `langneurons/identification/methods/`;
nothing else has to be changed. Here it registers itself from outside.
"""

import sys
from pathlib import Path

import torch

import langneurons as ln
from langneurons.identification import Found, method
from langneurons.identification.selection import take_top


@method("rate_margin", needs="counts")
def rate_margin(statistics: ln.Statistics, *, top: float = 0.01) -> Found:
    """Units that fire in one language more often than in any other, by the largest margin.

    score_k(u) = P_k(u) - max over the other languages j of P_j(u), with P the share of tokens
    whose activation is above zero.

    Args:
        statistics: Statistics of at least two languages.
        top: Share (float) or number (int) of all units to take for each language.
    """
    rates = {lang: statistics.prob_positive(lang) for lang in statistics.languages}
    scores = {}
    for lang, rate in rates.items():
        others = torch.stack([other for name, other in rates.items() if name != lang])
        scores[lang] = rate - others.amax(dim=0)
    return Found(scores, take_top(scores, top))


def main(folder: Path) -> ln.NeuronSet:
    lm = ln.load("mini")
    texts = {lang: ln.mini.text(lang, tokens=6_000) for lang in ("en", "hi", "ur")}
    stats = ln.collect(lm, texts)
    found = ln.identify(stats, method="rate_margin", top=0.02)  # parameters checked, as for all
    print(found.overlap(ln.identify(stats, method="lape", top=0.05)).to_string(index=False))
    found.save(folder / "rate_margin.json")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
