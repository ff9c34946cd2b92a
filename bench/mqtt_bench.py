"""MQTT from publish to commit, against the same receiver with nothing behind it and against COPY.

One publisher in a process of its own, one broker, one receiver in this process, in turns with the
table of an embedded server behind it and with a sink that does nothing. No reading comes twice.
The publisher, the broker and the server share the machine with the receiver, as they do in a city
on one machine.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from psycopg.sql import SQL

from app.wiring import StoreSink
from bench.mqtt_publisher import FIRST_S, PACK, STEP_S, device, publisher
from core.readings import READING_DTYPE, Rejected, empty_batch
from core.series import Series
from core.sites import Tag
from core.timeaxis import from_us
from ingest.broker import Broker
from ingest.inbox import Inbox
from ingest.mapping import TagMap
from ingest.messages import Message
from ingest.mqtt import MqttSettings, run_mqtt
from ingest.mqtt_access import Access
from ingest.mqtt_session import Session, SessionSettings
from ingest.pipeline import BatchSettings, Status
from store import backend, copybinary, series, writing
from store.database import Database
from store.embedded import EmbeddedServer
from store.migrate import migrate

ROUNDS = 5
SERIES = 1_000
SINGLES = 20_000
PACKS = 2_000
TIMED_RATE = 5_000
TIMED_S = 6
ALONE = 40_000
COPY_ROWS = 10_000
_LONGEST_S = 60.0

_COPY = SQL("COPY reading (series_id, ts, value, quality) FROM STDIN (FORMAT BINARY)")


class Nothing:
    """A sink that counts; nothing of what is sent here may be refused."""

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        """Nothing."""
        return len(batch), 0

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """An error: what is sent here is in order."""
        raise AssertionError(rejected[0].reason)

    def register(self, registrations: Sequence[Any]) -> Sequence[Any]:
        """As ``quarantine``."""
        raise AssertionError(registrations[0])

    def charging(self, events: Sequence[Any]) -> None:
        """As ``quarantine``."""
        raise AssertionError(events[0])

    def latest(self) -> np.ndarray:
        """Nothing."""
        return empty_batch()

    def beat(self, receiver: str, at: datetime) -> None:
        """Nothing."""


class Table(StoreSink):
    """The application's own sink; nothing of what is sent here may be refused."""

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """An error: what is sent here is in order."""
        raise AssertionError(rejected[0].reason)


class Timed(Table):
    """Notes for each reading how long after its sending it was committed."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.waited_s: list[np.ndarray] = []

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        """As the table's, and the clock is read when the commit is done."""
        result = super().write(batch)
        self.waited_s.append(time.monotonic() - batch["value"])
        return result


@contextmanager
def server() -> Iterator[EmbeddedServer]:
    """A new embedded server with the schema."""
    folder = Path(tempfile.mkdtemp(prefix="verdigrid-bench-"))
    started = EmbeddedServer.start(folder)
    try:
        with Database(started.url) as opened:
            migrate(opened)
        yield started
    finally:
        started.stop()
        shutil.rmtree((folder / "cluster").resolve())
        shutil.rmtree(folder)


@contextmanager
def broker() -> Iterator[Broker]:
    """A new broker, mosquitto where it is installed."""
    folder = Path(tempfile.mkdtemp(prefix="verdigrid-bench-"))
    started = Broker.start(folder)
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(folder)


@contextmanager
def receiver(
    port: int, sink: Nothing | Table, tag_map: TagMap
) -> Iterator[Callable[[Callable[[Status], bool]], None]]:
    """run_mqtt in a thread; gives a function that waits until the status is as wished."""
    changed = threading.Condition()
    status = Status()
    stop = threading.Event()

    def note(new: Status) -> None:
        nonlocal status
        with changed:
            status = new
            changed.notify_all()

    def wait(condition: Callable[[Status], bool]) -> None:
        with changed:
            if not changed.wait_for(lambda: condition(status), _LONGEST_S):
                raise TimeoutError(f"The receiver stands still: {status}")

    settings = MqttSettings(
        access=Access(port=port),
        batch=BatchSettings(rows=10_000),
        quota=None,  # a hundred devices send what a hundred thousand do
    )
    thread = threading.Thread(
        target=run_mqtt,
        args=(settings, sink, lambda: tag_map, lambda: datetime.now(UTC), stop, note),
    )
    thread.start()
    try:
        wait(lambda s: s.connected)
        yield wait
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True)
class City:
    """Broker, database and tags of a run."""

    broker: Broker
    database: Database
    tag_map: TagMap

    def run(self, kind: str, sink: Nothing | Table, round_: int, count: int, rows: int) -> float:
        """Seconds from the first publish to the commit of the last of ``rows`` readings."""
        port = self.broker.port
        with (
            receiver(port, sink, self.tag_map) as wait,
            publisher(port, kind, first=round_ * count, count=count, series=SERIES) as sender,
        ):
            began = time.perf_counter()
            sender.go()
            wait(lambda status: status.stored >= rows)
            return time.perf_counter() - began


