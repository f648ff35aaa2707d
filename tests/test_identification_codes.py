"""Values as integers of the same order, and work in threads: exact, whatever the input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons import identify
from langneurons.identification import codes
from langneurons.identification.parallel import over_slices
from test_identification_methods import random_rows, statistics_of

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
quick = settings(deadline=None, max_examples=40)
numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 1e-8, -1e-8]), st.floats(-1e4, 1e4)
)


@quick
@given(st.lists(numbers, min_size=1, max_size=30), st.sampled_from(DTYPES))
def test_codes_have_the_order_of_the_values_and_come_back(values, dtype):
    rows = torch.tensor(values, dtype=torch.float64).to(dtype)[:, None]
    coded, kind = codes.encode(rows)
    plain = rows[:, 0].double().numpy()
    assert kind == dtype
    assert coded.shape == (1, len(values))
    assert np.array_equal(codes.decode(coded, dtype)[0], plain)
    larger, smaller = plain[:, None] > plain, plain[:, None] < plain
    assert np.array_equal(coded[0][:, None] > coded[0], larger)
    assert np.array_equal(coded[0][:, None] < coded[0], smaller)
    assert not codes.has_nan(coded, dtype).any()


@quick
@given(
    st.lists(st.floats(-9, 9, width=16), min_size=1, max_size=20),
    st.floats(0, 1),
    st.sampled_from(DTYPES),
)
def test_quantiles_by_definition_and_what_lies_above(values, q, dtype):
    rows = torch.tensor(values, dtype=torch.float64).to(dtype)[:, None]
    coded, _ = codes.encode(rows)
    plain = rows[:, 0].double().numpy()
    limit = codes.quantile(coded, q, dtype)
    assert limit[0] == pytest.approx(np.quantile(plain, q), rel=1e-12, abs=1e-12)
    above = coded > codes.floor_code(limit, dtype)[:, None]
    assert np.array_equal(above[0], plain > limit[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_is_seen_and_exceeded_by_nothing(dtype):
    rows = torch.zeros(4, 3, dtype=dtype)
    rows[1, 1], rows[2, 2] = torch.nan, -torch.nan
    coded, _ = codes.encode(rows)
    assert codes.has_nan(coded, dtype).tolist() == [False, True, True]
    assert not (coded > codes.floor_code(np.full(3, np.nan), dtype)[:, None]).any()


@pytest.mark.parametrize(
    "method", ["dln", "auroc", "average_precision", "activation_probability"]
)  # fmt: skip
def test_threads_change_nothing_but_the_time(method, monkeypatch):
    from langneurons.identification.methods import activation_probability, average_precision, dln

    # Slices of a few units, so that several threads have work.
    monkeypatch.setattr(dln, "_BINNED_AT_ONCE", 60)
    monkeypatch.setattr(average_precision, "_RANKED_AT_ONCE", 240)
    monkeypatch.setattr(activation_probability, "_CODED_AT_ONCE", 240)
    statistics = statistics_of(random_rows(4, languages=3, layers=2, n=20, units=31))
    options = [{"threshold": name} for name in ("own", "pooled", "others", "layer")]
    before = torch.get_num_threads()
    for more in options if method == "activation_probability" else [{}]:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            try:
                found.append(identify(statistics, method, per_language=9, **more))
                assert torch.get_num_threads() == threads
            finally:
                torch.set_num_threads(before)
        assert found[0]["l0"] == found[1]["l0"]
        assert torch.equal(found[0].scores["l0"], found[1].scores["l0"])


def test_slices_cover_everything_in_order_and_errors_come_through():
    parts = [(part.start, part.stop, size) for part, size in
             over_slices(lambda part: part.stop - part.start, 10, 4)]  # fmt: skip
    assert parts == [(0, 4, 4), (4, 8, 4), (8, 10, 2)]
    with pytest.raises(ZeroDivisionError):
        list(over_slices(lambda part: 1 // part.start, 10, 4))
