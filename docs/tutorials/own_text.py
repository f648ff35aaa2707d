"""Find the neurons of your own languages, in your own model and text."""

import sys
from pathlib import Path

import langneurons as ln

MODEL = "mini"  # or a Hub name, a folder, a .gguf file
TEXTS: dict[str, str] = {}  # such as {"en": "english.txt", "hi": "hindi.jsonl"}; empty: made below


def main(folder: Path) -> ln.NeuronSet:
    texts = TEXTS or sample_files(folder)
    documents = {lang: ln.read_texts(path) for lang, path in texts.items()}
    lm = ln.load(MODEL)
    # One pass over the text; written block by block, so that a stopped run goes on.
    stats = ln.collect(lm, documents, tokens=100_000, output=folder / "stats")
    neurons = ln.identify(stats, method="lape", top=0.05)
    neurons.save(folder / "lape.json")
    for lang, units in neurons.items():
        print(f"{lang}: {len(units)} of {lm.layers * stats.shape[1]} neurons")
    again = ln.NeuronSet.load(folder / "lape.json")
    assert again["hi"] == neurons["hi"]
    return neurons


def sample_files(folder: Path) -> dict[str, str]:
    """Text of the built-in world, a paragraph a line, as your own files would hold it."""
    paths = {}
    for lang in ("en", "es", "hi"):
        path = folder / f"{lang}.txt"
        path.write_text("\n".join(ln.mini.text(lang, tokens=6_000)), encoding="utf-8")
        paths[lang] = str(path)
    return paths


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
