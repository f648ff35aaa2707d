"""What a stage that finds directions does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop


def directions(workshop: Workshop, output: Path, name: str) -> None:
    """Find directions and random ones as long, keep both, and say how far they tell languages."""
    from langneurons.identification import find_directions
    from langneurons.identification.directions import separation

    context = workshop.context
    spec = context.spec_of("directions")[name]
    stats = workshop.statistics(spec.site)
    own = find_directions(
        stats,
        spec.method,
        languages=spec.languages,
        source=spec.source,
        beta=spec.beta,
    )
    own.save(output / "directions.safetensors")
    sets = {("own", 0): own}
    for seed in range(context.seed, context.seed + spec.random):
        drawn = {lang: own[lang].random_like(seed) for lang in own}
        sets["random", seed] = dataclasses.replace(own, by_language=drawn)
        sets["random", seed].save(output / f"random-{seed}.safetensors")
    rows = [
        {
            "directions": name,
            "language": lang,
            "kind": kind,
            "seed": seed,
            "layer": layer,
            "norm": float(item[lang].norm[layer]),
            "apart": apart,
        }
        for (kind, seed), item in sets.items()
        for lang in item
        for layer, apart in enumerate(separation(stats, item[lang], lang, spec.source).tolist())
    ]
    write_table(output / "quality.parquet", pd.DataFrame(rows))
