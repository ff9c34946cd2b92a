"""PV: limits set by physics, a real plant, and forecasts that know only what was known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from core.errors import ConfigurationError, TimeError
from core.timeaxis import DAY, QUARTER_HOUR, from_datetime64, steps
from forecasting import skill
from forecasting.climatology import persistence
from forecasting.pv import (
    DAYLIGHT_ZENITH_DEGREE,
    PvArray,
    clear_sky_ghi,
    fit_array,
    forecast,
    from_weather,
    power,
    solar_position,
    weather,
)

LAT, LON = 53.4, 116.8
NOON = datetime(2026, 6, 22, 4, tzinfo=UTC)
PARAMETERS = {
    "pdc0_mw": 2.0,
    "tilt_degree": 30.0,
    "azimuth_degree": 180.0,
    "temp_coefficient_per_degc": -0.004,
}
ARRAY = PvArray.from_parameters(PARAMETERS)
PLANT = (
    Path(__file__).parents[3]
    / "shared/data/energy/pv_plant_india_2020-05-15_2020-06-07_15min.parquet"
)


def axis(start: datetime, days: float) -> np.ndarray:
    return steps(start, start + timedelta(days=days), QUARTER_HOUR)


def sky(start: datetime, days: float, cloud: float = 1.0) -> tuple[xr.DataArray, xr.DataArray]:
    """A clear sky times ``cloud``, and 20 degC."""
    times = axis(start, days)
    ghi = clear_sky_ghi(solar_position(LAT, LON, times, QUARTER_HOUR)) * cloud
    at = {"time": times}
    return (
        xr.DataArray(ghi, dims="time", coords=at),
        xr.DataArray(np.full(len(times), 20.0), dims="time", coords=at),
    )


def test_a_summer_day_has_noon_night_and_a_sensible_yield():
    ghi, temp = sky(NOON - timedelta(hours=12), 1)
    p_mw = power(ARRAY, lat=LAT, lon=LON, ghi=ghi, temp_air=temp)
    assert p_mw.attrs["units"] == "MW"
    night = solar_position(LAT, LON, ghi.time.values, QUARTER_HOUR).apparent_zenith >= 90
    assert (p_mw.values[night] == 0.0).all()
    assert not np.signbit(p_mw.values[night]).any()
    assert 1.2 < float(p_mw.max()) <= 0.96 * 2.0
    peak = from_datetime64(p_mw.time.values[int(p_mw.values.argmax())])
    assert abs(peak - NOON) < timedelta(hours=1)  # solar noon at 116.8 E is 04:15 UTC
    hours_of_full_power = float(p_mw.sum()) / 4 / 2.0
    assert 5.0 < hours_of_full_power < 9.0


def test_heat_costs_power_as_the_coefficient_says():
    ghi, temp = sky(NOON, 1 / 96)
    cold, hot = (
        power(ARRAY, lat=LAT, lon=LON, ghi=ghi * 0.6, temp_air=temp + t, resolution=QUARTER_HOUR)
        for t in (0.0, 10.0)
    )
    # 10 degC x 0.4 % of the power at 25 degC; the inverter's own curve moves it little.
    assert float(1 - hot[0] / cold[0]) == pytest.approx(0.04, abs=0.006)


def test_the_inverter_clips():
    small = PvArray(pdc0_mw=2.0, p_ac_max_mw=0.5)
    ghi, temp = sky(NOON - timedelta(hours=12), 1)
    p_mw = power(small, lat=LAT, lon=LON, ghi=ghi, temp_air=temp)
    assert float(p_mw.max()) == pytest.approx(0.5)
    assert int((p_mw > 0.4999).sum()) > 20


def test_no_light_no_power_and_missing_light_missing_power():
    ghi, temp = sky(NOON - timedelta(hours=12), 1)
    assert (power(ARRAY, lat=LAT, lon=LON, ghi=ghi * 0, temp_air=temp) == 0).all()
    gap = power(ARRAY, lat=LAT, lon=LON, ghi=ghi.where(ghi == 0), temp_air=temp)
    assert (np.isnan(gap.values) == (ghi.values > 0)).all()
    off = PvArray(pdc0_mw=0.0)
    assert (power(off, lat=LAT, lon=LON, ghi=ghi, temp_air=temp) == 0).all()


def test_south_beats_north_and_east_comes_first():
    ghi, temp = sky(NOON - timedelta(hours=12), 1)
    day = {
        name: power(PvArray(2.0, 30.0, azimuth), lat=LAT, lon=LON, ghi=ghi, temp_air=temp)
        for name, azimuth in {"south": 180.0, "north": 0.0, "east": 90.0, "west": 270.0}.items()
    }
    assert float(day["south"].sum()) > float(day["north"].sum())
    noons = [int(day[side].values.argmax()) for side in ("east", "south", "west")]
    assert noons == sorted(set(noons))


@pytest.mark.parametrize(
    "parameters", [{}, {"pdc0_mw": "much"}, {"pdc0_mw": -1.0}, {"pdc0_mw": 1.0, "tilt_degree": 120}]
)
def test_bad_module_data_is_refused(parameters: dict):
    with pytest.raises(ConfigurationError):
        PvArray.from_parameters(parameters)


def test_times_must_be_regular():
    ghi, temp = sky(NOON, 1)
    uneven = ghi.time.values[[0, 1, 3]]
    with pytest.raises(TimeError):
        forecast(PARAMETERS, LAT, LON, uneven, ghi, temp, NOON)


def test_the_scale_is_found_again_and_needs_enough_light():
    ghi, temp = sky(NOON - timedelta(days=10), 10)
    measured = power(ARRAY, lat=LAT, lon=LON, ghi=ghi, temp_air=temp) * 0.8
    fitted = fit_array(ARRAY, lat=LAT, lon=LON, ghi=ghi, temp_air=temp, p_mw=measured)
    assert fitted.scale == pytest.approx(0.8, rel=1e-6)
    short = measured.isel(time=slice(0, 96))
    assert fit_array(ARRAY, lat=LAT, lon=LON, ghi=ghi, temp_air=temp, p_mw=short).scale == 1.0


def test_under_a_steady_sky_the_forecast_is_what_will_come():
    ghi, temp = sky(NOON - timedelta(days=10), 12, cloud=0.7)
    actual = power(ARRAY, lat=LAT, lon=LON, ghi=ghi, temp_air=temp)
    times = axis(NOON, 1)
    ahead = forecast(PARAMETERS, LAT, LON, times, ghi, temp, NOON)
    error = abs(ahead.sel(quantile=0.5) - actual.sel(time=times))
    assert float(error.max()) < 0.02 * 2.0
    assert ahead.dims == ("time", "quantile")
    assert ahead.attrs["units"] == "MW"


def random_sky() -> tuple[xr.DataArray, xr.DataArray]:
    ghi, temp = sky(NOON - timedelta(days=14), 16)
    rng = np.random.default_rng(5)
    hourly = np.repeat(rng.uniform(0.2, 1.0, len(ghi) // 4), 4)
    return ghi * hourly, temp + rng.normal(0, 2, len(temp))


def test_quantiles_never_cross_and_nights_are_exactly_0():
    ghi, temp = random_sky()
    levels = (0.9, 0.05, 0.5, 0.25)
    ahead = forecast(PARAMETERS, LAT, LON, axis(NOON, 1), ghi, temp, NOON, levels)
    assert ahead["quantile"].values.tolist() == sorted(levels)
    assert (ahead.diff("quantile") >= 0).all()
    night = solar_position(LAT, LON, ahead.time.values, QUARTER_HOUR).apparent_zenith >= 90
    assert 20 < night.sum() < 40
    assert (ahead.values[night] == 0).all()
    day = (solar_position(LAT, LON, ahead.time.values, QUARTER_HOUR).apparent_zenith < 80).values
    assert (ahead.values[day, -1] > ahead.values[day, 0]).all()


@pytest.mark.parametrize("known_at", [NOON, NOON + timedelta(minutes=7)], ids=["on", "between"])
def test_nothing_after_known_at_has_an_influence(known_at: datetime):
    ghi, temp = random_sky()
    p_mw = power(ARRAY, lat=LAT, lon=LON, ghi=ghi, temp_air=temp) * 0.9
    times = axis(NOON, 1)
    plain = forecast(PARAMETERS, LAT, LON, times, ghi, temp, known_at, p_history=p_mw)
    # The interval that is still running at known_at is not known either.
    late = np.datetime64(NOON.replace(tzinfo=None), "ns")

    def spoiled(values: xr.DataArray) -> xr.DataArray:
        return values.where(values.time < late, 777.0)

    again = forecast(
        PARAMETERS,
        LAT,
        LON,
        times,
        spoiled(ghi),
        spoiled(temp),
        known_at,
        p_history=spoiled(p_mw),
    )
    xr.testing.assert_identical(plain, again)
    before = np.datetime64((NOON - timedelta(minutes=15)).replace(tzinfo=None), "ns")
    changed = ghi.where(ghi.time != before, 5.0)
    other = forecast(PARAMETERS, LAT, LON, times, changed, temp, known_at, p_history=p_mw)
    assert not other.equals(plain)  # what was known does


def test_without_history_there_is_still_a_forecast():
    ghi, temp = sky(NOON, 1)
    nothing = ghi.isel(time=slice(0, 0))
    ahead = forecast(PARAMETERS, LAT, LON, axis(NOON, 1), nothing, nothing, NOON, p_history=nothing)
    assert np.isfinite(ahead).all()
    clear = power(ARRAY, lat=LAT, lon=LON, ghi=ghi, temp_air=temp)
    assert float(ahead.isel(quantile=0).max()) < float(clear.max())


def test_one_sky_serves_many_arrays():
    ghi, temp = random_sky()
    times = axis(NOON, 1)
    shared = weather(LAT, LON, times, ghi, temp, known_at=NOON)
    direct = forecast(PARAMETERS, LAT, LON, times, ghi, temp, NOON)
    xr.testing.assert_identical(from_weather(ARRAY, LAT, LON, shared), direct)
    assert shared.ghi.attrs["units"] == "W/m2"


def test_wind_decays_from_now_to_what_is_usual():
    times = axis(NOON - timedelta(days=14), 16)
    rng = np.random.default_rng(1)
    values = rng.uniform(0.0, 1.0, (len(times), 2))
    newest = times < np.datetime64(NOON.replace(tzinfo=None), "ns")
    values[np.flatnonzero(newest)[-4:], 0] = 0.9
    values[:, 1] = np.nan
    history = xr.DataArray(
        values, dims=("time", "asset"), coords={"time": times, "asset": ["wind-000", "wind-001"]}
    )
    ahead = persistence(history, axis(NOON, 1), known_at=NOON)
    first, last = (ahead.sel(asset="wind-000").isel(time=i) for i in (0, -1))
    assert float(first.sel(quantile=0.5)) == pytest.approx(0.9, abs=0.05)
    assert float(last.sel(quantile=0.5)) == pytest.approx(0.5, abs=0.1)
    spread = ahead.sel(quantile=0.9) - ahead.sel(quantile=0.1)
    assert float(spread.isel(time=-1, asset=0)) > float(spread.isel(time=0, asset=0))
    assert (ahead.sel(asset="wind-000").diff("quantile") >= 0).all()
    assert float(ahead.max()) <= 1.0
    assert np.isnan(ahead.sel(asset="wind-001")).all()
    late = history.where(history.time < np.datetime64(NOON.replace(tzinfo=None), "ns"), 55.0)
    xr.testing.assert_identical(persistence(late, axis(NOON, 1), known_at=NOON), ahead)


# --- a real plant ---------------------------------------------------------------------------

needs_plant = pytest.mark.skipif(
    not PLANT.exists(), reason="the PV plant's data set is not beside this checkout"
)
PLANT_LAT, PLANT_LON = 20.0, 77.0  # somewhere in India; its place is not published
PLANT_ARRAY = PvArray(pdc0_mw=30.0, tilt_degree=0.0)  # irradiation is taken as given


@pytest.fixture(scope="module")
def plant() -> dict[str, xr.DataArray]:
    rows = pd.read_parquet(PLANT)
    times = pd.DatetimeIndex(rows.time).tz_localize("Asia/Kolkata").tz_convert("UTC")
    at = {"time": times.tz_localize(None).to_numpy().astype("datetime64[ns]")}
    # Power is the sum of the inverters that reported, up to 22.
    p_mw = (rows.ac_power_kw / rows.inverters * 22 / 1000).where(rows.inverters >= 20)
    columns = {"ghi": rows.irradiation * 1000, "temp_air": rows.ambient_temperature, "p_mw": p_mw}
    return {
        name: xr.DataArray(column.to_numpy(float), dims="time", coords=at)
        for name, column in columns.items()
    }


@needs_plant
def test_measured_light_explains_measured_power(plant: dict[str, xr.DataArray]):
    where = {"lat": PLANT_LAT, "lon": PLANT_LON, "resolution": QUARTER_HOUR}
    ghi, temp, p_mw = plant["ghi"], plant["temp_air"], plant["p_mw"]
    half = ghi.time.values[len(ghi) // 2]
    fitted = fit_array(
        PLANT_ARRAY, ghi=ghi, temp_air=temp, p_mw=p_mw.where(p_mw.time < half), **where
    )
    assert fitted.scale == pytest.approx(1.1, abs=0.05)
    modelled = power(fitted, ghi=ghi, temp_air=temp, **where)
    later = (modelled.time >= half) & (modelled > 0.3) & p_mw.notnull()
    model, measured = modelled.values[later.values], p_mw.values[later.values]
    nrmse = np.sqrt(np.mean((model - measured) ** 2)) / float(p_mw.max())
    assert np.corrcoef(model, measured)[0, 1] > 0.98
    assert nrmse < 0.05, f"nRMSE {nrmse:.4f} of the peak power"


@needs_plant
def test_the_forecast_beats_yesterday(plant: dict[str, xr.DataArray]):
    ghi, temp, p_mw = plant["ghi"], plant["temp_air"], plant["p_mw"]
    parameters = {"pdc0_mw": 30.0, "tilt_degree": 0.0}
    errors, references, covered = [], [], []
    for day in range(8, 22, 2):
        for hour in (0, 6):
            known_at = datetime(2020, 5, 15, hour, tzinfo=UTC) + day * DAY
            times = axis(known_at, 1)
            ahead = forecast(
                parameters, PLANT_LAT, PLANT_LON, times, ghi, temp, known_at, p_history=p_mw
            )
            actual = p_mw.reindex(time=times)
            yesterday = p_mw.reindex(time=times - np.timedelta64(1, "D"))
            yesterday = yesterday.assign_coords(time=times)
            both = actual.where(yesterday.notnull())
            errors.append(float(skill.mae(ahead.sel(quantile=0.5), both)))
            references.append(float(skill.mae(yesterday, both)))
            lit = solar_position(PLANT_LAT, PLANT_LON, times, QUARTER_HOUR).apparent_zenith
            light = (lit < DAYLIGHT_ZENITH_DEGREE).to_numpy()
            covered.append(float(skill.coverage(ahead.isel(time=light), actual.isel(time=light))))
    better = skill.skill(np.mean(errors), np.mean(references))
    assert better > 0.1, f"skill against yesterday: {better:.3f}"
    assert 0.65 < np.mean(covered) < 0.95, f"coverage {np.mean(covered):.3f}, meant 0.8"
