"""Every number with an interval that a page of results shows lies in a record of bench/results."""

import re
from bisect import bisect_left
from pathlib import Path

import pytest

from langneurons.artifacts import read_table
from langneurons.evaluation import compare
from langneurons.evaluation.items import read_items

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "docs/what-survives.md", "docs/audit.md", "docs/identification.md",
         "docs/beyond/attention.md", "docs/steering.md"]  # fmt: skip
NUMBER = r"[+-]?\d+(?:\.\d+)?"
SHOWN = re.compile(
    rf"(?<![\w.])({NUMBER})\s+(?:%\s+|points\s+(?:of F1\s+)?)?\[({NUMBER}),\s+({NUMBER})\]"
)


@pytest.fixture(scope="module")
def recorded():
    """Three numbers beside each other in a line of a record, also as percentages, in order."""
    found = set()
    records = ROOT / "bench" / "results"
    for path in (*records.glob("*.txt"), *records.glob("*/summary.md")):
        for line in path.read_text(encoding="utf-8").replace("\N{MINUS SIGN}", "-").splitlines():
            numbers = [float(number) for number in re.findall(NUMBER, line)]
            for triple in zip(numbers, numbers[1:], numbers[2:], strict=False):
                found.add(triple)
                if max(map(abs, triple)) <= 1:
                    found.add(tuple(100 * number for number in triple))
    # A loss may be told as what is lost: without its sign, the ends in order again.
    lost = {tuple(-number for number in (value, high, low)) for value, low, high in found}
    return sorted(found), sorted(found | lost)


def lies_in(shown, recorded):
    """Whether a number and its interval are those of a record, rounded as the page rounds them.

    A number with a sign is a change and has the record's sign, one without may be a loss.
    """
    half = 0.5 * 10 ** -len(shown[0].partition(".")[2]) + 1e-3
    known = recorded[0] if shown[0][0] in "+-" and shown[1][0] in "+-" else recorded[1]
    wanted = [float(number) for number in shown]
    for place in range(bisect_left(known, (wanted[0] - half,)), len(known)):
        if known[place][0] > wanted[0] + half:
            return False
        if all(abs(a - b) <= half for a, b in zip(wanted, known[place], strict=True)):
            return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_numbers_with_an_interval_lie_in_a_record(page, recorded):
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = SHOWN.findall(text)
    assert shown
    unknown = [item for item in shown if not lies_in(item, recorded)]
    assert not unknown, f"{page}: in no record of bench/results"


KEPT = sorted((ROOT / "bench" / "results").glob("*/items.parquet"))


def test_some_record_has_its_examples():
    assert KEPT


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.parent.name)
def test_a_records_scores_and_changes_come_out_of_its_examples(path):
    """So that another test or interval can be taken without the run."""
    summary = (path.parent / "summary.md").read_text(encoding="utf-8")
    summary = summary.replace("\N{MINUS SIGN}", "-").replace("\\", "")
    cells = read_items(path)
    tables = {
        name: read_table(path.with_name(f"{name}.parquet")) for name in ("untouched", "changes")
    }
    for row in tables["untouched"].itertuples():
        kept = cells[f"{row.task}/{row.adapter}/{row.language}/none"]
        assert (len(kept.rows), kept.value(row.metric)) == (row.n, pytest.approx(row.value))
    for row in tables["changes"].itertuples():
        draw = "" if row.units == "own" else f"-{int(row.seed)}"
        place = f"{row.task}/{row.adapter}/{row.language}"
        cell = f"{place}/{row.value}-{row.units}-{row.neurons}{draw}"
        found = compare(cells[cell], cells[f"{place}/none"], metric=row.metric)
        assert found.difference == pytest.approx(row.difference)
        assert (found.low, found.high) == pytest.approx((row.low, row.high))
        assert f"{row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}]" in summary


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("-12.9 [-21.7, -4.0]", True),
        ("12.9 points [4.0, 21.7]", True),
        ("41.1 %\n[37.8, 44.4]", True),
        ("-12.9 [-21.7, -4.4]", False),
        ("+12.9 [+4.0, +21.7]", False),
        ("-12.9 [-4.0, -21.7]", False),
        ("41.1 % [37.8, 45.4]", False),
        ("12.34 [11.11, 13.57]", False),
    ],
)
def test_a_number_that_nobody_measured_is_found_out(text, known, recorded):
    (shown,) = SHOWN.findall(text)
    assert lies_in(shown, recorded) == known
