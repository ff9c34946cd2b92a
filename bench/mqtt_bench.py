"""Single readings from publish to commit, against the same receiver with nothing behind it.

One publisher, one broker, one receiver; in turns the receiver's sink is the table of an embedded
server and a sink that does nothing. The difference is what storing costs; the rest is the
broker's and the MQTT client's. No reading comes twice.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from app.wiring import StoreSink
from core.readings import Rejected, empty_batch
from core.series import Series
from core.sites import Tag
from ingest.broker import Broker
from ingest.mapping import TagMap
from ingest.mqtt import MqttSettings, run_mqtt
from ingest.pipeline import Status
from store import series
from store.database import Database
from store.embedded import EmbeddedServer
from store.migrate import migrate

MESSAGES = 3_000
ROUNDS = 5
SERIES = 100
_FIRST_S = 1_782_057_600  # 2026-06-22 00:00 +08:00
_LONGEST_S = 60.0


class _Table(StoreSink):
    """The application's own sink; nothing of what is sent here may be refused."""

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        raise AssertionError(rejected[0].reason)


class _Nothing:
    """Counts."""

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        return len(batch), 0

    def latest(self) -> np.ndarray:
        return empty_batch()

    def beat(self, receiver: str, at: datetime) -> None:
        pass

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        raise AssertionError(rejected[0].reason)


@contextmanager
def _database() -> Iterator[Database]:
    folder = Path(tempfile.mkdtemp(prefix="verdigrid-bench-"))
    server = EmbeddedServer.start(folder)
    try:
        with Database(server.url) as database:
            migrate(database)
            yield database
    finally:
        server.stop()
        shutil.rmtree((folder / "cluster").resolve())
        shutil.rmtree(folder)


@contextmanager
def _broker() -> Iterator[Broker]:
    folder = Path(tempfile.mkdtemp(prefix="verdigrid-bench-"))
    broker = Broker.start(folder)
    try:
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(folder)


class _Receiver:
    """run_mqtt in a thread, and what it has stored."""

    def __init__(self, port: int, sink: _Table | _Nothing, tag_map: TagMap) -> None:
        self._changed = threading.Condition()
        self._status = Status()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=run_mqtt,
            args=(
                MqttSettings(port=port),
                sink,
                lambda: tag_map,
                lambda: datetime.now(UTC),
                self._stop,
                self._note,
            ),
        )
        self._thread.start()
        self.wait(lambda status: status.connected)

    def _note(self, status: Status) -> None:
        with self._changed:
            self._status = status
            self._changed.notify_all()

    def wait(self, condition) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self._status), _LONGEST_S):
                raise TimeoutError(f"The receiver stands still: {self._status}")

    def finish(self) -> None:
        self._stop.set()
        self._thread.join()


def _payloads(round_: int) -> list[bytes]:
    return [
        json.dumps(
            [
                {
                    "n": f"urn:dev:meter-{i % SERIES}:p",
                    "u": "kW",
                    "bt": _FIRST_S + round_ * 1_000_000 + i // SERIES * 900,
                    "v": i / 7,
                }
            ]
        ).encode()
        for i in range(MESSAGES)
    ]


def _run(port: int, sink: _Table | _Nothing, tag_map: TagMap, round_: int) -> float:
    """Seconds from the first publish to the commit of the last reading."""
    payloads = _payloads(round_)
    receiver = _Receiver(port, sink, tag_map)
    publisher = paho.Client(CallbackAPIVersion.VERSION2, client_id="verdigrid-bench")
    publisher.max_inflight_messages_set(1_000)
    publisher.connect("127.0.0.1", port)
    publisher.loop_start()
    try:
        began = time.perf_counter()
        for payload in payloads:
            publisher.publish("senml/bench/gateway", payload, qos=1)
        receiver.wait(lambda status: status.stored >= MESSAGES)
        return time.perf_counter() - began
    finally:
        publisher.disconnect()
        publisher.loop_stop()
        receiver.finish()


def rows() -> list[dict[str, object]]:
    """figure, ours and reference (messages/s, medians), ratio, unit, note."""
    spent: dict[str, list[float]] = {"table": [], "nothing": []}
    known = [Series("bench", f"meter-{i}", "p_mw") for i in range(SERIES)]
    tags = [Tag(f"urn:dev:{one.asset}", "p", "kW", one.key) for one in known]
    with _database() as database, _broker() as broker:
        with database.connection() as connection:
            ids = series.register(connection, known)
        tag_map = TagMap(tags, ids)
        for round_ in range(ROUNDS + 1):
            for name, sink in (("table", _Table(database)), ("nothing", _Nothing())):
                seconds = _run(broker.port, sink, tag_map, round_)
                if round_ > 0:  # the first one warms up
                    spent[name].append(seconds)
        kind = broker.kind.value
    ours, reference = (MESSAGES / statistics.median(spent[name]) for name in ("table", "nothing"))
    pairs = zip(spent["table"], spent["nothing"], strict=True)
    ratios = [nothing / table for table, nothing in pairs]  # of neighbours: load falls on both
    return [
        {
            "figure": f"MQTT single readings, publish to commit, {kind}",
            "ours": round(ours),
            "reference": round(reference),
            "ratio": round(statistics.median(ratios), 3),
            "unit": "messages/s",
            "note": "the reference is the same receiver with a sink that does nothing; "
            "the publisher shares the machine",
        }
    ]


if __name__ == "__main__":
    for row in rows():
        print(row)
