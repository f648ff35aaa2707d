"""What one point would take, from the tables of a finished run, older ones too.

``python -m bench.planning RUN`` prints the table of the report's section as Markdown.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from langneurons.artifacts import read_json, read_table
from langneurons.evaluation import planning


def main(run: Path) -> None:
    paths = [run / "tables" / f"{name}.parquet" for name in ("scores", "perplexity")]
    found = planning(*(read_table(path) if path.is_file() else pd.DataFrame() for path in paths))
    print(f"{read_json(run / 'run.json')['model']['name']}\n")
    print("| what | comparison | language | size here | detectable here | needed for 1 |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for row in found.itertuples(index=False):
        print(
            f"| {row.of} | {row.name} | {row.lang} | {row.size:,} | {row.detectable:.2f} "
            f"| {row.needed:,} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-xnli"))
