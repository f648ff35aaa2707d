"""Parts beyond the paper's study: sentences say what their tables carry, figures show each cell."""

from __future__ import annotations

import pandas as pd
import pytest

from langneurons.errors import ArtifactError
from langneurons.parts.crossing import figures as crossing_figures
from langneurons.parts.crossing import page as crossing
from langneurons.parts.deactivation import figures as deactivation_figures
from langneurons.parts.deactivation import page as deactivation
from langneurons.parts.effects import page as effects
from langneurons.parts.forcing import figures as forcing_figures
from langneurons.parts.forcing import page as forcing
from langneurons.parts.polysemanticity import figures as polysemanticity_figures
from langneurons.parts.polysemanticity import page as polysemanticity
from langneurons.reporting import style
from langneurons.study.report import compose, read, report
from reporting_run import tips, write_run


def effect(value: float, half: float = 0.01) -> dict[str, float]:
    return {"ratio": value, "low": value - half, "high": value + half}


def deactivation_table() -> pd.DataFrame:
    rows = []
    for value, ratio, unusual, impossible in (("-1", 1.5, 1.0, 1.0), ("zero", 1.2, 0.25, 0.0),
                                              ("mean", 1.02, 0.0, 0.0)):  # fmt: skip
        for kind in ("own", "random", "matched"):
            size = effect(ratio if kind == "own" else 1.01)
            place = {"unusual": unusual, "impossible": impossible}
            rows.append({"neurons": "lape", "language": "hi", "value": value, "kind": kind,
                         "seed": 0, "count": 20, **size, **place})  # fmt: skip
    return pd.DataFrame(rows)


def residual_table() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"neurons": "lape", "language": "hi", "value": value, "kind": kind, "layer": layer,
             "quantity": quantity, "change": 0.1 * layer if kind == "own" else 0.01}
            for value in ("zero", "mean") for kind in ("own", "matched") for layer in range(3)
            for quantity in ("displacement", "cosine")
        ]
    )  # fmt: skip


def crossing_table(share: float = 0.5) -> pd.DataFrame:
    rows = []
    for kind in ("own", "random"):
        for reading in ("strict", "paper", "clipped", "inside"):
            paper = reading == "paper"
            rows.append({"neurons": "lape", "language": "hi", "value": "P10", "kind": kind,
                         "seed": 0, "reading": reading, **effect(1.3 if paper else 1.1),
                         "impossible": 0.65 if paper else 0.0,
                         "share": share if paper else float("nan"),
                         "share_low": share - 0.1, "share_high": share + 0.1})  # fmt: skip
    return pd.DataFrame(rows)


def information_table(own: float = 0.6, matched: float = 0.1) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"neurons": "lape", "language": "hi", "task": "mini-nli", "carries": carries,
             "own": own, "matched": matched, "difference": own - matched,
             "low": own - matched - 0.2, "high": own - matched + 0.2, "units": 26, "controls": 52}
            for carries in ("language", "task", "both")
        ]
    )  # fmt: skip


def harm_table(rho: float = 0.4) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"neurons": "lape", "language": "hi", "task": "mini-nli", "kind": "own",
             "harm_with": "task_separation", "given": given, "rho": rho, "low": rho - 0.2,
             "high": rho + 0.2, "units": 12}
            for given in ("", "deviation")
        ]
    )  # fmt: skip


def forcing_table() -> pd.DataFrame:
    rows = [("none", "fr", 1.0), ("off", "fr", 1.0), ("off and on", "fr", 0.7),
            ("off and on", "es", 0.3)]  # fmt: skip
    return pd.DataFrame(
        [
            {"off": "fr", "on": "es", "intervention": how, "language_detected": name, "n": 20,
             "share": share, "low": share - 0.1, "high": share + 0.1}
            for how, name, share in rows
        ]
    )  # fmt: skip


def test_deactivation_in_words():
    (said,) = deactivation.sentences(deactivation_table())
    assert "mean is the mildest (perplexity ×1.020 [1.010, 1.030])" in said.text
    assert "-1 the harshest (×1.500" in said.text
    assert "outside the usual range (P1 to P99) of 25 % of the units" in said.text
    assert said.tone == "finding"
    flat = deactivation_table().assign(ratio=1.0, low=0.99, high=1.01)
    assert next(deactivation.sentences(flat)).tone == "none"


def test_crossing_in_words():
    (said,) = crossing.sentences(crossing_table())
    assert "writes 65 % impossible values, and these make 50 [40, 60] % of its damage" in said.text
    (unclear,) = crossing.sentences(crossing_table(share=float("nan")))
    assert "cannot be told from none" in unclear.text
    assert unclear.tone == "none"


