"""The index: printed vectors, exact breakpoints, gaps, and arrays that equal the single record."""

from __future__ import annotations

import itertools
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import ConfigurationError, UnitError
from environment.aqi import (
    POLLUTANTS,
    city_mean,
    index,
    index_on,
    indices,
    sub_index,
    sub_indices,
)
from environment.standardset import Standard, StandardSet, load

SHANGHAI = "Asia/Shanghai"
STANDARDS = load()
NEW = STANDARDS.named("HJ 633-2026")
OLD = STANDARDS.named("HJ 633-2012")
CLEAN = {"pm2_5": 5.0, "pm10": 10.0, "so2": 3.0, "no2": 8.0, "o3": 30.0, "co": 0.3}

standards_st = st.sampled_from([OLD, NEW])
columns_st = st.sampled_from(sorted(NEW.columns))


@pytest.fixture(scope="module")
def standards() -> StandardSet:
    return STANDARDS


@pytest.mark.parametrize(
    ("column", "concentration", "iaqi"),
    [
        ("pm2_5_24h", 60, 100),
        ("pm2_5_24h", 60.5, 100),  # a tie, rounded to the even 60
        ("pm2_5_24h", 60.6, 101),
        ("pm2_5_24h", 61.5, 102),  # a tie, rounded to the even 62: 100 + 50 x 2/55
        ("so2_1h", 900, 200),
        ("so2_1h", 800, 200),
        ("o3_8h", 900, 300),
        ("pm2_5_24h", 500, 500),
        ("pm2_5_24h", 900, 500),
        ("co_1h", 2.15, 22),  # a tie in tenths: 2.2, and 50 x 2.2/5 = 22
        ("co_1h", 2.25, 22),  # 2.2 again
        ("co_24h", 0.04, 0),
        ("no2_24h", 1, 2),  # 1.25 rounded up
    ],
)
def test_printed_and_hand_computed_vectors(column: str, concentration: float, iaqi: int):
    assert sub_index(concentration, NEW.columns[column], NEW) == iaqi
    assert sub_index(Decimal(str(concentration)), NEW.columns[column], NEW) == iaqi
    assert sub_indices(np.array(concentration), NEW.columns[column], NEW) == iaqi


def test_the_old_edition_judges_75_as_the_new_one_judges_60():
    assert sub_index(75, OLD.columns["pm2_5_24h"], OLD) == 100
    assert sub_index(75, NEW.columns["pm2_5_24h"], NEW) == 114
    assert sub_index(150, OLD.columns["pm10_24h"], OLD) == 100
    assert sub_index(120, NEW.columns["pm10_24h"], NEW) == 100


def test_the_old_footnotes_turn_to_another_column():
    column = OLD.columns["so2_1h"]
    assert sub_index(900, column, OLD) is None
    assert sub_index(900, column, OLD, {"so2_24h": 475.0}) == 150
    assert sub_index(900, OLD.columns["o3_8h"], OLD, {"o3_1h": 1000.0}) == 400
    assert np.isnan(sub_indices(np.array([900.0]), column, OLD)).all()
    many = sub_indices(np.array([900.0, 500.0]), column, OLD, np.array([475.0, 475.0]))
    assert many.tolist() == [150.0, 100.0]


@pytest.mark.parametrize("standard", [OLD, NEW], ids=["2012", "2026"])
def test_every_breakpoint_gives_exactly_its_index(standard: Standard):
    count = 0
    for column in standard.columns.values():
        for steps, iaqi in zip(column.breakpoints, standard.iaqi, strict=False):
            concentration = steps / 10**column.decimals
            # Noise of binary arithmetic must not lift it by one.
            for noisy in (concentration, concentration + 1e-12, concentration * (1 + 4e-16)):
                assert sub_index(noisy, column, standard) == iaqi
                assert sub_indices(np.array(noisy), column, standard) == iaqi
                count += 1
    assert count == 3 * (6 * 8 + 2 * 8 + 5 + 6)  # 8 full columns, and the two that end early


