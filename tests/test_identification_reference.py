"""Selections that others computed or published come out unit for unit."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from langneurons.identification import NeuronSet, Units, identify, read_counts

pytestmark = pytest.mark.filterwarnings("ignore:.*above its.*:UserWarning")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def needs(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"reference data {'/'.join(parts)} is not here")
    return path


def differing(found: NeuronSet, expected: dict[str, Units]) -> int:
    assert list(found) == list(expected)
    return sum(len(found[language] ^ units) for language, units in expected.items())


@pytest.mark.parametrize("case", ["case1", "case2"])
def test_lape_equals_the_original_selection(case):
    statistics = read_counts(needs("lape-reference", f"{case}.counts.safetensors"))
    reference = json.loads(needs("lape-reference", f"{case}.neurons.json").read_text())
    expected = {name: Units.from_pairs(pairs) for name, pairs in reference.items()}
    assert differing(identify(statistics, "lape"), expected) == 0
    assert sum(map(len, expected.values())) > 0


def test_lape_on_real_counts_of_gemma():
    statistics = read_counts(needs("gemma-reference", "counts.safetensors"))
    found = identify(statistics, method="lape", top=0.01, filter=0.95, bar=0.95)
    reference = json.loads(needs("gemma-reference", "lape.json").read_text())
    expected = {name: Units.from_pairs(pairs) for name, pairs in reference.items()}
    assert differing(found, expected) == 0
    assert found.sizes() == {
        "en": 19, "es": 121, "de": 102, "ru": 41, "vi": 72, "hi": 93, "zh": 65, "ar": 66,
    }  # fmt: skip


@pytest.fixture(scope="module")
def mistral():
    path = needs("mistral-mgsm", "counts.safetensors")
    with pytest.warns(UserWarning, match="'ru'") as caught:
        statistics = read_counts(path)
    assert any("372039" in str(item.message) for item in caught)
    return statistics


@pytest.fixture(scope="module")
def published():
    value = json.loads(needs("mistral-mgsm", "published.entropy-lambda.json").read_text())
    return {name: Units.from_layers(layers) for name, layers in value.items()}


def test_entropy_lambda_gives_the_published_mistral_units(mistral, published):
    found = identify(mistral, "entropy_lambda", lambda_=0.109375)
    assert differing(found, published) == 0
    assert sum(found.sizes().values()) == 6307
    assert found.parameters["found"]["shared_by_all"] == 0


def test_entropy_lambda_search_leaves_no_unit_in_all_languages(mistral, published):
    found = identify(mistral, "entropy_lambda")
    assert found.parameters["found"]["lambda"] == 0.109375
    assert differing(found, published) == 0
    everywhere = found["en"]
    for language in found:
        everywhere = everywhere & found[language]
    assert len(everywhere) == 0


def test_published_order_of_languages_is_by_name_not_position(mistral, published):
    shuffled = mistral.select(sorted(mistral.languages))
    found = identify(shuffled, "entropy_lambda", lambda_=0.109375)
    assert {name: found[name] for name in published} == published


def test_published_lape_lists_name_their_assumption():
    path = needs("lape-published", "LLaMA-2-7B.neuron.pth")
    with pytest.warns(UserWarning, match="assumed en, zh, fr, es, vi, id, ja"):
        neurons = NeuronSet.load(path, shape=(32, 11008))
    assert list(neurons.sizes().values()) == [95, 583, 1022, 838, 836, 1068, 582]
    assert neurons["zh"].by_layer(32)[4].tolist() == [6147, 9114, 9292]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = NeuronSet.load(
            path, shape=(32, 11008), languages=["en", "zh", "fr", "es", "vi", "id", "ja"]
        )
    assert named == neurons
    with pytest.raises(ValueError, match="holds 7 languages, 6 are named"):
        NeuronSet.load(path, shape=(32, 11008), languages=["en", "zh", "fr", "es", "vi", "id"])


def test_published_bloom_list_survives_export(tmp_path):
    path = needs("lape-published", "BLOOM-7B.neuron.pth")
    languages = ["en", "zh", "fr", "es", "vi", "id"]
    neurons = NeuronSet.load(path, languages=languages, shape=(30, 16384))
    neurons.save(tmp_path / "again.pth")
    original = torch.load(path, weights_only=True)
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert all(
        torch.equal(a, b)
        for left, right in zip(original, again, strict=True)
        for a, b in zip(left, right, strict=True)
    )
