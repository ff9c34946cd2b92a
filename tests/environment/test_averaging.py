"""Means and when they count: 45 minutes, 6 of 8 hours, 20 of 24, in natural days."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from core.errors import TimeError
from environment.averaging import (
    daily_concentrations,
    daily_maximum_8h,
    daily_mean,
    hourly_mean,
    mean_8h,
)

FIVE_MINUTES = timedelta(minutes=5)
SHANGHAI = "Asia/Shanghai"
MIDNIGHT = "2026-06-21T16:00"  # 2026-06-22 00:00 in Shanghai


def series(
    values: list[float] | np.ndarray, freq: str = "h", start: str = MIDNIGHT
) -> xr.DataArray:
    times = pd.date_range(start, periods=len(values), freq=freq).to_numpy()
    return xr.DataArray(
        np.asarray(values, dtype=float),
        dims="time",
        coords={"time": times},
        attrs={"units": "µg/m3"},
    )


def test_an_hour_needs_45_minutes():
    values = np.arange(24, dtype=float)
    values[9:12] = np.nan  # 9 readings of 5 minutes are left
    values[20:] = np.nan  # 8 are left
    mean = hourly_mean(series(values, "5min"), resolution=FIVE_MINUTES)
    assert float(mean[0]) == 4.0
    assert np.isnan(mean[1])
    assert mean.attrs["units"] == "µg/m3"
    assert mean.time.values[0] == np.datetime64(MIDNIGHT)


def test_absent_rows_count_as_missing_and_absent_hours_are_shown():
    values = series(np.ones(36), "5min").isel(time=[*range(9), *range(24, 36)])
    mean = hourly_mean(values, resolution=FIVE_MINUTES)
    np.testing.assert_array_equal(mean, [1.0, np.nan, 1.0])


def test_stations_are_kept_apart():
    values = xr.concat([series(np.ones(12), "5min"), series(np.full(12, 3.0), "5min")], "station")
    mean = hourly_mean(values.transpose("time", "station"), resolution=FIVE_MINUTES)
    assert mean.dims == ("time", "station")
    np.testing.assert_array_equal(mean, [[1.0, 3.0]])


def test_intervals_must_divide_the_hour():
    with pytest.raises(TimeError):
        hourly_mean(series(np.ones(3), "7min"), resolution=timedelta(minutes=7))


def test_an_8_hour_mean_needs_6_values_and_is_labelled_by_its_beginning():
    values = np.arange(10, dtype=float)
    values[[0, 1, 2]] = np.nan
    mean = mean_8h(series(values))
    assert mean.time.values.tolist() == series(values).time.values[:3].tolist()
    assert np.isnan(mean[0])  # 3..7: five values
    assert float(mean[1]) == np.mean([3, 4, 5, 6, 7, 8])
    assert float(mean[2]) == np.mean([3, 4, 5, 6, 7, 8, 9])
    assert mean_8h(series(np.ones(7))).sizes["time"] == 0


def test_a_day_needs_20_hours_and_is_a_natural_day():
    values = np.concatenate([np.full(24, 10.0), np.full(24, 30.0)])
    values[:4] = np.nan
    values[24:29] = np.nan
    mean = daily_mean(series(values), timezone=SHANGHAI)
    np.testing.assert_array_equal(mean, [10.0, np.nan])
    assert mean.time.values[0] == np.datetime64(MIDNIGHT)


@pytest.mark.parametrize(
    ("start", "hours"),
    [("2026-03-28T23:00", 23), ("2026-10-24T22:00", 25)],
    ids=["spring", "autumn"],
)
def test_days_on_which_the_clocks_change(start: str, hours: int):
    mean = daily_mean(
        series(np.ones(hours + 1), start=start), timezone="Europe/Berlin", minimum_hours=1
    )
    assert mean.sizes["time"] == 2
    assert (mean.time.values[1] - mean.time.values[0]) / np.timedelta64(1, "h") == hours


def test_the_daily_maximum_stays_inside_its_day():
    values = np.zeros(48)
    values[20:28] = 80.0  # across midnight: no window inside one day holds all of it
    largest = daily_maximum_8h(series(values), timezone=SHANGHAI)
    np.testing.assert_array_equal(largest, [40.0, 40.0])


def test_the_daily_maximum_needs_14_windows_unless_it_is_above_the_limit():
    values = np.full(24, 100.0)
    values[:6] = np.nan  # windows from 4 h on are valid: 13 of them
    assert np.isnan(daily_maximum_8h(series(values), timezone=SHANGHAI)).all()
    assert float(daily_maximum_8h(series(values * 2), timezone=SHANGHAI)[0]) == 200.0
    values[5] = 100.0
    assert float(daily_maximum_8h(series(values), timezone=SHANGHAI)[0]) == 100.0


def test_short_and_empty_input_gives_days_without_a_value():
    assert np.isnan(daily_maximum_8h(series(np.ones(5)), timezone=SHANGHAI)).all()
    assert daily_mean(series(np.ones(5)), timezone=SHANGHAI).isnull().all()


def test_the_daily_report_takes_means_and_the_8_hour_maximum_of_ozone():
    values = np.zeros(24)
    values[10:18] = 90.0
    hourly = xr.Dataset({"o3": series(values), "no2": series(values)})
    daily = daily_concentrations(hourly, timezone=SHANGHAI)
    assert float(daily.o3[0]) == 90.0
    assert float(daily.no2[0]) == 30.0
