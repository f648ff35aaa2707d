"""Interventions on chosen rows of a batch: each row as it would be alone, the others untouched."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mixtures
import tiny
from langneurons.errors import InputError
from langneurons.identification import Units, find_directions
from langneurons.intervention import Intervention, Steering, Value, bake, intervene
from langneurons.models import SITES, wrap
from langneurons.statistics import collect

IDS = torch.tensor([[5, 9, 17, 30], [8, 8, 41, 7], [101, 3, 77, 12]])
_MADE = {}


def model(family):
    """In float64, where a batch and a single run differ by rounding far below any change."""
    if family not in _MADE:
        _MADE[family] = wrap(tiny.model(family).double(), tiny.tokenizer(), f"tiny-{family}")
    return _MADE[family]


def run(lm, ids, what):
    with torch.no_grad(), intervene(lm, what):
        return lm.model(ids).logits


def units(lm, site, seed):
    place = lm.sites[site]
    drawn = torch.Generator().manual_seed(seed)
    pairs = [
        (layer, int(unit))
        for layer in place.layers
        for unit in torch.randperm(place.widths[layer], generator=drawn)[:3]
    ]
    return Units(*(torch.tensor(part) for part in zip(*pairs, strict=True)), site=site)


def plain(lm, plans):
    """By definition: every row of the batch alone, with what is meant for it."""
    return torch.cat([run(lm, IDS[n : n + 1], plan or None) for n, plan in enumerate(plans)])


@pytest.mark.parametrize("family", ["llama", "opt", "gemma3", "bloom", "falcon"])
@pytest.mark.parametrize("site", ["mlp.pre", "mlp.act", "mlp.out", "attn.out", "resid"])
def test_rows_are_what_they_are_alone(family, site):
    lm = model(family)
    one, two = units(lm, site, 0), units(lm, site, 1)
    given = [
        Intervention(one, 3.0, "multiply", rows=(0,)),
        Intervention(two, 0.5, "add", rows=(1,), scope="last"),
        Intervention(one, 0.25, rows=(1,)),
    ]
    alone = [
        [Intervention(one, 3.0, "multiply")],
        [Intervention(two, 0.5, "add", scope="last"), Intervention(one, 0.25)],
        [],
    ]
    found, expected = run(lm, IDS, given), plain(lm, alone)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    untouched = run(lm, IDS, None)
    for row, changed in enumerate([True, True, False]):
        away = float((found[row] - untouched[row]).abs().max())
        assert (away > 1e-6) is changed


@pytest.mark.parametrize("site", [site for site in SITES if site.startswith("moe.")])
def test_rows_of_a_mixture_of_experts(site):
    lm = mixtures.lm("Qwen3-MoE")
    chosen = units(lm, site, 0)
    if site == "moe.router":
        chosen = Units([lm.layers - 1], [1], site=site)
    found = run(lm, IDS, Intervention(chosen, 40.0, "multiply", rows=(0, 2)))
    alone = Intervention(chosen, 40.0, "multiply")
    # In float32, as the kernels of experts have it.
    torch.testing.assert_close(found, plain(lm, [[alone], [], [alone]]), rtol=0, atol=1e-4)
    assert not torch.allclose(found[0], run(lm, IDS, None)[0], rtol=0, atol=1e-3)


@settings(deadline=None, max_examples=25)
@given(
    rows=st.sets(st.integers(0, 2), min_size=1),
    mode=st.sampled_from(["set", "add", "multiply", "steer"]),
    scope=st.sampled_from(["all", "last", "rest", "text"]),
    start=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_rows_go_with_every_other_choice(rows, mode, scope, start, seed):
    lm = model("llama")
    choices = {"mode": mode, "scope": scope, "start": start, "probability": 0.6, "seed": seed}
    what = units(lm, "mlp.act", seed)
    found = run(lm, IDS, Intervention(what, 1.5, rows=tuple(rows), **choices))
    alone = Intervention(what, 1.5, **choices)
    expected = plain(lm, [[alone] if row in rows else [] for row in range(3)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_rows_of_a_unit_that_others_follow_and_of_a_direction():
    lm = model("llama")
    follow = Value.unit(0, 4)
    what = Units([0, 1], [7, 2], site="mlp.act")
    found = run(lm, IDS, Intervention(what, follow, rows=(2,)))
    expected = plain(lm, [[], [], [Intervention(what, follow)]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    texts = {"en": ["the cat and the dog"], "hi": ["बिल्ली और कुत्ता"]}
    way = find_directions(collect(lm, texts, site="resid", block=16, rows=40))["hi"]
    found = run(lm, IDS, Steering(way, strength=2.0, rows=(1,)))
    expected = plain(lm, [[], [Steering(way, strength=2.0)], []])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert Steering(way, rows=(1,)).identity() != Steering(way).identity()
    assert "rows 1" in Steering(way, rows=(1,)).name


def test_rows_hold_while_a_batch_writes():
    lm = model("llama")
    what = units(lm, "mlp.act", 3)

    def written(ids, item):
        with intervene(lm, item):
            return lm.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                max_new_tokens=6, eos_token_id=None,
            )  # fmt: skip

    together = written(IDS, Intervention(what, -9.0, "multiply", rows=(1,)))
    for row in range(3):
        item = Intervention(what, -9.0, "multiply") if row == 1 else None
        assert together[row].tolist() == written(IDS[row : row + 1], item)[0].tolist()


def test_rows_that_are_none_are_refused():
    lm = model("llama")
    what = units(lm, "mlp.act", 0)
    for rows in ((), (-1,), (0, -2)):
        with pytest.raises(InputError, match="rows of a batch are counted from 0"):
            Intervention(what, rows=rows)
    with pytest.raises(InputError, match="no row 3 in a batch of 3: choose rows from 0 to 2"):
        run(lm, IDS, Intervention(what, rows=(0, 3)))
    with pytest.raises(InputError, match="rows=None"):
        bake(lm, Intervention(what, rows=(0,)))


def test_the_same_rows_are_the_same_intervention():
    what = Units([0], [1])
    assert "rows" not in Intervention(what).identity()
    one, two = (Intervention(what, rows=rows) for rows in ((0, 2), (2, 0, 2)))
    assert one.identity() == two.identity() != Intervention(what, rows=(0,)).identity()
    assert "rows 0,2" in one.name
    assert not one.every_token
