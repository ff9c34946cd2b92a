"""Polling Modbus devices: a simulated plant in a process of its own, and peers that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError, SpoolFullError
from core.sites import AssetKind, DeviceProfile, Link, ProfileTag, Site, Tag
from core.sitetree import from_tree, to_tree
from ingest.pipeline import Message
from ingest.protocols import modbus_map, sunspec
from ingest.sunspec_poller import (
    DeviceStatus,
    PollerSettings,
    PollState,
    backoff_s,
    run_sunspec,
    settings_for,
    until_grid_s,
)

ROOT = Path(__file__).resolve().parents[2]
FRAMES = Path(__file__).parent / "frames"
LOOPBACK = "127.0.0.1"
NOW = datetime(2026, 6, 22, 4, 0, tzinfo=UTC)
ILLEGAL_ADDRESS, BUSY, GATEWAY_TARGET = 2, 6, 11
WAIT_S = 20.0

QUICK: dict[str, Any] = {"timeout_s": 0.3}


def registers_of(name: str) -> list[int]:
    lines = (FRAMES / f"sunspec_{name}.txt").read_text().splitlines()
    data = bytes.fromhex("".join(line.partition("#")[0] for line in lines))
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


@dataclass
class Peer:
    """A Modbus TCP device: registers from ``base`` on by unit id, and what goes wrong with it.

    refuse: an exception code for (unit, address, count), or None. answer: replaces whole frames.
    requests: what was asked, (unit, function, address, count).
    """

    units: dict[int, list[int]]
    base: int = 40_000
    delay_s: float = 0.0
    refuse: Callable[[int, int, int], int | None] = lambda unit, address, count: None
    answer: Callable[[bytes], bytes] | None = None
    requests: list[tuple[int, int, int, int]] = field(default_factory=list)
    connections: int = 0

    def frame(self, request: bytes) -> bytes:
        """The answer to one request."""
        tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", request)
        self.requests.append((unit, function, address, count))
        if self.answer is not None:
            return self.answer(request)
        registers, start = self.units.get(unit, []), address - self.base
        code = self.refuse(unit, address, count) if registers else GATEWAY_TARGET
        if code is None and (start < 0 or start + count > len(registers)):
            code = ILLEGAL_ADDRESS
        if code is not None:
            return struct.pack(">HHHBBB", tid, 0, 3, unit, function | 0x80, code)
        head = struct.pack(">HHHBBB", tid, 0, 3 + 2 * count, unit, function, 2 * count)
        return head + struct.pack(f">{count}H", *registers[start : start + count])


class Listening:
    """A peer on the wire, in a thread of its own, until closed."""

    def __init__(self, peer: Peer, hosts: list[str]) -> None:
        self.peer, self.port = peer, 0
        self._hosts = hosts
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(WAIT_S)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        servers = []
        for host in self._hosts:
            servers.append(await asyncio.start_server(self._talk, host, self.port))
            self.port = servers[0].sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        for server in servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peer.connections += 1
        self._writers.add(writer)
        try:
            while True:
                request = await reader.readexactly(12)
                await asyncio.sleep(self.peer.delay_s)
                writer.write(self.peer.frame(request))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listening]]:
    """Puts peers on the wire and takes them off at the end."""
    opened: list[Listening] = []

    def start(peer: Peer, hosts: list[str] | None = None) -> Listening:
        opened.append(Listening(peer, hosts or [LOOPBACK]))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


class Poller:
    """A poller in a thread, what it handed on and what it said of its devices."""

    def __init__(self, settings: PollerSettings, accept: Callable[..., None] | None = None) -> None:
        self.messages: list[Message] = []
        self.statuses: list[DeviceStatus] = []
        self.error: OSError | None = None
        self._changed = threading.Condition()
        self._refuse = accept
        self._stop = threading.Event()
        self._settings = settings
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            run_sunspec(self._settings, self._accept, lambda: NOW, self._stop, self._on_status)
        except OSError as error:
            self.error = error

    def _accept(self, messages: list[Message]) -> None:
        if self._refuse is not None:
            self._refuse(messages)
        with self._changed:
            self.messages.extend(messages)
            self._changed.notify_all()

    def _on_status(self, status: DeviceStatus) -> None:
        with self._changed:
            self.statuses.append(status)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S), (self.statuses[-3:], self.error)

    def more(self, count: int = 2) -> list[Message]:
        """The messages that come from now on, at least so many."""
        before = len(self.messages)
        self.wait(lambda: len(self.messages) >= before + count)
        return self.messages[before:]

    def state(self, device: str) -> DeviceStatus:
        return next(s for s in reversed(self.statuses) if s.device == device)

    def becomes(self, state: PollState, device: str = "pv-1") -> DeviceStatus:
        """Waits until the newest word on a device is ``state``."""
        self.wait(lambda: any(s.device == device for s in self.statuses))
        self.wait(lambda: self.state(device).state is state)
        return self.state(device)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def start() -> Iterator[Callable[..., Poller]]:
    """Starts pollers, and stops them at the end."""
    started: list[Poller] = []

    def poll(*links: Link, accept: Callable[..., None] | None = None, **options: Any) -> Poller:
        options = {"backoff_max_s": 0.2, "full_pause_s": 0.05, "spread_s": 0.0} | options
        started.append(Poller(PollerSettings(links, **options), accept))
        return started[-1]

    yield poll
    for one in started:
        one.stop()


def link(port: int, device: str = "pv-1", host: str = LOOPBACK, **parameters: Any) -> Link:
    return Link("sunspec", device, host, port, 0.05, QUICK | parameters)


def document(message: Message) -> dict[str, Any]:
    return json.loads(message.payload)


def readings(message: Message) -> dict[str, float]:
    found = sunspec.decode(message.topic, message.payload, message.received_at)
    return {tag: value for (_, tag, _), value in zip(found.names, found.value, strict=True)}


def ids(message: Message) -> list[int]:
    return [int(model["registers"][:4], 16) for model in document(message)["models"]]


# When.


@given(
    interval=st.floats(0.1, 3600),
    failures=st.integers(1, 10_000),
    longest=st.floats(1, 3600),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_pauses_grow_and_are_bounded(interval, failures, longest, jitter):
    pause = backoff_s(interval, failures, longest, jitter)
    assert min(interval, longest) / 2 <= pause <= longest
    assert pause <= backoff_s(interval, failures + 1, longest, jitter)


def test_pauses_double_up_to_the_longest():
    assert [backoff_s(10, n, 300, 0) for n in range(1, 8)] == [10, 20, 40, 80, 160, 300, 300]
    assert backoff_s(10, 3, 300, 0.5) == 30


@given(wall=st.floats(1.7e9, 1.9e9), interval=st.floats(0.1, 900), phase=st.floats(0, 1))
def test_polls_stand_on_a_grid(wall, interval, phase):
    pause = until_grid_s(wall, interval, phase)
    assert 0 < pause <= interval
    number = (wall + pause - phase) / interval
    assert number == pytest.approx(round(number), abs=1e-4)


# The simulated plant, as a process.


class Plant:
    """``python -m sandbox.sunspec_inverter``, in a city whose day passes quickly."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "sandbox.sunspec_inverter", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, *self._arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
        assert found, line + self._process.stderr.read()
        self.port = int(found[1])

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(WAIT_S)
        assert self._process.stderr is not None
        self._process.stderr.close()


