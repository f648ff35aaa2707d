"""Every decoder that Transformers registers, tried: ``python -m scripts.census`` remakes the page.

Each class of ``MODEL_FOR_CAUSAL_LM_MAPPING`` is built tiny from its own configuration class, with
random weights and random biases, and goes through statistics, identification, interventions at
every site and scope, baking and a training step, each held against plain hooks, weights edited by
hand or a computation written out. A class is exact, refused (with the line) or not built (with the
reason).

Results are kept in ``runs/census.json`` class by class, so that a stopped run goes on; ``--again``
starts anew, ``--only NAME`` tries one class.
"""

from __future__ import annotations

import json
import re
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from scripts.census import inside
from scripts.census.building import NotBuiltError, built, line, tokenizer
from scripts.census.checks import (
    UNIT_SITES,
    check_interventions,
    check_mlp,
    check_router,
    check_statistics,
    check_training,
    check_weights,
)
from scripts.census.comparing import WrongError
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from langneurons.artifacts import write_text
from langneurons.errors import InputError, RunError
from langneurons.models import LanguageModel, wrap

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "runs" / "census.json"
PAGE = ROOT / "docs" / "census.md"


def examined(model_type: str, name: str) -> dict[str, Any]:
    """One row: what became of one class."""
    row: dict[str, Any] = {"type": model_type, "class": name, "sites": {}, "bake": {}}
    try:
        net = built(model_type, name)
    except NotBuiltError as error:
        return {**row, "status": "not built", "why": str(error)}
    try:
        lm = wrap(net, tokenizer(), name)
        mixture = any(plan.experts for plan in lm.sites.plans)
        with torch.no_grad():
            for site in UNIT_SITES:
                if mixture or site not in inside.SITES:
                    row["sites"][site] = _at_site(lm, site, row)
            if mixture:
                row["sites"]["moe.router"] = _at_router(lm)
            linear = check_mlp(lm) if row["sites"]["mlp.out"] == "exact" else []
        if row["sites"]["mlp.act"] == "exact":
            check_training(lm, linear)
    except (InputError, RunError) as error:
        return {**row, "status": "refused", "why": str(error)}
    except Exception as error:  # a wrong number, or anything that users would see as a traceback
        where = traceback.extract_tb(error.__traceback__)[-1]
        at = f" ({Path(where.filename).name}:{where.lineno})"
        kind = "" if isinstance(error, WrongError) else f"{type(error).__name__}: "
        return {**row, "status": "wrong", "why": f"{kind}{line(error)}{at}"}
    exact = [site for site, found in row["sites"].items() if found == "exact" and site != "resid"]
    if not exact:
        return {**row, "status": "refused", "why": row["sites"]["mlp.act"]}
    return {**row, "status": "exact", "why": "", "hybrid": hybrid(lm)}


def _at_site(lm: LanguageModel, site: str, row: dict[str, Any]) -> str:
    try:
        place = lm.sites[site]
    except InputError as error:
        return str(error)
    check_interventions(lm, site)
    if site not in ("mlp.pre", "moe.pre", "resid"):
        row["bake"][site] = check_weights(lm, site) or "exact"
    if len(set(place.widths)) > 1:
        row.setdefault("uneven", []).append(site)
    if len(set(place.widths) - {0}) == 1:
        check_statistics(lm, site)
    return "exact"


def _at_router(lm: LanguageModel) -> str:
    try:
        check_router(lm)
    except RunError as error:  # said in the first pass, where it shows
        return str(error)
    return "exact"


def hybrid(lm: LanguageModel) -> bool:
    """Whether some layers have something else than attention: state-space or linear layers."""
    kinds = {type(module).__name__ for layer in lm.layer_modules for module in layer.modules()}
    return any(re.search(NOT_ATTENTION, kind) for kind in kinds)


NOT_ATTENTION = "Mamba|DeltaNet|DeltaAttention|ShortConv|LinearAttention|LightningAttention"


def classes() -> dict[str, str]:
    """Every class and the first model type that it is registered for."""
    found: dict[str, str] = {}
    for model_type, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        found.setdefault(name, model_type)
    return found


def rows(only: str | None = None) -> Iterator[dict[str, Any]]:
    """Every class's row, from the record where it stands there."""
    done: dict[str, dict[str, Any]] = {}
    if RECORD.is_file():
        done = {row["class"]: row for row in json.loads(RECORD.read_text("utf-8"))["rows"]}
    for name, model_type in classes().items():
        if only is not None and not {model_type, name} & set(only.split(",")):
            continue
        if only is not None or name not in done:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                done[name] = examined(model_type, name)
            RECORD.parent.mkdir(exist_ok=True)
            kept = {"transformers": transformers.__version__, "rows": list(done.values())}
            write_text(RECORD, json.dumps(kept, indent=1) + "\n")
        yield done[name]
