"""Filling: what a loop over each column says, for any table."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from store import filling
from store.filling import Fill

tables = arrays.arrays(
    np.float64,
    st.tuples(st.integers(0, 12), st.integers(0, 4)),
    elements=st.one_of(st.just(np.nan), st.floats(-5, 5)),
)


def by_loop(column: list[float], times: list[int], how: Fill, limit_us: int) -> list[float]:
    known = [n for n, value in enumerate(column) if not np.isnan(value)]
    filled = list(column)
    for n in range(len(column)):
        before = [k for k in known if k < n]
        after = [k for k in known if k > n]
        if n in known or not before:
            continue
        low = before[-1]
        if how is Fill.PREVIOUS and times[n] - times[low] <= limit_us:
            filled[n] = column[low]
        if how is Fill.LINEAR and after and times[after[0]] - times[low] <= limit_us:
            high = after[0]
            filled[n] = float(
                np.interp(times[n], [times[low], times[high]], [column[low], column[high]])
            )
    return filled


@given(tables, st.data(), st.sampled_from(Fill), st.integers(1, 20))
def test_as_a_loop_would(table: np.ndarray, data: st.DataObject, how: Fill, limit: int) -> None:
    steps = data.draw(st.lists(st.integers(1, 5), min_size=len(table), max_size=len(table)))
    times = np.cumsum(np.array(steps, dtype=np.int64))
    before = table.copy()
    filled, where = filling.fill(table, times, how, timedelta(microseconds=limit))
    np.testing.assert_array_equal(table, before)  # the table itself is left alone
    for column in range(table.shape[1]):
        expected = by_loop(table[:, column].tolist(), times.tolist(), how, limit)
        np.testing.assert_allclose(filled[:, column], expected, atol=1e-12)
    np.testing.assert_array_equal(where, np.isnan(table) & ~np.isnan(filled))


def test_many_columns_are_filled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.full((3, 11), np.nan)
    table[0] = np.arange(11)
    monkeypatch.setattr(filling, "_AT_ONCE", 6)
    times = np.arange(3, dtype=np.int64)
    filled, where = filling.fill(table, times, Fill.PREVIOUS, timedelta(seconds=1))
    np.testing.assert_array_equal(filled, np.tile(np.arange(11.0), (3, 1)))
    assert where.sum() == 22
