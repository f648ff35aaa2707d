"""The single steps on a tiny model and real files, as a person would chain them."""

import json
import sys

import pandas as pd
import pytest
import torch

from langneurons.artifacts import write_tensors
from langneurons.cli import app as application
from langneurons.identification import NeuronSet
from study_world import WORDS, files


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a tiny model and a text a language."""
    root = tmp_path_factory.mktemp("steps")
    files(root)
    return root


def call(*words: str) -> int:
    sys.argv = ["langneurons", "--quiet", *words]
    with pytest.raises(SystemExit) as left:
        application.main()
    return int(left.value.code or 0)


def test_collect_identify_perplexity_and_the_neuron_commands(world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    texts = ["-l", ",".join(WORDS), "-t", "{lang}.txt"]
    assert call("collect", "-m", "model", *texts, "--block", "32", "-o", "stats") == 0
    assert "tokens: en" in capsys.readouterr().out
    assert (world / "stats/hi.safetensors").is_file()
    assert call("identify", "stats", "-p", "top=0.3", "-o", "lape.json", "--json") == 0
    sizes = json.loads(capsys.readouterr().out)["units"]
    assert set(sizes) == set(WORDS)
    assert sum(sizes.values()) > 0
    measure = ["perplexity", "-n", "lape.json", "-m", "model", *texts, "--block", "32"]
    assert call(*measure, "--tokens", "300", "--random", "1", "-o", "change.parquet") == 0
    table = pd.read_parquet("change.parquet")
    assert set(table["column"]) == set(WORDS)
    assert set(table["kind"]) == {"own", "random"}
    assert (table["ratio"] > 0).all()
    assert "Perplexity, ratio to untouched" in capsys.readouterr().out
    # A value from statistics, and rate-matched controls.
    extra = ["--value", "P90", "--statistics", "stats", "--matched", "1", "--random", "0"]
    assert call(*measure, "--tokens", "100", *extra, "--json") == 0
    kinds = {row["kind"] for row in json.loads(capsys.readouterr().out)}
    assert kinds == {"own", "matched"}
    assert call(*measure, "--value", "P90") == 2
    assert "add --statistics DIR" in capsys.readouterr().err

    options = ["--statistics", "stats", "--values=-1,zero,P90", "--tokens", "200"]
    sweep = ["sweep", "-n", "lape.json", "-l", "hi", "-m", "model", "-t", "hi.txt"]
    assert call(*sweep, *options, "--block", "32", "--figure", "s.png", "-o", "s.parquet") == 0
    swept = pd.read_parquet("s.parquet")
    assert list(swept[swept["kind"] == "own"]["value"]) == ["-1", "zero", "P90"]
    assert (world / "s.png").read_bytes().startswith(b"\x89PNG")
    assert "ratio to untouched" in capsys.readouterr().out
    assert call("identify", "stats", "--method", "all", "--json") == 0
    methods = {row["method"] for row in json.loads(capsys.readouterr().out)}
    assert {"lape", "dln", "entropy_lambda", "average_precision"} <= methods
    whole = ["collect", "-m", "model", *texts, "--block", "32", "-o", "other", "--dry-run"]
    assert call(*whole, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["tokens"]) == set(WORDS)
    assert not (world / "other").exists()

    assert call("neurons", "show", "lape.json") == 0
    assert "units by layer" in capsys.readouterr().out
    (world / "copy.json").write_bytes((world / "lape.json").read_bytes())
    assert call("neurons", "compare", "lape.json", "copy.json", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["jaccard"] for row in rows if row["size"]} == {1.0}
    many = ["lape.json", "copy.json", "third.json", "fourth.json"]
    for name in many[2:]:
        (world / name).write_bytes((world / "lape.json").read_bytes())
    for given, drawn in ((many[:1], 1), (many[:2], 1), (many, 2)):
        assert call("neurons", "compare", *given, "--figure", "overlap.png") == 0
        said = capsys.readouterr().out
        assert said.count("Figure: ") == drawn
        assert "jaccard" in said
        for name in given if len(given) == 4 else ():
            assert name.removesuffix(".json") in said  # the names fit the terminal
    assert (world / "overlap-upset.png").read_bytes().startswith(b"\x89PNG")
    assert call("neurons", "compare", "lape.json", "--figure", "overlap.bmp") == 2
    assert ".svg" in capsys.readouterr().err
    assert call("neurons", "export", "lape.json", "lape.csv") == 0
    assert len(pd.read_csv("lape.csv")) == sum(sizes.values())


def test_finetune_and_evaluate_on_local_files(world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    (world / "nli").mkdir(exist_ok=True)
    labels = ["entailment", "neutral", "contradiction"]
    for split, count in (("train", 24), ("test", 12)):
        rows = [
            {
                "premise": f"The cat number {n} sat.",
                "hypothesis": f"The dog {labels[n % 3]} ran.",
                "label": n % 3,
            }
            for n in range(count)
        ]
        pd.DataFrame(rows).to_json(
            world / "nli" / f"{split}.en.jsonl", orient="records", lines=True
        )
    train = ["finetune", "xnli:nli", "-m", "model", "-o", "adapter", "--units", "all"]
    settings = ["-p", "epochs=1", "-p", "batch_size=8", "-p", "rank=2"]
    assert call(*train, *settings, "--limit", "24") == 0
    assert "trainable parameters" in capsys.readouterr().out
    assert (world / "adapter/adapter_model.safetensors").is_file()
    score = ["evaluate", "xnli:nli", "-m", "model", "-l", "en", "--adapter", "adapter"]
    assert call(*score, "-o", "scores", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["metric"] == "accuracy"
    assert row["n"] == 12
    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 100
    kept = pd.read_parquet("scores/en.parquet")
    assert kept["correct"].mean() * 100 == pytest.approx(row["value"])


def test_published_counts_are_a_file_or_a_folder_that_holds_it(tmp_path, capsys):
    counts = tmp_path / "published" / "counts.safetensors"
    counts.parent.mkdir()
    generator = torch.Generator().manual_seed(0)
    made = {lang: torch.randint(0, 90, (2, 40), generator=generator) for lang in ("en", "hi")}
    made["hi"][0, 0] = 120  # more than the tokens seen: a warning, no refusal
    write_tensors(counts, made, {"tokens": {"en": 100, "hi": 100}})
    for given in (counts, counts.parent):
        assert call("identify", str(given), "-o", str(tmp_path / "sets.json")) == 0
        lines = capsys.readouterr().err.splitlines()
        (said,) = [line for line in lines if "are above its 100 tokens" in line]
        assert said.startswith("langneurons: warning: 1 counts of 'hi'")  # one line, no source
    assert set(NeuronSet.load(tmp_path / "sets.json")) == {"en", "hi"}
