"""A tiny model, three texts and a study of them on disk, for tests of whole studies."""

from pathlib import Path

import yaml

import tiny

WORDS = {
    "en": "the cat and the dog run over the hill to the house near a river",
    "es": "el gato y el perro corren por la colina hasta la casa junto al río",
    "hi": "बिल्ली और कुत्ता पहाड़ी पर नदी के पास घर तक दौड़ते हैं",
}


def documents(lang: str, count: int = 40) -> list[str]:
    words = WORDS[lang].split()
    return [
        " ".join(words[(start * 7 + step * (1 + start % 5)) % len(words)] for step in range(30))
        for start in range(count)
    ]


def build(root: Path) -> Path:
    """Write model, texts and ``study.yaml`` into a folder; returns the folder."""
    lm = tiny.lm("llama")
    lm.model.save_pretrained(root / "model")
    lm.tokenizer.save_pretrained(root / "model")
    for lang in WORDS:
        (root / f"{lang}.txt").write_text("\n".join(documents(lang)), encoding="utf-8")
    study = {
        "name": "tiny",
        "model": str(root / "model"),
        "languages": list(WORDS),
        "text": str(root / "{lang}.txt"),
        "statistics": {"tokens": 600, "block": 32, "rows": 128},
        "neurons": {
            "lape": {"method": "lape", "parameters": {"top": 0.2}},
            "two": {"method": "lape", "languages": ["en", "hi"], "parameters": {"top": 0.2}},
        },
        "perplexity": {"neurons": ["lape"], "tokens": 600, "random": 1, "matched": 1},
    }
    (root / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return root


def contents(out: Path) -> dict[str, bytes]:
    """Every result of a run directory by its path: what two equal runs must have in common."""
    folders = ("shards", "statistics", "neurons", "perplexity", "scores", "rules", "tables")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for folder in folders
        for path in sorted((out / folder).rglob("*"))
        if path.is_file()
    }
