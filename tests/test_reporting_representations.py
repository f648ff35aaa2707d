"""Sections of the report on subspaces and features, from tables as the stages write them."""

import numpy as np
import pandas as pd
import pytest

from langneurons.interface.part import PARTS
from langneurons.parts.features import page as features
from langneurons.parts.subspaces import page as subspaces
from langneurons.reporting.inputs import Run
from langneurons.reporting.rest import rest
from langneurons.reporting.sections import Picture, Tabs
from langneurons.reporting.tables import Table


def subspace_tables():
    language = pd.DataFrame(
        [
            {"layer": layer, "kind": kind, "seed": 0, "rank": rank, "behind": 0.9,
             "behind_low": 0.85, "behind_high": 0.95, "tokens": 500, "here": here,
             "here_low": here - 0.05, "here_high": here + 0.05, "chance": 0.25, "part": "stream",
             "site": "resid"}
            for layer, kind, rank, here in (("-", "none", 0, 0.95), ("4", "leace", 3, 0.26),
                                            ("4", "random", 3, 0.94), ("all", "leace", 6, np.nan))
        ]
    )  # fmt: skip
    cost = pd.DataFrame(
        [
            {"layer": "4", "kind": kind, "seed": 0, "rank": 3, "measure": "perplexity", "on": "hi",
             "value": value, "low": 1.0, "high": 3.0, "part": "stream", "site": "resid"}
            for kind, value in (("leace", 1.75), ("random", 1.01))
        ]
    )  # fmt: skip
    moves = pd.DataFrame(
        [{"kind": "leace", "seed": 0, "rank": 3, "taken_for_target": 0.9, "taken_low": 0.8,
          "taken_high": 1.0, "taken_for_source": 0.1, "ratio": 2.0, "low": 1.8, "high": 2.2,
          "source": "hi", "target": "en", "layer": 4, "part": "stream", "site": "resid"}]
    )  # fmt: skip
    return language, cost, moves


def feature_tables():
    quality = pd.DataFrame(
        [
            {"layer": 9, "language": lang, "explained": 0.8, "l0": 16.0, "dead": 0.1,
             "tokens": 900, "loss": loss, "loss_reconstructed": loss, "loss_zero": loss,
             "recovered": recovered, "low": recovered - 0.01 if recovered else None,
             "high": recovered + 0.01 if recovered else None, "features": "topk", "site": "resid"}
            for lang, loss, recovered in (("en", 3.0, 0.97), ("hi", 3.5, 0.91), ("all", None, None))
        ]
    )  # fmt: skip
    cells = pd.DataFrame(
        [
            {"row": row, "column": row, "kind": kind, "seed": 0, "units": 12, "ratio": ratio,
             "low": ratio - 0.05, "high": ratio + 0.05, "tokens": 900, "documents": 8,
             "features": "topk", "value": "zero"}
            for row, ratios in (("en", (1.01, 1.0)), ("hi", (2.5, 1.02)))
            for kind, ratio in zip(("own", "random"), ratios, strict=True)
        ]
    )  # fmt: skip
    return quality, cells


@pytest.fixture
def run(tmp_path):
    language, cost, moves = subspace_tables()
    quality, cells = feature_tables()
    tables = {
        "subspaces": language,
        "subspaces_cost": cost,
        "subspaces_moves": moves,
        "features": quality,
        "feature_perplexity": cells,
    }
    known = {**PARTS.get("subspaces").columns, **PARTS.get("features").columns}
    return Run(tmp_path, {"name": "x"}, tables=tables, columns=known)


def test_each_part_has_its_section_and_none_is_shown_twice(run):
    made = [*subspaces.sections(run), *features.sections(run)]
    sections = {section.name: section for section in made}
    assert set(sections) == {"subspaces", "features"}
    assert list(rest(run)) == []
    shown = set()
    for section in sections.values():
        assert section.sentences
        for block in section.blocks:
            flat = (
                [b for _, panel in block.panels for b in panel]
                if isinstance(block, Tabs)
                else [block]
            )
            assert any(isinstance(b, Picture | Table) for b in flat)
            shown |= {b.name for b in flat if isinstance(b, Table)}
    assert shown == set(run.tables)


def test_a_run_without_them_has_no_section(tmp_path):
    run = Run(tmp_path, {"name": "x"})
    assert list(subspaces.sections(run)) == list(features.sections(run)) == []


def test_sentences_carry_the_tables_numbers():
    language, cost, _ = subspace_tables()
    left, price = subspaces.sentences(language, cost)
    assert "leace (rank 3, layer 4) 26 [21, 31] %" in left.text
    assert "chance is 25 %" in left.text
    assert "leace ×1.75 and random ×1.01" in price.text
    good, own = features.sentences(*feature_tables())
    assert "at least 91 [90, 92] % of the loss recovered (hi, layer 9)" in good.text
    assert "in 1 of 2 languages" in own.text
