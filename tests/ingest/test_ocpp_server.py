"""The central system before real chargers: simulated posts as processes, and plain WebSockets.

City time runs 1,200 times as fast as the wall's here: twenty city minutes a second.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from core.charging import ChargingEvent, Session, SessionStep, fold
from core.clock import CityClock
from core.errors import ConfigurationError, ServiceError, SpoolFullError
from core.setpoints import Acknowledgement, Answer, Setpoint
from core.timeaxis import to_datetime64, to_us
from ingest import setpoints
from ingest.broker import Broker
from ingest.mqtt_access import Access
from ingest.ocpp_server import OcppSettings, OcppStatus, Setpoints, run_ocpp
from ingest.pipeline import Message
from ingest.protocols.ocpp_json import V16, V201, decode
from ingest.setpoint_listener import Line, Schedule, listen
from ingest.spool import Spool
from sandbox.ocpp_charger import PASSWORD, describe

ROOT = Path(__file__).parents[2]
CITY = datetime(2026, 6, 22, 4, tzinfo=UTC)
PACE = 1200.0
PATIENCE_S = 30.0
FRAMES = Path(__file__).parent / "frames"
MINUTE_US = 60_000_000


def wait_until(what: str, condition: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    """The first true answer of ``condition``; fails where none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail(f"{what}: not within {seconds:.0f} s")


