"""The page of the documentation, from the rows of all classes."""

from __future__ import annotations

import re
from typing import Any

import transformers
from scripts.census.inside import SITES as INSIDE

_INTRO = """# Every decoder of Transformers, tried

Made by `python -m scripts.census`; tested by `tests/test_models_census.py` (slow). Each of the
{count} classes that Transformers {version} registers for causal language modelling is built tiny
from its own configuration class, with random weights and random biases, and goes through
statistics, identification, interventions at every site and scope, baking and a training step.
Values are held against plain hooks, the MLP against its weights, hooks against weights edited by
hand and against the baked model, gradients under hooks against those of the baked model. Units
inside experts are held against each expert's own matrices, run one after another. {exact}
classes are exact at the sites named ({mixtures} of them [mixtures](#mixtures-of-experts)),
{refused} are refused ({experts} of them mixtures), {unbuilt} could not be built so small or do not
run on ids alone; wrong: {wrong}.

A site in brackets is one where layers differ in width or some lack it: interventions and baking
work there on units of the layers that have them, statistics where those have as many
([interventions](interventions.md)). *Into weights* names the sites whose interventions can be
baked. Gemma 3n and Gemma 4 are built without layers that share their keys and values with earlier
ones (`num_kv_shared_layers` 0), so nothing is said here of those that have them.
"""
_MIXTURES = """## Mixtures of experts

*Supported*: experts can be read and switched off (`moe.router`), and the units inside them read
and changed (`moe.pre`, `moe.act`, `moe.out`). *Hybrid*: the same in a model some of whose layers
have a state-space or linear layer, or a convolution, in place of attention. *In part* and *refused*
give the reason. More: [experts](experts.md).

| class | state | experts | units inside | into weights | `mlp.*` | why not |
| --- | --- | --- | --- | --- | --- | --- |
"""
_ALL = """
## All classes

| class | outcome | MLP | attention | experts | into weights | why not the others |
| --- | --- | --- | --- | --- | --- | --- |
"""
_NO_DENSE = "without dense layers or shared experts"


def page(found: list[dict[str, Any]]) -> str:
    """The page of the documentation, from all rows."""
    kinds = ("exact", "refused", "not built", "wrong")
    count = {kind: sum(row["status"] == kind for row in found) for kind in kinds}
    intro = _INTRO.format(
        count=len(found),
        version=transformers.__version__,
        exact=count["exact"],
        refused=count["refused"],
        experts=sum(_is_mixture(row) and row["status"] == "refused" for row in found),
        mixtures=sum(_is_mixture(row) and row["status"] == "exact" for row in found),
        unbuilt=count["not built"],
        wrong=count["wrong"] or "none",
    )
    ordered = sorted(found, key=lambda row: row["class"].lower())
    mixtures = "".join(_mixture(row) for row in ordered if _is_mixture(row))
    return intro + "\n" + _MIXTURES + mixtures + _ALL + "".join(_row(row) for row in ordered)


def _is_mixture(row: dict[str, Any]) -> bool:
    return "moe.router" in row["sites"] or "mixture of experts" in row["why"]


def state(row: dict[str, Any]) -> str:
    """What a mixture's row comes to: supported, hybrid, in part or refused."""
    good = {site for site in (*INSIDE, "moe.router") if row["sites"].get(site) == "exact"}
    if row["status"] != "exact" or not good:
        return "refused"
    if len(good) <= len(INSIDE):
        return "in part"
    return "hybrid" if row["hybrid"] else "supported"


def _mixture(row: dict[str, Any]) -> str:
    """A mixture's line of their own table."""
    sites, exact = row["sites"], row["status"] == "exact"
    router = sites.get("moe.router") == "exact"
    inside = [site for site in INSIDE if exact and sites.get(site) == "exact"]
    baked = [site for site in INSIDE if exact and row["bake"].get(site) == "exact"]
    dense = "yes" if exact and sites.get("mlp.act") == "exact" else "no"
    reasons = [row["why"], *(sites.get(site, "exact") for site in (*INSIDE, "moe.router"))]
    said = [_short(reason) for reason in dict.fromkeys(reasons) if reason not in ("", "exact")]
    cells = [
        f"`{row['class']}`",
        state(row),
        "yes" if exact and router else "no",
        " ".join(site[4:] for site in inside) or "no",
        " ".join(site[4:] for site in baked) or "no",
        dense,
        "; ".join(said),
    ]
    return f"| {' | '.join(cells)} |\n"


def _row(row: dict[str, Any]) -> str:
    good = [site for site, said in row["sites"].items() if said == "exact"]
    baked = [site for site, said in row["bake"].items() if said == "exact"]
    reasons = [row["why"]] if row["why"] else []
    if row["status"] == "exact":
        refused = {**row["sites"], **{f"bake {site}": said for site, said in row["bake"].items()}}
        reasons = [said for said in dict.fromkeys(refused.values()) if said != "exact"]
        reasons = [said for said in reasons if _NO_DENSE not in said]  # the columns say so
    cells = [
        f"`{row['class']}`",
        row["status"],
        _listed(good, "mlp.", row),
        _listed(good, "attn.", row),
        _listed(good, "moe.", row),
        " ".join(baked) if row["status"] == "exact" else "",
        "; ".join(_short(said) for said in reasons),
    ]
    return f"| {' | '.join(cells)} |\n"


def _listed(sites: list[str], kind: str, row: dict[str, Any]) -> str:
    if row["status"] != "exact":
        return ""
    names = [site for site in sites if site.startswith(kind)]
    uneven = row.get("uneven", [])
    return " ".join(
        f"({site[len(kind) :]})" if site in uneven else site[len(kind) :] for site in names
    )


def _short(said: str) -> str:
    """The first clause of a refusal, without lists of modules."""
    said = re.split(r"; modules|: use |: its units|\. Use|: choose", said)[0]
    return said.replace("|", "/").strip()[:170]