@pytest.fixture
def plant() -> Iterator[Plant]:
    # Noon of a summer day; a second is a minute; the counters are about to roll over.
    running = Plant(
        *("--origin-wall", datetime.now(UTC).isoformat()),
        *("--origin-city", "2026-06-23T12:00:00+08:00", "--pace", "60", "--units", "2"),
        *("--counter-wh", str(2**32 - 400_000)),
    )
    yield running
    running.kill()


def test_a_plant_is_found_read_killed_and_found_again(plant, start):
    wanted = frozenset({"103.W", "203.W", "-203.W", "203.TotWhExp", "124.ChaState", "103.PPVphAB"})
    poller = start(
        link(plant.port, "pv-1", unit=1),
        link(plant.port, "pv-2", unit=2),
        wanted={"pv-1": wanted},
    )
    status = poller.becomes(PollState.POLLING)
    assert re.fullmatch(r"Verdigrid Simulated PV plant 1 SIM-\d+", status.identity)
    poller.becomes(PollState.POLLING, "pv-2")
    first = next(m for m in poller.messages if m.topic == "sunspec/pv-1")
    assert ids(first) == [1, 103, 203, 124]
    found = readings(first)
    assert set(found) == wanted - {"103.PPVphAB"}  # not implemented
    assert found["-203.W"] == -found["203.W"]
    assert 0 <= found["124.ChaState"] <= 100
    assert found["203.W"] == pytest.approx(350 - found["103.W"], abs=20)

    plant.kill()
    poller.becomes(PollState.NOT_ANSWERING)
    poller.becomes(PollState.NOT_ANSWERING, "pv-2")
    before = readings([m for m in poller.messages if m.topic == "sunspec/pv-1"][-1])
    plant.start()
    poller.becomes(PollState.POLLING)
    again = next(m for m in poller.more(4) if m.topic == "sunspec/pv-1")
    after = readings(again)
    # Its counter goes on where it would be; a plant that began anew would be 400 kWh behind.
    assert (after["203.TotWhExp"] - before["203.TotWhExp"]) % 2**32 < 50_000


