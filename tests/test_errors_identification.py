"""What identification refuses, each by one line that names the user's value."""

import json

import pandas as pd
import pytest
import torch
from huggingface_hub import errors as hub

import tiny
from identification_make import statistics_of
from langneurons.artifacts import write_tensors
from langneurons.errors import InputError, RunError
from langneurons.identification import (
    METHODS,
    NeuronSet,
    Units,
    bootstrap,
    compare,
    identify,
    read_counts,
)
from langneurons.identification.attribution import to_blocks
from langneurons.identification.evidence import BalancedRows, activity
from langneurons.identification.method import ModelInput
from langneurons.identification.ranking import Ranked
from langneurons.identification.selection import amount
from langneurons.identification.stability import resample
from langneurons.identification.subspaces import discriminant
from langneurons.statistics import LanguageStatistics, Statistics
from langneurons.statistics.sample import MemoryRows, RowSample

SHAPE = (2, 6)
SET = NeuronSet({"en": Units([0], [1]), "hi": Units([1], [2])}, SHAPE)


def stats(*languages, shape=SHAPE):
    counts = {lang: torch.ones(shape, dtype=torch.int64) for lang in languages}
    return Statistics.from_counts(counts, tokens=dict.fromkeys(languages, 10))


def rows(*languages):
    generator = torch.Generator().manual_seed(0)
    return statistics_of({lang: torch.randn(2, 8, 6, generator=generator) for lang in languages})


def nothing():
    """Statistics of a language without a single token or row."""
    none = torch.zeros(0, dtype=torch.int64)
    sample = RowSample(None, 0, none, none, none, none, MemoryRows(torch.zeros(2, 0, 6)))
    item = LanguageStatistics(tokens=0, count=torch.zeros(SHAPE), moments=None, sample=sample)
    return Statistics("mlp.act", SHAPE, None, {"en": item})


def load(path, content, **options):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return NeuronSet.load(path, **options)


def published(path, value, **options):
    torch.save(value, path)
    return NeuronSet.load(path, **options)


