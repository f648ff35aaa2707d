"""Tables of what goes beyond neurons, gathered from the stages' files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from langneurons.artifacts import read_table


def tables(out: Path) -> dict[str, pd.DataFrame]:
    """All tables of a run directory, empty where it has none."""
    return {
        "deactivation": _gather(out, "deactivation/*/*/change.parquet"),
        "residual": _gather(out, "deactivation/*/*/residual.parquet"),
        "crossing": _gather(out, "crossing/*/*.parquet"),
        "polysemanticity": _gather(out, "polysemanticity/*/*/shares.parquet"),
        "polysemanticity_units": _gather(out, "polysemanticity/*/*/units.parquet"),
        "polysemanticity_harm": _gather(out, "polysemanticity/*/*/correlations.parquet"),
        "features": _gather(out, "features/*/quality.parquet"),
        "feature_languages": _gather(out, "feature_languages/*/found.parquet"),
        "feature_perplexity": _gather(out, "feature_languages/*/perplexity.parquet"),
        "subspaces": _gather(out, "subspaces/*/language.parquet"),
        "subspaces_cost": _gather(out, "subspaces/*/cost.parquet"),
        "subspaces_moves": _gather(out, "subspaces/*/moves.parquet"),
    }


def _gather(out: Path, pattern: str) -> pd.DataFrame:
    found = [read_table(path) for path in sorted(out.glob(pattern))]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()