def test_the_counters_of_the_plant_roll_over_honestly():
    from sandbox import sunspec_inverter as inverter
    from sandbox.citytime import CITY_START

    plant = inverter.Plant(seed=3, counter_wh=2**32 - 1000)
    noon = CITY_START + timedelta(hours=12)
    flowed = inverter.counters(plant, noon).exported
    assert flowed > 1000
    shown = inverter.registers(plant, noon)
    offset = 2 + 68 + 52 + 28 + 38  # SunS, models 1, 103 and 120, TotWhExp of 203
    assert (shown[offset] << 16) + shown[offset + 1] == int(flowed) - 1000


def test_the_sandbox_describes_what_it_plays():
    from sandbox import sunspec_inverter as inverter

    profiles, links = inverter.describe(15_020, units=2)
    assert [one.device for one in links] == ["sandbox-sunspec-01", "sandbox-sunspec-02"]
    assert profiles[0].register
    site = _site(profiles, links)
    assert from_tree(json.loads(json.dumps(to_tree(site))), "") == site  # its units are checked
    settings = settings_for(site)
    assert settings.links == links
    assert settings.wanted["sandbox-sunspec-02"] == {tag.tag for tag in profiles[0].tags}


def test_how_it_is_started_is_told():
    told = subprocess.run(
        [sys.executable, "-m", "sandbox.sunspec_inverter", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "100", "NO_COLOR": "1"},
        check=True,
    ).stdout
    for option in ("--host", "--port", "--origin-wall", "--origin-city", "--pace", "--seed"):
        assert option in told


# Peers.


@pytest.mark.parametrize("base", [40_000, 50_000, 0])
def test_a_device_is_found_wherever_it_begins(base, listen, start):
    peer = Peer({1: registers_of("inverter_103")}, base)
    poller = start(link(listen(peer).port))
    assert poller.becomes(PollState.POLLING).identity == "Example Power Inverter 30 1.2 E30-0001"
    (message, *_) = poller.messages
    assert ids(message) == [1, 103, 203]
    assert readings(message)["203.TotWhImp"] == 34_567_890.0
    assert message.topic == "sunspec/pv-1"
    assert document(message)["ts"] == "2026-06-22T04:00:00+00:00"


def test_a_device_may_keep_silent_about_what_it_has_not(listen, start):
    peer = Peer({1: registers_of("inverter_103")}, 0)
    real = peer.frame

    def silent_above(request: bytes) -> bytes:
        peer.answer, kept = None, peer.answer
        frame = real(request)
        peer.answer = kept
        return b"" if struct.unpack(">H", request[8:10])[0] >= 40_000 else frame

    peer.answer = silent_above
    poller = start(link(listen(peer).port))
    assert ids(poller.more(1)[0]) == [1, 103, 203]


def test_the_common_model_is_sent_once_and_the_others_at_every_poll(listen, start):
    poller = start(link(listen(Peer({1: registers_of("inverter_103")})).port, tags=["103.W"]))
    poller.wait(lambda: len(poller.messages) >= 3)
    assert readings(poller.messages[0]) == {"103.W": -12_500.0}
    assert [ids(m) for m in poller.messages[:3]] == [[1, 103, 203], [103, 203], [103, 203]]


