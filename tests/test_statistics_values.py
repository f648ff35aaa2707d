import json
from pathlib import Path

import pytest
import torch

import tiny
from langneurons.errors import ArtifactError, InputError
from langneurons.models import LanguageModel
from langneurons.statistics import Statistics, collect

TEXTS = {"en": ["the cat and the dog " * 6, "a bird"], "hi": ["एक बिल्ली और कुत्ता " * 4]}


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny.lm("llama")


@pytest.fixture(scope="module")
def stats(lm: LanguageModel) -> Statistics:
    return collect(lm, TEXTS, rows=30)


def same(a: Statistics, b: Statistics) -> None:
    assert (a.site, a.shape, a.model) == (b.site, b.shape, b.model)
    assert set(a.languages) == set(b.languages)
    assert a.fingerprint == b.fingerprint
    for lang in a.languages:
        assert a.tokens[lang] == b.tokens[lang]
        assert torch.equal(a.count_positive[lang], b.count_positive[lang])
        for name in ("mean", "std", "abs_mean", "minimum", "maximum"):
            assert torch.equal(getattr(a, name)(lang), getattr(b, name)(lang))
        assert torch.equal(a.keys(lang), b.keys(lang))
        for layer in range(a.shape[0]):
            assert torch.equal(a.rows(lang, layer), b.rows(lang, layer))
        assert torch.equal(a.quantile(lang, 0.9), b.quantile(lang, 0.9))


def test_round_trip(stats: Statistics, lm: LanguageModel, tmp_path: Path) -> None:
    stats.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "en.rows", "en.safetensors", "hi.rows", "hi.safetensors",
    ]  # fmt: skip
    loaded = Statistics.load(tmp_path)
    same(loaded, stats)
    assert loaded["en"].options["block"] == 256
    assert loaded.model == lm.fingerprint
    # A language's file stands by itself.
    alone = Statistics.load(tmp_path / "hi.safetensors")
    same(alone, stats.select(["hi"]))
    assert Statistics.load(tmp_path, ["hi", "en"]).languages == ("hi", "en")
    # Saving what was loaded, elsewhere and in place, changes nothing.
    loaded.save(tmp_path / "copy")
    loaded.save(tmp_path)
    for path in (tmp_path / "copy").rglob("*.safetensors"):
        original = tmp_path / path.relative_to(tmp_path / "copy")
        assert original.read_bytes() == path.read_bytes()


def test_collecting_into_a_folder_writes_what_saving_writes(
    stats: Statistics, lm: LanguageModel, tmp_path: Path
) -> None:
    written = collect(lm, TEXTS, rows=30, output=tmp_path / "a")
    same(written, stats)
    stats.save(tmp_path / "b")
    names = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*"))
    assert names == sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*"))
    for name in names:
        if (tmp_path / "a" / name).is_file():
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_damage_is_found(stats: Statistics, tmp_path: Path) -> None:
    stats.save(tmp_path)
    rows = tmp_path / "en.rows" / "001.safetensors"
    content = bytearray(rows.read_bytes())
    content[-3] ^= 4
    rows.write_bytes(content)
    loaded = Statistics.load(tmp_path)
    loaded.rows("en", 0)
    with pytest.raises(ArtifactError, match="damaged"):
        loaded.rows("en", 1)
    other = (tmp_path / "hi.rows" / "000.safetensors").read_bytes()
    (tmp_path / "en.rows" / "000.safetensors").write_bytes(other)
    with pytest.raises(ArtifactError, match="belongs to other statistics"):
        loaded.rows("en", 0)
    (tmp_path / "en.safetensors").write_bytes(b"short")
    with pytest.raises(ArtifactError):
        Statistics.load(tmp_path)


