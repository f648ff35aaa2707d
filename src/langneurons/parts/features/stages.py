"""The stages of sparse features."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path

from langneurons.artifacts import expanded, file_digest
from langneurons.interface.context import Context, method
from langneurons.parts.features.spec import FeaturesSpec
from langneurons.stages.stage import Stage


def stages(specs: Mapping[str, FeaturesSpec], context: Context) -> list[Stage]:
    """Two stages a part of the study file: the features, and their languages."""
    stages = []
    found = {"method", "parameters", "value", "random", "matched"}
    held = context.held_out(context.languages)
    for name, spec in specs.items():
        layers = len(spec.layers or (0, 1, 2))
        size = len(context.languages) * context.spec_of("perplexity").tokens / 1000
        stages.append(
            Stage(
                name=f"features/{name}",
                kind="features",
                arguments={"name": name},
                settings={
                    **spec.model_dump(exclude=found),
                    "model": context.of.model,
                    "dtype": context.dtype,
                    "text": context.of.texts,
                    "statistics": context.spec_of("statistics").tokens,
                    "block": context.spec_of("statistics").block,
                    "seed": context.seed,
                    "held_out": held,
                    "published": _published(spec.path),
                },
                parents=(),
                output=f"features/{name}",
                cost=(0 if spec.path else 3 * spec.tokens / 1000) + 3 * layers * size,
            )
        )
        draws = len(context.languages) + spec.random + spec.matched
        stages.append(
            Stage(
                name=f"feature_languages/{name}",
                kind="feature_languages",
                arguments={"name": name},
                settings={**spec.model_dump(include=found), "held_out": held},
                parents=(f"features/{name}",),
                output=f"feature_languages/{name}",
                entries=(method(spec.method).function.__module__,),
                cost=1.5 * draws * size,
            )
        )
    return stages


def _published(path: str | None) -> list[list[str]]:
    """Content of the files of published autoencoders, so that changed ones are read again.

    A layer's is a folder of files, or one file (Qwen-Scope).
    """
    if path is None:
        return []
    places = [Path(place) for place in glob.glob(str(expanded(path)).replace("{layer}", "*"))]
    files = {
        str(file)
        for place in places
        for file in ([place] if place.is_file() else place.glob("*"))
        if file.is_file() and not file.name.startswith(".")
    }
    return [[file, file_digest(Path(file))] for file in sorted(files)]
