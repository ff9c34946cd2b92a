"""The city lives over a real broker: everything arrives, set-points are followed, nothing is lost.

Each test runs ``python -m sandbox run`` as a process at a high pace.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from core.errors import DecodeError
from core.sites import AssetKind, Site
from core.timeaxis import to_us
from ingest.broker import Broker
from ingest.protocols import chirpstack, senml
from sandbox import state
from sandbox.citytime import CITY_START
from sandbox.materials import Materials
from sandbox.setpoints import Setpoints
from sandbox.state import Holding
from sandbox.world import World

ROOT = Path(__file__).parents[2]
PACE = 3600.0
PATIENCE_S = 90.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    started = Broker.start(tmp_path / "broker")
    yield started
    started.stop()


class Listener:
    """A receiver with a persistent session that keeps what comes."""

    def __init__(self, port: int) -> None:
        self.readings: dict[tuple[str, str], dict[int, float]] = {}
        self.broken: list[str] = []
        self.messages = 0
        self.answers: dict[str, list[str]] = {}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._take
        self._client.on_connect = lambda client, *_: client.subscribe(
            [
                (topic, 1)
                for topic in (
                    "senml/+/+",
                    "application/+/device/+/event/up",
                    "verdigrid/acknowledgements/+",
                )
            ]
        )
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert ready.wait(10.0)

    def _take(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if message.topic.startswith("verdigrid/"):
            said = json.loads(message.payload)
            self.answers.setdefault(said["asset"], []).append(said["answer"])
            return
        decode = senml.decode if message.topic.startswith("senml/") else chirpstack.decode
        self.messages += 1
        try:
            found = decode(message.topic, bytes(message.payload), datetime.now(UTC))
        except DecodeError:
            self.broken.append(message.topic)
            return
        for (device, tag, _), ts_us, value in zip(
            found.names, found.ts_us, found.value, strict=True
        ):
            self.readings.setdefault((device, tag), {})[ts_us] = value

    def ask(self, asset: str, powers: list[float], **more: object) -> None:
        steps = [
            {"ts": (CITY_START + i * timedelta(minutes=15)).isoformat(), "p_mw": p}
            for i, p in enumerate(powers)
        ]
        message = {"asset": asset, "issued_at": CITY_START.isoformat(), "steps": steps}
        message |= more
        self._client.publish(
            f"verdigrid/setpoints/{asset}", json.dumps(message), qos=1, retain=True
        ).wait_for_publish(10.0)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    started = Listener(broker.port)
    yield started
    started.stop()


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(cache: Path, tmp_path: Path, source: Materials) -> Iterator[Start]:
    """Starts the city at its first midnight; whatever still runs is ended."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(
        port: int, *more: str, pace: float = PACE, age: timedelta = timedelta(0)
    ) -> subprocess.Popen[bytes]:
        options = {
            "--broker-port": str(port),
            "--pace": str(pace),
            "--origin-wall": (datetime.now(UTC) - age).isoformat(),
            "--origin-city": CITY_START.isoformat(),
            "--state": str(tmp_path / "state.json"),
            "--cache": str(cache),
        }
        words = [word for option in options.items() for word in option]
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "run", *words, *more],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def hours(number: float) -> str:
    return (CITY_START + timedelta(hours=number)).isoformat()


