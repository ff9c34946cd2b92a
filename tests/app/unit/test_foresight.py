"""Forecasts of the tiny city with 20 days behind it: stored with what was known, and scored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest
import xarray as xr

from app import keys
from app.bookkeeping import Bookkeeping
from app.foresight import (
    LOAD_MODEL,
    PV_MODEL,
    SCORED,
    Foresight,
)
from app.wiring import City
from core.sites import AssetKind
from core.timeaxis import DAY, HOUR, QUARTER_HOUR, steps
from store import forecasts

DAYS = 20
LOAD, PV = keys.total("tiny", "load-total"), keys.total("tiny", "pv-total")
METER = "tiny/load-001/p_mw"
Write = Callable[..., None]


def live(write: Write, start: datetime, end: datetime) -> None:
    """Loads with an evening peak, a sun whose strength changes by day, and the PV it makes."""
    times = steps(start, end, QUARTER_HOUR)
    hour = (times - times[0].astype("datetime64[D]")) / np.timedelta64(1, "h") + 8.0
    day = hour // 24
    sun = np.maximum(np.sin((hour % 24 - 5.0) / 15.0 * np.pi), 0.0) * (0.6 + 0.3 * np.sin(day))
    sun[(hour % 24 < 5) | (hour % 24 > 20)] = 0.0
    load = 1.0 + 0.5 * np.exp(-(((hour % 24) - 19.0) ** 2) / 8.0) + 0.02 * np.sin(7.0 * hour)
    values = {f"tiny/load-00{i}/p_mw": (i + 1) * load for i in range(3)}
    values |= {"tiny/weather/ghi": 900.0 * sun, "tiny/weather/temp_air": 20.0 + 5.0 * sun}
    write(values | {"tiny/pv-000/p_mw": 0.7 * sun}, start, end, QUARTER_HOUR)


@pytest.fixture
def lived(city: City, write: Write, now: datetime) -> City:
    live(write, now - DAYS * DAY, now)
    Bookkeeping(city).totals(now)
    return city


def read(city: City, key: str, start: datetime, end: datetime, **how: object) -> xr.DataArray:
    with city.database.connection() as connection:
        return forecasts.read(connection, [key], start, end, **how).isel(series=0)


def test_the_first_hour_makes_a_forecast_a_hindcast_and_scores(lived: City, now: datetime) -> None:
    Foresight(lived).hourly(now)
    for key in (LOAD, PV, METER):
        ahead = read(lived, key, now, now + 48 * HOUR)
        assert ahead.sizes["time"] == 192
        assert ahead.notnull().all()
        assert (ahead.diff("quantile") >= 0).all()
        # The day that has passed was forecast as of its beginning, and nothing is known before.
        yesterday = read(lived, key, now - DAY, now, as_of=now - DAY)
        assert yesterday.sizes["time"] == 96
        assert read(lived, key, now - DAY, now, as_of=now - DAY - HOUR).sizes["time"] == 0
    with lived.database.connection() as connection:
        table = forecasts.scores(connection)
    found = {(r.model, r.key, r.metric): r.value for r in table.itertuples()}
    assert {(LOAD_MODEL, LOAD), (PV_MODEL, PV)} == {(model, key) for model, key, _ in found}
    metrics = {m for _, key, m in found if key == LOAD}
    assert metrics == {"mae", "pinball", "coverage", "pinball_naive", "skill"}
    assert set(table["known_at"]) == {now - SCORED}
    # A day that repeats itself but for a ripple of 0.12 MW is no hard one.
    assert found[LOAD_MODEL, LOAD, "mae"] < 0.3
    assert 0.0 <= found[LOAD_MODEL, LOAD, "coverage"] <= 1.0


def test_the_next_hour_forecasts_once_and_the_hindcast_stays(lived: City, now: datetime) -> None:
    foresight = Foresight(lived)
    foresight.hourly(now)
    before = read(lived, LOAD, now - DAY, now, as_of=now - DAY)
    foresight.hourly(now + HOUR)
    Foresight(lived).hourly(now + 2 * HOUR)  # after a restart no second hindcast
    xr.testing.assert_equal(before, read(lived, LOAD, now - DAY, now, as_of=now - DAY))
    with lived.database.connection() as connection:
        rows = connection.execute(
            "SELECT DISTINCT known_at FROM forecast ORDER BY known_at"
        ).fetchall()
    assert [row[0] - now for row in rows] == [-DAY, timedelta(0), HOUR, 2 * HOUR]


def test_what_came_later_does_not_change_what_was_foreseen(
    lived: City, write: Write, now: datetime
) -> None:
    """No look-ahead, in learning as in forecasting: the same known_at gives the same forecast."""

    def foresee() -> list[xr.DataArray]:
        foresight = Foresight(lived)
        foresight.learn(now)
        foresight.forecast(now)
        return [read(lived, key, now, now + 48 * HOUR, as_of=now) for key in (LOAD, PV, METER)]

    before = foresee()
    strange = {f"tiny/load-00{i}/p_mw": 50.0 for i in range(3)}
    strange |= {"tiny/weather/ghi": 1500.0, "tiny/pv-000/p_mw": 9.0, "tiny/weather/temp_air": 50.0}
    write(strange, now, now + DAY, QUARTER_HOUR)
    for then, later in zip(before, foresee(), strict=True):
        xr.testing.assert_equal(then, later)


def test_the_hindcast_has_learnt_nothing_from_the_day_it_foretells(
    lived: City, write: Write, now: datetime
) -> None:
    """The first start learns as of the day before: its last day may be anything."""

    def hindcast(city: City, at: datetime) -> list[xr.DataArray]:
        Foresight(city).hourly(at)
        return [read(city, key, at - DAY, at, as_of=at - DAY) for key in (LOAD, PV)]

    at = now + DAY
    with lived.database.connection() as connection:
        connection.execute("TRUNCATE forecast")
    live(write, now, at)
    usual = hindcast(lived, at)
    with lived.database.connection() as connection:
        connection.execute("TRUNCATE forecast")
        connection.execute("UPDATE reading SET value = 3 * value WHERE ts >= %s", [now])
    for then, later in zip(usual, hindcast(lived, at), strict=True):
        xr.testing.assert_equal(then, later)


@pytest.mark.parametrize("days", [3, 10, 16, 22])
def test_a_young_city_is_foretold_from_what_there_is(
    city: City, write: Write, now: datetime, days: int
) -> None:
    """With less than eight days by the week before, then by a model that lacks older weeks."""
    live(write, now - days * DAY, now)
    Bookkeeping(city).totals(now)
    Foresight(city).hourly(now)
    found = read(city, LOAD, now, now + DAY)
    assert found.notnull().all()
    assert float(found.sel(quantile=0.5).mean()) == pytest.approx(6.6, rel=0.3)


@pytest.mark.parametrize(
    "kept",
    [
        (AssetKind.METER,),
        (AssetKind.PV, AssetKind.WEATHER_STATION),
        (AssetKind.AIR_STATION,),
    ],
)
def test_a_city_that_lacks_a_kind_of_asset_is_foretold_without_it(
    with_site: Callable[..., City],
    city: City,
    write: Write,
    now: datetime,
    kept: tuple[AssetKind, ...],
) -> None:
    live(write, now - 16 * DAY, now)
    some = with_site(assets=tuple(a for a in city.site.assets if a.kind in kept))
    Bookkeeping(some).totals(now)
    Foresight(some).hourly(now)
    assert bool(read(some, LOAD, now, now + DAY).sizes["time"]) == (AssetKind.METER in kept)
    assert bool(read(some, PV, now, now + DAY).sizes["time"]) == (AssetKind.PV in kept)


def test_a_city_without_readings_has_no_numbers_and_no_failure(city: City, now: datetime) -> None:
    Foresight(city).hourly(now)
    assert not read(city, METER, now, now + DAY).notnull().any()
