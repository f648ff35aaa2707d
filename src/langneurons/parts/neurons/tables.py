"""Tables of neuron sets."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Units by language and layer, and what the sets have in common."""
    return {"neurons": _layers(results), "overlap": results.rows("overlap")}


def _layers(results: Results) -> pd.DataFrame:
    """Units of each set by language and layer, with the number of units a layer has.

    Of units inside experts also which tokens their shares are of: all, or those routed to them.
    """
    from langneurons.identification import NeuronSet
    from langneurons.identification.units import INSIDE

    found = []
    for name in results.context.sets:
        if results.stands(f"neurons/{name}"):
            loaded = NeuronSet.load(results.out / "neurons" / f"{name}.json")
            rows = loaded.per_layer().assign(neurons=name, total=loaded.shape[1])
            if loaded.site in INSIDE:
                rows["reading"] = loaded.parameters.get("reading", "all")
            found.append(rows)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()