def test_no_reading_is_longer_than_allowed(listen, start):
    peer = Peer({1: registers_of("der_701")}, 0)
    poller = start(link(listen(peer).port, "pv-1"), link(listen(peer).port, "pv-2"))
    small = start(link(listen(peer).port, "pv-3", most_registers=40))
    for one in (poller, small):
        one.wait(lambda one=one: bool(one.messages))
        assert readings(one.messages[0])["701.TotWhInjL3"] == 1_666_666_666_708
    assert 40 < max(count for _, _, _, count in peer.requests) <= 125


def test_a_model_that_is_refused_does_not_hide_the_others(listen, start):
    peer = Peer({1: registers_of("inverter_103")})
    peer.refuse = lambda unit, address, count: (
        ILLEGAL_ADDRESS if address >= 40_121 and count > 2 else None
    )
    poller = start(link(listen(peer).port))
    assert ids(poller.more(3)[-1]) == [103]
    assert document(poller.messages[-1])["refused"] == [203]
    peer.refuse = lambda unit, address, count: None
    poller.wait(lambda: ids(poller.messages[-1]) == [103, 203])


def test_a_busy_device_is_asked_again(listen, start):
    peer = Peer({1: registers_of("inverter_103")})
    left = [BUSY, BUSY, BUSY]
    peer.refuse = lambda unit, address, count: left.pop() if count > 10 and left else None
    poller = start(link(listen(peer).port))
    assert ids(poller.more(1)[0]) == [1, 103, 203]
    assert not left
    poller.becomes(PollState.POLLING)
    assert {s.state for s in poller.statuses} == {PollState.POLLING}


def test_devices_behind_a_gateway_share_a_connection(listen, start):
    peer = Peer({1: registers_of("inverter_103"), 7: registers_of("storage_802")})
    port = listen(peer).port
    poller = start(link(port), link(port, "battery", unit=7), link(port, "lost", unit=9))
    poller.becomes(PollState.POLLING)
    poller.becomes(PollState.POLLING, "battery")
    detail = poller.becomes(PollState.NOT_ANSWERING, "lost").detail
    assert "unit 9: nobody answers the gateway at this unit id" in detail
    poller.more(6)
    assert peer.connections == 1
    assert poller.state("pv-1").state is poller.state("battery").state is PollState.POLLING


def test_a_chain_that_changed_is_found_anew(listen, start):
    peer = Peer({1: registers_of("inverter_103")})
    poller = start(link(listen(peer).port))
    poller.more()
    peer.units[1] = registers_of("storage_802")
    poller.wait(lambda: ids(poller.messages[-1]) == [124, 713, 802, 803])
    poller.wait(lambda: poller.state("pv-1").identity == "Example Power Storage 9 1.2 S9-1")
    assert {s.state for s in poller.statuses} == {PollState.POLLING}
    assert peer.connections == 1


def test_a_device_that_does_not_measure_is_named(listen, start):
    common = registers_of("inverter_103")[: 2 + 67]
    poller = start(link(listen(Peer({1: [*common, 0xFFFF, 0]})).port))
    detail = poller.becomes(PollState.NOT_ANSWERING).detail
    assert detail == "It has none of the wanted models; it has 1."


def test_a_slow_device_is_polled_and_a_too_slow_one_comes_back(listen, start):
    peer = Peer({1: registers_of("inverter_103")}, delay_s=0.1)
    poller = start(link(listen(peer).port))
    poller.becomes(PollState.POLLING)
    peer.delay_s = 0.6
    poller.becomes(PollState.NOT_ANSWERING)
    peer.delay_s = 0.0
    poller.becomes(PollState.POLLING)
    # No late answer was taken for another one's.
    for message in poller.more(3):
        assert readings(message)["103.W"] == -12_500.0
    assert peer.connections >= 2


def test_a_half_open_connection_is_given_up_and_the_device_discovered_again(listen, start):
    peer = Peer({1: registers_of("inverter_103")})
    poller = start(link(listen(peer).port))
    poller.becomes(PollState.POLLING)
    peer.answer = lambda request: b""
    poller.becomes(PollState.NOT_ANSWERING)
    peer.units[1] = registers_of("meter_213")  # somebody else answers at the address
    peer.answer = None
    poller.wait(lambda: ids(poller.messages[-1])[-1] == 213)
    assert poller.becomes(PollState.POLLING).identity == "Example Power Meter F 1.2 MF-7"
    assert peer.connections >= 2


