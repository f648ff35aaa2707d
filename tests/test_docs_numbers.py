"""Every number with an interval that a page of results shows lies in a record of bench/results."""

import re
from bisect import bisect_left
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["docs/what-survives.md", "docs/identification.md", "docs/beyond/attention.md"]
NUMBER = r"[+-]?\d+(?:\.\d+)?"
SHOWN = re.compile(rf"(?<![\w.])({NUMBER}) (?:%|points )?\[({NUMBER}), ({NUMBER})\]")


@pytest.fixture(scope="module")
def recorded():
    """Three numbers beside each other in a line of a record, without signs, and as percentages."""
    found = set()
    for path in (ROOT / "bench" / "results").glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            numbers = [abs(float(number)) for number in re.findall(NUMBER, line)]
            for triple in zip(numbers, numbers[1:], numbers[2:], strict=False):
                found.add(triple)
                if max(triple) <= 1:
                    found.add(tuple(100 * number for number in triple))
    return sorted(found)


def lies_in(shown, recorded):
    """Whether a number and its interval are those of a record, rounded as the page rounds them.

    A loss may be told as what is lost, so that sign and order of the ends may differ.
    """
    half = 0.5 * 10 ** -len(shown[0].partition(".")[2]) + 1e-3
    value, *ends = (abs(float(number)) for number in shown)
    for place in range(bisect_left(recorded, (value - half,)), len(recorded)):
        first, *others = recorded[place]
        if first > value + half:
            return False
        pairs = zip(sorted(ends), sorted(others), strict=True)
        if all(abs(a - b) <= half for a, b in pairs):
            return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_numbers_with_an_interval_lie_in_a_record(page, recorded):
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = SHOWN.findall(text)
    assert len(shown) > 20
    unknown = [item for item in shown if not lies_in(item, recorded)]
    assert not unknown, f"{page}: in no record of bench/results"


def test_a_number_that_nobody_measured_is_found_out(recorded):
    assert not lies_in(("-12.9", "-21.7", "-4.4"), recorded)
    assert not lies_in(("12.34", "11.11", "13.57"), recorded)
    assert lies_in(("-12.9", "-21.7", "-4.0"), recorded)
