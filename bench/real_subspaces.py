"""A linear subspace in the place of language neurons, on a task of a real model.

``langneurons run gemma-3-270m-methods-xnli -t 'FOLDER/{lang}.txt' ...``, then ``python -m
bench.real_subspaces RUN`` takes that run's fine-tune and erases the languages' subspace (LEACE,
fitted on text in the model without the fine-tune) from the residual stream behind a middle layer,
or moves it to English's mean, beside random subspaces of the same rank: accuracy in points against
no intervention, paired. Needs ``pip install 'langneurons[erasure]'``. What has been measured is
kept in RUN/subspaces.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from bench._markdown import printed
from bench.real_puzzle import shown
from langneurons.beyond.erasure import split
from langneurons.evaluation import Scores, compare, evaluate
from langneurons.identification.subspaces import Subspace, fit, random_subspace
from langneurons.intervention.erasing import erased
from langneurons.statistics import collect
from langneurons.study import Study
from langneurons.study.workshop import Workshop

SITE, KIND, RANDOM = "resid", "leace", 2
TOKENS, ROWS = 8000, 1000


def changes(rows: dict[str, Tensor], target: str) -> Iterator[tuple[str, Subspace]]:
    """What is done to the stream: erasing and moving, by the fitted and by random subspaces."""
    found = fit(rows, KIND)
    made = {KIND: found}
    made |= {f"random {n}": random_subspace(found, found.rank, n) for n in range(RANDOM)}
    for name, item in made.items():
        yield f"{name}, erased", item
        yield f"{name}, moved to {target}", item.towards(rows[target].mean(0))


def main(run: Path) -> None:
    study = Study.from_yaml(str(run / "study.yaml"))
    config, texts = study.config, study.texts()
    workshop = Workshop(config, run, texts)
    task, about = next(iter(config.tasks)), config.interventions
    spec = config.tasks[task]
    adapter = about.adapter if isinstance(about.adapter, str) else about.adapter[0]
    layer = workshop.lm.layers // 2
    out = run / "subspaces"
    out.mkdir(exist_ok=True)
    stats = collect(workshop.lm, {lang: item.statistics for lang, item in texts.items()},
                    site=SITE, tokens=TOKENS, rows=ROWS * 3, output=out / "statistics")  # fmt: skip
    done = list(changes(split(stats, layer, ROWS).fitted, config.train_language))
    rows = []
    languages = about.languages or config.languages
    for language in dict.fromkeys((config.train_language, *languages)):
        folder = run / "scores" / task / adapter / language
        plain = Scores.load(folder / "none.parquet")
        for name, item in done:
            if language == config.train_language and "moved" in name:
                continue
            path = out / f"{language}, layer {layer}, {name}, {ROWS}.parquet"
            if not path.is_file():
                with erased(workshop.adapted(task, adapter), SITE, {layer: item}):
                    evaluate(workshop.adapted(task, adapter), workshop.task(task), language,
                             split=spec.split, limit=spec.limit, output=path)  # fmt: skip
            change = compare(Scores.load(path), plain)
            rows.append([language, f"{plain.value():.1f}", name, f"{item.rank}", shown(change)])
    print(f"{task}, residual stream behind layer {layer} of {workshop.lm.layers}\n")
    printed(["language", "untouched", "what", "rank", "change"], rows)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-methods-xnli"))
