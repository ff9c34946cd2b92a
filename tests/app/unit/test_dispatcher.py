"""Plans when they are due or asked for, and their set-points on a real broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import pytest
import xarray as xr
from paho.mqtt.enums import CallbackAPIVersion

from app.alertwatch import AlertWatch
from app.archive import Archive
from app.bookkeeping import Bookkeeping
from app.dispatcher import Dispatcher, setpoints
from app.foresight import Foresight
from app.housekeeping import Housekeeping
from app.registers import Registers
from app.schedule import jobs_of
from app.settings import Settings
from app.wiring import City
from core.errors import ServiceError
from core.timeaxis import DAY, HOUR, QUARTER_HOUR, parse, steps
from ingest.broker import Broker
from ingest.setpoints import TOPIC
from store import forecasts, runs


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
        planned = runs.schedule(connection, run.id)["p_mw"].sel(asset="battery-000")
    assert [s["p_mw"] for s in message["steps"]] == pytest.approx(planned.to_numpy(), abs=1e-6)
    # The next 24 hours from the next step on: what is under way cannot be planned any more.
    assert parse(message["steps"][0]["ts"]) == now + QUARTER_HOUR
    assert len(message["steps"]) == 96
    # Nobody holds the sun back here, so PV is free to give more than was forecast.
    assert found[f"{TOPIC}/pv-000"]["steps"] == []


def test_a_newer_plan_replaces_the_retained_one(
    dispatcher: Dispatcher, broker: Broker, now: datetime
) -> None:
    dispatcher.intraday(now)
    dispatcher.intraday(now + QUARTER_HOUR)
    found = retained(broker, 2)[f"{TOPIC}/battery-000"]
    assert parse(found["issued_at"]) == now + QUARTER_HOUR


def test_a_generator_is_told_only_the_steps_in_which_it_is_held_back(now: datetime) -> None:
    times = steps(now, now + HOUR, QUARTER_HOUR)
    planned = np.array([[1.0, 1.0], [0.5, 0.0], [0.99999, 1.0], [0.0, 1.0]])
    made: Any = SimpleNamespace(
        plan=SimpleNamespace(
            schedule=xr.Dataset(
                {"p_mw": (("time", "asset"), planned)},
                {"time": times, "asset": ["pv-000", "battery-000"]},
            )
        ),
        problem=SimpleNamespace(
            injections=xr.Dataset(
                {"sgen_p_mw": (("time", "sgen"), np.array([[1.0], [1.0], [1.0], [0.0]]))},
                {"time": times, "sgen": [4]},
            ),
            envelopes=(
                SimpleNamespace(asset="pv-000", element="sgen", element_index=4),
                SimpleNamespace(asset="battery-000", element="storage", element_index=0),
            ),
        ),
    )
    pv, battery = setpoints(made)
    # Held back in the second step only: solver noise is none, and there is nothing at night.
    assert (pv.asset, list(pv.times), list(pv.p_mw)) == ("pv-000", [times[1]], [0.5])
    assert list(battery.times) == list(times)
    assert list(battery.p_mw) == [1.0, 0.0, 1.0, 1.0]


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
            assert ended[number].reason.startswith("ConfigurationError: ")


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