def test_polysemanticity_in_words():
    task, harm = polysemanticity.sentences(information_table(), harm_table())
    assert task.text.startswith("60 % of the lape neurons of hi carry information on the labels")
    assert "10 % of equally active ones: +50 [+30, +70] points" in task.text
    assert (task.tone, harm.tone) == ("finding", "finding")
    assert "+0.40 [+0.20, +0.60]" in harm.text
    alike, weak = polysemanticity.sentences(information_table(0.1, 0.1), harm_table(0.1))
    assert (alike.tone, weak.tone) == ("none", "none")


def test_forcing_in_words_and_cells():
    (said,) = forcing.sentences(forcing_table())
    assert "30 % [20, 40] of 20 outputs are es; 0 % are without intervention" in said.text
    assert said.tone == "finding"
    never = forcing_table().query("language_detected != 'es'")
    (none,) = forcing.sentences(never)
    assert (none.tone, "0 % of 20" in none.text) == ("none", True)
    with style.figure_style():
        shown = tips(forcing_figures.forcing(forcing_table()))
    # Each intervention has its own row: one does not hide another.
    assert [tip.partition(":")[0] for tip in shown] == [
        "fr untouched", "fr off", "fr off, es on", "fr off, es on"]  # fmt: skip


def test_single_units_in_words():
    table = pd.DataFrame(
        [
            {"language": "hi", "layer": 3, "index": place, **effect(1 + 0.1 / place)}
            for place in (1, 2)
        ]
    )
    (said,) = effects.sentences(table)
    assert (
        "is 1 in layer 3: perplexity ×1.100 [1.090, 1.110] (chosen for being the largest"
        in said.text
    )


def test_figures_draw_every_cell():
    with style.figure_style():
        found = tips(deactivation_figures.deactivation(deactivation_table()))
        assert "own neurons, zero: ×1.200 [1.190, 1.210]" in found
        assert "-1: 100 % of units outside what the activation can give" in found
        found = tips(deactivation_figures.residual(residual_table()))
        assert len(found) == 2 * 3
        assert "zero, layer 2: moved by 0.200 (equally active neurons: 0.010)" in found
        found = tips(crossing_figures.crossing(crossing_table()))
        assert len(found) == 4
        assert any("paper: pre to act: ×1.300" in tip and "65 %" in tip for tip in found)
        found = tips(polysemanticity_figures.information(information_table()))
        assert len(found) == 3
        assert "difference +50 [+30, +70] points" in found[0]


def test_controls_of_the_site_question_are_told_apart():
    table = crossing_table()
    matched = table[table["kind"] == "random"].assign(kind="matched", seed=1, ratio=1.07)
    with style.figure_style():
        figure = crossing_figures.crossing(pd.concat([table, matched]))
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    drawn = {mark: [line.get_xdata()[0] for line in lines if line.get_marker() == mark]
             for mark in "|x"}  # fmt: skip
    assert sorted(drawn["|"]) == [1.1, 1.1, 1.1, 1.3]
    assert drawn["x"] == [1.07] * 4
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == [style.LABELS[kind] for kind in ("own", "random", "matched")]


def test_sections_of_a_run_that_has_them(tmp_path):
    folder = write_run(
        tmp_path,
        {
            "deactivation": deactivation_table(),
            "residual": residual_table(),
            "crossing": crossing_table(),
            "polysemanticity": information_table(),
            "polysemanticity_harm": harm_table(),
            "forcing": forcing_table(),
        },
    )
    names = [section.name for section in compose(read(folder)).sections]
    assert names == [
        "part-forcing", "deactivation", "crossing", "polysemanticity", "methods", "reproduce",
    ]  # fmt: skip
    page = report(folder).read_text(encoding="utf-8")
    for anchor in ("fig-deactivation_lape_hi", "fig-residual_lape_hi", "fig-crossing_lape_hi",
                   "fig-polysemanticity_lape", "tab-polysemanticity_harm"):  # fmt: skip
        assert f'id="{anchor}"' in page


def test_a_table_of_another_version_is_named(tmp_path):
    folder = write_run(tmp_path, {"crossing": crossing_table().drop(columns="reading")})
    with pytest.raises(ArtifactError, match="reading"):
        read(folder)


def test_series_stay_apart():
    pairs = {style.series(order) for order in range(36)}
    assert len(pairs) == 36
    assert style.series(0) == (style.BLUE, "o")
