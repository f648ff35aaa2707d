"""Read the audit: what one departure of the released code does, from a run's own tables.

The paper's code takes statistics in front of the activation function and writes them behind it.
Here that departure alone runs on the built-in world, with text and no task. Take `budget=text` away
for the whole of it: `langneurons run audit -o runs/audit`.
"""

import sys
from pathlib import Path

import pandas as pd

import langneurons as ln

SMALL = [
    "budget=text",
    "languages=[en,hi,ur]",
    "statistics={tokens: 5000, rows: 512, block: 128}",
    "perplexity={neurons: [lape, lape-interpolated], tokens: 400, random: 1, matched: 0}",
    "crossing={neurons: [lape], languages: [hi], values: [P10], random: 1, matched: 0}",
]


def main(folder: Path) -> pd.DataFrame:
    study = ln.Study.from_yaml("audit", SMALL)
    result = study.run(folder / "audit")
    assert not result.failed, result.failed

    # One row a reading of the same units and value, as a ratio to the untouched model's perplexity:
    # `strict` takes and writes at the neuron, `paper` takes before and writes behind, `clipped` is
    # `paper` moved back into what the activation function can give.
    table = pd.read_parquet(folder / "audit" / "tables" / "crossing.parquet")
    print(table.to_string(index=False))

    # Did the departure in the cut-off change the neurons at all? Jaccard beside chance.
    overlap = pd.read_parquet(folder / "audit" / "tables" / "overlap.parquet")
    print(overlap.to_string(index=False))
    print(f"the page: {result.report}")
    return table


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
