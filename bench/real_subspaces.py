"""A linear subspace in the place of language neurons, on a task of a real model.

``langneurons run gemma-3-270m-methods-xnli -t 'FOLDER/{lang}.txt' ...``, then ``python -m
bench.real_subspaces RUN`` takes that run's fine-tunes and erases the languages' subspace (LEACE,
fitted on text in the model without the fine-tune) from the residual stream behind a middle layer,
or moves it to English's mean, beside random subspaces erased: of the same rank, and of the rank at
which that changes the stream as much. Accuracy in points against no intervention, paired; in
English the subspace is erased alone. Needs ``pip install 'langneurons[erasure]'``. What has been
measured is kept in RUN/subspaces.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from torch import Tensor

from bench._markdown import printed
from bench._stream import COLUMNS, Change, Run
from langneurons.evaluation.erasure import split
from langneurons.identification.subspaces import Subspace, fit, random_subspace
from langneurons.intervention.erasing import erased
from langneurons.statistics import collect

SITE, KIND, RANDOM = "resid", "leace", 2
TOKENS, ROWS = 8000, 1000


def size(item: Subspace, rows: Tensor) -> float:
    """Root mean square of how far a row is moved, as a share of its length."""
    moved = item.erase(rows) - rows
    return float((moved.norm(dim=1) / rows.norm(dim=1)).square().mean().sqrt())


def as_large(found: Subspace, rows: Tensor, seed: int) -> Subspace:
    """A random subspace with the same origin, of about the rank that moves rows as far."""
    wanted = size(found, rows)
    low, high = 1, rows.shape[1]
    while low < high:
        middle = (low + high) // 2
        if size(random_subspace(found, middle, seed), rows) < wanted:
            low = middle + 1
        else:
            high = middle
    return random_subspace(found, low, seed)


def plans(found: Subspace, rows: Tensor, target: Tensor | None) -> dict[str, Subspace]:
    """What is done in one language, by name: erased, moved to ``target``, and random ones erased.

    Args:
        found: The languages' subspace.
        rows: The language's activations, on which the controls are made as large.
        target: Where to move to; None for the language trained on, which is only erased.
    """
    done = {f"{KIND}, erased": found}
    if target is None:
        return done
    done |= {f"random {n}, erased": random_subspace(found, found.rank, n) for n in range(RANDOM)}
    done |= {f"random {n} as large, erased": as_large(found, rows, n) for n in range(RANDOM)}
    return done | {f"{KIND}, moved": found.towards(target)}


def main(folder: Path) -> None:
    run = Run.open(folder)
    lm, out, config = run.workshop.lm, folder / "subspaces", run.workshop.context
    out.mkdir(exist_ok=True)
    layer = lm.layers // 2
    texts = {lang: run.workshop.texts[lang].statistics for lang in config.languages}
    stats = collect(lm, texts, site=SITE, tokens=TOKENS, rows=ROWS * 3, output=out / "statistics")
    rows = split(stats, layer, ROWS).fitted
    found, english = fit(rows, KIND), str(config.train_language)
    changes: dict[str, dict[str, Change]] = {}
    sizes = []
    for language in run.languages:
        target = None if language == english else rows[english].mean(0)
        changes[language] = {}
        for name, item in plans(found, rows[language], target).items():
            sizes.append([language, name, f"{item.rank}", f"{size(item, rows[language]):.3f}"])
            changes[language][name] = Change(
                partial(erased, site=SITE, subspaces={layer: item}),
                (layer, item.left, item.right, item.origin),
            )
    print(f"{run.task}, residual stream behind layer {layer} of {lm.layers}\n")
    printed(["language", "what", "rank", "moved in text, share of the row's length"], sizes)
    printed(COLUMNS, list(run.rows(out, changes)))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-methods-xnli"))
