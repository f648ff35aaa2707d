"""Gradients of a text are taken once for methods, shares and quotas, and never of another model."""

from collections.abc import Iterator

import pytest
import torch

import tiny
from langneurons.data import make_blocks
from langneurons.errors import InputError
from langneurons.identification import Units, attribution, gradients, identify
from langneurons.intervention import intervene

TEXTS = {
    "a": ["the cat and the dog", "over the hill"] * 3,
    "b": ["el gato y el perro", "por la colina"] * 3,
    "c": ["der Hund und die Katze", "über den Berg"] * 3,
}


@pytest.fixture
def backward(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Languages whose text passes forward and backward."""
    gradients._kept.clear()
    found: list[str] = []
    real = gradients.attributions

    def seen(*given: object, language: str, **named: object) -> torch.Tensor:
        found.append(language)
        return real(*given, language=language, **named)

    monkeypatch.setattr(gradients, "attributions", seen)
    yield found
    gradients._kept.clear()


def test_methods_quotas_and_subsets_share_one_pass(backward: list[str]) -> None:
    lm = tiny.lm()
    ways = [
        ("gradient", {"top": 20}),
        ("gradient", {"per_language": 5}),
        ("gradient", {"top": 20, "languages": ["a", "b"]}),
        ("relevance", {"top": 10, "check": 0}),
        ("relevance", {"per_layer": 3, "check": 0, "languages": ["a", "c"]}),
    ]
    shared = [identify(method=name, model=lm, texts=TEXTS, **more) for name, more in ways]
    assert sorted(backward) == ["a", "b", "c"]
    for (name, more), found in zip(ways, shared, strict=True):
        gradients._kept.clear()
        assert identify(method=name, model=lm, texts=TEXTS, **more) == found
    assert len(backward) > 3 + 10


@pytest.mark.parametrize(
    "changed", [{"site": "mlp.out"}, {"batch_tokens": 40}, {"block": 8}, {"tokens": 12}]
)
def test_another_text_site_or_batch_is_another(
    backward: list[str], changed: dict[str, object]
) -> None:
    lm = tiny.lm()
    identify(method="gradient", model=lm, texts=TEXTS, top=20)
    backward.clear()
    identify(method="gradient", model=lm, texts=TEXTS, top=20, **changed)
    assert sorted(backward) == ["a", "b", "c"]


def test_a_model_that_runs_otherwise_is_another(backward: list[str]) -> None:
    lm = tiny.lm()
    plain = identify(method="gradient", model=lm, texts=TEXTS, top=20)
    backward.clear()
    with intervene(lm, Units([0], [3]), value=4.0):
        identify(method="gradient", model=lm, texts=TEXTS, top=20)
    assert len(backward) == 3
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.mul_(2.0)
    other = identify(method="gradient", model=lm, texts=TEXTS, top=20)
    assert len(backward) == 6
    assert other != plain
    with torch.no_grad():
        lm.layer_modules[0].mlp.down_proj.weight.mul_(3.0)
    identify(method="gradient", model=lm, texts=TEXTS, top=20)
    assert len(backward) == 9


def test_rates_are_taken_anew_for_another_threshold(backward: list[str]) -> None:
    lm = tiny.lm()
    for threshold, passes in ((0.01, 3), (0.01, 3), (0.02, 6)):
        identify(
            method="gradient", model=lm, texts=TEXTS, measure="rate", threshold=threshold, top=5
        )
        assert len(backward) == passes


def test_what_is_kept_is_bounded(backward: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.lm()
    monkeypatch.setattr(gradients, "KEPT_BYTES", 1)
    identify(method="gradient", model=lm, texts=TEXTS, top=20)
    assert len(gradients._kept[lm.backbone]) == 1


def test_a_text_without_a_predicted_token_is_one_clear_line() -> None:
    lm = tiny.lm()
    blocks = make_blocks(["ab"], lm.tokenizer, block=4)
    blocks.counted[:] = False
    with pytest.raises(InputError, match="holds no token that is predicted"):
        attribution.attributions(
            lm, blocks, "mlp.act", lambda _layer, value, slope: (value * slope).sum(0),
            batch_tokens=40, name="gradient", language="a",
        )  # fmt: skip
