"""Steering along a direction: by definition, at chosen tokens and layers, in scores, refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import mixtures
import tiny
from langneurons.data import make_blocks
from langneurons.errors import InputError
from langneurons.evaluation import evaluate, perplexity
from langneurons.evaluation.together import first_layer
from langneurons.identification import Units, find_directions
from langneurons.intervention import Intervention, Steering, bake, intervene
from langneurons.intervention.steering import Along
from langneurons.models import hook_site
from langneurons.statistics import collect
from study_world import documents

IDS = torch.tensor([[5, 9, 33, 12], [7, 8, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


@pytest.fixture(scope="module")
def lm():
    return tiny.lm("llama")


@pytest.fixture(scope="module")
def direction(lm):
    texts = {lang: documents(lang) for lang in ("en", "es", "hi")}
    stats = collect(lm, texts, site="resid", tokens=600, block=32, rows=64)
    return find_directions(stats, source="en")["hi"]


def stream(lm, layer, changes=()):
    seen = {}

    def look(place, activation):
        seen[place] = activation.clone()

    with torch.no_grad(), intervene(lm, list(changes)), hook_site(lm, "resid", look, [layer]):
        lm.model(input_ids=IDS, attention_mask=MASK)
    return seen[layer].double()


def by_definition(how, x, direction, layer, strength):
    v, c = direction.vector[layer].double(), direction.mean[layer].double()
    u = v / v.norm()
    if how == "add":
        return x + strength * v
    if how == "keep_norm":
        y = x + strength * v
        return y * x.norm(dim=-1, keepdim=True) / y.norm(dim=-1, keepdim=True)
    about = c if how == "ablate" else torch.zeros_like(c)
    taken = torch.einsum("btd,d->bt", x - about, u) * float(direction.gain[layer])
    return x - strength * torch.einsum("bt,d->btd", taken, u)


@pytest.mark.parametrize("how", ["add", "keep_norm", "ablate", "project"])
@pytest.mark.parametrize("strength", [1.0, -2.5])
def test_every_way_by_definition(lm, direction, how, strength):
    before = stream(lm, 1)
    steering = Steering(direction, how, strength, layers=(1,))
    expected = by_definition(how, before, direction, 1, strength)
    torch.testing.assert_close(stream(lm, 1, [steering]), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(stream(lm, 1), before)  # and afterwards the model is as it was


def test_what_the_ways_leave(lm, direction):
    """Projected out, nothing is left along it; ablated, its mean; the norm is kept."""
    unit = direction.unit().vector[0].double()
    left = stream(lm, 0, [Steering(direction, "project", layers=(0,))]) @ unit
    assert float(left.abs().max()) < 1e-5
    left = stream(lm, 0, [Steering(direction, "ablate", layers=(0,))]) @ unit
    torch.testing.assert_close(
        left, (direction.mean[0].double() @ unit).expand_as(left), atol=1e-5, rtol=1e-5
    )
    kept = stream(lm, 0, [Steering(direction, "keep_norm", 3.0, layers=(0,))]).norm(dim=-1)
    torch.testing.assert_close(kept, stream(lm, 0).norm(dim=-1), atol=1e-5, rtol=1e-5)


def test_a_step_to_nothing_leaves_nothing(direction):
    """Not NaN: 0 has no direction to keep a norm in."""
    steering = Steering(direction, "keep_norm", 1.0, layers=(0,))
    x = torch.stack([-direction.vector[0], direction.vector[0]])[None]
    made = Along(steering, 0).write(x)
    torch.testing.assert_close(made, torch.stack([torch.zeros_like(x[0, 0]), x[0, 1]])[None])


def test_only_the_tokens_and_layers_named_change(lm, direction):
    before, after = stream(lm, 0), stream(lm, 0, [Steering(direction, layers=(0,), scope="last")])
    changed = (before != after).any(-1)
    assert changed.tolist() == [[False, False, False, True], [False, False, True, False]]
    assert torch.equal(stream(lm, 0, [Steering(direction, layers=(1,))]), before)
    assert Steering(direction, layers=(1,)).touched == (1,)
    assert Steering(direction, strength=0.0).touched == ()
    assert first_layer([Steering(direction, layers=(1,))]) == 1


def test_it_goes_with_units_and_scores_tasks(lm, direction):
    """In one list with units; its identity is in what is written down."""
    units = Intervention(Units([0], [3], site="resid"), 0.0)
    both = stream(lm, 0, [Steering(direction, layers=(0,)), units])
    expected = by_definition("add", stream(lm, 0), direction, 0, 1.0)
    expected[..., 3] = 0
    torch.testing.assert_close(both, expected, atol=1e-5, rtol=1e-5)
    blocks = make_blocks(documents("hi"), lm.tokenizer, block=32, tokens=200)
    plain = perplexity(lm, blocks).value
    assert perplexity(lm, blocks, intervention=Steering(direction)).value != plain
    nothing = Steering(direction, strength=0.0)
    assert perplexity(lm, blocks, intervention=nothing).value == plain
    scores = evaluate(lm, "mini-nli", "hi", limit=3, intervention=Steering(direction, "ablate"))
    (said,) = scores.details["intervention"]
    assert (said["how"], said["site"]) == ("ablate", "resid")
    assert said["direction"] == direction.identity()["direction"]


def test_what_does_not_fit_is_refused(lm, direction):
    for options, message in (
        ({"how": "rotate"}, "unknown way to steer 'rotate'"),
        ({"scope": "first"}, "unknown scope 'first'"),
        ({"strength": float("nan")}, "strength must be a finite number, not nan"),
        ({"start": -1}, "start counts positions from 0"),
        ({"probability": 2.0}, "probability must lie within 0 to 1"),
        ({"layers": (9,)}, "no layer 9: choose within the 2 of the direction"),
    ):
        with pytest.raises(InputError, match=message):
            Steering(direction, **options)
    with pytest.raises(InputError, match=r"steering needs a Direction .*not Tensor"):
        Steering(direction.vector)
    with pytest.raises(InputError, match="a direction cannot be baked"):
        bake(lm, Steering(direction))
    other = tiny.lm("llama", seed=1)
    with (
        pytest.raises(InputError, match="was found in another model"),
        intervene(other, Steering(direction)),
    ):
        pass
    mixture = mixtures.lm("Mixtral")
    routing = replace(direction, site="moe.router")
    with (
        pytest.raises(InputError, match=r"'moe\.router' has no direction"),
        intervene(mixture, Steering(routing)),
    ):
        pass
    wide = tiny.lm("llama", hidden_size=64)
    with (
        pytest.raises(InputError, match="find it on statistics of this model"),
        intervene(wide, Steering(direction)),
    ):
        pass