class Kept:
    """What was accepted, and what it says."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.full = False

    def accept(self, messages: Sequence[Message]) -> None:
        if self.full:
            raise SpoolFullError
        self.messages.extend(messages)

    def events(self) -> list[ChargingEvent]:
        found = [decode(m.topic, m.payload, m.received_at).events for m in list(self.messages)]
        return [e for events in found for e in events if isinstance(e, ChargingEvent)]

    def sessions(self) -> dict[str, Session]:
        told: dict[str, list[ChargingEvent]] = {}
        for event in self.events():
            told.setdefault(event.transaction, []).append(event)
        return {name: total(events) for name, events in told.items()}

    def whole_sessions(self) -> list[Session]:
        """Those whose start and end were both told."""
        return [s for s in self.sessions().values() if s.started_at and s.ended_at]

    def readings(self, tag: str) -> dict[int, float]:
        """Values of a tag by time, in the order they came."""
        found: dict[int, float] = {}
        for message in list(self.messages):
            decoded = decode(message.topic, message.payload, message.received_at)
            for (_, name, _), ts_us, value in zip(
                decoded.names, decoded.ts_us, decoded.value, strict=True
            ):
                if name == tag:
                    found.setdefault(ts_us, value)
        return found


def total(events: Sequence[ChargingEvent]) -> Session:
    session = reduce(fold, events, None)
    assert session is not None
    return session


class Running:
    """A central system in a thread, and its clock."""

    def __init__(self, accept: Callable[[Sequence[Message]], None], settings: OcppSettings) -> None:
        self.clock = CityClock(datetime.now(UTC), CITY, PACE)
        self.status = OcppStatus()
        self._accept = accept
        self._settings = settings
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, source: Setpoints | None = None) -> Running:
        def run() -> None:
            run_ocpp(
                self._settings,
                self._accept,
                lambda: self.clock.at(datetime.now(UTC)),
                self._stop,
                self._note,
                setpoints=source,
                asset_of=lambda charger: charger.removeprefix("sandbox-"),
            )

        self._thread = threading.Thread(target=run)
        self._thread.start()
        wait_until("the central system listens", lambda: self.status.port)
        return self

    def _note(self, status: OcppStatus) -> None:
        self.status = status

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.status.port}/ocpp"

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def settings(tmp_path: Path) -> OcppSettings:
    return OcppSettings(tmp_path / "transactions.sqlite", describe()[0])


@pytest.fixture
def central(kept: Kept, settings: OcppSettings) -> Iterator[Running]:
    running = Running(kept.accept, settings)
    yield running
    running.stop()


Post = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    """Starts simulated charging posts; a car comes after a minute or so and stays for ten."""
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str, clock: CityClock, version: str = "1.6", **options: Any) -> Any:
        chosen = {
            "url": url,
            "id": "sandbox-post-1",
            "state": tmp_path / "post.sqlite",
            "version": version,
            "origin-wall": clock.origin_wall.isoformat(),
            "origin-city": clock.origin_city.isoformat(),
            "pace": clock.pace,
            "gap-minutes": 2,
            "stay-minutes": 10,
        } | {name.replace("_", "-"): value for name, value in options.items()}
        words = [word for name, value in chosen.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "sandbox.ocpp_charger", *words]
        with (tmp_path / "post.log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(PATIENCE_S)


VERSIONS = pytest.mark.parametrize("version", ["1.6", "2.0.1"])


def complete(session: Session, kept: Kept) -> bool:
    """Whether every minute from the start to the end of a session was metered."""
    assert session.started_at is not None
    assert session.ended_at is not None
    minutes = range(
        to_us(session.started_at) + MINUTE_US, to_us(session.ended_at) + MINUTE_US, MINUTE_US
    )
    return set(minutes) <= kept.readings("1:Energy.Active.Import.Register").keys()


@VERSIONS
def test_a_post_charges_car_after_car(
    version: str, central: Running, kept: Kept, post: Post
) -> None:
    central.start()
    post(central.url, central.clock, version)
    first = min(
        wait_until("two cars", lambda: len(s := kept.whole_sessions()) > 1 and s),
        key=lambda session: session.first_at,
    )
    assert complete(first, kept)
    assert first.energy_mwh is not None
    assert first.energy_mwh > 0.0
    assert first.ended_at is not None
    power_w = kept.readings("1:Power.Active.Import")
    times = range(to_us(first.first_at), to_us(first.ended_at) + 1, MINUTE_US)
    charged_wh = sum(power_w.get(ts_us, 0.0) for ts_us in times) / 60.0
    # 1.6 rounds the meter's readings at start and end to Wh.
    assert first.energy_mwh * 1e6 == pytest.approx(charged_wh, abs=2.0)
    assert first.needs.departure is not None
    assert abs(first.needs.departure - first.ended_at) <= timedelta(minutes=1)
    assert first.needs.energy_mwh is not None
    assert first.needs.max_p_mw is not None
    assert first.connector == 1
    assert 0.0 < min(kept.readings("1:SoC").values()) <= max(kept.readings("1:SoC").values()) <= 90
    assert not any(b"SANDBOX-CARD" in message.payload for message in kept.messages)
    assert central.status.connected == 1


@VERSIONS
def test_what_happened_while_the_line_was_down_comes_later(
    version: str,
    central: Running,
    kept: Kept,
    post: Post,
    settings: OcppSettings,
    tmp_path: Path,
    free_port: int,
) -> None:
    post(f"ws://127.0.0.1:{free_port}/ocpp", central.clock, version)
    log = tmp_path / "post.log"
    wait_until("a post that finds nobody", lambda: "no line" in log.read_text())
    time.sleep(2.0)  # some forty city minutes with nobody listening
    central._settings = replace(settings, port=free_port)
    central.start()
    began = central.clock.at(datetime.now(UTC))
    wait_until("a car of then", lambda: kept.whole_sessions())
    first = min(kept.whole_sessions(), key=lambda session: session.first_at)
    assert first.ended_at is not None
    assert first.ended_at < began
    assert complete(first, kept)


@VERSIONS
def test_a_full_spool_refuses_and_nothing_is_lost(
    version: str, central: Running, kept: Kept, post: Post
) -> None:
    kept.full = True
    central.start()
    post(central.url, central.clock, version)
    wait_until("refusals", lambda: central.status.refused > 1)
    assert "spool is full" in central.status.last_error
    assert kept.messages == []
    kept.full = False
    wait_until("a whole session", kept.whole_sessions)
    first = min(kept.whole_sessions(), key=lambda session: session.first_at)
    assert complete(first, kept)
    wait_until("all is well", lambda: not central.status.last_error)


DEATHS = {
    "1.6": ("StartTransaction", "MeterValues", "StopTransaction"),
    "2.0.1": ("TransactionEvent Started", "TransactionEvent Updated", "TransactionEvent Ended"),
}


@VERSIONS
def test_kill_9_between_commit_and_answer_loses_and_doubles_nothing(
    version: str, tmp_path: Path, post: Post
) -> None:
    wall = datetime.now(UTC)
    port = 0
    for deadly in (*DEATHS[version], ""):
        command = [sys.executable, str(ROOT / "tests/ingest/ocpp_service.py"), str(tmp_path)]
        command += [str(port), wall.isoformat(), str(PACE), deadly]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if port == 0:
                port = int(line)
                post(f"ws://127.0.0.1:{port}/ocpp", CityClock(wall, CITY, PACE), version)
            if deadly:
                assert process.wait(PATIENCE_S) == -signal.SIGKILL
            else:
                said = iter(process.stdout.readline, "")  # ends with the process, at the latest
                guard = threading.Timer(PATIENCE_S, process.kill)
                guard.start()
                assert any(line.strip() == DEATHS[version][-1] for line in said)
                guard.cancel()
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            process.stdout.close()
    kept = spooled(tmp_path)
    first = min(kept.whole_sessions(), key=lambda session: session.first_at)
    assert complete(first, kept)
    starts = [e for e in kept.events() if e.step is SessionStep.START]
    assert len({e.transaction for e in starts}) == len({e.ts for e in starts})
    ends = [e for e in kept.events() if e.step is SessionStep.END]
    for told in (starts, ends):
        assert len(told) > len({e.ts for e in told}), "it was sent again"


def spooled(folder: Path) -> Kept:
    kept = Kept()
    with Spool(folder / "spool.sqlite", capacity_bytes=100_000_000) as spool:
        kept.accept(spool.take(100_000))
    return kept


def plan(asset: str, p_mw: float, now: datetime) -> Setpoint:
    """``p_mw`` from now on for two city days, which are over in two minutes."""
    times = np.array([to_datetime64(now + timedelta(hours=h)) for h in range(48)])
    return Setpoint(asset, times, np.full(48, p_mw))


@VERSIONS
def test_a_plan_on_mqtt_changes_what_a_post_charges(
    version: str, central: Running, kept: Kept, post: Post, start_broker: Callable[..., Broker]
) -> None:
    broker = start_broker()
    where = Access("127.0.0.1", broker.port)
    central.start(partial(listen, where))
    # One car that stays, and cannot be full before the end of the test.
    post(central.url, central.clock, version, gap_minutes=1, stay_minutes=100_000, pace=PACE)

    def powers() -> list[float]:
        return list(kept.readings("1:Power.Active.Import").values())

    wait_until("it charges as it likes", lambda: max(powers(), default=0.0) > 7_000.0)
    now = central.clock.at(datetime.now(UTC))
    setpoints.publish(where, [plan("post-1", 0.002, now)], issued_at=now)
    wait_until("it follows", lambda: powers()[-1] == 2_000.0)
    wait_until("and said so", lambda: central.status.limited == 1)
    later = now + timedelta(minutes=1)
    setpoints.publish(where, [plan("post-1", 0.0035, later)], issued_at=later)
    wait_until("it follows the newer one", lambda: powers()[-1] == 3_500.0)
    setpoints.publish(where, [plan("post-1", 0.001, now)], issued_at=now)  # an older one
    setpoints.publish(where, [Setpoint("post-1", np.array([]), np.array([]))], issued_at=later)
    wait_until("taken back, it charges as it likes", lambda: powers()[-1] > 7_000.0)
    assert central.status.unlimited == 0


def test_a_post_that_connects_again_is_told_its_plan_again(
    central: Running, kept: Kept, post: Post
) -> None:
    issued = central.clock.at(datetime.now(UTC))
    answered: list[Acknowledgement] = []

    @contextmanager
    def source(on_schedule: Any) -> Iterator[Line]:
        steps = tuple((issued + timedelta(hours=h), 0.0015) for h in range(48))
        yield Line(
            lambda asset: on_schedule(asset, Schedule(asset, issued, steps)), answered.append
        )

    central.start(source)
    first = post(central.url, central.clock, gap_minutes=1, stay_minutes=100_000)
    wait_until("it is limited", lambda: central.status.limited == 1)
    first.kill()
    first.wait(PATIENCE_S)
    wait_until("it is gone", lambda: central.status.connected == 0)
    post(central.url, central.clock, gap_minutes=1, stay_minutes=100_000)
    wait_until("it is limited again", lambda: central.status.limited == 2)
    wait_until("and answered twice", lambda: len(answered) == 2)
    assert set(answered) == {Acknowledgement("post-1", issued, Answer.ACCEPTED, "sandbox-post-1")}


def test_a_charger_without_news_charges_as_it_likes_when_the_plan_is_over(
    central: Running, kept: Kept, post: Post, start_broker: Callable[..., Broker]
) -> None:
    """Twenty city hours are a minute of the wall: the plan is valid for two of them."""
    broker = start_broker()
    where = Access("127.0.0.1", broker.port)
    central.start(partial(listen, where))
    post(central.url, central.clock, gap_minutes=1, stay_minutes=100_000)

    def powers() -> list[float]:
        return list(kept.readings("1:Power.Active.Import").values())

    wait_until("it charges as it likes", lambda: max(powers(), default=0.0) > 7_000.0)
    now = central.clock.at(datetime.now(UTC))
    asked = replace(plan("post-1", 0.002, now), valid_until=now + timedelta(hours=2))
    setpoints.publish(where, [asked], issued_at=now)
    wait_until("it follows", lambda: powers()[-1] == 2_000.0)
    wait_until("it is free again", lambda: powers()[-1] > 7_000.0)
    assert kept.readings("1:Power.Active.Import")


# Plain WebSockets: what a well-behaved post never does.


class Client:
    """A charger made of single frames."""

    def __init__(self, line: Any) -> None:
        self._line = line
        self._number = 0

    async def call(self, action: str, payload: dict[str, Any]) -> list[Any]:
        """The answer; what the central system asks meanwhile is refused."""
        self._number += 1
        unique_id = f"m{self._number}"
        await self._line.send(json.dumps([2, unique_id, action, payload]))
        return await self.answer(unique_id)

    async def answer(self, unique_id: str) -> list[Any]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                frame: list[Any] = json.loads(await self._line.recv())
                if frame[0] == 2:
                    refusal = [4, frame[1], "NotImplemented", "", {}]
                    await self._line.send(json.dumps(refusal))
                elif frame[1] == unique_id:
                    return frame

    async def send(self, text: str) -> None:
        await self._line.send(text)


def header(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def line(
    central: Running,
    name: str = "sandbox-post-7",
    password: str = PASSWORD,
    versions: Sequence[str] | None = (V16,),
) -> Any:
    return connect(
        f"{central.url}/{name}",
        subprotocols=None if versions is None else [Subprotocol(v) for v in versions],
        additional_headers=header(name, password),
        compression=None,
        proxy=None,
    )


BOOT_16 = ("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})
START_16 = {
    "connectorId": 1,
    "idTag": "SECRET-CARD",
    "meterStart": 12_000,
    "timestamp": "2026-06-22T04:00:00Z",
}


@pytest.mark.parametrize(
    ("name", "password", "status"),
    [
        ("sandbox-post-7", "wrong", 401),
        ("sandbox-post-7", "", 401),
        ("sandbox-post-7/x", PASSWORD, 404),
        ("stranger", PASSWORD, 404),
        ("sandbox-post-%20", PASSWORD, 404),
        ("", PASSWORD, 404),
    ],
)
def test_strangers_are_turned_away(
    central: Running, kept: Kept, name: str, password: str, status: int
) -> None:
    central.start()

    async def knock() -> int:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with line(central, name, password):
                pass
        return refused.value.response.status_code

    assert asyncio.run(knock()) == status
    central.stop()
    assert (central.status.turned_away, central.status.connected) == (1, 0)
    assert kept.messages == []


def test_a_post_with_a_wrong_password_delivers_nothing(
    central: Running, kept: Kept, post: Post
) -> None:
    central.start()
    post(central.url, central.clock, password="wrong")
    wait_until("turned away twice", lambda: central.status.turned_away > 1)
    assert kept.messages == []


def test_a_charger_that_tries_again_and_again_is_logged_once(
    central: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """And again when the reason is another one, or after it was let in; all are counted."""
    central.start()

    async def knock(password: str, times: int = 1, name: str = "sandbox-post-7") -> None:
        for _ in range(times):
            with suppress(websockets.InvalidStatus):
                async with line(central, name, password):
                    pass

    async def all_day() -> None:
        await knock("wrong", times=5)
        await knock("", times=3, name="stranger")
        await knock("wrong", times=2)
        await knock(PASSWORD)
        await knock("wrong", times=2)

    asyncio.run(all_day())
    central.stop()
    assert central.status.turned_away == 12
    told = [r.path for r in caplog.records if r.getMessage() == "a charger is turned away"]
    assert told == ["/ocpp/sandbox-post-7", "/ocpp/stranger", "/ocpp/sandbox-post-7"]


def test_a_profile_without_a_password_lets_nobody_in(central: Running) -> None:
    (profile,) = central._settings.profiles
    central._settings = replace(
        central._settings, profiles=(replace(profile, parameters={"passwords": {"other": "x"}}),)
    )
    central.start()

    async def knock() -> None:
        with pytest.raises(websockets.InvalidStatus, match="401"):
            async with line(central):
                pass

    asyncio.run(knock())


def test_a_profile_that_does_not_register_lets_in_what_is_described(central: Running) -> None:
    (profile,) = central._settings.profiles
    central._settings = replace(
        central._settings,
        profiles=(replace(profile, register=False),),
        tags={"sandbox-post-7": frozenset({"1:SoC"})},
    )
    central.start()

    async def knock() -> None:
        async with line(central) as socket:
            assert (await Client(socket).call(*BOOT_16))[2]["status"] == "Accepted"
        with pytest.raises(websockets.InvalidStatus, match="404"):
            async with line(central, "sandbox-post-8"):
                pass

    asyncio.run(knock())


def test_the_newest_common_version_is_spoken(central: Running) -> None:
    central.start()

    async def talk() -> None:
        async with line(central, versions=(V16, V201)) as both:
            assert both.subprotocol == V201
        async with line(central, versions=("ocpp1.5", V16)) as old:
            assert old.subprotocol == V16
        for versions in (("ocpp1.5",), None):
            with pytest.raises(websockets.WebSocketException):
                async with line(central, versions=versions) as none:
                    await none.recv()

    asyncio.run(talk())


def test_a_resent_start_gets_its_id_again(central: Running, kept: Kept) -> None:
    central.start()

    async def talk() -> None:
        async with line(central) as socket:
            client = Client(socket)
            first = await client.call("StartTransaction", START_16)
            assert first[2]["idTagInfo"] == {"status": "Accepted"}
            again = await client.call("StartTransaction", START_16)
            assert again[2]["transactionId"] == first[2]["transactionId"]
            other = await client.call("StartTransaction", START_16 | {"connectorId": 2})
            assert other[2]["transactionId"] != first[2]["transactionId"]
            stop = {"transactionId": other[2]["transactionId"], "meterStop": 12_500}
            stop["timestamp"] = "2026-06-22T05:00:00Z"
            assert (await client.call("StopTransaction", stop))[2] == {}

    asyncio.run(talk())
    assert len(kept.messages) == 4
    assert {s.connector for s in kept.sessions().values()} == {1, 2}
    (ended,) = kept.whole_sessions()
    assert ended.connector == 2
    assert not any(b"SECRET-CARD" in message.payload for message in kept.messages)


def test_frames_that_are_none_do_not_end_the_conversation(central: Running, kept: Kept) -> None:
    central.start()
    errors: list[list[Any]] = []

    async def talk() -> None:
        async with line(central, versions=(V201,)) as socket:
            client = Client(socket)
            for text in ("no json", "{}", "[]", "[2]", '[2,"a","Heartbeat"]', "7", '[3,"b",{}]'):
                await client.send(text)
            await client.send('[4,"c"]')
            for unique_id, action in (("d", "NoSuchAction"), ("e", "BootNotification")):
                await client.send(json.dumps([2, unique_id, action, {}]))
                errors.append(await client.answer(unique_id))
            broken = {"evseId": 1, "meterValue": "none"}
            assert (await client.call("MeterValues", broken))[0] == 3
            assert (await client.call("Heartbeat", {}))[0] == 3

    asyncio.run(talk())
    assert [(e[0], e[2]) for e in errors] == [
        (4, "NotImplemented"),
        (4, "OccurrenceConstraintViolation"),
    ]
    assert len(kept.messages) == 1  # for the quarantine, with its reason


@pytest.mark.parametrize("version", [V16, V201])
def test_frames_with_anything_in_any_place_are_answered(
    version: str, central: Running, kept: Kept
) -> None:
    central._settings = replace(central._settings, calls_per_s=100_000.0)
    central.start()
    dice = random.Random(1)
    odd = (None, True, -1, 2**70, 1e308, "", "\0", "x" * 300, [], {}, [[]], {"id": {}}, "1970")
    frames = json.loads((FRAMES / f"{version.replace('.', '')}.json").read_text())

    def spoil(value: Any) -> Any:
        """``value`` with something odd in about one place of eight."""
        if dice.random() < 0.12:
            return dice.choice(odd)
        if isinstance(value, dict):
            return {name: spoil(inner) for name, inner in value.items()}
        return [spoil(inner) for inner in value] if isinstance(value, list) else value

    async def talk() -> list[list[Any]]:
        async with line(central, versions=(version,)) as socket:
            client = Client(socket)
            said = [dice.choice(frames)["envelope"]["frame"] for _ in range(300)]
            return [await client.call(action, spoil_payload(p)) for _, _, action, p in said]

    def spoil_payload(payload: dict[str, Any]) -> dict[str, Any]:
        spoiled = spoil(payload)
        return spoiled if isinstance(spoiled, dict) else {}

    answers = asyncio.run(talk())
    assert {answer[0] for answer in answers} <= {3, 4}
    assert [
        answer[2] for answer in answers if answer[0] == 4 and answer[2] == "InternalError"
    ] == []
    assert len(kept.messages) > 200


def test_a_message_that_is_too_long_ends_its_own_line_only(central: Running) -> None:
    central._settings = replace(central._settings, max_bytes=10_000)
    central.start()

    async def talk() -> None:
        async with line(central, "sandbox-post-8") as other, line(central) as socket:
            await socket.send("[" + "7," * 10_000)
            with pytest.raises(websockets.ConnectionClosedError, match="1009"):
                await socket.recv()
            assert (await Client(other).call(*BOOT_16))[0] == 3

    asyncio.run(talk())


def test_a_post_that_connects_anew_takes_the_place_of_its_dead_line(central: Running) -> None:
    central.start()

    async def talk() -> None:
        async with line(central) as dead, line(central) as alive:
            assert (await Client(alive).call(*BOOT_16))[0] == 3
            with pytest.raises(websockets.ConnectionClosed):
                await dead.recv()
            wait_until("one is left", lambda: central.status.connected == 1)

    asyncio.run(talk())


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


def test_over_tls(central: Running, tmp_path: Path) -> None:
    certificate, private = self_signed(tmp_path)
    central._settings = replace(central._settings, certificate=certificate, private_key=private)
    central.start()
    trusting = ssl.create_default_context(cafile=certificate)

    async def talk() -> Any:
        async with connect(
            f"wss://localhost:{central.status.port}/ocpp/sandbox-post-7",
            host="127.0.0.1",
            ssl=trusting,
            subprotocols=[Subprotocol(V16)],
            additional_headers=header("sandbox-post-7", PASSWORD),
            proxy=None,
        ) as socket:
            return await Client(socket).call(*BOOT_16)

    assert asyncio.run(talk())[2]["status"] == "Accepted"


def test_a_certificate_that_cannot_be_used_is_named(
    settings: OcppSettings, kept: Kept, tmp_path: Path
) -> None:
    wrong = replace(settings, certificate=tmp_path / "none.pem")
    with pytest.raises(ConfigurationError, match=r"none\.pem cannot be used"):
        run_ocpp(wrong, kept.accept, lambda: CITY, threading.Event())


def test_a_port_that_is_taken_is_named(
    central: Running, settings: OcppSettings, kept: Kept, tmp_path: Path
) -> None:
    central.start()
    taken = replace(settings, port=central.status.port, transactions=tmp_path / "other.sqlite")
    with pytest.raises(ServiceError, match=str(central.status.port)):
        run_ocpp(taken, kept.accept, lambda: CITY, threading.Event())


def test_a_card_is_not_even_logged(central: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ingest")
    central.start()

    async def talk() -> None:
        async with line(central) as socket:
            client = Client(socket)
            await client.call("Authorize", {"idTag": "SECRET-CARD"})
            await client.call("Authorize", {"idTag": "SECRET-CARD" * 3})
            await client.call("StartTransaction", START_16)

    asyncio.run(talk())
    central.stop()
    said = [r for r in caplog.records if r.name.startswith("ingest")]
    assert said
    assert not any("SECRET" in str(vars(record)) for record in said)


def test_a_hundred_chargers(central: Running, kept: Kept) -> None:
    central.start()

    async def charge(number: int) -> int:
        async with line(central, f"sandbox-post-{number}") as socket:
            client = Client(socket)
            assert (await client.call(*BOOT_16))[2]["status"] == "Accepted"
            start = await client.call("StartTransaction", START_16 | {"meterStart": number})
            transaction: int = start[2]["transactionId"]
            for minute in range(1, 6):
                sample = {"value": str(number + 100 * minute)}
                values = {"timestamp": f"2026-06-22T04:0{minute}:00Z", "sampledValue": [sample]}
                told = {"connectorId": 1, "transactionId": transaction, "meterValue": [values]}
                assert (await client.call("MeterValues", told))[0] == 3
            return transaction

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(charge(number) for number in range(100)))

    transactions = asyncio.run(all_of_them())
    assert len(set(transactions)) == 100
    sessions = kept.sessions()
    assert len(sessions) == 100
    assert {round((s.energy_mwh or 0.0) * 1e6) for s in sessions.values()} == {500}
    assert {m.topic for m in kept.messages} == {f"ocpp/sandbox-post-{n}" for n in range(100)}
    central.stop()
    assert central.status.accepted == 600


@pytest.mark.parametrize(
    "parameters",
    [{"limit_unit": "kW"}, {"phases": "many"}, {"interval_s": 0}, {"configuration": ["a"]}],
)
def test_a_profile_that_cannot_be_used_stops_the_start(
    settings: OcppSettings, kept: Kept, parameters: dict[str, Any]
) -> None:
    (profile,) = settings.profiles
    wrong = replace(settings, profiles=(replace(profile, parameters=parameters),))
    with pytest.raises(ConfigurationError, match=r"sandbox-charging-post|limited"):
        run_ocpp(wrong, kept.accept, lambda: CITY, threading.Event())
