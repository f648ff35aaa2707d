"""Directions between languages: by definition, their controls, on disk, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import tiny
from langneurons.artifacts import write_tensors
from langneurons.errors import ArtifactError, InputError
from langneurons.identification import Directions, Units, find_directions
from langneurons.identification.directions import METHODS
from langneurons.identification.evidence import BalancedRows
from langneurons.identification.subspaces import pooled_covariance
from langneurons.statistics import collect
from study_world import documents

LANGUAGES = ("en", "es", "hi")


@pytest.fixture(scope="module")
def lm():
    return tiny.lm("llama")


@pytest.fixture(scope="module")
def stats(lm):
    texts = {lang: documents(lang) for lang in LANGUAGES}
    return collect(lm, texts, site="resid", tokens=600, block=32, rows=128)


def rows_of(stats, lang, layer):
    return BalancedRows(stats).layer(lang, layer).double().numpy()


def same_way(one, other):
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_difference_of_means_and_language_vectors(stats):
    """One against one, one against the rest, and with a part of the source taken off."""
    mean = {lang: stats.mean(lang).double() for lang in LANGUAGES}
    one = find_directions(stats, source="en")
    assert one.languages == ("es", "hi")
    torch.testing.assert_close(one["hi"].vector.double(), mean["hi"] - mean["en"])
    rest = find_directions(stats)
    others = (mean["en"] + mean["es"]) / 2
    torch.testing.assert_close(rest["hi"].vector.double(), mean["hi"] - others)
    part = find_directions(stats, source="en", beta=0.3)["hi"]
    torch.testing.assert_close(part.vector.double(), mean["hi"] - 0.3 * mean["en"])
    torch.testing.assert_close(part.mean.double(), sum(mean.values()) / 3)
    torch.testing.assert_close(part.target.double(), mean["hi"])
    assert part.vector.dtype == torch.float32


@pytest.mark.parametrize("method", ["pca", "lda", "probe"])
def test_fitted_directions_by_definition(stats, method):
    """Way by definition in float64; side of the target; length of the difference of means."""
    found = find_directions(stats, method, source="en")["hi"]
    gap = (stats.mean("hi") - stats.mean("en")).double().numpy()
    for layer in range(len(gap)):
        own, other = rows_of(stats, "hi", layer), rows_of(stats, "en", layer)
        both = np.concatenate([own, other])
        if method == "pca":
            values, vectors = np.linalg.eigh(np.cov(both.T))
            expected = vectors[:, values.argmax()]
        elif method == "lda":
            pair = {"a": torch.from_numpy(own), "b": torch.from_numpy(other)}
            expected = np.linalg.inv(pooled_covariance(pair).numpy()) @ gap[layer]
        else:
            spread = both.std(0, ddof=1)
            scaled = (both - both.mean(0)) / spread
            fitted = LogisticRegression(max_iter=1000).fit(
                scaled, [1] * len(own) + [0] * len(other)
            )
            expected = fitted.coef_[0] / spread
        if expected @ (own.mean(0) - other.mean(0)) < 0:
            expected = -expected
        vector = found.vector[layer].double().numpy()
        assert same_way(vector, expected) == pytest.approx(1, abs=2e-4)
        assert np.linalg.norm(vector) == pytest.approx(np.linalg.norm(gap[layer]), rel=1e-5)


def test_a_planted_direction_is_found_by_every_method(lm):
    """Two languages that differ along one coordinate alone."""
    from langneurons.identification.directions import _fitted

    generator = torch.Generator().manual_seed(0)
    way = torch.nn.functional.normalize(torch.randn(8, generator=generator).double(), dim=0)
    noise = torch.randn(2, 400, 8, generator=generator).double()
    own, other = noise[0] + 6 * way, noise[1]
    for method in METHODS[1:]:
        found = _fitted(method, own, other, own.mean(0) - other.mean(0))
        assert same_way(found.numpy(), way.numpy()) > 0.97


def test_random_controls_are_as_long_or_change_as_much(stats):
    found = find_directions(stats, source="en")["hi"]
    plain = found.random_like(1)
    torch.testing.assert_close(plain.norm, found.norm)
    assert torch.equal(plain.vector, found.random_like(1).vector)
    assert not torch.equal(plain.vector, found.random_like(2).vector)
    for matched in ("ablate", "project"):
        drawn = found.random_like(1, matched, stats)
        torch.testing.assert_close(drawn.norm, found.norm)
        for layer in range(len(found.vector)):
            size = []
            for item in (found, drawn):
                unit = item.vector[layer].double().numpy()
                unit = unit / np.linalg.norm(unit)
                about = item.mean[layer].numpy() if matched == "ablate" else 0.0
                taken = [
                    (float(item.gain[layer]) * (rows_of(stats, lang, layer) - about) @ unit) ** 2
                    for lang in LANGUAGES
                ]
                size.append(np.mean(taken))
            assert size[1] == pytest.approx(size[0], rel=1e-4)


def test_dimensions_are_the_largest_differences(stats):
    found = find_directions(stats, source="en")["hi"]
    units = found.dimensions(5)
    assert isinstance(units, Units)
    assert (units.site, units.model) == ("resid", stats.model)
    for layer, vector in enumerate(found.vector):
        chosen = units.indices[units.layers == layer]
        assert set(chosen.tolist()) == set(vector.abs().argsort(descending=True)[:5].tolist())
    with pytest.raises(InputError, match=r"choose 1 to \d+, not 0"):
        found.dimensions(0)


def test_a_file_gives_them_back_and_says_where_they_came_from(stats, tmp_path):
    made = find_directions(stats, "lda", source="en")
    made.save(tmp_path / "d.safetensors")
    again = Directions.load(tmp_path / "d.safetensors")
    assert (again.method, again.languages) == ("lda", ("es", "hi"))
    assert again.parameters["source"] == "en"
    assert again.parameters["tokens"] == dict(stats.tokens)
    for lang in made:
        assert again[lang].identity() == made[lang].identity()
        assert torch.equal(again[lang].target, made[lang].target)
        assert again[lang].model == stats.model
        assert again[lang].name == made[lang].name
    write_tensors(tmp_path / "other.safetensors", {"a": torch.ones(1)})
    with pytest.raises(ArtifactError, match="holds no directions"):
        Directions.load(tmp_path / "other.safetensors")


def test_what_cannot_be_found_is_refused(lm, stats):
    for options, message in (
        ({"method": "mean"}, "unknown method for directions 'mean'"),
        ({"languages": ["xx"]}, "unknown language 'xx' of the statistics"),
        ({"method": "pca", "beta": 0.5}, "beta is of the method 'difference', not of 'pca'"),
        ({"beta": float("inf")}, "beta must be a finite number, not inf"),
        ({"languages": ["en"], "source": "en"}, "leads from one language to another"),
    ):
        with pytest.raises(InputError, match=message):
            find_directions(stats, **options)
    found = find_directions(stats)["hi"]
    with pytest.raises(InputError, match="unknown language 'xx' among the directions"):
        find_directions(stats)["xx"]
    with pytest.raises(InputError, match="unknown way to match a direction 'rate'"):
        found.random_like(0, "rate")
    with pytest.raises(InputError, match="matched='ablate' needs statistics with token rows"):
        found.random_like(0, "ablate")
    hidden = collect(lm, {"en": documents("en")}, tokens=64, block=32, rows=16)
    with pytest.raises(InputError, match=r"statistics are of 'mlp\.act', the direction of"):
        found.random_like(0, "ablate", hidden)
