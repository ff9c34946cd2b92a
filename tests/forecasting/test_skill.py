"""Scores: worked out by hand, and right about who is better."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from forecasting.skill import bias, coverage, mae, pinball, rmse, skill

ACTUAL = xr.DataArray([1.0, 2.0, 3.0, np.nan], dims="time")
MEDIAN = xr.DataArray([1.0, 4.0, 2.0, 9.0], dims="time")
QUANTILES = xr.DataArray(
    [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [1.0, 2.0, 2.5], [0.0, 0.0, 0.0]],
    dims=("time", "quantile"),
    coords={"quantile": [0.1, 0.5, 0.9]},
)


def test_errors_by_hand():
    assert float(mae(MEDIAN, ACTUAL)) == 1.0
    assert float(rmse(MEDIAN, ACTUAL)) == pytest.approx(np.sqrt(5 / 3))
    assert float(bias(MEDIAN, ACTUAL)) == pytest.approx(1 / 3)


def test_pinball_by_hand():
    # 0.1: 0.1x1, 0.9x1, 0.1x2; 0.5: 0, 0.5x2, 0.5x1; 0.9: 0.1x1, 0.1x3, 0.9x0.5; of nine.
    expected = (0.1 + 0.9 + 0.2 + 0 + 1.0 + 0.5 + 0.1 + 0.3 + 0.45) / 9
    assert float(pinball(QUANTILES, ACTUAL)) == pytest.approx(expected)


def test_coverage_counts_only_what_came():
    assert float(coverage(QUANTILES, ACTUAL)) == pytest.approx(1 / 3)


def test_scores_by_asset():
    actual = xr.concat([ACTUAL, ACTUAL + 1], dim="asset")
    forecast = MEDIAN.expand_dims(asset=2)
    assert mae(forecast, actual, ["time"]).values.tolist() == pytest.approx([1.0, 4 / 3])
    assert pinball(QUANTILES.expand_dims(asset=2), actual, ["time"]).dims == ("asset",)


def test_skill_is_1_for_perfect_0_for_the_reference():
    assert skill(0.0, 2.0) == 1.0
    assert skill(2.0, 2.0) == 0.0
    assert skill(4.0, 2.0) == -1.0


@given(st.floats(0.05, 0.95), st.floats(-3, 3))
def test_no_constant_beats_the_true_quantile(level: float, other: float):
    values = xr.DataArray(np.linspace(-1, 1, 401), dims="time")

    def loss(forecast: float) -> float:
        constant = xr.DataArray([[forecast]] * 401, dims=("time", "quantile"))
        return float(pinball(constant.assign_coords(quantile=[level]), values))

    # The grid is finite: the best constant lies within one step of the quantile.
    assert loss(float(np.quantile(values, level))) <= loss(other) + 0.005
