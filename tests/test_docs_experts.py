"""The table of mixtures in docs/experts.md is what the models say when they are tried."""

from pathlib import Path

import torch
from scripts.census import hybrid

import mixtures
from langneurons.errors import InputError
from langneurons.identification import Units
from langneurons.intervention import intervene
from langneurons.models import hook_experts, hook_site

PAGE = Path(__file__).resolve().parents[1] / "docs" / "experts.md"


def chosen(model):
    """Times that each expert is chosen in all layers, int64 (experts,); least and most a token."""
    seen = []
    ids = torch.arange(60).reshape(2, 30) + 5
    with torch.no_grad(), hook_site(model, "moe.router", lambda _l, x: seen.append(x > 0)):
        model.model(input_ids=ids)
    return torch.stack(seen).flatten(0, -2).sum(0)


def inside(model):
    """How the units inside experts were looked at: what they give is changed at all three sites."""
    try:
        _ = model.sites["moe.act"]
    except InputError:
        return "refused"
    ids = torch.arange(60).reshape(2, 30) + 5
    with torch.no_grad():
        plain = model.model(input_ids=ids).logits
        for site in ("moe.pre", "moe.act", "moe.out"):
            with hook_experts(model, site, lambda _layer, routed: routed.values.clone()):
                torch.testing.assert_close(model.model(input_ids=ids).logits, plain)
            with hook_experts(model, site, lambda _layer, routed: routed.values + 1):
                assert not torch.allclose(model.model(input_ids=ids).logits, plain)
    return "by hand" if model.name in mixtures.FAMILIES else "tried"


def row(family):
    """One line of the table, after the routers have been read and an expert switched off."""
    model = mixtures.lm(family)
    try:
        router = model.sites["moe.router"]
    except InputError:
        return f"| {family} | refused: its routing cannot be read | | | | |"
    often = chosen(model)
    expert = int(often.argmax())
    units = Units.from_pairs([(layer, expert) for layer in router.layers])
    with intervene(model, units, site="moe.router"):
        now = chosen(model)
    assert often[expert] > 0
    assert now[expert] == 0
    assert now.sum() == often.sum()
    try:
        mlps = {number for number, width in enumerate(model.sites["mlp.out"].widths) if width}
    except InputError:
        mlps = set()
    routed = set(router.layers)
    others = [
        word
        for word, layers in (("shared experts", mlps & routed), ("dense layers", mlps - routed))
        if layers
    ]
    how = "chosen experts and weights" if router.experts[min(routed)].listed else "all weights"
    checked = "by hand" if family in mixtures.FAMILIES else "tried"
    state = "hybrid" if hybrid(model) else "supported"
    cells = family, state, how, checked, inside(model), ", ".join(others) or "none"
    return f"| {' | '.join(cells)} |"


def test_the_table_is_what_the_models_say():
    head = (
        "| model | state | router hands on | weights, switching off | units inside | `mlp.*` are |"
    )
    rows = [row(family) for family in {**mixtures.FAMILIES, **mixtures.MORE}]
    table = "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *rows])
    assert table in PAGE.read_text(), f"put this table into docs/experts.md:\n{table}"
