"""Usual quantiles: numpy's, column by column, around the time of day and over midnight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.timeaxis import HOUR, QUARTER_HOUR, steps
from forecasting.climatology import blend, usual_quantiles

MIDNIGHT = datetime(2026, 6, 22, tzinfo=UTC)
LEVELS = [0.1, 0.5, 0.9]


@given(arrays(float, (24, 3), elements=st.floats(-5, 5) | st.just(float("nan"))))
def test_quantiles_are_numpys_of_what_is_present(values: np.ndarray):
    times = steps(MIDNIGHT, MIDNIGHT + 24 * HOUR, HOUR)
    result = usual_quantiles(values, times, times[:1], LEVELS, window=24 * HOUR)[0]
    for column in range(3):
        present = values[np.isfinite(values[:, column]), column]
        expected = np.quantile(present, LEVELS) if len(present) else np.full(3, np.nan)
        np.testing.assert_allclose(result[column], expected, atol=1e-12)


def test_the_window_reaches_over_midnight():
    times = steps(MIDNIGHT - 3 * HOUR, MIDNIGHT + 3 * HOUR, QUARTER_HOUR)
    near = np.abs(times - times[12]) <= np.timedelta64(1, "h")
    values = np.where(near, 7.0, 0.0)
    result = usual_quantiles(values, times, times[12:13], LEVELS)
    assert result.tolist() == [[7.0, 7.0, 7.0]]
    none = usual_quantiles(values[:0], times[:0], times[:2], LEVELS)
    assert none.shape == (2, 3)
    assert np.isnan(none).all()


def test_the_blend_goes_from_now_to_usual():
    usual, median = np.array([[0.0, 5.0, 10.0]] * 3), np.full(3, 5.0)
    lead = np.array([0, 4, 400]) * np.timedelta64(1, "h")
    mixed = blend(usual, median, np.array(9.0), lead, timedelta(hours=4))
    np.testing.assert_allclose(mixed[0], [9.0, 9.0, 9.0])
    weight = np.exp(-1.0)
    assert mixed[1, 1] == weight * 9 + (1 - weight) * 5
    np.testing.assert_allclose(mixed[2], usual[2])
    unknown = blend(usual, median, np.array(np.nan), lead, timedelta(hours=4))
    np.testing.assert_allclose(unknown, usual)
