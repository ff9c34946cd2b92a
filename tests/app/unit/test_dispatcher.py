"""Plans when they are due or asked for, and their set-points on a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import pytest
import xarray as xr
from paho.mqtt.enums import CallbackAPIVersion

from app import dispatchwatch
from app.actions import CityActions
from app.alertwatch import AlertWatch
from app.archive import Archive
from app.bookkeeping import Bookkeeping
from app.dispatcher import Dispatcher
from app.foresight import Foresight
from app.housekeeping import Housekeeping
from app.registers import Registers
from app.schedule import jobs_of
from app.settings import Settings
from app.wiring import City
from core.accounts import Account, Role
from core.errors import ConfigurationError, PermissionDeniedError, ServiceError
from core.sites import AssetKind, Site
from core.timeaxis import DAY, HOUR, QUARTER_HOUR, parse, steps, to_datetime64
from ingest.broker import Broker
from ingest.setpoints import TOPIC
from optimization.rolling import Rolling
from store import forecasts, runs, setpoints


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    started = Broker.start(tmp_path_factory.mktemp("broker"))
    yield started
    started.stop()


@pytest.fixture
def dispatcher(city: City, broker: Broker) -> Dispatcher:
    return Dispatcher(city, Settings(broker_port=broker.port))


@pytest.fixture(autouse=True)
def _forecast(city: City, now: datetime) -> None:
    """Loads of 1 MW, 0.3 MW of sun at any hour, a battery that is half full."""
    times = steps(now, now + 2 * DAY, QUARTER_HOUR)
    expected = {f"tiny/load-00{i}/p_mw": 1 / 3 for i in range(3)} | {"tiny/pv-000/p_mw": 0.3}
    each = np.array(list(expected.values()))[np.newaxis, :, np.newaxis]
    values = np.broadcast_to(each, (len(times), len(expected), 1))
    array = xr.DataArray(
        values,
        dims=("time", "series", "quantile"),
        coords={"time": times, "series": list(expected), "quantile": [0.5]},
    )
    with city.database.connection() as connection:
        forecasts.save(connection, "test", now, array)


def retained(broker: Broker, wanted: int) -> dict[str, dict[str, Any]]:
    """What a device that connects now finds, by topic."""
    found: dict[str, dict[str, Any]] = {}
    enough = threading.Event()

    def take(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        assert message.retain
        found[message.topic] = json.loads(message.payload)
        if len(found) >= wanted:
            enough.set()

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = take
    client.on_connect = lambda *_: client.subscribe(f"{TOPIC}/#", qos=1)
    client.connect(broker.host, broker.port)
    client.loop_start()
    assert enough.wait(20), found
    client.disconnect()
    client.loop_stop()
    return found


def stored(city: City) -> list[runs.Run]:
    with city.database.connection() as connection:
        return runs.recent(connection)


def test_a_plan_goes_out_to_every_device_and_stays_for_those_that_come_later(
    city: City, dispatcher: Dispatcher, broker: Broker, now: datetime
) -> None:
    dispatcher.intraday(now)
    (run,) = stored(city)
    assert (run.kind, run.state) == ("intraday", "optimal")
    found = retained(broker, 2)
    assert set(found) == {f"{TOPIC}/battery-000", f"{TOPIC}/pv-000"}
    message = found[f"{TOPIC}/battery-000"]
    assert message["asset"] == "battery-000"
    assert parse(message["issued_at"]) == now
    with city.database.connection() as connection:
        planned = runs.schedule(connection, run.id)["p_mw"].sel(asset="battery-000").to_numpy()
    # From the next step on: what is under way cannot be planned any more. A device without news
    # follows it for six hours, then a battery rests.
    assert parse(message["steps"][0]["ts"]) == now + QUARTER_HOUR
    assert [s["p_mw"] for s in message["steps"]] == pytest.approx(planned[:24], abs=1e-6)
    assert parse(message["valid_until"]) == now + QUARTER_HOUR + 6 * HOUR
    assert message["fallback"] == {"p_mw": 0.0}
    assert message["run"] == run.id
    # Nobody holds the sun back here, so PV is free to give more than was forecast, then as now.
    sun = found[f"{TOPIC}/pv-000"]
    assert {s["p_mw"] for s in sun["steps"]} == {None}
    assert sun["fallback"] == {"p_mw": None}
    assert statuses(city) == {"battery-000": "sent", "pv-000": "sent"}


def statuses(city: City) -> dict[str, str]:
    with city.database.connection() as connection:
        return {one.setpoint.asset: one.status for one in setpoints.newest(connection)}


def test_a_newer_plan_replaces_the_retained_one_and_keeps_the_step_under_way(
    city: City, dispatcher: Dispatcher, broker: Broker, now: datetime
) -> None:
    dispatcher.intraday(now)
    first = retained(broker, 2)[f"{TOPIC}/battery-000"]
    later = now + QUARTER_HOUR + timedelta(minutes=2)
    dispatcher.intraday(later)
    found = retained(broker, 2)[f"{TOPIC}/battery-000"]
    assert parse(found["issued_at"]) == later
    # A device keeps one schedule: without it nobody would tell it what to do until 12:30.
    assert found["steps"][0] == first["steps"][0]
    assert parse(found["steps"][1]["ts"]) == now + 2 * QUARTER_HOUR


# --- approval ----------------------------------------------------------------------------------


@pytest.fixture
def careful(with_site: Callable[..., City], site: Site) -> City:
    """The city with an operator who wants to be asked."""
    return with_site(parameters=site.parameters | {"approval": "required"})


def test_only_an_approved_plan_goes_out(careful: City, broker: Broker, now: datetime) -> None:
    dispatcher = Dispatcher(careful, Settings(broker_port=broker.port))
    dispatcher.intraday(now)
    (run,) = stored(careful)
    assert run.state == "proposed"
    assert statuses(careful) == {}
    operator = Account("li", Role.OPERATOR)
    CityActions(careful, lambda: now).approve_plan(operator, run.id, "for the peak")
    dispatcher.tend(now + timedelta(minutes=1))
    assert stored(careful)[0].state == "optimal"
    assert statuses(careful) == {"battery-000": "sent", "pv-000": "sent"}
    assert retained(broker, 2)[f"{TOPIC}/battery-000"]["run"] == run.id


def test_without_approval_in_time_the_plan_in_force_stays(
    with_site: Callable[..., City], site: Site, city: City, broker: Broker, now: datetime
) -> None:
    Dispatcher(city, Settings(broker_port=broker.port)).intraday(now)
    (before,) = stored(city)
    careful = with_site(parameters=site.parameters | {"approval": ["intraday"]})
    dispatcher = Dispatcher(careful, Settings(broker_port=broker.port))
    dispatcher.intraday(now + QUARTER_HOUR)
    dispatcher.tend(now + HOUR)
    assert [run.state for run in stored(careful)] == ["lapsed", "optimal"]
    assert retained(broker, 2)[f"{TOPIC}/battery-000"]["run"] == before.id
    with city.database.connection() as connection:
        followed = runs.in_force(connection, "intraday", now, now + DAY)["p_mw"]
        planned = runs.schedule(connection, before.id)["p_mw"]
    assert float(followed.isel(time=40).sum()) == float(planned.isel(time=40).sum())


def test_who_may_not_approve_does_not(careful: City, broker: Broker, now: datetime) -> None:
    Dispatcher(careful, Settings(broker_port=broker.port)).intraday(now)
    (run,) = stored(careful)
    actions = CityActions(careful, lambda: now)
    with pytest.raises(PermissionDeniedError):
        actions.approve_plan(Account("bureau", Role.BUREAU), run.id, "")
    with pytest.raises(PermissionDeniedError):
        actions.refuse_plan(Account("bureau", Role.BUREAU), run.id, "")
    assert stored(careful)[0].state == "proposed"


@pytest.mark.parametrize("asked", ["always", ["what_if"], 1])
def test_a_wish_for_approval_that_nobody_understands_is_named(
    with_site: Callable[..., City], site: Site, broker: Broker, now: datetime, asked: object
) -> None:
    city = with_site(parameters=site.parameters | {"approval": asked})
    with pytest.raises(ConfigurationError, match="approval"):
        Dispatcher(city, Settings(broker_port=broker.port)).intraday(now)


# --- what a killed scheduler leaves --------------------------------------------------------------

PLAN = """
import os, signal, sys
from datetime import datetime
from app import dispatcher, planning
from app.settings import Settings
from app.wiring import load_city
from core.timeaxis import parse
from store.database import Database

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

