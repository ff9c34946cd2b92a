"""What a receiver's ``accept`` returned from reaches the store, whatever dies in between."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from core.errors import SpoolFullError, StoreUnavailableError
from ingest.fieldservice import FieldSettings, FieldStatus, Receiver, run
from ingest.messages import Message
from ingest.pipeline import BatchSettings
from ingest.protocols import find, senml
from ingest.spool import Spool

BASE = 1_782_086_400
QUICK = FieldSettings(
    batch=BatchSettings(rows=100, wait_s=0.01, retry_s=0.01, retry_max_s=0.05),
    pauses_s=(0.01, 0.05),
)


@pytest.fixture
def message(received_at) -> Callable[[int], Message]:
    def make(number: int) -> Message:
        record = {"n": "urn:dev:meter-1:p", "bt": BASE + number, "v": number}
        return Message("senml/demo/g", json.dumps([record]).encode(), received_at)

    return make


class Running:
    """A field service in a thread."""

    def __init__(self, spool: Spool, sink, tag_map, received_at, *receivers: Receiver) -> None:
        self.stop = threading.Event()
        self.status: FieldStatus | None = None
        self._thread = threading.Thread(
            target=lambda: run(
                spool,
                receivers,
                sink,
                lambda: tag_map,
                lambda: received_at,
                self.stop,
                self._note,
                settings=QUICK,
                protocols=find([senml]),
            )
        )
        self._thread.start()

    def _note(self, status: FieldStatus) -> None:
        self.status = status

    def wait(self, condition: Callable[[FieldStatus], bool], timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not (self.status and condition(self.status)):
            assert time.monotonic() < deadline, self.status
            time.sleep(0.005)

    def finish(self) -> None:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "field.sqlite", capacity_bytes=1_000_000) as opened:
        yield opened


@pytest.fixture
def start(spool, tag_map, received_at) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(sink, *receivers: Receiver) -> Running:
        started.append(Running(spool, sink, tag_map, received_at, *receivers))
        return started[-1]

    yield begin
    for one in started:
        one.finish()


def sender(messages: list[Message], name: str = "hj212") -> Receiver:
    """Gives over ``messages`` one by one and waits to be stopped."""

    def receive(accept, stop, report):
        for count, one in enumerate(messages, start=1):
            accept([one])
            report(count)
        stop.wait()

    return Receiver(name, receive)


def numbers(sink) -> list[int]:
    return sorted(ts_us // 1_000_000 - BASE for _, ts_us in sink.readings)


def test_what_was_accepted_is_stored_and_leaves_the_spool(start, spool, sink, message):
    two = [sender([message(n) for n in range(k, 200, 2)], name) for k, name in enumerate("ab")]
    running = start(sink, *two)
    assert sink.wait_for(200)
    running.wait(lambda s: s.spool_bytes == 0 and s.stored.received == 200)
    assert numbers(sink) == list(range(200))
    assert {name: r.detail for name, r in running.status.receivers.items()} == {"a": 100, "b": 100}
    assert {name for name, _ in sink.beats} <= {"a", "b"}
    running.finish()
    assert len(spool) == 0


class Away:
    """A store that is away until told otherwise."""

    def __init__(self, sink) -> None:
        self.sink, self.gone = sink, True

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        if self.gone:
            raise StoreUnavailableError("away")
        return self.sink.write(batch)

    def latest(self) -> np.ndarray:
        return self.sink.latest()

    def beat(self, *_: object) -> None:
        raise StoreUnavailableError("away")


def test_while_the_store_is_away_the_spool_fills_and_then_refuses(start, spool, sink, message):
    away = Away(sink)
    accepted: list[int] = []
    full = threading.Event()

    def receive(accept, stop, report):
        number = 0
        while not stop.is_set():
            try:
                accept([message(number)._replace(payload=message(number).payload + b" " * 5_000)])
            except SpoolFullError:
                full.set()
                stop.wait(0.02)
                continue
            accepted.append(number)
            number += 1

    running = start(away, Receiver("hj212", receive))
    assert full.wait(20)
    assert len(spool) == len(accepted) > 100
    away.gone = False
    before = len(accepted)
    running.wait(lambda _: len(accepted) > before + 10)  # there is room again
    running.finish()
    start(sink).wait(lambda s: s.spool_bytes == 0)
    assert numbers(sink) == accepted


def test_what_was_not_stored_before_a_stop_is_stored_after_the_next_start(
    start, spool, sink, message
):
    away = Away(sink)
    first = start(away, sender([message(n) for n in range(50)]))
    first.wait(lambda s: s.receivers["hj212"].detail == 50)
    first.finish()
    assert numbers(sink) == []
    assert len(spool) == 50
    second = start(sink)
    second.wait(lambda s: s.stored.received == 50)
    assert numbers(sink) == list(range(50))


def test_a_receiver_that_dies_is_started_again_and_the_others_do_not_notice(start, sink, message):
    lives: list[int] = []

    def mortal(accept, stop, report):
        lives.append(len(lives))
        accept([message(len(lives))])
        if len(lives) == 2:
            return  # an end without a reason counts as death
        if len(lives) < 5:
            raise RuntimeError("the line caught fire")
        stop.wait()

    running = start(sink, Receiver("mortal", mortal), sender([message(99)], "healthy"))
    running.wait(lambda s: len(lives) == 5 and s.receivers["mortal"].running)
    states = running.status.receivers
    assert (states["mortal"].failures, states["healthy"].failures) == (4, 0)
    assert sink.wait_for(6)
    assert numbers(sink) == [1, 2, 3, 4, 5, 99]


def test_the_status_says_what_a_receiver_died_of(start, sink):
    def dead(accept, stop, report):
        raise OSError("port 9212 is taken")

    running = start(sink, Receiver("hj212", dead))
    running.wait(lambda s: "port 9212 is taken" in s.receivers["hj212"].last_error)
    running.wait(lambda s: s.receivers["hj212"].failures > 3)