GARBAGE = {
    "noise": lambda request: os.urandom(40),
    "a web page": lambda request: b"HTTP/1.0 400 Bad Request\r\n\r\n",
    "too few registers": lambda request: request[:5] + b"\x05" + request[6:8] + b"\x02\0\0",
    "another function": lambda request: request[:5] + b"\x06" + request[6:7] + b"\x06" + b"\0" * 4,
    "another unit": lambda request: request[:5] + b"\x05\x63\x03\x02\0\0",
    "no count": lambda request: request[:5] + b"\x02" + request[6:8],
    "a late answer": lambda request: b"\0\x63" + request[2:5] + b"\x07\x01\x03\x04SunS",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_no_answer_and_does_no_harm(kind, listen, start):
    peer = Peer({1: registers_of("inverter_103")}, answer=GARBAGE[kind])
    poller = start(link(listen(peer).port, base=40_000))
    assert poller.becomes(PollState.NOT_ANSWERING).detail
    assert poller.messages == []
    peer.answer = None
    poller.becomes(PollState.POLLING)
    assert readings(poller.more()[-1])["103.W"] == -12_500.0


def test_a_full_spool_pauses_the_polling_and_drops_nothing(listen, start):
    peer = Peer({1: registers_of("inverter_103"), 2: registers_of("inverter_103")})
    full = threading.Event()
    offered: list[Message] = []

    def accept(messages: list[Message]) -> None:
        offered.extend(messages)
        if full.is_set():
            raise SpoolFullError("The spool is full.")

    port = listen(peer).port
    poller = start(link(port), link(port, "pv-2", unit=2), accept=accept)
    poller.becomes(PollState.POLLING)
    poller.becomes(PollState.POLLING, "pv-2")
    full.set()
    assert poller.becomes(PollState.PAUSED).detail == "The spool is full."
    poller.becomes(PollState.PAUSED, "pv-2")
    asked, kept = len(peer.requests), len(poller.messages)
    time.sleep(0.3)  # six intervals in which nothing may be asked
    assert len(peer.requests) == asked
    assert len(poller.messages) == kept
    full.clear()
    poller.becomes(PollState.POLLING)
    poller.becomes(PollState.POLLING, "pv-2")
    unkept = {id(message) for message in offered} - {id(message) for message in poller.messages}
    assert not unkept


def test_what_the_spool_raises_besides_ends_the_poller(listen, start):
    def broken(messages: list[Message]) -> None:
        raise OSError("the disk is gone")

    poller = start(link(listen(Peer({1: registers_of("inverter_103")})).port), accept=broken)
    poller._thread.join(WAIT_S)
    assert isinstance(poller.error, OSError)


def test_it_stops_while_a_device_hangs_and_the_spool_is_full(listen, start):
    def full(messages: list[Message]) -> None:
        raise SpoolFullError

    peer = Peer({1: registers_of("inverter_103")})
    hanging = Peer({}, answer=lambda request: b"")
    poller = start(
        link(listen(peer).port),
        link(listen(hanging).port, "hangs", timeout_s=60),
        accept=full,
    )
    poller.becomes(PollState.PAUSED)
    poller.stop()
    assert poller.messages == []


def test_hundreds_of_devices_need_no_thread_each(listen, start):
    hosts = [f"127.0.1.{number}" for number in range(1, 201)]
    peer = Peer({1: registers_of("inverter_103")})
    port = listen(peer, hosts).port
    before = threading.active_count()
    links = [
        Link("sunspec", f"pv-{host}", host, port, 0.5, {"timeout_s": WAIT_S, "models": [103]})
        for host in hosts
    ]
    poller = start(*links, spread_s=0.2)

    def twice() -> bool:
        topics = [message.topic for message in poller.messages]
        return len(topics) >= 400 and all(topics.count(f"sunspec/pv-{h}") >= 2 for h in hosts)

    poller.wait(twice)
    assert threading.active_count() - before < 12
    assert peer.connections == len(hosts)
    assert {status.state for status in poller.statuses} == {PollState.POLLING}


# Plain registers.


def mapped(port: int, **parameters: Any) -> Link:
    registers = [
        {"tag": "p", "address": 12, "type": "float32", "unit": "W", "table": "input"},
        {"tag": "u", "address": 10, "type": "uint16", "scale": 0.1, "table": "input"},
        {"tag": "none", "address": 400, "type": "uint16"},
    ]
    return Link(
        "modbus", "pv-1", LOOPBACK, port, 0.05, QUICK | {"registers": registers} | parameters
    )


def test_plain_registers_are_polled(listen, start):
    peer = Peer({5: [2300, 0, 0x447A, 0]}, base=10)
    poller = start(mapped(listen(peer).port, unit=5))
    message = poller.more(1)[0]
    assert message.topic == "modbus/pv-1"
    found = modbus_map.decode(message.topic, message.payload, NOW)
    assert found.names == (("pv-1", "u", None), ("pv-1", "p", "W"))
    assert found.value == [230.0, 1000.0]
    assert document(message)["refused"] == ["none"]
    assert {function for _, function, address, _ in peer.requests if address < 400} == {4}
    peer.base = 9_999
    assert poller.becomes(PollState.NOT_ANSWERING).detail == "It gives none of its registers."


# Descriptions.


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Link("sunspec", "a/b", LOOPBACK, 502), "topic"),
        (Link("sunspec", "", LOOPBACK, 502), "topic"),
        (Link("sunspec", "pv-1", LOOPBACK, 70_000), "port"),
        (Link("sunspec", "pv-1", "", 502), "host"),
        (Link("sunspec", "pv-1", LOOPBACK, 502, 0.0), "interval_s"),
        (Link("ocpp", "pv-1", LOOPBACK, 502), "'ocpp' is not asked over Modbus"),
        (Link("sunspec", "pv-1", LOOPBACK, 502, 10, {"unit": 256}), "unit"),
        (Link("sunspec", "pv-1", LOOPBACK, 502, 10, {"unit": "1"}), "unit"),
        (Link("sunspec", "pv-1", LOOPBACK, 502, 10, {"timeout": 3}), "no parameter 'timeout'"),
        (Link("sunspec", "pv-1", LOOPBACK, 502, 10, {"timeout_s": 0}), "timeout_s"),
        (Link("sunspec", "pv-1", LOOPBACK, 502, 10, {"models": [64_000]}), "models"),
        (Link("sunspec", "pv-1", LOOPBACK, 502, 10, {"tags": "103.W"}), "tags"),
        (Link("modbus", "pv-1", LOOPBACK, 502), "registers"),
    ],
)
def test_a_link_without_sense_stops_the_start(wrong, reason):
    with pytest.raises(ConfigurationError, match=reason):
        run_sunspec(PollerSettings((wrong,)), lambda _: None, lambda: NOW, threading.Event())