{where} = die
city = load_city(Database(sys.argv[1]))
dispatcher.Dispatcher(city, Settings(broker_port=int(sys.argv[2]))).intraday(parse(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("where", "left"), [("planning.risk.plan", "running"), ("dispatcher.publish", "optimal")]
)
def test_a_scheduler_killed_in_the_middle_leaves_a_plan_in_force(
    where: str,
    left: str,
    city: City,
    dispatcher: Dispatcher,
    broker: Broker,
    database_url: str,
    program: Callable[..., subprocess.Popen[str]],
    now: datetime,
) -> None:
    """kill -9 while it solves, or when the plan is stored and nothing has gone out yet."""
    dispatcher.intraday(now)
    (before,) = stored(city)
    at = now + QUARTER_HOUR
    killed = program(PLAN.format(where=where), database_url, broker.port, at.isoformat())
    assert killed.wait(600) == -signal.SIGKILL, killed.stderr.read() if killed.stderr else ""
    assert [run.state for run in stored(city)] == [left, "optimal"]
    # Devices still have the plan before: it goes on for hours, and tells them what comes then.
    held = retained(broker, 2)[f"{TOPIC}/battery-000"]
    assert held["run"] == before.id
    assert parse(held["valid_until"]) > at + 5 * HOUR
    with city.database.connection() as connection:
        followed = runs.in_force(connection, "intraday", at, at + DAY)
    assert np.isfinite(followed["p_mw"].sel(asset="battery-000").to_numpy()[1:90]).all()
    # The next scheduler sends what was stored, and closes what was not.
    again = Dispatcher(city, Settings(broker_port=broker.port))
    with city.database.connection() as connection:
        runs.abandon(connection, "It ended before it was done.")
    again.tend(at + timedelta(minutes=1))
    found = retained(broker, 2)[f"{TOPIC}/battery-000"]["run"]
    assert found == (stored(city)[0].id if left == "optimal" else before.id)
    assert set(statuses(city).values()) == {"sent"}


def with_battery(with_site: Callable[..., City], site: Site, parameters: dict[str, float]) -> City:
    """The city with another battery."""
    return with_site(
        assets=tuple(
            replace(a, parameters=parameters) if a.kind is AssetKind.BATTERY else a
            for a in site.assets
        )
    )


def test_a_plan_of_an_impossible_day_is_followed_only_when_an_operator_lets_limits_give(
    with_site: Callable[..., City], site: Site, city: City, broker: Broker, now: datetime
) -> None:
    """In a city that asks for no approval otherwise."""
    Dispatcher(city, Settings(broker_port=broker.port)).intraday(now)
    tight = with_battery(with_site, site, {"p_max_mw": 0.001, "e_max_mwh": 2.0, "soc_end": 1.0})
    dispatcher = Dispatcher(tight, Settings(broker_port=broker.port))
    later = now + QUARTER_HOUR
    dispatcher.intraday(later)
    newest, before = stored(tight)
    assert (newest.state, before.state) == ("proposed", "optimal")
    assert [given["subject"] for given in runs.opened(newest)] == ["battery-000"]
    assert retained(broker, 2)[f"{TOPIC}/battery-000"]["run"] == before.id
    with tight.database.connection() as connection:
        (told,) = (
            c for c in dispatchwatch.conditions(connection, tight, later) if "waiting" in c.rule
        )
    assert (told.value, f"run {newest.id} opens 1" in told.text_en) == (1, True)
    CityActions(tight, lambda: later).approve_plan(Account("li", Role.OPERATOR), newest.id, "")
    dispatcher.tend(later)
    assert stored(tight)[0].state == "relaxed"
    assert retained(broker, 2)[f"{TOPIC}/battery-000"]["run"] == newest.id


def test_a_replan_follows_what_devices_follow_and_not_what_was_refused(
    with_site: Callable[..., City], site: Site, city: City, broker: Broker, now: datetime
) -> None:
    Dispatcher(city, Settings(broker_port=broker.port)).intraday(now)
    cheap_now = [800.0] * 12 + [400.0] * 4 + [800.0] * 8
    other = {"import_cny_per_mwh_by_hour": cheap_now, "approval": "required"}
    careful = with_site(parameters=site.parameters | other)
    rolling = Rolling(change_cny_per_mwh=0.0)
    dispatcher = Dispatcher(careful, Settings(broker_port=broker.port), rolling)
    dispatcher.intraday(now + QUARTER_HOUR)
    refused = stored(careful)[0].id
    CityActions(careful, lambda: now).refuse_plan(Account("li", Role.OPERATOR), refused, "")
    rolling.change_cny_per_mwh = 1e6  # whatever it follows, it stays with
    dispatcher.intraday(now + 2 * QUARTER_HOUR)
    again, _, first = stored(careful)

    def hour(run_id: int) -> np.ndarray:
        start = to_datetime64(now + 3 * QUARTER_HOUR)
        with careful.database.connection() as connection:
            p_mw = runs.schedule(connection, run_id)["p_mw"].sel(asset="battery-000")
        return p_mw.sel(time=slice(start, start + np.timedelta64(45, "m"))).to_numpy()

    assert np.abs(hour(refused) - hour(first.id)).max() > 0.1
    np.testing.assert_allclose(hour(again.id), hour(first.id), atol=1e-5)


def test_a_plan_that_fails_leaves_the_one_before_it(
    with_site: Callable[..., City], site: Site, city: City, broker: Broker, now: datetime
) -> None:
    Dispatcher(city, Settings(broker_port=broker.port)).intraday(now)
    (before,) = stored(city)
    broken = with_battery(with_site, site, {"p_max_mw": -1.0, "e_max_mwh": 2.0})
    with pytest.raises(ConfigurationError, match="battery-000"):
        Dispatcher(broken, Settings(broker_port=broker.port)).intraday(now + QUARTER_HOUR)
    assert [run.state for run in stored(broken)] == ["failed", "optimal"]
    assert retained(broker, 2)[f"{TOPIC}/battery-000"]["run"] == before.id


def test_the_plan_of_the_next_day_covers_that_natural_day(
    city: City, dispatcher: Dispatcher, now: datetime
) -> None:
    dispatcher.day_ahead(now)
    (run,) = stored(city)
    assert run.kind == "day_ahead"
    with city.database.connection() as connection:
        times = runs.schedule(connection, run.id).indexes["time"]
    local = times.tz_localize("UTC").tz_convert("Asia/Shanghai")
    assert str(local[0]) == "2026-06-26 00:00:00+08:00"
    assert len(local) == 96


def test_the_first_plan_clears_up_what_a_killed_scheduler_left(
    city: City, dispatcher: Dispatcher, now: datetime
) -> None:
    with city.database.connection() as connection:
        runs.start(connection, "intraday", "schedule", now)
    dispatcher.first(now)
    newest, left = stored(city)
    assert (newest.state, newest.requested_by) == ("optimal", "start")
    assert left.state == "failed"
    assert "ended before" in left.reason


def test_a_requested_plan_is_made_in_the_name_of_who_asked(
    city: City, dispatcher: Dispatcher, now: datetime
) -> None:
    with city.database.connection() as connection:
        asked = runs.request(connection, "intraday", "li", now)
    dispatcher.requested(now)
    dispatcher.requested(now)  # nothing is left to do
    (run,) = stored(city)
    assert (run.id, run.state, run.requested_by) == (asked, "optimal", "li")


def test_requests_that_fail_are_told_so_one_by_one(
    with_site: Callable[..., City], now: datetime, broker: Broker
) -> None:
    """Nobody waits for a run that has ended, whether it failed before or while it was made."""
    for broken in ({"network_json": ""}, {"parameters": {}}):
        city = with_site(**broken)
        with city.database.connection() as connection:
            asked = [runs.request(connection, "intraday", who, now) for who in ("li", "wang")]
        Dispatcher(city, Settings(broker_port=broker.port)).requested(now)
        ended = {run.id: run for run in stored(city)}
        for number in asked:
            assert ended[number].state == "failed"
            assert ended[number].reason.startswith("The city")


class Stumbling(Rolling):
    """Fails once of something that nobody foresaw."""

    stumbled = False

    def follow(self, schedule: xr.Dataset | None) -> None:
        if not self.stumbled:
            self.stumbled = True
            raise ZeroDivisionError("a bug")
        super().follow(schedule)


def test_a_bug_ends_one_request_and_not_the_next(
    city: City, broker: Broker, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    with city.database.connection() as connection:
        asked = [runs.request(connection, "intraday", who, now) for who in ("li", "wang")]
    Dispatcher(city, Settings(broker_port=broker.port), Stumbling()).requested(now)
    ended = {run.id: run for run in stored(city)}
    assert [ended[number].state for number in asked] == ["failed", "optimal"]
    assert ended[asked[0]].reason
    (told,) = [record for record in caplog.records if record.message == "requested plan failed"]
    assert told.exc_info is not None
    assert told.exc_info[0] is ZeroDivisionError


def test_a_city_without_a_grid_has_no_job_that_can_only_fail(
    with_site: Callable[..., City], now: datetime
) -> None:
    def jobs(city: City) -> set[str]:
        parts = (Bookkeeping(city), AlertWatch(city), Housekeeping(city), Registers(city))
        made = jobs_of(city, Foresight(city), Dispatcher(city, Settings()), *parts, Archive(city))
        return {job.id for job in made}

    whole, without = with_site(), with_site(network_json="")
    assert jobs(whole) - jobs(without) == {"intraday", "day-ahead"}
    assert "requested" in jobs(without)  # who asks for a plan is told why there is none
    Dispatcher(without, Settings()).first(now)
    assert stored(without) == []  # nor was one tried at the start


def test_a_broker_that_is_away_costs_the_message_and_not_the_plan(
    city: City, now: datetime, free_port: int, tmp_path: Path
) -> None:
    dispatcher = Dispatcher(city, Settings(broker_port=free_port))
    with pytest.raises(ServiceError, match=f"No MQTT broker answers at 127.0.0.1:{free_port}"):
        dispatcher.intraday(now)
    assert stored(city)[0].state == "optimal"
    # It goes out as soon as the broker is there.
    late = Broker.start(tmp_path / "broker", port=free_port)
    try:
        dispatcher.tend(now + timedelta(minutes=1))
        assert len(retained(late, 2)) == 2
    finally:
        late.stop()