@contextmanager
def city() -> Iterator[City]:
    """A broker, a database with its days made, and SERIES devices."""
    known = [Series("bench", f"m-{i:07d}", "p_mw") for i in range(SERIES)]
    tags = [Tag(device(i), "p", "kW", one.key) for i, one in enumerate(known)]
    with server() as served, Database(served.url) as opened, broker() as started:
        with opened.connection() as connection:
            ids = series.register(connection, known)
            days = range(FIRST_S, FIRST_S + 40 * 86_400, 86_400)
            backend.ensure(connection, (from_us(s * 1_000_000).date() for s in days))
        yield City(started, opened, TagMap(tags, ids))


def singles() -> dict[str, object]:
    """Single readings to commit, against the same receiver without a database."""
    spent: dict[str, list[float]] = {"table": [], "nothing": []}
    with city() as here:
        for round_ in range(ROUNDS + 1):
            for name, sink in (("table", Table(here.database)), ("nothing", Nothing())):
                seconds = here.run("single", sink, round_, SINGLES, SINGLES)
                if round_ > 0:  # the first one warms up
                    spent[name].append(seconds)
        kind = here.broker.kind.value
    ratios = [n / t for t, n in zip(spent["table"], spent["nothing"], strict=True)]
    return {
        "figure": f"MQTT single readings, publish to commit, {kind}",
        "ours": round(SINGLES / statistics.median(spent["table"])),
        "reference": round(SINGLES / statistics.median(spent["nothing"])),
        "ratio": round(statistics.median(ratios), 3),
        "unit": "messages/s",
        "note": "the reference is the same receiver with a sink that does nothing",
    }


def packs() -> dict[str, object]:
    """Payloads of a hundred readings to commit, against COPY BINARY of as many rows."""
    ours, copied, busy = [], [], []
    rows = PACKS * PACK
    with city() as here:
        for round_ in range(ROUNDS + 1):
            began = time.process_time()
            seconds = here.run("pack", Table(here.database), round_, PACKS, rows)
            busy_s = time.process_time() - began
            reference = _copy(here.database, round_, rows)
            if round_ > 0:
                ours.append(seconds)
                copied.append(reference)
                busy.append(busy_s)
        kind = here.broker.kind.value
    return {
        "figure": f"MQTT payloads of {PACK} readings (SenML), publish to commit, {kind}",
        "ours": round(rows / statistics.median(ours)),
        "reference": round(rows / statistics.median(copied)),
        "ratio": round(statistics.median(c / o for o, c in zip(ours, copied, strict=True)), 3),
        "unit": "rows/s",
        "note": "the reference is COPY BINARY of ready-made bytes into the same table; processor "
        f"time of our process: {statistics.median(busy) / rows * 1e6:.1f} µs a row, on one core "
        "while the server writes on the other",
    }


def _copy(opened: Database, round_: int, rows: int) -> float:
    """Seconds that COPY takes for as many rows of other series in the same order, by batches."""
    first = FIRST_S * 1_000_000 + round_ * rows // SERIES * STEP_S * 1_000_000
    texts = []
    for begin in range(0, rows, COPY_ROWS):
        number = np.arange(begin, begin + COPY_ROWS)
        batch = np.zeros(COPY_ROWS, READING_DTYPE)
        batch["series_id"] = SERIES + 1 + number % SERIES
        batch["ts_us"] = first + number // SERIES * STEP_S * 1_000_000
        texts.append(b"".join(writing.encode(writing.prepare(batch))))
    began = time.perf_counter()
    for text in texts:
        with opened.connection() as connection:
            copybinary.send(connection, _COPY, text)
    return time.perf_counter() - began


