"""The alert rules over what the store knows: they open once, change, and close."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest
import xarray as xr

from app.alertwatch import AlertWatch
from app.wiring import City
from core.alerts import Alert, AlertSeverity, AlertState
from core.timeaxis import HOUR, QUARTER_HOUR, to_datetime64
from store import alerts, indices, runs

Write = Callable[..., None]


@pytest.fixture
def quiet(city: City, write: Write, now: datetime) -> City:
    """A city whose devices have all just reported."""
    quarter_hourly = [s.key for s in city.site.series if s.resolution == QUARTER_HOUR]
    write(dict.fromkeys(quarter_hourly, 0.5), now - QUARTER_HOUR, now, QUARTER_HOUR)
    five = timedelta(minutes=5)
    often = [s.key for s in city.site.series if s.resolution == five]
    write(dict.fromkeys(often, 10.0), now - five, now, five)
    return city


def index(city: City, subject: str, ts: datetime, value: float | None, kind: str = "aqi") -> None:
    detail = {"primary": ["pm2_5"]} if kind == "aqi" else {}
    with city.database.connection() as connection:
        indices.save(connection, [indices.IndexRow(subject, kind, ts, value, "x", detail)])


def active(city: City) -> dict[tuple[str, str], Alert]:
    with city.database.connection() as connection:
        found = alerts.active(connection)
    return {(a.condition.rule, a.condition.subject): a for a in found}


def every(city: City) -> list[Alert]:
    with city.database.connection() as connection:
        return alerts.recent(connection)


def test_nothing_is_wrong_in_a_quiet_city(quiet: City, now: datetime) -> None:
    AlertWatch(quiet).check(now)
    assert every(quiet) == []


def test_a_high_index_opens_an_alert_that_rises_and_closes(quiet: City, now: datetime) -> None:
    watch = AlertWatch(quiet)
    index(quiet, "tiny/air-01", now - HOUR, 120.0)
    index(quiet, "tiny/air-02", now - HOUR, 80.0)
    watch.check(now)
    watch.check(now + timedelta(minutes=1))
    (alert,) = every(quiet)  # asked twice, opened once
    assert alert.condition.subject == "air-01"
    assert alert.condition.severity is AlertSeverity.NOTICE
    assert alert.opened_at == now
    assert "PM2.5" in alert.condition.text_en
    index(quiet, "tiny/air-01", now, 230.0)
    watch.check(now + timedelta(minutes=5))
    assert active(quiet)["air-index", "air-01"].condition.severity is AlertSeverity.CRITICAL
    index(quiet, "tiny/air-01", now, 40.0)
    watch.check(now + timedelta(minutes=6))
    (alert,) = every(quiet)
    assert (alert.state, alert.closed_at) == (AlertState.CLOSED, now + timedelta(minutes=6))


def test_an_old_index_and_an_index_without_value_say_nothing_about_now(
    quiet: City, now: datetime
) -> None:
    index(quiet, "tiny/air-01", now - timedelta(hours=4), 300.0)
    index(quiet, "tiny/air-02", now - HOUR, None)
    AlertWatch(quiet).check(now)
    assert every(quiet) == []


def test_a_silent_device_opens_one_alert_and_closes_when_it_speaks(
    quiet: City, write: Write, now: datetime
) -> None:
    """PV says one value, a load two; each is one device. Three intervals may be missed."""
    watch = AlertWatch(quiet)
    rest = {s.key: 0.5 for s in quiet.site.series if s.asset not in ("load-000", "pv-000")}
    rest = {k: v for k, v in rest.items() if "air" not in k}
    air = {s.key: 10.0 for s in quiet.site.series if s.asset.startswith("air")}
    later = now + 5 * QUARTER_HOUR
    write(rest, later - QUARTER_HOUR, later, QUARTER_HOUR)
    write(air, later - timedelta(minutes=5), later, timedelta(minutes=5))
    watch.check(later)
    assert set(active(quiet)) == {("stale-data", "load-000"), ("stale-data", "pv-000")}
    assert "5 intervals are missing" in active(quiet)["stale-data", "pv-000"].condition.text_en
    # One value of the load is enough to know that it lives.
    write({"tiny/load-000/q_mvar": 0.1}, later - QUARTER_HOUR, later, QUARTER_HOUR)
    watch.check(later + timedelta(minutes=1))
    assert set(active(quiet)) == {("stale-data", "pv-000")}


def test_a_city_that_never_spoke_is_silent_as_a_whole(city: City, now: datetime) -> None:
    AlertWatch(city).check(now)
    assert {subject for _, subject in active(city)} == {a.id for a in city.site.assets}
    assert "no reading yet" in active(city)["stale-data", "weather"].condition.text_en


def test_a_city_without_series_is_not_judged(with_site: Callable[..., City], now: datetime) -> None:
    city = with_site(series=())
    AlertWatch(city).check(now)
    assert every(city) == []


def test_water_leak_rate_and_a_night_above_the_usual(quiet: City, now: datetime) -> None:
    index(quiet, "tiny/dma-1", now - HOUR, 25.0, "leak_rwl")
    for nights_ago, flow in ((5, 8.0), (4, 9.0), (3, 8.0), (2, 8.5), (1, 14.0)):
        at = now - timedelta(days=nights_ago)
        index(quiet, "tiny/dma-1", at, flow, "night_flow")
    AlertWatch(quiet).check(now)
    found = active(quiet)
    assert set(found) == {("leak-rate", "dma-1"), ("night-flow", "dma-1")}
    # The usual is the median of the nights before: 8, 9, 8, 8.5.
    assert "usual 8.2 m3/h" in found["night-flow", "dma-1"].condition.text_en


def test_a_line_that_the_plan_overloads_in_this_step(quiet: City, now: datetime) -> None:
    times = [to_datetime64(now), to_datetime64(now + QUARTER_HOUR)]
    flow = xr.Dataset(
        {
            "line_loading_percent": (("time", "line"), np.array([[50.0], [130.0]])),
            "trafo_loading_percent": (("time", "trafo"), np.array([[90.0], [90.0]])),
        },
        {"time": times, "line": [7], "trafo": [0]},
    )
    with quiet.database.connection() as connection:
        run = runs.start(connection, "intraday", "test", now)
        runs.finish(connection, run, "optimal", {}, None, flow)
    watch = AlertWatch(quiet)
    watch.check(now + timedelta(minutes=14))
    assert every(quiet) == []  # it will be overloaded, it is not yet
    watch.check(now + timedelta(minutes=16))
    (alert,) = [a for a in every(quiet) if a.condition.rule == "loading"]
    assert (alert.condition.subject, alert.condition.value) == ("line 7", 130.0)


def test_an_acknowledged_alert_stays_acknowledged_while_it_lasts(
    quiet: City, now: datetime
) -> None:
    watch = AlertWatch(quiet)
    index(quiet, "city", now - HOUR, 120.0)
    watch.check(now)
    (alert,) = every(quiet)
    assert alert.id is not None
    with quiet.database.connection() as connection:
        alerts.acknowledge(connection, alert.id, "li", "seen", now)
    index(quiet, "city", now, 125.0)
    watch.check(now + timedelta(minutes=1))
    assert active(quiet)["air-index", "city"].state is AlertState.ACKNOWLEDGED
