"""Alerts about steering: no new plan, no answer, a refusal, a device that does not follow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest
import xarray as xr

from app import dispatchwatch
from app.alertwatch import AlertWatch
from app.rhythm import plan_late
from app.wiring import City
from core.alerts import AlertSeverity, AlertState, Condition
from core.setpoints import Acknowledgement, Answer, Setpoint
from core.timeaxis import DAY, HOUR, QUARTER_HOUR, steps
from store import alerts, runs, setpoints

Write = Callable[..., None]
MINUTE = timedelta(minutes=1)
BATTERY, PV = "tiny/battery-000/p_mw", "tiny/pv-000/p_mw"


@pytest.fixture
def planned(city: City, now: datetime) -> City:
    """A city with a plan in force since noon: 0.2 MW into the battery, at most 0.5 MW of sun."""
    times = steps(now, now + 6 * HOUR, QUARTER_HOUR)
    schedule = xr.Dataset(
        {"p_mw": (("time", "asset"), np.full((len(times), 2), 0.2))},
        {"time": times, "asset": ["battery-000", "pv-000"]},
    )
    flow = xr.Dataset(
        {
            "line_loading_percent": (("time", "line"), np.zeros((len(times), 1))),
            "trafo_loading_percent": (("time", "trafo"), np.zeros((len(times), 0))),
        },
        {"time": times, "line": [0], "trafo": np.zeros(0, int)},
    )
    with city.database.connection() as connection:
        run_id = runs.start(connection, "intraday", "test", now)
        runs.finish(connection, run_id, "optimal", {}, schedule, flow)
        asked = [
            Setpoint("battery-000", times, np.full(len(times), 0.2), now + 6 * HOUR, 0.0),
            Setpoint("pv-000", times, np.full(len(times), 0.5), now + 6 * HOUR),
        ]
        setpoints.prepare(connection, run_id, asked)
        setpoints.sending(connection, run_id, asked, now)
        setpoints.sent(connection, run_id)
    return city


def found(city: City, now: datetime) -> dict[str, Condition]:
    with city.database.connection() as connection:
        conditions = dispatchwatch.conditions(connection, city, now)
    return {f"{c.rule} {c.subject}": c for c in conditions}


def answer(city: City, now: datetime, what: Answer = Answer.ACCEPTED, reason: str = "") -> None:
    with city.database.connection() as connection:
        answers = [
            Acknowledgement(asset, now, what, "it", reason) for asset in ("battery-000", "pv-000")
        ]
        setpoints.acknowledge(connection, answers, now)


def test_a_city_without_plans_misses_none(city: City, now: datetime) -> None:
    assert found(city, now) == {}


def test_devices_that_do_not_answer_in_time_are_listed(planned: City, now: datetime) -> None:
    assert found(planned, now + 4 * MINUTE) == {}
    told = found(planned, now + 6 * MINUTE)["setpoint-unanswered dispatch"]
    assert told.value == 2
    assert "battery-000, pv-000" in told.text_en
    answer(planned, now)
    assert found(planned, now + 6 * MINUTE) == {}


def test_a_refusal_says_who_and_why(planned: City, now: datetime) -> None:
    answer(planned, now, Answer.REFUSED, "under repair")
    told = found(planned, now + MINUTE)
    assert set(told) == {"setpoint-refused battery-000", "setpoint-refused pv-000"}
    assert "under repair" in told["setpoint-refused pv-000"].text_zh


def test_no_new_plan_is_told_and_graver_when_the_old_one_is_over(
    planned: City, now: datetime
) -> None:
    answer(planned, now)
    assert found(planned, now + 45 * MINUTE) == {}
    told = found(planned, now + HOUR)["plan-late dispatch"]
    assert (told.severity, told.value) == (AlertSeverity.WARNING, 60)
    assert told.text_en.startswith("No new plan since 2026-06-25T04:00Z. Devices follow it until")
    over = found(planned, now + 6 * HOUR)["plan-late dispatch"]
    assert over.severity is AlertSeverity.CRITICAL
    assert "safe default" in over.text_en


def test_when_a_plan_is_late_follows_from_how_often_plans_are_made() -> None:
    assert plan_late({}, pace=1.0) == 3 * QUARTER_HOUR
    # A job rests for two seconds: at this pace plans are an hour of the city apart.
    assert plan_late({}, pace=1800.0) == 3 * HOUR
    assert plan_late({"plan_late_minutes": 20}, pace=1800.0) == 20 * MINUTE


def test_a_device_off_its_set_point_opens_an_alert_and_closes_it_when_it_follows(
    planned: City, write: Write, now: datetime
) -> None:
    """0.05 MW are tolerated of a battery of 0.5 MW, for half an hour; PV is only capped."""
    answer(planned, now)
    watch = AlertWatch(planned)

    def deviating(at: datetime) -> dict[str, AlertState]:
        watch.check(at)
        with planned.database.connection() as connection:
            every = alerts.recent(connection)
        return {
            a.condition.subject: a.state
            for a in every
            if a.condition.rule == dispatchwatch.DEVIATION
        }

    half = now + 2 * QUARTER_HOUR
    write({BATTERY: 0.1, PV: 0.0}, now, now + QUARTER_HOUR, QUARTER_HOUR)
    assert deviating(now + QUARTER_HOUR + MINUTE) == {}
    write({BATTERY: 0.26, PV: 0.0}, now + QUARTER_HOUR, half, QUARTER_HOUR)
    assert deviating(half + MINUTE) == {"battery-000": AlertState.OPEN}
    # The next reading has not come yet: that ends nothing.
    assert deviating(half + QUARTER_HOUR) == {"battery-000": AlertState.OPEN}
    write({BATTERY: 0.21}, half, half + QUARTER_HOUR, QUARTER_HOUR)
    assert deviating(half + QUARTER_HOUR + MINUTE) == {"battery-000": AlertState.CLOSED}


def test_more_sun_than_the_cap_is_a_deviation(planned: City, write: Write, now: datetime) -> None:
    answer(planned, now)
    write({PV: 0.9}, now, now + HOUR, QUARTER_HOUR)
    told = found(planned, now + 40 * MINUTE)["setpoint-deviation pv-000"]
    assert told.value == pytest.approx(0.4)
    assert "0.900 MW and was asked for 0.500 MW" in told.text_en


def test_a_tolerance_of_no_use_is_named(
    with_site: Callable[..., City], planned: City, now: datetime
) -> None:
    from core.errors import ConfigurationError

    wrong = with_site(parameters={"deviation_minutes": "soon"})
    with pytest.raises(ConfigurationError, match="tolerance"):
        found(wrong, now + DAY)
