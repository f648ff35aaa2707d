"""The gallery of the documentation, from finished runs: `python -m scripts.gallery RUN ...`.

It takes one figure of each kind from the reports of the runs, the first that has one. The pictures
lie in docs/figures/gallery, the page is docs/gallery.md.

    langneurons run mini -o runs/mini
    langneurons run scripts/gallery.yaml -o runs/gallery
    python -m scripts.gallery runs/mini runs/gallery
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from langneurons.artifacts import read_json, write_text
from langneurons.reporting.figures import canvas
from langneurons.reporting.sections import Picture
from langneurons.study import report

DOCS = Path(__file__).resolve().parents[1] / "docs"
FOLDER = DOCS / "figures" / "gallery"
KINDS = {
    "answer": "The answer of a run",
    "interventions": "A task under overwrites",
    "finetuning": "Whose neurons learn",
    "perplexity_matrix": "Perplexity, language by language",
    "perplexity_controls": "Own neurons beside the controls",
    "neurons": "Where the neurons lie",
    "upset": "Which languages share neurons",
    "venn": "Three languages' neurons",
    "overlap": "Overlap of languages and methods",
    "overlap_sets": "Overlap of neuron sets",
    "overlap_chance": "Overlap beside chance",
    "unit_effects": "Single units",
    "sweep": "A sweep of values, layers or shares",
    "deactivation": "What a value does, and where it lies",
    "residual": "The residual stream behind an overwrite",
    "crossing": "The crossed site",
    "forcing": "Forcing a language",
    "fallback": "Languages switched off one by one",
    "features": "Sparse features",
    "subspaces": "Linear subspaces",
    "polysemanticity": "Language and label in one unit",
    "paper_beside": "Published beside measured",
    "paper_ppxc": "The paper's perplexity change",
    "paper_overlaps": "Overlap against the change of a score",
    "supervision": "Supervision in the target language",
    "answers": "Answers in the language and in another",
    "changes": "Features and subspaces on a task",
    "steering": "Ways of steering, side by side",
    "enhancement": "A language's own weights trained on its text",
    "routing_divergence": "Routing by language",
    "expert_load": "Load of the experts",
}
"""Beginning of a figure's name to its heading, in the order of the page."""
HEAD = """\
# Gallery

One figure of every kind that a [report](report.md) draws, each with the command of the run. The
report writes it as PNG, SVG and PDF into `report/figures`, with the caption shown here. Made by
`python -m scripts.gallery RUN ...` from runs on the [built-in world](mini.md): they show what a
figure looks like, not what holds of language models. For that: [What survives](what-survives.md).
"""
NEEDS = {
    "paper_beside": "one of the authors' models (`paper-llama-3.1-8b`, `paper-mistral-nemo-12b`)",
    "paper_overlaps": "a task overwritten in several languages (`mini`)",
    "supervision": "adapters with examples of the target language (`mini-supervision`)",
    "answers": "answers to questions under overwrites (`answers` in a study)",
    "changes": "features or subspaces changed while a task is answered (`changes` in a study)",
    "steering": "ways of steering (`steering`)",
    "enhancement": "a language's units trained on its text (`enhancement`)",
    "routing_divergence": "a mixture of experts",
    "expert_load": "a mixture of experts",
}
"""Kinds that the runs of the gallery need not have, and what draws them."""


@dataclass(frozen=True)
class Piece:
    """A figure of the gallery: kind, figure with caption, command of its run."""

    kind: str
    picture: Picture
    command: str


def kind_of(name: str) -> str | None:
    """The kind of a figure by its file name: the longest beginning that is known."""
    found = [kind for kind in KINDS if name == kind or name.startswith(f"{kind}_")]
    return max(found, key=len, default=None)


def command(folder: Path) -> str:
    """The command that made a run, as one would type it below the repository."""
    name = read_json(folder / "run.json")["name"]
    study = "scripts/gallery.yaml" if name == "gallery" else name
    return f"langneurons run {study} -o runs/{name}"


def pieces(folders: list[Path]) -> list[Piece]:
    """The first figure of each kind, in the order of the page."""
    found: dict[str, Piece] = {}
    for folder in folders:
        for picture in report.compose(report.read(folder)).pictures():
            kind = kind_of(picture.name)
            if kind is not None and kind not in found:
                found[kind] = Piece(kind, picture, command(folder))
    return [found[kind] for kind in KINDS if kind in found]


def page(shown: list[Piece]) -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for piece in shown:
        caption = re.sub(r"([*_`|])", r"\\\1", piece.picture.caption)
        parts.append(
            f"## {KINDS[piece.kind]}\n\n"
            f"![{KINDS[piece.kind]}](figures/gallery/{piece.kind}.svg)\n\n"
            f"{caption}\n\n"
            f"```console\n$ {piece.command}    # report/figures/{piece.picture.name}.svg\n```\n"
        )
    return "\n".join([*parts, foot({piece.kind for piece in shown})])


def foot(shown: Collection[str]) -> str:
    """What the report draws besides."""
    rest = [f"- **{KINDS[kind]}**: {need}" for kind, need in NEEDS.items() if kind not in shown]
    return "\n".join(["## Not shown here", "", "What these figures need:", "", *rest, ""])


def main() -> None:
    """Draw every kind once and write the page; kinds that no run has are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    shown = pieces(parser.parse_args().runs)
    for old in FOLDER.glob("*.svg"):
        old.unlink()
    for piece in shown:
        drawn = canvas.svg(piece.picture.figure, piece.kind)
        write_text(FOLDER / f"{piece.kind}.svg", canvas.titled(drawn))
    write_text(DOCS / "gallery.md", page(shown))
    missing = [kind for kind in KINDS if kind not in {piece.kind for piece in shown}]
    sys.stdout.write(f"{len(shown)} kinds of figure; in no run: {', '.join(missing) or 'none'}\n")


if __name__ == "__main__":
    main()
