"""Sun and wind: judged by pvlib, by physics, and by the plants that they are inferred from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pvlib
import pytest
from scipy import stats

from sandbox import citytime, noise, solar
from sandbox.materials import Materials
from sandbox.profiles import Profiles
from sandbox.weather import Climate, Weather

LAT, LON = 53.43, 116.82
QUARTERS = np.arange(-60 * 96, 60 * 96)


@pytest.fixture(scope="module")
def climate(source: Materials) -> Climate:
    return Climate(source, seed=1)


@pytest.fixture(scope="module")
def weather(climate: Climate) -> Weather:
    return climate.at(QUARTERS)


def test_the_sun_stands_where_pvlib_says() -> None:
    times = pd.date_range("2026-01-01", "2027-01-01", freq="97min", tz="UTC")
    ours = solar.cos_zenith(times.as_unit("s").asi8, LAT, LON)
    judge = pvlib.solarposition.get_solarposition(times, LAT, LON).zenith
    np.testing.assert_allclose(np.degrees(np.arccos(ours)), judge, atol=0.03)


def test_haurwitz_is_pvlib_s_haurwitz() -> None:
    zenith = pd.Series(np.linspace(0.0, 120.0, 61))
    judge = pvlib.clearsky.haurwitz(zenith).ghi
    ours = solar.clear_sky_ghi(np.cos(np.radians(zenith.to_numpy())))
    np.testing.assert_allclose(ours, judge, atol=1e-9)


def test_the_sun_of_the_profiles_stands_right_in_china(source: Materials, weather: Weather) -> None:
    """The middle of the plants' day lies where the middle of the sky's day lies."""
    pv = np.char.startswith(source.sgens.kind, "PV") | (source.sgens.kind == "lv_RES")
    made = Profiles(source, 1).at(QUARTERS).sgen_p_mw[:, pv].sum(axis=1)
    hour = citytime.local_hours(citytime.seconds(QUARTERS))
    plants, sky = np.average(hour, weights=made), np.average(hour, weights=weather.ghi)
    assert plants == pytest.approx(sky, abs=0.8)
    assert np.corrcoef(made, weather.ghi)[0, 1] > 0.9
    assert made[weather.ghi < 1.0].max() < 0.02 * made.max()


def test_weather_stays_within_what_a_summer_can_do(weather: Weather) -> None:
    assert weather.ghi.min() == 0.0
    assert 700.0 < weather.ghi.max() < 1100.0
    assert -5.0 < weather.temp_air.min() < weather.temp_air.max() < 40.0
    assert 0.3 < weather.wind_speed.min() < weather.wind_speed.max() < 15.0
    assert 0.0 <= weather.wind_direction.min() <= weather.wind_direction.max() < 360.0


def test_wind_turbines_turn_when_the_wind_blows(source: Materials, weather: Weather) -> None:
    wind = source.sgens.kind == "Wind_MV"
    made = Profiles(source, 1).at(QUARTERS).sgen_p_mw[:, wind].sum(axis=1)
    assert stats.spearmanr(made, weather.wind_speed).statistic > 0.97
    calm, strong = np.quantile(weather.wind_speed, [0.1, 0.95])
    assert made[weather.wind_speed <= calm].max() < 0.05 * made.max()
    assert made[weather.wind_speed >= strong].min() > 0.5 * made.max()


def test_the_world_does_not_depend_on_who_asks_when(climate: Climate, weather: Weather) -> None:
    few = climate.at(QUARTERS[100:103])
    np.testing.assert_array_equal(few.temp_air, weather.temp_air[100:103])
    np.testing.assert_array_equal(few.wind_direction, weather.wind_direction[100:103])


def test_another_seed_is_another_sky(source: Materials, weather: Weather) -> None:
    other = Climate(source, seed=2).at(QUARTERS)
    assert np.abs(other.temp_air - weather.temp_air).mean() > 0.5


def test_chance_is_standard_normal_at_and_between_its_knots() -> None:
    ts_s = np.arange(0.0, 4e6, 130.0)
    values = noise.smooth(7, np.arange(20)[None, :], ts_s[:, None], 1000.0)
    assert values.mean() == pytest.approx(0.0, abs=0.02)
    assert values.std() == pytest.approx(1.0, abs=0.02)
    between = values[np.abs(ts_s % 1000.0 - 500.0) < 60.0]
    assert between.std() == pytest.approx(1.0, abs=0.03)
    assert np.abs(np.corrcoef(values.T) - np.eye(20)).max() < 0.1


def test_chance_is_smooth() -> None:
    ts_s = np.arange(0.0, 1e5, 1.0)
    values = noise.smooth(7, 3, ts_s, 1000.0)
    assert np.abs(np.diff(values)).max() < 0.02


def test_the_city_s_first_midnight_is_simbench_s_20_june() -> None:
    assert citytime.profile_rows(np.array([0]))[0] == (31 + 29 + 31 + 30 + 31 + 19) * 96
    assert citytime.profile_rows(np.array([366 * 96]))[0] == citytime.profile_rows(np.array([0]))[0]
    assert citytime.CITY_START.astimezone(citytime.LOCAL).weekday() == 0
