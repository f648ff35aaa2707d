"""A study's time is filed under the model, what is hooked into it, and the rest."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from bench.shares import kind_of, show

import tiny
from langneurons.evaluation import perplexity, token_loss
from langneurons.stages.stage import Stage
from langneurons.statistics import collect, collector
from langneurons.study import kinds

TEXT = {"xx": ["the cat and the dog run over the hill"]}


def noting(found: list[tuple[str, str]], real: object) -> object:
    """A function that notes where the time of its caller would be filed, and does what it did."""

    def noted(*given: object, **named: object) -> object:
        found.append(kind_of(sys._getframe(1)))
        return real(*given, **named)

    return noted


def test_passes_hooks_and_all_else_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, found = tiny.lm(), []
    down = lm.layer_modules[1].mlp.down_proj
    monkeypatch.setattr(down, "forward", noting(found, down.forward))
    monkeypatch.setattr(collector, "summarize", noting(found, collector.summarize))
    collect(lm, TEXT, rows=0)
    assert set(found) == {("no stage", "hooked"), ("no stage", "bare")}
    found.clear()
    monkeypatch.setattr(token_loss, "_log_probs", noting(found, token_loss._log_probs))
    linear = token_loss.functional.linear
    monkeypatch.setattr(token_loss.functional, "linear", noting(found, linear))
    perplexity(lm, TEXT["xx"])
    assert {kind for _, kind in found} == {"bare"}
    assert kind_of(sys._getframe()) == ("no stage", "outside")


def test_the_stage_that_runs_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    seen = kinds.Kind(lambda shop, output: found.append(kind_of(sys._getframe())))
    monkeypatch.setattr(kinds, "kinds", lambda: {"some": seen})

    class Shop:
        out = Path("x")

        def made_with(self) -> dict[str, str]:
            return {}

    kinds.run(Shop(), Stage("some/a", "some", {}, {}, (), "a"))
    assert found == [("some", "outside")]


def test_shares_of_a_stage_add_up() -> None:
    counts = Counter({("a", "bare"): 6, ("a", "outside"): 2, ("b", "hooked"): 2})
    table = show(counts, 1.0)
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["a", "b", "all"]
    assert cells[1] == ["0.80", "0.20", "1.00"]
    assert cells[2] == ["0.75", "0.00", "0.60"]
    assert cells[4] == ["0.25", "0.00", "0.20"]