@given(standards_st, columns_st, st.floats(0, 5000), st.floats(0, 5000))
def test_the_sub_index_never_falls_and_stays_in_bounds(
    standard: Standard, name: str, one: float, other: float
):
    column = standard.columns[name]
    others = {"so2_24h": 2620.0, "o3_1h": 1200.0}
    low, high = (sub_index(c, column, standard, others) for c in sorted((one, other)))
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= 500


@given(
    standards_st,
    columns_st,
    arrays(float, 20, elements=st.floats(-5, 5000) | st.just(float("nan")))
    | arrays(float, 20, elements=st.integers(0, 12_000).map(lambda i: i / 20)),
)
def test_arrays_equal_single_records(standard: Standard, name: str, values: np.ndarray):
    column = standard.columns[name]
    single = [sub_index(v, column, standard) for v in values.tolist()]
    expected = np.array([np.nan if i is None else i for i in single], dtype=float)
    np.testing.assert_array_equal(sub_indices(values, column, standard), expected)


@given(st.decimals(0, 700, places=3), columns_st)
def test_the_rule_spelled_out_in_fractions(concentration: Decimal, name: str):
    # A second way to the same number: linear interpolation in exact decimals, then rounded up.
    column = NEW.columns[name]
    rounded = concentration.quantize(Decimal(1).scaleb(-column.decimals), "ROUND_HALF_EVEN")
    points = [Decimal(b).scaleb(-column.decimals) for b in column.breakpoints]
    iaqi = sub_index(concentration, column, NEW)
    assert iaqi is not None
    for (low, high), (low_i, high_i) in zip(
        itertools.pairwise(points),
        zip(NEW.iaqi, NEW.iaqi[1:], strict=False),
        strict=False,
    ):
        if low <= rounded <= high:
            exact = (high_i - low_i) * (rounded - low)
            assert (iaqi - low_i - 1) * (high - low) < exact <= (iaqi - low_i) * (high - low)
            break
    else:
        assert rounded > points[-1]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -1.0, Decimal("NaN")])
def test_what_is_no_concentration_is_missing(value: float | Decimal | None):
    assert sub_index(value, NEW.columns["pm2_5_24h"], NEW) is None


def test_noise_around_zero_is_zero():
    assert sub_index(-0.4, NEW.columns["pm2_5_24h"], NEW) == 0


def test_primary_pollutants_only_above_50_and_ties_together():
    clean = index(CLEAN, NEW)
    assert (clean.aqi, clean.primary) == (10, ())
    assert clean.level is not None
    assert clean.level.name_zh == "优"
    at_50 = index({**CLEAN, "pm2_5": 35.0}, NEW)
    assert (at_50.aqi, at_50.primary) == (50, ())
    tie = index({**CLEAN, "pm2_5": 115.0, "pm10": 250.0}, NEW)
    assert (tie.aqi, tie.primary) == (150, ("pm2_5", "pm10"))
    assert tie.standard == "HJ 633-2026"


def test_with_a_gap_the_index_is_published_only_above_100():
    gap = {**CLEAN, "o3": None}
    low = index({**gap, "pm2_5": 60.0}, NEW)
    assert (low.aqi, low.level, low.primary) == (None, None, ())
    assert low.iaqi["pm2_5"] == 100
    high = index({**gap, "pm2_5": 61.0}, NEW)
    assert (high.aqi, high.primary) == (101, ("pm2_5",))
    assert index({}, NEW).aqi is None


@pytest.mark.parametrize(
    ("pm2_5", "number"),
    [(35.0, 1), (36.0, 2), (60.0, 2), (61.0, 3), (150.0, 4), (151.0, 5), (400.0, 6)],
)
def test_levels(pm2_5: float, number: int):
    level = index({**CLEAN, "pm2_5": pm2_5}, NEW).level
    assert level is not None
    assert level.number == number


def test_the_day_of_the_record_decides(standards: StandardSet):
    record = {**CLEAN, "pm2_5": 75.0}
    before = index_on(record, date(2026, 2, 28), standards)
    after = index_on(record, date(2026, 3, 1), standards)
    assert (before.aqi, before.standard) == (100, "HJ 633-2012")
    assert (after.aqi, after.standard) == (114, "HJ 633-2026")