def assert_complete(site: Site, listener: Listener, duration: timedelta) -> None:
    """Every tag has a value for every interval since the city began, and none is unknown."""
    step_us = timedelta(microseconds=1)
    resolution = {series.key: series.resolution for series in site.series}
    for tag in site.tags:
        length = resolution[tag.series_key]
        assert length is not None
        wanted = {to_us(CITY_START) + i * (length // step_us) for i in range(duration // length)}
        got = listener.readings.get((tag.device, tag.tag), {})
        assert set(got) == wanted, f"{tag.series_key}: {len(got)} of {len(wanted)}"
    known = {(tag.device, tag.tag) for tag in site.tags}
    strangers = {device for device, _ in listener.readings.keys() - known}
    assert strangers <= {"urn:dev:verdigrid:meter-unregistered", "76657264ffff0001"}


def values(listener: Listener, device: str, tag: str) -> list[float]:
    return [value for _, value in sorted(listener.readings[device, tag].items())]


def test_everything_arrives_once_the_city_has_lived_on_after_a_restart(
    site: Site, source: Materials, broker: Broker, listener: Listener, start: Start, tmp_path: Path
) -> None:
    first = start(broker.port, "--until-city", hours(1))
    assert first.wait(PATIENCE_S) == 0
    kept = state.load(tmp_path / "state.json", 1, 114)
    assert kept is not None
    assert kept.quarter == 4
    second = start(broker.port, "--until-city", hours(2), "--no-with-noise")
    assert second.wait(PATIENCE_S) == 0
    last = site.tags[-1]
    until(lambda: len(listener.readings.get((last.device, last.tag), {})) == 8, "the last reading")
    assert_complete(site, listener, timedelta(hours=2))
    assert len(listener.broken) == 1, "one broken message in the hour with noise"

    world = World(source, site, 1)
    panel, _ = world.electric(np.arange(8), world.energy.settled(0), Setpoints())
    for column, tag in enumerate(panel.tags):
        np.testing.assert_allclose(
            values(listener, tag.device, tag.tag), panel.values[:, column], atol=1e-9
        )


def test_set_points_are_followed_and_sigterm_ends_it_well(
    site: Site, broker: Broker, listener: Listener, start: Start, tmp_path: Path
) -> None:
    charger = next(a.id for a in site.assets if a.kind is AssetKind.EV_CHARGER)
    turbine = next(a.id for a in site.assets if a.kind is AssetKind.WIND)
    listener.ask("battery-003", [0.02, 0.03, 0.01, -0.01])
    listener.ask(
        "battery-004", [0.02, 0.02, 0.02, 0.02], valid_until=hours(0.5), fallback={"p_mw": 0.0}
    )
    listener.ask("battery-005", [0.02], steps="none")
    listener.ask("sandbox-post-01", [0.01])  # a device that answers for itself
    listener.ask(charger, [0.01, 0.02, 0.03, 0.0])
    listener.ask(turbine, [0.001] * 4)
    process = start(broker.port)
    urn = "urn:dev:verdigrid:"

    def told(asset: str) -> dict[int, float]:
        return listener.readings.get((f"{urn}{asset}", "p"), {})

    until(lambda: min(len(told(a)) for a in ("battery-003", charger, turbine)) >= 5, "five values")
    process.terminate()
    assert process.wait(15.0) == 0
    assert values(listener, f"{urn}battery-003", "p")[:4] == [20.0, 30.0, 10.0, -10.0]
    assert values(listener, f"{urn}{charger}", "p")[:4] == [10.0, 20.0, 30.0, 0.0]
    assert max(values(listener, f"{urn}{turbine}", "p")[:4]) <= 1.0
    # Without news when its plan is over, a battery rests.
    assert values(listener, f"{urn}battery-004", "p")[:5] == [20.0, 20.0, 0.0, 0.0, 0.0]
    assert listener.answers == {
        **{asset: ["accepted"] for asset in ("battery-003", "battery-004", charger, turbine)},
        "battery-005": ["refused"],
    }
    kept = state.load(tmp_path / "state.json", 1, 114)
    assert kept is not None
    assert kept.quarter >= 5


def test_a_broker_that_restarts_costs_nothing(
    site: Site, broker: Broker, listener: Listener, start: Start, tmp_path: Path
) -> None:
    process = start(broker.port, "--until-city", hours(4))
    until(lambda: len(listener.readings) > 300, "the first readings")
    broker.stop()
    assert process.poll() is None
    time.sleep(1.0)
    again = Broker.start(tmp_path / "broker", port=broker.port)
    try:
        assert process.wait(PATIENCE_S) == 0
        last = site.tags[-1]
        until(
            lambda: len(listener.readings.get((last.device, last.tag), {})) == 16,
            "the last reading",
        )
        assert_complete(site, listener, timedelta(hours=4))
    finally:
        again.stop()


def test_a_long_pause_is_made_up_for_in_part_and_without_a_flood(
    broker: Broker, listener: Listener, start: Start, tmp_path: Path
) -> None:
    """Four days late, the city tells its last two, at a bounded rate, from full batteries on."""
    state.save(tmp_path / "state.json", state.State(0, Holding(np.full(114, 0.9))), 1)
    process = start(broker.port, pace=1.0, age=timedelta(days=4))
    until(lambda: listener.messages > 0, "the first message")
    time.sleep(3.0)
    assert listener.messages < 4.0 * 250.0
    process.terminate()
    _, told = process.communicate(timeout=15.0)
    assert process.returncode == 0
    assert b"a pause of 48 city hours is passed over" in told
    first = min(min(series) for series in listener.readings.values())
    assert first == to_us(CITY_START + timedelta(days=2))


def test_without_a_broker_it_waits_and_can_be_ended(start: Start, broker: Broker) -> None:
    broker.stop()
    process = start(broker.port)
    assert process.stderr is not None
    for line in process.stderr:
        if b"waiting for the broker" in line:
            break
    process.terminate()
    assert process.wait(15.0) == 0


def test_a_wrong_state_file_is_one_sentence(start: Start, tmp_path: Path, broker: Broker) -> None:
    (tmp_path / "state.json").write_text("{}")
    process = start(broker.port)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert b"state.json" in told
    assert b"delete it" in told
    assert b"Traceback" not in told


def test_a_time_without_zone_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sandbox", "history"),
            *("--start", "2026-06-01T00:00"),
            *("--out", str(tmp_path / "x.parquet")),
        ],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"has no zone" in done.stderr
    assert b"Traceback" not in done.stderr
