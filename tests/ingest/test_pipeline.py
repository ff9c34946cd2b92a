"""Commit first, then acknowledge; a store that is away is waited for; poison harms nobody."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from core.charging import ChargingEvent, SessionStep
from core.errors import StoreError, StoreUnavailableError
from core.readings import Quality
from core.sites import AssetKind, DeviceProfile, ProfileTag, Route, Tag
from core.timeaxis import to_us
from ingest.decoded import Decoded
from ingest.inbox import Inbox
from ingest.mapping import TagMap
from ingest.messages import Message
from ingest.overflow import Quota, open_bundle
from ingest.pipeline import BatchSettings, Pipeline
from ingest.protocols import MessageProtocol, Protocols, find, senml
from ingest.registration import Registrar

QUICK = BatchSettings(rows=50, wait_s=0.02, retry_s=0.01, retry_max_s=0.02)
BASE = 1_782_086_400


class Journal:
    """Notes the order of commits and acknowledgements, and can be told to fail."""

    def __init__(self, sink, poison=frozenset()):
        self.sink, self.poison = sink, poison
        self.away = False
        self.events: list[tuple[str, list[int]]] = []
        self.acknowledged: list[int] = []
        self.attempts = 0

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        self.attempts += 1
        if self.away:
            raise StoreUnavailableError("The database is away.")
        times = ((batch["ts_us"] // 1_000_000) - BASE).tolist()
        if self.poison & set(times):
            raise StoreError("The database refuses this row.")
        self.events.append(("write", times))
        return self.sink.write(batch)

    def quarantine(self, rejected) -> None:
        if self.away:
            raise StoreUnavailableError("The database is away.")
        self.events.append(("quarantine", [len(rejected)]))
        self.sink.quarantine(rejected)

    def latest(self) -> np.ndarray:
        return self.sink.latest()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        mids = [m.ticket[1] for m in messages]
        self.events.append(("acknowledge", mids))
        self.acknowledged.extend(mids)


@pytest.fixture
def message(received_at):
    def make(number, payload=None):
        record = {"n": "urn:dev:meter-1:p", "bt": BASE + number, "v": number}
        body = json.dumps([record]).encode() if payload is None else payload
        return Message("senml/demo/g", body, received_at, (0, number, 1))

    return make


class Running:
    """A pipeline in a thread."""

    def __init__(self, journal, tag_map, settings=QUICK):
        self.inbox: Inbox[Message] = Inbox()
        self.stop = threading.Event()
        self.pipeline = Pipeline(
            find(), journal, lambda: tag_map, journal.acknowledge, batch=settings
        )
        self.thread = threading.Thread(target=self.pipeline.run, args=(self.inbox, self.stop))
        self.thread.start()

    def wait(self, condition, timeout=10.0):
        deadline = time.monotonic() + timeout
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert condition()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_acknowledged_after_the_commit_only(sink, tag_map, message):
    journal = Journal(sink)
    with Running(journal, tag_map) as running:
        for number in range(1, 201):
            running.inbox.put([message(number)])
        running.wait(lambda: len(journal.acknowledged) == 200)
    committed: set[int] = set()
    for kind, numbers in journal.events:
        if kind == "write":
            committed |= set(numbers)
        else:
            assert set(numbers) <= committed
    assert sorted(journal.acknowledged) == list(range(1, 201))
    assert len(sink.batches) < 50  # in batches, not one by one


def test_while_the_store_is_away_nothing_is_acknowledged_and_nothing_lost(sink, tag_map, message):
    journal = Journal(sink)
    journal.away = True
    with Running(journal, tag_map) as running:
        for number in range(1, 101):
            running.inbox.put([message(number, b"broken" if number == 50 else None)])
        running.wait(lambda: journal.attempts > 3)
        assert journal.acknowledged == []
        assert "away" in running.pipeline.status.last_error
        journal.away = False
        running.wait(lambda: len(journal.acknowledged) == 100)
        running.wait(lambda: running.pipeline.status.last_error == "")
    status = running.pipeline.status
    assert (status.received, status.stored, status.quarantined) == (100, 99, 1)


def test_a_stop_while_the_store_is_away_leaves_messages_unacknowledged(sink, tag_map, message):
    journal = Journal(sink)
    journal.away = True
    with Running(journal, tag_map) as running:
        running.inbox.put([message(1)])
        running.wait(lambda: journal.attempts > 0)
    assert journal.acknowledged == []


def test_a_stop_finishes_the_batch_at_hand(sink, tag_map, message):
    journal = Journal(sink)
    slow = BatchSettings(rows=1000, wait_s=0.3)
    with Running(journal, tag_map, slow) as running:
        running.inbox.put([message(1)])
        running.wait(lambda: len(running.inbox) == 0)
    assert journal.acknowledged == [1]
    assert len(sink.readings) == 1


def test_what_cannot_be_read_is_kept_and_acknowledged(sink, tag_map, message):
    journal = Journal(sink)
    unknown = json.dumps([{"n": "urn:dev:nobody:p", "bt": BASE, "v": 1}]).encode()
    with Running(journal, tag_map) as running:
        running.inbox.put([message(1, b"\xff\x00")])
        running.inbox.put([message(2, unknown)])
        running.inbox.put([message(3)])
        running.wait(lambda: len(journal.acknowledged) == 3)
    assert "UTF-8" in sink.rejected[0].reason
    assert [(r.reason, r.payload) for r in sink.rejected] == [
        (sink.rejected[0].reason, b"\xff\x00"),
        ("unknown device 'urn:dev:nobody'", unknown),
    ]
    assert {r.source for r in sink.rejected} == {"senml/demo/g"}
    assert len(sink.readings) == 1


@pytest.mark.parametrize("poison", [{1}, {40}, {7, 8, 33}, set(range(1, 41))])
def test_a_refused_batch_is_halved_until_the_culprits_are_alone(sink, tag_map, message, poison):
    journal = Journal(sink, frozenset(poison))
    whole = BatchSettings(rows=1000, wait_s=0.3)
    with Running(journal, tag_map, whole) as running:
        for number in range(1, 41):
            running.inbox.put([message(number)])
        running.wait(lambda: len(journal.acknowledged) == 40)
    kept = {ts_us // 1_000_000 - BASE for _, ts_us in sink.readings}
    assert kept == set(range(1, 41)) - poison
    assert {json.loads(r.payload)[0]["v"] for r in sink.rejected} == poison
    assert {r.reason for r in sink.rejected} == {"store: The database refuses this row."}


def test_a_changed_catalogue_counts_from_the_next_batch(sink, tag_map, message):
    journal = Journal(sink)
    maps = iter([StoreUnavailableError("not yet"), tag_map])

    def provide():
        found = next(maps)
        if isinstance(found, Exception):
            raise found
        return found

    stop = threading.Event()
    inbox: Inbox[Message] = Inbox()
    inbox.put([message(1)])
    pipeline = Pipeline(
        find(),
        journal,
        provide,
        journal.acknowledge,
        batch=QUICK,
        on_status=lambda status: stop.set() if status.received else None,
    )
    pipeline.run(inbox, stop)
    assert journal.acknowledged == [1]


def served(journal, tag_map, messages, protocols=None, **options):
    """A pipeline that has processed ``messages``."""
    stop = threading.Event()
    inbox: Inbox[Message] = Inbox()
    inbox.put(messages)
    pipeline = Pipeline(
        protocols or find(),
        journal,
        lambda: tag_map,
        journal.acknowledge,
        batch=QUICK,
        on_status=lambda s: stop.set() if s.received == len(messages) else None,
        **options,
    )
    pipeline.run(inbox, stop)
    return pipeline


def test_an_error_of_ours_ends_in_the_quarantine_and_the_others_go_on(sink, tag_map, message):
    def decode(topic, payload, received_at):
        decoded = senml.decode(topic, payload, received_at)
        number = int(decoded.value[0])
        if number == 3:
            raise ZeroDivisionError("a bug in the decoder")
        if number == 5:
            return Decoded(decoded.names, [2**70], decoded.value)  # no int64
        if number == 7:
            return Decoded(decoded.names, decoded.ts_us, decoded.value * 2)  # too many values
        return decoded

    journal = Journal(sink)
    protocols = Protocols((MessageProtocol("senml", ("senml/#",), decode),), ())
    served(journal, tag_map, [message(n) for n in range(1, 41)], protocols)
    assert sorted(journal.acknowledged) == list(range(1, 41))
    kept = {ts_us // 1_000_000 - BASE for _, ts_us in sink.readings}
    assert kept == set(range(1, 41)) - {3, 5, 7}
    reasons = {json.loads(r.payload)[0]["v"]: r.reason for r in sink.rejected}
    assert set(reasons) == {3, 5, 7}
    assert "ZeroDivisionError: a bug in the decoder" in reasons[3]
    assert all(reason.startswith("our error") for reason in reasons.values())


AIR = DeviceProfile(
    "air", "senml", "urn:dev:air-*", AssetKind.AIR_STATION,
    (ProfileTag("pm2_5", "pm2_5", "µg/m3"),), register=True,
)  # fmt: skip


def pack(number, device, tag, value, received_at):
    record = {"n": f"{device}:{tag}", "bt": BASE + number, "v": value}
    return Message("senml/demo/g", json.dumps([record]).encode(), received_at, (0, number, 1))


class Registry(Journal):
    """Gives each registered tag the next series id."""

    def __init__(self, sink):
        super().__init__(sink)
        self.registered = []

    def register(self, registrations):
        if self.away:
            raise StoreUnavailableError("The database is away.")
        self.registered += registrations
        return [
            Route(t.device, t.tag, t.unit, "pm2_5", 100 + n)
            for n, t in enumerate(tag for made in registrations for tag in made.tags)
        ]


def test_a_new_device_registers_and_nothing_of_its_first_message_is_lost(sink, received_at):
    journal = Registry(sink)
    tag_map = TagMap(registrar=Registrar("demo", (AIR,)))
    messages = [pack(n, f"urn:dev:air-{n % 3}", "pm2_5", n, received_at) for n in range(1, 31)]
    messages.append(pack(31, "urn:dev:stranger", "pm2_5", 1, received_at))
    messages.append(pack(32, "urn:dev:air-1", "battery", 1, received_at))
    pipeline = served(journal, tag_map, messages)
    assert sorted(made.device for made in journal.registered) == [
        f"urn:dev:air-{n}" for n in range(3)
    ]
    assert len(sink.readings) == 30
    assert pipeline.status.registered == 3
    stranger, battery = sink.rejected
    assert "no profile of the protocol senml fits it" in stranger.reason
    assert stranger.detail == {"device": "urn:dev:stranger", "unknown": "device"}
    assert battery.reason == "unknown tag 'battery' of device 'urn:dev:air-1'"


def test_a_device_that_floods_is_bundled_and_the_others_are_stored(sink, tag_map, received_at):
    mad = [pack(n, "urn:dev:meter-1", "p", n, received_at) for n in range(2_000)]
    calm = [pack(n, "urn:dev:weather", "t", 20, received_at) for n in range(2_000, 2_020)]
    messages = [*mad[:1_000], *calm, *mad[1_000:]]
    journal = Journal(sink)
    served(journal, tag_map, messages, quota=Quota(readings_per_s=1.0, burst=100.0))
    assert len(journal.acknowledged) == len(messages)
    by_series = Counter(series_id for series_id, _ in sink.readings)
    assert by_series == {1: 100, 5: 20}
    back = [m.payload for entry in sink.rejected for m in open_bundle(entry.payload)]
    assert sorted(back) == sorted(m.payload for m in mad[100:])
    assert {entry.source for entry in sink.rejected} == {"urn:dev:meter-1"}


def test_events_are_kept_before_the_acknowledgement(sink, tag_map, message):
    def decode(topic, payload, received_at):
        event = ChargingEvent(SessionStep.UPDATE, "CP-1", "7", received_at, 1)
        return replace(senml.decode(topic, payload, received_at), events=(event,))

    class Chargers(Journal):
        def charging(self, events):
            self.events.append(("charging", events))
            if len(events) > 1:
                raise StoreError("one too many")

    protocols = Protocols((MessageProtocol("senml", ("senml/#",), decode),), ())
    journal = Chargers(sink)
    served(journal, tag_map, [message(1)], protocols)
    assert [kind for kind, _ in journal.events] == ["write", "charging", "acknowledge"]
    assert sink.rejected == []
    served(Chargers(sink), tag_map, [message(2), message(3)], protocols)
    assert {entry.reason for entry in sink.rejected} == {"store: one too many"}
    assert len(sink.rejected) == 2


def test_a_restart_flags_as_if_nothing_had_happened(sink, tag_map, received_at):
    """The thermometer jumps by 30 K while the receiver is down."""
    flags = []

    class Watched(Journal):
        def write(self, batch):
            flags.extend(batch["quality"].tolist())
            return super().write(batch)

    for number, value in ((1, 20.0), (2, 50.0)):
        at = 4 * 3600 - 300 + 60 * number
        messages = [pack(at, "urn:dev:weather", "t", value, received_at)]
        served(Watched(sink), tag_map, messages)
    assert flags == [Quality.GOOD, Quality.RATE_OF_CHANGE]


def test_the_source_is_heard_of_while_it_is_connected(sink, tag_map, message):
    beaten = threading.Event()
    journal = Journal(sink)
    stop = threading.Event()
    pipeline = Pipeline(
        find(), journal, lambda: tag_map, journal.acknowledge, batch=QUICK, beat=beaten.set
    )
    thread = threading.Thread(target=pipeline.run, args=(Inbox(), stop))
    thread.start()
    assert not beaten.wait(0.3)
    pipeline.note(connected=True)
    assert beaten.wait(5)
    stop.set()
    thread.join(10)


KEEPING = DeviceProfile(
    "meters",
    "senml",
    "urn:dev:meter-*",
    AssetKind.METER,
    (ProfileTag("p", "p_mw", "kW"),),
    parameters={"keep": ["p", "q*"]},
)


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (KEEPING, ""),
        (replace(KEEPING, parameters={}), "unknown tag 'rssi'"),
        (replace(KEEPING, parameters={"keep": []}), "unknown tag 'rssi'"),
        (replace(KEEPING, pattern="urn:dev:other-*"), "unknown tag 'rssi'"),
        (replace(KEEPING, protocol="chirpstack"), "unknown tag 'rssi'"),
    ],
)
def test_what_a_profile_does_not_keep_is_passed_over(message, sink, profile, reason):
    """By default a number that nobody named is told: it may be one that was forgotten."""
    tag_map = TagMap(
        [Tag("urn:dev:meter-1", "p", "kW", "demo/m/p_mw")],
        {"demo/m/p_mw": 1},
        registrar=Registrar("demo", (profile,)),
    )
    pack = [{"n": "urn:dev:meter-1:rssi", "bt": BASE, "v": -70}, {"n": "urn:dev:meter-1:p", "v": 5}]
    journal = Journal(sink)
    with Running(journal, tag_map) as running:
        running.inbox.put([message(0, json.dumps(pack).encode())])
        assert sink.wait_for(1)
        running.wait(lambda: journal.acknowledged == [0])
    assert list(sink.readings.values()) == [0.005]
    assert [bool(r.reason.startswith(reason)) for r in sink.rejected] == [True] * bool(reason)


def test_keep_lets_nothing_else_go_unsaid(message, sink):
    """Nor a tag that it keeps, nor a wrong unit, nor a device that nobody knows."""
    tag_map = TagMap(
        [Tag("urn:dev:meter-1", "p", "kW", "demo/m/p_mw")],
        {"demo/m/p_mw": 1},
        registrar=Registrar("demo", (replace(KEEPING, parameters={"keep": ["q*"]}),)),
    )
    packs = [
        [{"n": "urn:dev:meter-1:q1", "bt": BASE, "v": 1}],
        [{"n": "urn:dev:meter-1:p", "bt": BASE, "v": 1, "u": "degC"}],
        [{"n": "urn:dev:meter-2:rssi", "bt": BASE, "v": 1}],
        [{"n": "urn:dev:meter-1:rssi", "bt": BASE, "v": 1}],  # alone: nothing to store, and handled
    ]
    journal = Journal(sink)
    with Running(journal, tag_map) as running:
        running.inbox.put([message(n, json.dumps(p).encode()) for n, p in enumerate(packs)])
        running.wait(lambda: journal.acknowledged == [0, 1, 2, 3])
    assert [r.reason.split(":")[0].split(" '")[0] for r in sink.rejected] == [
        "unknown tag",
        "unit of",
        "unknown device",
    ]


def test_one_clock_rule_holds_for_readings_and_for_charging(sink, received_at):
    """A session that began next year would stay the newest of its connector until then."""
    tag_map = TagMap([Tag("post-1", "1:SoC", "%", "demo/p/soc")], {"demo/p/soc": 1})

    def start(number: int, ahead: timedelta) -> Message:
        at = (received_at + ahead).isoformat()
        call = {
            "eventType": "Started",
            "timestamp": at,
            "transactionInfo": {"transactionId": f"t{number}"},
            "evse": {"id": 1},
            "meterValue": [
                {"timestamp": at, "sampledValue": [{"measurand": "SoC", "value": 50.0}]}
            ],
        }
        frame = {"version": "ocpp2.0.1", "frame": [2, str(number), "TransactionEvent", call]}
        return Message("ocpp/post-1", json.dumps(frame).encode(), received_at, (0, number, 1))

    day, second = timedelta(days=1), timedelta(seconds=1)
    journal = Journal(sink)
    journal.charging = sink.charging
    with Running(journal, tag_map) as running:
        running.inbox.put([start(0, day), start(1, day + second), start(2, 90 * day)])
        running.wait(lambda: journal.acknowledged == [0, 1, 2])
    assert [event.transaction for event in sink.events] == ["t0"]
    assert [ts_us for _, ts_us in sink.readings] == [to_us(received_at + day)]
    assert [r.reason for r in sink.rejected] == [
        "its time lies more than 24 h ahead of the city's: a charging event"
    ] * 2
