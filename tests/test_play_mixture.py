"""The live page on the mixture that comes with the package: experts, and units inside them."""

import pytest

import langneurons as ln
from langneurons.errors import InputError
from langneurons.play import Change, Session

TEXTS = {lang: ln.mini.text(lang, tokens=1500) for lang in ("en", "hi")}
PROMPT = TEXTS["hi"][0][:40]


@pytest.fixture(scope="module")
def lm():
    return ln.load("mini-moe")


@pytest.fixture(scope="module", params=["moe.router", "moe.act"])
def played(request, lm):
    stats = ln.collect(lm, TEXTS, site=request.param, block=64, rows=128)
    method, given = ("difference", {"top": 2 if request.param == "moe.router" else 200})
    return Session(lm, ln.identify(stats, method, **given), stats)


def written(played, **change):
    *_, frame = played.run(PROMPT, Change(("hi",), **change), tokens=6)
    return frame.columns


def text(column):
    return "".join(piece.text for piece in column.pieces)


@pytest.mark.parametrize("change", [{"action": "off"}, {"action": "multiply", "factor": 3.0}])
def test_units_of_a_mixture_are_changed_beside_random_ones(played, change):
    plain, own, _ = written(played, **change)
    mode = "multiply" if change["action"] == "multiply" else "set"
    ids = played.lm.tokenizer(PROMPT, return_tensors="pt")
    units, site = played.neurons["hi"], played.neurons.site
    with ln.intervene(played.lm, units, change.get("factor", 0.0), mode=mode, site=site):
        out = played.lm.model.generate(**ids, max_new_tokens=6, do_sample=False)
    tokens = out[0, ids["input_ids"].shape[1] :]
    assert text(own).endswith(played.lm.tokenizer.decode(tokens, skip_special_tokens=True))
    assert plain.pieces != own.pieces  # what a token costs, if not which one comes


def test_a_mean_is_for_units_inside_and_refused_for_experts(played):
    if played.neurons.site == "moe.router":
        with pytest.raises(InputError, match="an expert cannot be set to 'mean'"):
            written(played, action="mean")
    else:
        assert len(written(played, action="mean")) == 3