def dataset(values: np.ndarray, start: str = "2026-06-22T00:00") -> xr.Dataset:
    """values: (pollutant, time, station)."""
    times = pd.date_range(start, periods=values.shape[1], freq="h").to_numpy()
    stations = [f"air-{i:02}" for i in range(values.shape[2])]
    return xr.Dataset(
        {p: (("time", "station"), values[i]) for i, p in enumerate(POLLUTANTS)},
        coords={"time": times, "station": stations},
    )


@given(
    arrays(float, (6, 3, 2), elements=st.floats(0, 900) | st.floats(0, 40) | st.just(float("nan"))),
    st.sampled_from(["hourly", "daily"]),
)
def test_a_dataset_equals_its_records(values: np.ndarray, report: str):
    # 2026-02-28T15:00Z is still February in Shanghai; one hour later the new table holds.
    data = dataset(values, "2026-02-28T15:00")
    result = indices(data, STANDARDS, timezone=SHANGHAI, report=report)
    assert result.standard.values.tolist() == ["HJ 633-2012", "HJ 633-2026", "HJ 633-2026"]
    for t, standard in enumerate([OLD, NEW, NEW]):
        for s in range(2):
            record = {p: float(values[i, t, s]) for i, p in enumerate(POLLUTANTS)}
            single = index(record, standard, report=report)
            cell = result.isel(time=t, station=s)
            assert (None if np.isnan(cell.aqi) else int(cell.aqi)) == single.aqi
            assert int(cell.level) == (single.level.number if single.level else 0)
            named = tuple(str(p) for p in cell.pollutant.values[cell.primary.values])
            assert named == single.primary
            for p in POLLUTANTS:
                iaqi = float(cell.iaqi.sel(pollutant=p))
                assert (None if np.isnan(iaqi) else int(iaqi)) == single.iaqi[p]


def test_units_are_converted_and_wrong_ones_refused(standards: StandardSet):
    data = dataset(np.full((6, 1, 1), 5.0))
    data["co"] = (("time", "station"), [[2150.0]], {"units": "µg/m3"})
    result = indices(data, standards, timezone=SHANGHAI)
    assert float(result.iaqi.sel(pollutant="co").item()) == 22
    data["co"].attrs["units"] = "MW"
    with pytest.raises(UnitError):
        indices(data, standards, timezone=SHANGHAI)


def test_absent_pollutants_and_an_empty_time_axis(standards: StandardSet):
    data = dataset(np.full((6, 2, 1), 61.0))[["pm2_5", "pm10"]]
    result = indices(data, standards, timezone=SHANGHAI)
    assert result.aqi.values.tolist() == [[101.0], [101.0]]
    assert bool(result.iaqi.sel(pollutant="co").isnull().all())
    empty = indices(data.isel(time=slice(0, 0)), standards, timezone=SHANGHAI)
    assert empty.aqi.shape == (0, 1)
    with pytest.raises(ConfigurationError, match="in force"):
        indices(dataset(np.zeros((6, 1, 1)), "1999-01-01"), standards, timezone=SHANGHAI)


def test_the_city_is_the_index_of_the_mean_not_the_mean_of_the_indices(standards: StandardSet):
    values = np.full((6, 1, 2), 1.0)
    values[0] = [[35.0, 85.0]]
    data = dataset(values)
    city = indices(city_mean(data), standards, timezone=SHANGHAI)
    assert float(city.aqi.item()) == 100  # of 60; the indices are 50 and 123
    assert city.aqi.dims == ("time",)


def test_a_city_needs_three_quarters_of_its_stations():
    values = np.full((6, 1, 4), 20.0)
    values[0, 0, 0] = np.nan
    assert float(city_mean(dataset(values)).pm2_5.item()) == 20.0
    values[0, 0, 1] = np.nan
    assert np.isnan(city_mean(dataset(values)).pm2_5.item())
    assert float(city_mean(dataset(values)).pm10.item()) == 20.0