def latency() -> dict[str, object]:
    """The 99th percentile from publish to commit at TIMED_RATE messages a second."""
    count = TIMED_RATE * TIMED_S
    flush_s = BatchSettings().wait_s
    with city() as here:
        sink = Timed(here.database)
        port = here.broker.port
        with (
            receiver(port, sink, here.tag_map) as wait,
            publisher(
                port, "timed", first=0, count=count, series=SERIES, rate=TIMED_RATE
            ) as sender,
        ):
            sender.go()
            wait(lambda status: status.stored >= count)
            took = sender.finish()
        waited_s = np.concatenate(sink.waited_s)
        kind = here.broker.kind.value
    assert len(waited_s) == count
    settled = waited_s[TIMED_RATE:]  # the first second warms up
    p50, p99, most = np.percentile(settled, [50, 99, 100]) * 1_000
    wanted = min(2_000 * flush_s + 10, 50)
    return {
        "figure": f"Publish to commit, p99 at {TIMED_RATE:,} messages/s, {kind}",
        "ours": round(float(p99), 1),
        "reference": wanted,
        "ratio": round(wanted / float(p99), 2),
        "unit": "ms",
        "note": f"the reference is the limit: two flush intervals of {flush_s * 1e3:.0f} ms and "
        f"10 ms, and 50; p50 {p50:.1f}, longest {most:.1f} ms; "
        f"sent at {count / took:,.0f} a second",
    }


def alone() -> dict[str, object]:
    """Receive and acknowledge, nothing else: our session against paho's client."""
    spent: dict[str, list[tuple[float, float]]] = {"ours": [], "paho": []}
    with broker() as started:
        for round_ in range(ROUNDS + 1):
            for name, run in (("ours", _ours_alone), ("paho", _paho_alone)):
                figures = run(started.port)
                if round_ > 0:
                    spent[name].append(figures)
        kind = started.kind.value
    seconds, cpu = (
        {n: statistics.median(f[k] for f in found) for n, found in spent.items()} for k in (0, 1)
    )
    return {
        "figure": f"MQTT receiver alone, acknowledging what it receives, {kind}",
        "ours": round(ALONE / seconds["ours"]),
        "reference": round(ALONE / seconds["paho"]),
        "ratio": round(seconds["paho"] / seconds["ours"], 2),
        "unit": "messages/s",
        "note": "the reference is paho-mqtt; processor time of a message: ours "
        f"{cpu['ours'] / ALONE * 1e6:.0f} µs, paho {cpu['paho'] / ALONE * 1e6:.0f} µs; "
        "publisher and broker share the machine",
    }


def _flooded(port: int, done: Callable[[], object]) -> tuple[float, float]:
    """Seconds and processor seconds of this process until ``done`` returns."""
    with publisher(port, "single", first=0, count=ALONE, series=SERIES) as sender:
        began, busy = time.perf_counter(), time.process_time()
        sender.go()
        done()
        return time.perf_counter() - began, time.process_time() - busy


def _ours_alone(port: int) -> tuple[float, float]:
    inbox: Inbox[Message] = Inbox()
    up = threading.Event()
    session = Session(
        SessionSettings(Access(port=port), "bench-ours"),
        ["senml/+/+"],
        lambda: datetime.now(UTC),
        inbox.put,
        lambda connected, _: up.set() if connected else None,
    )

    def take_all() -> None:
        left = ALONE
        while left:
            taken = inbox.take(1.0)
            session.acknowledge(taken)
            left -= len(taken)

    try:
        up.wait(_LONGEST_S)
        return _flooded(port, take_all)
    finally:
        session.close()
        _forget(port, "bench-ours")


def _paho_alone(port: int) -> tuple[float, float]:
    client = paho.Client(
        CallbackAPIVersion.VERSION2, "bench-paho", clean_session=False, manual_ack=True
    )
    left = ALONE
    up, done = threading.Event(), threading.Event()

    def take(client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        nonlocal left
        client.ack(message.mid, message.qos)
        left -= 1
        if not left:
            done.set()

    def subscribe(*_: object) -> None:
        client.subscribe("senml/+/+", 1)

    client.on_connect = subscribe
    client.on_subscribe = lambda *_: up.set()
    client.on_message = take
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        up.wait(_LONGEST_S)
        return _flooded(port, lambda: done.wait(_LONGEST_S))
    finally:
        client.disconnect()
        client.loop_stop()
        _forget(port, "bench-paho")


def _forget(port: int, client_id: str) -> None:
    """End a session, or the broker would keep everything for it from now on."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=True)

    def leave(*_: object) -> None:
        client.disconnect()

    client.on_connect = leave
    client.connect("127.0.0.1", port)
    client.loop_forever()


def rows() -> list[dict[str, object]]:
    """figure, ours, reference (medians), ratio, unit, note."""
    return [singles(), packs(), latency(), alone()]


if __name__ == "__main__":
    for row in rows():
        print(row)