LIST = torch.tensor([1])
CASES = {
    "statistics missing": (lambda p: identify(None, method="lape"), "reads statistics: collect"),
    "no text of a language": (
        lambda p: to_blocks(tiny.lm(), {"hi": [""]}, 8, None),
        "language 'hi': the text holds no token",
    ),
    "controls of another shape": (
        lambda p: SET.random_like(0, matched="rate", statistics=stats("en", "hi", shape=(2, 7))),
        r"statistics have shape \(2, 7\), the neurons \(2, 6\)",
    ),
    "controls of another language": (
        lambda p: SET.random_like(0, matched="rate", statistics=stats("en", "ur")),
        "no statistics for language hi",
    ),
    "no token": (
        lambda p: activity(nothing()),
        "language 'en' has no token",
    ),
    "no rows": (
        lambda p: BalancedRows(nothing()),
        "no token rows for language en",
    ),
    "a layout for a table": (
        lambda p: SET.save(p / "x.csv", layout="layers"),
        "layout 'layers' must be 'layers' or 'pairs', for a .json file",
    ),
    "no table of neurons": (lambda p: load(p / "x.csv", ""), "is no table of neurons"),
    "an empty object": (lambda p: load(p / "x.json", {}), "holds no neurons|not a neuron set"),
    "an empty list of languages": (
        lambda p: load(p / "x.json", {"en": [[1]]}, languages=["hi"]),
        "has no language hi",
    ),
    "numbers for lists": (
        lambda p: load(p / "x.json", {"en": 3}),
        r"each language needs a list of layers or of \[layer, index\] pairs",
    ),
    "another layout": (
        lambda p: load(p / "x.json", {"en": [[1], [2]]}, layout="pairs"),
        "does not have the layout 'pairs'",
    ),
    "a count file": (
        lambda p: published(p / "x.pth", {"n": 3, "over_zero": LIST}),
        "no list over languages of lists over layers",
    ),
    "half a file": (
        lambda p: published(p / "x.pth", [[LIST], [LIST, LIST]]),
        "different numbers of layers",
    ),
    "many languages without names": (
        lambda p: published(p / "x.pth", [[LIST]] * 30),
        "holds 30 languages without names",
    ),
    "fractions of layers": (
        lambda p: load(p / "x.csv", "language,layer,index\nen,0.5,1\n"),
        "layer and index must be integers",
    ),
    "another number of layers": (
        lambda p: published(p / "x.pth", [[LIST]], languages=["en"], shape=(3, 9)),
        "holds 1 layers, the shape says 3",
    ),
    "no count file": (
        lambda p: read_counts({"hi": p / "none.pth"}),
        r"no file .*none.pth' \(counts of language 'hi'\)",
    ),
    "counts without tokens": (
        lambda p: read_counts(
            [write_tensors(p / "x.safetensors", {"en": LIST}, {}), p / "x.safetensors"][1]
        ),
        "must give 'tokens', the number of tokens of each of the languages en",
    ),
    "no language": (lambda p: identify(stats("en", "hi"), languages=[]), "no language is named"),
    "batches": (
        lambda p: identify(rows("en", "hi"), method="activation_probability", batches=0),
        "batches must be at least 1, not 0",
    ),
    "others of one": (
        lambda p: identify(rows("en"), method="activation_probability", threshold="others"),
        "needs a second language|needs at least",
    ),
    "lambda": (
        lambda p: identify(stats("en", "hi"), method="entropy_lambda", lambda_=-1.0),
        "lambda_ must be a number from 0 on, got -1.0",
    ),
    "search step": (
        lambda p: identify(stats("en", "hi"), method="entropy_lambda", search_step=0.0),
        "search_step must be above 0, got 0.0",
    ),
    "a choice": (
        lambda p: identify(stats("en", "hi"), percentile="median"),
        "unknown percentile 'median'",
    ),
    "a word for a share": (lambda p: amount("top", "half", 10), "top must be a share .* 'half'"),
    "a share above 1": (
        lambda p: amount("top", 1.5, 10),
        "top as a share must lie between 0 and 1",
    ),
    "replicates": (
        lambda p: bootstrap(rows("en", "hi"), "lape", replicates=0),
        "at least 1, not 0",
    ),
    "no row left": (
        lambda p: resample(rows("en"), {"en": torch.empty(0, dtype=torch.int64)}),
        "no token row of language 'en' is left",
    ),
    "nothing in common": (
        lambda p: compare({"a": SET.select(["en"]), "b": SET.select(["hi"])}),
        r"a \(en\) and b \(hi\) have no language in common",
    ),
    "scores of another size": (
        lambda p: NeuronSet({"en": Units([0], [1])}, SHAPE, scores={"en": torch.ones(2)}),
        "scores of language 'en' do not fit its units",
    ),
    "no scores to rank by": (lambda p: SET.top(1), "no scores for language 'en'"),
    "another format": (
        lambda p: NeuronSet.from_dict({"format": "x"}),
        r"not a neuron set \(format 'x'\)",
    ),
    "a later version": (
        lambda p: NeuronSet.from_dict({"format": "langneurons.neurons", "version": 2}),
        "format version 2, known is 1: upgrade",
    ),
    "half an object": (lambda p: NeuronSet.from_dict({}), r"not a neuron set of langneurons"),
    "hundreds of languages": (
        lambda p: Ranked([torch.zeros(1, 1)] * 1025),
        "languages can be ranked together",
    ),
    "kind of subspace": (
        lambda p: discriminant({"en": torch.eye(3), "hi": torch.ones(3, 3)}, "en", "pca"),
        "unknown kind of subspace 'pca'",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_refused_in_one_line(name, tmp_path):
    call, message = CASES[name]
    with pytest.raises(InputError, match=message) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


TEXTS = {"en": ["the cat", "a dog"], "hi": ["हिन्दी", "और"]}


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("gradient", {"threshold": -1.0}, "threshold must not be negative, got -1.0"),
        ("relevance", {"statistics": "other"}, r"the statistics are of mlp.act \(2, 6\)"),
    ],
)
def test_a_method_on_a_model_refuses(method, options, message):
    statistics = stats("en", "hi") if "statistics" in options else None
    options = {name: value for name, value in options.items() if name != "statistics"}
    with pytest.raises(InputError, match=message):
        METHODS.get(method).on_model(ModelInput(tiny.lm(), TEXTS, statistics), **options)


def test_a_sentence_without_tokens_is_named_by_its_language():
    with pytest.raises(InputError, match="language 'hi': the text holds no token"):
        METHODS.get("transfer").on_model(ModelInput(tiny.lm(), {"en": ["a"], "hi": [""]}), kind=2)


def fails(kind):
    """An error as the Hub's library raises it, without the response it came from."""
    error = kind.__new__(kind)
    error.args = ("said the Hub",)
    return error


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (hub.LocalEntryNotFoundError, RunError, "could not fetch 'a/b'"),
        (hub.RepositoryNotFoundError, InputError, "no repository 'a/b' on the Hub"),
        (hub.RemoteEntryNotFoundError, InputError, "repository 'a/b' holds no neurons.json"),
        (OSError, RunError, r"could not fetch 'a/b' \(said the Hub\): check the network"),
    ],
)
def test_what_the_hub_answers_becomes_one_line(monkeypatch, error, raised, message):
    import huggingface_hub

    def download(*words, **options):
        raise fails(error)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(raised, match=message):
        NeuronSet.from_pretrained("a/b")


def test_neither_a_folder_nor_a_repository():
    with pytest.raises(InputError, match="neither a folder nor a Hub repository"):
        NeuronSet.from_pretrained("a b/c/d")


def test_leace_without_its_package(monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "erasure" in name else found(name)
    )
    with pytest.raises(InputError, match=r"langneurons\[erasure\]"):
        discriminant({"en": torch.eye(3), "hi": torch.ones(3, 3)}, "en", "leace")


def test_a_table_of_words_is_no_neuron_table(tmp_path):
    pd.DataFrame({"language": ["en"], "layer": ["a"], "index": ["b"]}).to_csv(tmp_path / "x.csv")
    with pytest.raises(InputError, match="layer and index must be integers"):
        NeuronSet.load(tmp_path / "x.csv")
