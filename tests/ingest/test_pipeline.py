"""Commit first, then acknowledge; a store that is away is waited for; poison harms nobody."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from core.errors import StoreError, StoreUnavailableError
from ingest.inbox import Inbox
from ingest.pipeline import BatchSettings, Message, Pipeline
from ingest.protocols import find

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
