"""What the commands refuse before they start, each by one line and exit code 2."""

import sys

import pytest

from langneurons.cli import app as application
from langneurons.identification import NeuronSet, Units
from langneurons.statistics import Statistics
from study_world import files


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny model, texts, statistics and neuron sets."""
    root = tmp_path_factory.mktemp("refusals")
    files(root)
    import torch

    counts = {lang: torch.ones(2, 48, dtype=torch.int64) for lang in ("en", "hi")}
    Statistics.from_counts(counts, tokens={"en": 10, "hi": 10}).save(root / "stats")
    torch.save([[torch.tensor([1]), torch.tensor([2])]] * 3, root / "lists.pth")
    NeuronSet({"en": Units([0], [1]), "hi": Units([], [])}, (2, 48)).save(root / "set.json")
    return root


CASES = {
    "figure": (
        ["neurons", "compare", "set.json", "set.json", "--figure", "x.bmp"],
        "--figure x.bmp must end in .png, .svg, .pdf",
    ),
    "no method": (["identify", "stats", "--method", ","], "--method names no method"),
    "parameter of one method": (
        ["identify", "stats", "--method", "lape,dln", "-p", "bar=0.5"],
        "-p bar belongs to one method",
    ),
    "method that reads the model": (
        ["identify", "stats", "--method", "gradient"],
        "method 'gradient' reads the model: add --model and --text",
    ),
    "nothing found": (
        ["identify", "stats", "--method", "dln,auroc"],
        "no method found a set",
    ),
    "twice": (["neurons", "compare", "set.json", "set.json"], "a neuron set is named twice"),
    "import to": (["neurons", "import", "set.json", "x.csv"], "must end in .json, not '.csv'"),
    "shape": (
        ["neurons", "import", "set.json", "x.json", "--shape", "32"],
        "--shape '32' must be LAYERSxUNITS",
    ),
    "parameter": (["identify", "stats", "-p", "top"], "'top' must be KEY=VALUE"),
    "parameter value": (["identify", "stats", "-p", "top=[1"], "of 'top=[1' must be YAML"),
    "no text": (["collect", "-m", "model", "-o", "x"], "no text: give one per language"),
    "value": (
        ["perplexity", "-n", "set.json", "-m", "model", "-t", "en=en.txt", "--statistics", "stats",
         "--value", "median"],
        "value 'median' is none of zero",
    ),
    "language of the set": (
        ["finetune", "mini-nli", "-n", "set.json", "--units", "ur", "-o", "x"],
        "unknown language of the neuron set 'ur'",
    ),
    "no units": (
        ["finetune", "mini-nli", "-n", "set.json", "--units", ",", "-o", "x"],
        "--units names no language",
    ),
    "language without units": (
        ["evaluate", "mini-nli", "-n", "set.json", "--value", "zero", "-l", "hi"],
        "the neuron set has no unit for hi: leave it out of --languages",
    ),
    "sweep of a language": (
        ["sweep", "-n", "set.json", "-l", "ur"],
        "unknown language of the neuron set 'ur'",
    ),
    "sweep of no unit": (
        ["sweep", "-n", "set.json", "-l", "hi"],
        "has no unit for hi: leave it out",
    ),
    "sweep without text": (
        ["sweep", "-n", "set.json", "-l", "en", "-m", "model", "--values", "zero"],
        "no text: give one per language",
    ),
    "sweep of an adapter": (
        ["sweep", "-n", "set.json", "-l", "en", "--adapter", "x"],
        "--adapter needs the task it was trained on: add --task TASK",
    ),
    "sweep of shares": (
        ["sweep", "-n", "set.json", "-l", "en", "--shares", "0.01"],
        "--shares finds the units anew: add --statistics DIR",
    ),
    "sweep of no numbers": (
        ["sweep", "-n", "set.json", "-l", "en", "--shares", "few", "--statistics", "stats"],
        "--shares few must be numbers with commas",
    ),
    "sweep of no value, statistics or not": (
        ["sweep", "-n", "set.json", "-l", "en", "--values", "P200"],
        "value 'P200' is none of zero, mean",
    ),
    "fewer than no draws": (
        ["sweep", "-n", "set.json", "-l", "en", "--random", "-3"],
        "--random",
    ),
    "key that must hold keys": (
        ["run", "mini", "-s", "fallback=3", "--dry-run"],
        "fallback: must hold keys (neurons, starts, ",
    ),
    "key that is missing": (
        ["run", "mini", "-s", "sweep={values: [zero]}", "--dry-run"],
        "sweep.languages: is missing: give it",
    ),
    "key below its bound": (
        ["run", "mini", "-s", "fallback={starts: [hi], steps: 0}", "--dry-run"],
        "fallback.steps: must be greater than or equal to 1",
    ),
    "published lists": (
        ["neurons", "import", "lists.pth", "x.json", "-l", "en,hi"],
        "holds 3 languages, 2 are named (en, hi): name those it holds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_line(name, world, monkeypatch, capsys):
    words, message = CASES[name]
    monkeypatch.chdir(world)
    monkeypatch.setattr(sys, "argv", ["langneurons", "--quiet", *words])
    with pytest.raises(SystemExit) as left:
        application.main()
    seen = capsys.readouterr()
    assert left.value.code == 2, seen.err
    assert message in seen.err
    assert len(seen.err.strip().splitlines()) == 1
    assert "Traceback" not in seen.err