def test_loading_what_is_not_there(stats: Statistics, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no statistics"):
        Statistics.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no statistics"):
        Statistics.load(tmp_path)
    stats.save(tmp_path)
    with pytest.raises(InputError, match="unknown language 'de'"):
        Statistics.load(tmp_path, ["de"])


def test_merge_of_languages_and_refusals(stats: Statistics, lm: LanguageModel) -> None:
    both = stats.select(["hi"]).merge(stats.select(["en"]))
    assert both.languages == ("hi", "en")
    same(both, stats)
    with pytest.raises(InputError, match="count it twice"):
        stats.merge(stats)
    with pytest.raises(InputError, match="different sites"):
        stats.merge(collect(lm, {"fr": ["le chat"]}, site="mlp.out"))
    with pytest.raises(InputError, match="different models"):
        stats.merge(collect(tiny.lm("llama", seed=1), {"fr": ["le chat"]}))
    with pytest.raises(InputError, match="different shapes"):
        stats.merge(collect(tiny.lm("llama", intermediate_size=40), {"fr": ["le chat"]}))


def test_merged_statistics_can_be_saved(lm: LanguageModel, tmp_path: Path) -> None:
    a = collect(lm, {"en": TEXTS["en"][:1]}, rows=20, output=tmp_path / "a")
    b = collect(lm, {"en": TEXTS["en"][1:]}, rows=20, output=tmp_path / "b")
    merged = a.merge(b)
    merged.save(tmp_path / "merged")
    same(Statistics.load(tmp_path / "merged"), merged)
    whole = collect(lm, {"en": TEXTS["en"]}, rows=20)
    assert torch.equal(merged.keys("en"), whole.keys("en"))
    assert merged.tokens == whole.tokens


def test_fingerprint_follows_content_not_order(stats: Statistics, lm: LanguageModel) -> None:
    turned = stats.select(["hi", "en"])
    assert turned.fingerprint == stats.fingerprint
    other = collect(lm, {**TEXTS, "hi": ["एक"]}, rows=30)
    assert other.fingerprint != stats.fingerprint


def test_without_rows(lm: LanguageModel, tmp_path: Path) -> None:
    stats = collect(lm, TEXTS, rows=0, output=tmp_path)
    assert not stats.has("rows")
    assert stats.has("moments")
    assert not list(tmp_path.rglob("*.rows"))
    with pytest.raises(InputError, match="hold no token rows"):
        stats.quantile("en", 0.5)
    with pytest.raises(InputError, match="token rows of 'en' are not known"):
        stats.rows("en", 0)


def test_bad_questions(stats: Statistics) -> None:
    with pytest.raises(InputError, match="unknown language 'es'"):
        stats.mean("es")
    with pytest.raises(InputError, match="between 0 and 1"):
        stats.quantile("en", 1.5)
    with pytest.raises(InputError, match="no layer 9"):
        stats.rows("en", 9)
    with pytest.raises(InputError, match="unknown part"):
        stats.has("everything")


def test_from_counts(tmp_path: Path) -> None:
    counts = {"en": torch.tensor([[0, 5], [10, 3]]), "hi": torch.tensor([[1, 1], [1, 1]])}
    stats = Statistics.from_counts(counts, {"en": 10, "hi": 4}, site="mlp.act")
    assert stats.shape == (2, 2)
    assert stats.prob_positive("en").tolist() == [[0.0, 0.5], [1.0, 0.3]]
    assert not stats.has("moments")
    assert stats.model is None
    for question in (lambda: stats.mean("en"), lambda: stats.quantile("en", 0.5)):
        with pytest.raises(InputError, match="Collect statistics from text"):
            question()
    stats.save(tmp_path)
    loaded = Statistics.load(tmp_path)
    assert loaded.fingerprint == stats.fingerprint
    merged = stats.merge(Statistics.from_counts({"en": counts["en"] * 0 + 1}, {"en": 1}))
    assert merged.count_positive["en"].tolist() == [[1, 6], [11, 4]]


@pytest.mark.parametrize(
    ("counts", "tokens", "message"),
    [
        ({}, {}, "no counts"),
        ({"en": torch.tensor([1])}, {"en": 1}, r"\(layers, units\)"),
        ({"en": torch.tensor([[0.5]])}, {"en": 1}, "no whole numbers"),
        ({"en": torch.tensor([[-1]])}, {"en": 1}, "negative"),
        ({"en": torch.tensor([[1]])}, {}, "missing or not positive"),
        ({"en": torch.ones(1, 2), "hi": torch.ones(2, 2)}, {"en": 1, "hi": 1}, "those before"),
    ],
)
def test_bad_counts(counts: dict, tokens: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Statistics.from_counts(counts, tokens)


def test_counts_above_tokens_warn_and_are_kept() -> None:
    with pytest.warns(UserWarning, match="^1 counts of 'ru' are above its 3 tokens"):
        stats = Statistics.from_counts({"ru": torch.tensor([[4, 3, 2, 0]])}, {"ru": 3})
    assert stats.prob_positive("ru").tolist()[0] == pytest.approx([4 / 3, 1, 2 / 3, 0])


def test_counts_beyond_float32_stay_exact() -> None:
    large = 2**24 + 1
    stats = Statistics.from_counts({"en": torch.tensor([[large]])}, {"en": 2**25})
    stats = stats.merge(Statistics.from_counts({"en": torch.tensor([[2]])}, {"en": 5}))
    assert stats.count_positive["en"].item() == large + 2


def test_metadata_is_plain_json(stats: Statistics, tmp_path: Path) -> None:
    stats.save(tmp_path)
    raw = (tmp_path / "en.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    about = {key: value for key, value in header["__metadata__"].items() if key != "sha256"}
    decoded = {key: json.loads(value) for key, value in about.items()}
    assert decoded["language"] == "en"
    assert decoded["site"] == "mlp.act"
    assert decoded["tokens"] == stats.tokens["en"]
    assert decoded["model"]["layers"] == stats.shape[0]


def test_quantiles_0_and_1_are_the_extremes_of_all_tokens():
    lm = tiny.lm()
    stats = collect(lm, {"xx": ["the cat and the dog " * 30]}, rows=5)
    assert torch.equal(stats.quantile("xx", 0.0), stats.minimum("xx"))
    assert torch.equal(stats.quantile("xx", 1.0), stats.maximum("xx"))
    rows = torch.stack([stats.rows("xx", layer) for layer in range(2)]).double()
    assert bool((rows.amin(1) > stats.minimum("xx")).any())
