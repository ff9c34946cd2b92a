"""Answers of devices on a real broker: kept before they are acknowledged, none lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import Queue

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from core.errors import StoreUnavailableError
from core.setpoints import Acknowledgement, Answer
from ingest.acknowledgements import Keep, receive
from ingest.broker import Broker
from ingest.mqtt_access import Access
from ingest.mqtt_session import SessionSettings
from ingest.setpoints import answer_payload, answer_topic

NOON = datetime(2026, 6, 22, 4, tzinfo=UTC)


def answer(number: int) -> Acknowledgement:
    return Acknowledgement(f"battery-{number}", NOON, Answer.ACCEPTED, "the battery")


def say(broker: Broker, *messages: tuple[str, bytes]) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(20)
    client.disconnect()
    client.loop_stop()


def message(number: int) -> tuple[str, bytes]:
    return answer_topic(f"battery-{number}"), answer_payload(answer(number))


@contextmanager
def receiving(broker: Broker, keep: Keep) -> Iterator[None]:
    stop = threading.Event()
    settings = SessionSettings(Access(broker.host, broker.port), client_id="answers")
    thread = threading.Thread(target=receive, args=(settings, keep, lambda: NOON, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def test_what_is_answered_while_nobody_listens_is_not_lost(
    start_broker: Callable[..., Broker],
) -> None:
    broker = start_broker()
    kept: Queue[Acknowledgement] = Queue()

    def keep(answers: Sequence[Acknowledgement]) -> None:
        for one in answers:
            kept.put(one)

    with receiving(broker, keep):
        while kept.empty():  # until the session stands, nothing of it waits at the broker
            say(broker, message(1))
        assert kept.get(timeout=20) == answer(1)
    say(broker, message(2), (answer_topic("battery-3"), b"yes"), message(4))
    while not kept.empty():
        kept.get()
    with receiving(broker, keep):
        assert [kept.get(timeout=20), kept.get(timeout=20)] == [answer(2), answer(4)]


def test_a_store_that_is_away_costs_no_answer(start_broker: Callable[..., Broker]) -> None:
    broker = start_broker()
    asked = threading.Event()
    kept: Queue[Acknowledgement] = Queue()

    def away(_: Sequence[Acknowledgement]) -> None:
        asked.set()
        raise StoreUnavailableError("The database is away.")

    def keep(answers: Sequence[Acknowledgement]) -> None:
        for one in answers:
            kept.put(one)

    with receiving(broker, away):
        while not asked.wait(0.1):
            say(broker, message(1))
    with receiving(broker, keep):
        assert kept.get(timeout=20) == answer(1)
