"""Brokers, databases and tags that the tests of ingest share; all of them real."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from core.readings import READING_DTYPE, Rejected
from core.series import Series
from core.sites import Registration, Tag
from ingest.broker import Broker, BrokerKind, mosquitto_program
from ingest.mapping import TagMap
from store import series
from store.database import Database
from store.embedded import EmbeddedServer
from store.migrate import migrate

FRAMES = Path(__file__).parent / "frames"


class ListSink:
    """A sink that keeps everything in memory; a key that is there already is a duplicate."""

    def __init__(self) -> None:
        self.readings: dict[tuple[int, int], float] = {}
        self.rejected: list[Rejected] = []
        self.batches: list[int] = []
        self.registered: list[Registration] = []
        self.events: list[object] = []
        self.beats: list[tuple[str, datetime]] = []
        self.changed = threading.Condition()

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        assert batch.dtype == READING_DTYPE
        with self.changed:
            before = len(self.readings)
            for series_id, ts_us, value, _ in batch.tolist():
                self.readings.setdefault((series_id, ts_us), value)
            self.batches.append(len(batch))
            new = len(self.readings) - before
            self.changed.notify_all()
        return new, len(batch) - new

    def quarantine(self, rejected: list[Rejected]) -> None:
        with self.changed:
            self.rejected.extend(rejected)
            self.changed.notify_all()

    def register(self, registrations: Sequence[Registration]) -> None:
        with self.changed:
            self.registered.extend(registrations)
            self.changed.notify_all()

    def charging(self, events: Sequence[object]) -> None:
        with self.changed:
            self.events.extend(events)
            self.changed.notify_all()

    def latest(self) -> np.ndarray:
        """The newest of what was written."""
        newest: dict[int, tuple[int, float]] = {}
        for (series_id, ts_us), value in self.readings.items():
            newest[series_id] = max(newest.get(series_id, (ts_us, value)), (ts_us, value))
        rows = [(series_id, ts_us, value, 0) for series_id, (ts_us, value) in newest.items()]
        return np.array(rows, dtype=READING_DTYPE)

    def beat(self, receiver: str, at: datetime) -> None:
        self.beats.append((receiver, at))

    def wait_for(self, readings: int, timeout: float = 20.0) -> bool:
        """Whether so many readings arrived in time."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.readings) >= readings, timeout)


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
def frame() -> Callable[[str], bytes]:
    """A recorded frame by its file name."""
    return lambda name: (FRAMES / name).read_bytes()


@pytest.fixture
def received_at() -> datetime:
    return datetime(2026, 6, 22, 4, 0, tzinfo=UTC)


@pytest.fixture
def tag_map() -> TagMap:
    """A meter in kW, a battery's state of charge in percent, an air station, a thermometer."""
    tags = [
        Tag("urn:dev:meter-1", "p", "kW", "demo/meter-1/p_mw"),
        Tag("urn:dev:battery-1", "soc", "%", "demo/battery-1/soc"),
        Tag("0101010101010101", "pm2_5", "µg/m3", "demo/air-01/pm2_5"),
        Tag("0101010101010101", "o3.value", "µg/m3", "demo/air-01/o3"),
        Tag("urn:dev:weather", "t", "degC", "demo/weather/temp_air"),
    ]
    return TagMap(tags, {tag.series_key: i for i, tag in enumerate(tags, start=1)})


def _kinds() -> list[pytest.param]:
    missing = mosquitto_program() is None
    reason = "the program mosquitto is not installed (apt-get install mosquitto)"
    skipped = pytest.mark.skipif(missing, reason=reason)
    return [
        pytest.param(BrokerKind.MOSQUITTO, marks=[pytest.mark.broker, skipped]),
        pytest.param(BrokerKind.AMQTT),
    ]


@pytest.fixture(params=_kinds())
def broker_kind(request: pytest.FixtureRequest) -> BrokerKind:
    """Each program that can be the broker."""
    kind: BrokerKind = request.param
    return kind


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts brokers in one folder, however often; none is left at the end."""
    folder = tmp_path / "broker"
    started: list[Broker] = []

    def start(kind: BrokerKind | None = None, port: int = 0) -> Broker:
        started.append(Broker.start(folder, port, kind))
        return started[-1]

    yield start
    Broker.stop_left(folder)
    for one in started:
        assert not one.alive()  # also collects the child


@pytest.fixture
def broker(start_broker: Callable[..., Broker], broker_kind: BrokerKind) -> Broker:
    """A running broker of each kind."""
    return start_broker(broker_kind)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of our own, with a meter to store for."""
    data_dir = tmp_path_factory.mktemp("ingest") / "database"
    started = EmbeddedServer.start(data_dir)
    with Database(started.url) as database:
        migrate(database)
        with database.connection() as connection:
            series.register(connection, [Series("demo", "meter-1", "p_mw")])
    yield started
    EmbeddedServer.start(data_dir).stop()
    with suppress(FileNotFoundError):
        shutil.rmtree((data_dir / "cluster").resolve())


class Publisher:
    """Publishes at QoS 1 and knows which messages the broker acknowledged."""

    def __init__(self, port: int, name: str = "test-publisher") -> None:
        self._numbers: dict[int, int] = {}
        self._answered: set[int] = set()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.max_inflight_messages_set(200)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = self._on_publish
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _on_publish(self, _client: object, _data: object, mid: int, *_: object) -> None:
        self._answered.add(mid)

    @property
    def acknowledged(self) -> set[int]:
        """The numbers of the messages that the broker has acknowledged."""
        return {self._numbers[mid] for mid in self._answered.copy() if mid in self._numbers}

    def publish(self, number: int, topic: str, payload: bytes) -> None:
        """Send message ``number``; there are fewer than 65,536, so packet ids do not repeat."""
        self._numbers[self._client.publish(topic, payload, qos=1).mid] = number

    def meter(self, number: int, p_kw: float = 1.0) -> None:
        """Send one reading of the meter; its time is ``number`` seconds into 2026-06-22."""
        record = {"n": "urn:dev:meter-1:p", "u": "kW", "bt": 1_782_086_400 + number, "v": p_kw}
        self.publish(number, "senml/demo/gateway", json.dumps([record]).encode())

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def publisher() -> Iterator[Callable[[int], Publisher]]:
    """Publishers to a port, closed at the end."""
    opened: list[Publisher] = []

    def connect(port: int) -> Publisher:
        opened.append(Publisher(port, f"test-publisher-{len(opened)}"))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()
