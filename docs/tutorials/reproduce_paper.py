"""Reproduce arXiv 2503.17456: what its study would do, and the same on the built-in world.

`mini-paper` runs in minutes on a laptop. The paper's own models are the presets
`paper-llama-3.1-8b` and `paper-mistral-nemo-12b`; their plan is laid out here without the model.
"""

import sys
from pathlib import Path

import langneurons as ln


def main(folder: Path) -> int:
    study = ln.Study.from_yaml("mini-paper", ["budget=small"])
    plan = study.plan()
    kinds: dict[str, int] = {}
    for stage in plan.stages:
        kinds[stage.kind] = kinds.get(stage.kind, 0) + 1
    for kind, count in kinds.items():
        print(f"{count:4d}  {kind}")
    print(f"run it: langneurons run mini-paper -s budget=small -o {folder / 'mini-paper'}")
    return len(plan.stages)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
