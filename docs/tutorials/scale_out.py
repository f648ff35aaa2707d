"""Scale out: the same study in this process and on a Ray cluster, with the same results.

`pip install "langneurons[ray]"`. The cluster is two workers on this machine; `ray.address=auto`
takes one that is there already. The keys of the stages are the same on both, so that either may go
on where the other stopped.
"""

import hashlib
import sys
from pathlib import Path

import langneurons as ln

SMALL = [
    "name=scale-out",
    "languages=[en,hi]",
    "text=mini",
    "neurons={lape: {method: lape, parameters: {top: 0.05}}}",
    # Two parts of every language, which two workers collect and one merges.
    "statistics={tokens: 4000, rows: 256, block: 128, shards: 2}",
    "perplexity={neurons: [lape], tokens: 400, random: 1, matched: 0}",
    "passages=null",
    "threads=1",
]


def main(folder: Path) -> bool:
    here = ln.Study.from_yaml("text", SMALL).run(folder / "local")
    spread = ln.Study.from_yaml("text", [*SMALL, "ray={workers: 2, cpus: 1}"])
    there = spread.run(folder / "ray", executor="ray")
    assert not here.failed, here.failed
    assert not there.failed, there.failed
    same = digest(folder / "local") == digest(folder / "ray")
    print(f"{len(there.outcomes)} stages; neurons byte for byte the same: {same}")
    print("interrupted, or a worker gone: the same command goes on")
    return same


def digest(run: Path) -> str:
    """SHA-256 of the neuron set a run wrote."""
    return hashlib.sha256((run / "neurons" / "lape.json").read_bytes()).hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
