"""How languages are routed: divergence from the pivot by layer, and the load of experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from langneurons.parts.routing import figures
from langneurons.reporting.about import model_name
from langneurons.reporting.aggregate import extreme
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing, number
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables import Column, Table
from langneurons.reporting.tables.plain import plain

LAYERS = 6
"""Layers whose loads are drawn, at most: those in which languages differ most."""


def sections(run: Run) -> Iterator[Section]:
    """Divergence of routing by layer and language, and the load of experts by language."""
    routing, loads = run.table("routing"), run.table("expert_load")
    if routing is None or loads is None:
        return
    blocks: list[Block] = []
    if routing["divergence"].notna().any():
        blocks.append(_divergence(run, routing))
    panels = []
    for layer in drawn(routing):
        caption = (
            f"Layer {layer} of {model_name(run)}: share of each language's tokens that are routed "
            "to each expert."
        )
        picture = Picture(
            f"expert_load_{layer}", caption, figures.loads(loads[loads["layer"] == layer])
        )
        panels.append((f"layer {layer}", [picture]))
    blocks += [
        Tabs("expert-load", panels),
        by_layer(routing),
        plain(
            loads,
            "expert_load",
            "Load of every expert",
            "load: share of the language's tokens that are routed to the expert; share: of the "
            "layer's loads together.",
        ),
    ]
    said = [*divergence(routing), *concentration(loads)]
    yield Section("routing", "Routing by language", said, blocks)


def _divergence(run: Run, routing: pd.DataFrame) -> Picture:
    pivot = routing["pivot"].iloc[0]
    caption = (
        "How differently the tokens of each language are spread over the experts of "
        f"{model_name(run)} than those of {pivot}: Jensen-Shannon divergence of the experts' "
        "loads over the entropy of their mean (0: every expert used alike). Dashed: two halves of "
        f"the {pivot} documents against each other."
    )
    return Picture("routing_divergence", caption, figures.divergence(routing))


def drawn(routing: pd.DataFrame) -> Sequence[int]:
    """The layers whose loads are drawn, in order: all, or those of the largest divergence.

    Args:
        routing: The ``routing`` table.
    """
    means = routing.groupby("layer")["divergence"].mean().fillna(0)
    most = means.sort_values(ascending=False, kind="stable").index[:LAYERS]
    return sorted(int(layer) for layer in most)


def divergence(routing: pd.DataFrame) -> list[Sentence]:
    """Where languages part from the pivot, which do most, and whether more than chance.

    Args:
        routing: The ``routing`` table.
    """
    known = routing[routing["divergence"].notna()]
    if known.empty:
        return []
    pivot = known["pivot"].iloc[0]
    by_layer = known.groupby("layer")["divergence"].mean()
    by_language = known.groupby("language", sort=False)["divergence"].mean()
    far, near = str(by_language.idxmax()), str(by_language.idxmin())
    layers = "the one layer that routes"
    if len(by_layer) > 1:
        top, low = int(by_layer.idxmax()), int(by_layer.idxmin())
        layers = (
            f"layer {top} most (mean divergence {number(by_layer[top], 3)}) and in layer {low} "
            f"least ({number(by_layer[low], 3)})"
        )
    text = f"Languages are routed unlike {pivot} in {layers}; over all layers {far} differs most"
    text += f" ({number(by_language[far], 3)})"
    text += f", {near} least ({number(by_language[near], 3)})." if far != near else "."
    compared = known[known["halves"].notna()]
    if compared.empty:
        limit = "Nothing was drawn to tell it from chance: token rows were not kept."
        return [Sentence(text, "none"), Sentence(limit, "caution")]
    above = compared[compared["divergence"] > compared["halves"]]
    worst = compared["halves"].max()
    text += (
        f" Two halves of the {pivot} documents differ by {number(worst, 4)} at most; "
        f"{len(above)} of {count(len(compared), 'language-layer pair')} differ by more than the "
        "halves do in that layer."
    )
    return [
        Sentence(text, "finding" if len(above) else "none"),
        Sentence(
            "A divergence compares how many tokens each expert takes, not which: languages differ "
            "in their tokens too, and a router that goes by tokens alone gives one.",
            "caution",
        ),
    ]


def concentration(loads: pd.DataFrame) -> list[Sentence]:
    """The expert that is most one language's, and the heaviest one.

    Args:
        loads: The ``expert_load`` table.
    """
    if loads["language"].nunique() < 2:
        return []
    whole = loads.groupby(["layer", "expert"])["load"].transform("sum")
    of = loads.assign(of=(loads["load"] / whole).where(whole > 0))
    top = extreme(of, "of", largest=True)
    heavy = extreme(loads, "load", largest=True)
    languages = loads["language"].nunique()
    half = of[of["of"] > 0.5]
    text = (
        f"The expert that is most one language's is {int(top['expert'])} in layer "
        f"{int(top['layer'])}: {number(100 * top['of'], 0)} % of its load is {top['language']}'s, "
        f"where {count(languages, 'language')} alike would give {number(100 / languages, 0)} %; "
        f"more than half is one language's in {len(half)} of "
        f"{len(of.groupby(['layer', 'expert']))} experts"
    )
    whose = listing(list(dict.fromkeys(map(str, half["language"]))))
    text += f" ({whose})" if whose else ""
    text += (
        f". The heaviest load is {number(100 * heavy['load'], 0)} % of {heavy['language']}'s "
        f"tokens, on expert {int(heavy['expert'])} of layer {int(heavy['layer'])}."
    )
    return [Sentence(text, "none")]


def by_layer(routing: pd.DataFrame) -> Table:
    """Divergence and entropy of every language and layer.

    Args:
        routing: The ``routing`` table.
    """
    return Table(
        "routing",
        "Routing by language and layer",
        "divergence: Jensen-Shannon divergence of the experts' loads from the pivot's, over the "
        "entropy of their mean; halves: the same between two halves of the pivot's documents, from "
        "sampled tokens; entropy: of the language's loads over that of equal loads (1: all experts "
        "used alike).",
        routing,
        [
            Column("language", "language"),
            Column("pivot", "pivot"),
            Column("layer", "layer", "count"),
            Column("divergence", "divergence", "number", 3),
            Column("halves", "halves", "number", 3),
            Column("entropy", "entropy", "number", 3),
        ],
    )