def _site(profiles: tuple[DeviceProfile, ...], links: tuple[Link, ...], *tags: Tag) -> Site:
    nothing: tuple[()] = ()
    where = ("demo", "Demo", "示范", "UTC", 0.0, 0.0, True, "")
    return Site(*where, nothing, nothing, nothing, tags, profiles=profiles, links=links)


def test_the_site_says_what_is_asked_and_wanted():
    profile = DeviceProfile(
        "inverters", "sunspec", "pv-*", AssetKind.PV, (ProfileTag("103.W", "p_mw", "W"),)
    )
    links = (
        link(502, "pv-1"),
        link(502, "meter-1"),
        link(502, "unknown"),
        Link("other", "x", "host", 1),
    )
    second = replace(profile, name="registering", tags=(ProfileTag("103.WH", "e_mwh", "Wh"),))
    tag = Tag("meter-1", "-203.W", "W", "demo/meter-1/p_mw")
    settings = settings_for(_site((profile, second), links, tag), backoff_max_s=60.0)
    assert settings.links == links[:3]
    assert settings.wanted == {"pv-1": {"103.W"}, "meter-1": {"-203.W"}}
    assert settings.backoff_max_s == 60.0
    registers = _site((profile, replace(second, register=True)), links)
    assert settings_for(registers).wanted == {"pv-1": {"103.WH"}}
