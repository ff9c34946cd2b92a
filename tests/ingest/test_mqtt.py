"""The receiver over real brokers: what was acknowledged to the publisher reaches the sink."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from core.errors import ConfigurationError, StoreUnavailableError
from core.sites import AssetKind, DeviceProfile, ProfileTag
from ingest.mqtt import MqttSettings, run_mqtt
from ingest.mqtt_access import Access
from ingest.pipeline import BatchSettings, Status
from ingest.protocols import MessageProtocol, Protocols, find, json_map, senml

P = ProfileTag("p", "p_mw", "kW")


class Receiver:
    """run_mqtt in a thread."""

    def __init__(self, port, sink, tag_map, *, protocols=None, **settings):
        self._protocols = protocols or find([senml])
        self.stop = threading.Event()
        self.status = Status()
        self._result: list[Status] = []
        self._settings = MqttSettings(
            access=Access(port=port),
            reconnect_max_s=1,
            batch=BatchSettings(retry_s=0.02, retry_max_s=0.1),
            **settings,
        )
        self._thread = threading.Thread(target=self._run, args=(sink, tag_map))
        self._thread.start()

    def _run(self, sink, tag_map):
        self._result.append(
            run_mqtt(
                self._settings,
                sink,
                lambda: tag_map,
                lambda: datetime.now(UTC),
                self.stop,
                self._note,
                protocols=self._protocols,
            )
        )

    def _note(self, status):
        self.status = status

    def wait(self, condition, timeout=20.0):
        deadline = time.monotonic() + timeout
        while not condition(self.status) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert condition(self.status), self.status

    def finish(self):
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self._result[0]


@pytest.fixture
def receive(tag_map):
    started = []

    def start(port, sink, **settings):
        started.append(Receiver(port, sink, tag_map, **settings))
        return started[-1]

    yield start
    for receiver in started:
        receiver.finish()


def seconds(sink):
    return {ts_us // 1_000_000 - 1_782_086_400 for _, ts_us in sink.readings}


def all_acknowledged(publisher, numbers, timeout=20.0):
    deadline = time.monotonic() + timeout
    while publisher.acknowledged < set(numbers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert publisher.acknowledged >= set(numbers)


def test_messages_become_readings(broker, publisher, receive, sink):
    receiver = receive(broker.port, sink)
    receiver.wait(lambda s: s.connected)
    sender = publisher(broker.port)
    for number in range(1, 501):
        sender.meter(number, p_kw=number)
    sender.publish(501, "senml/demo/gateway", b"not json")
    sender.publish(502, "other/topic", b"{}")  # nobody asked for it
    receiver.wait(lambda s: s.received == 501)
    assert seconds(sink) == set(range(1, 501))
    assert sink.readings[1, 1_782_086_650_000_000] == pytest.approx(0.25)
    status = receiver.finish()
    assert status == Status(False, received=501, stored=500, duplicates=0, quarantined=1)


def test_the_broker_keeps_what_comes_while_the_receiver_is_away(broker, publisher, receive, sink):
    receive(broker.port, sink).wait(lambda s: s.connected)
    first = receive(broker.port, sink, client_id="other")  # subscribes, then leaves
    first.wait(lambda s: s.connected)
    first.finish()
    sender = publisher(broker.port)
    for number in range(1, 301):
        sender.meter(number)
    all_acknowledged(sender, range(1, 301))
    second = receive(broker.port, sink, client_id="other")
    second.wait(lambda s: s.received == 300)


def test_a_restarted_broker_has_lost_nothing(broker, publisher, receive, sink, start_broker):
    """Messages acknowledged while nobody received them survive the broker's restart."""
    first = receive(broker.port, sink)
    first.wait(lambda s: s.connected)
    first.finish()
    sender = publisher(broker.port)
    for number in range(1, 301):
        sender.meter(number)
    all_acknowledged(sender, range(1, 301))
    broker.stop()
    start_broker(broker.kind, broker.port)
    receive(broker.port, sink)
    assert sink.wait_for(300)
    assert seconds(sink) == set(range(1, 301))


def test_the_receiver_waits_for_a_broker_and_finds_it_again(
    broker, publisher, receive, sink, start_broker
):
    broker.stop()
    receiver = receive(broker.port, sink)
    receiver.wait(lambda s: "No MQTT broker answers" in s.last_error)
    again = start_broker(broker.kind, broker.port)
    receiver.wait(lambda s: s.connected)
    publisher(broker.port).meter(1)
    assert sink.wait_for(1)
    again.stop()
    receiver.wait(lambda s: not s.connected)
    start_broker(broker.kind, broker.port)
    receiver.wait(lambda s: s.connected)
    publisher(broker.port).meter(2)
    assert sink.wait_for(2)


def test_a_store_that_is_away_longer_than_a_keep_alive(broker, publisher, receive, sink):
    """The buffer is full and the network thread stands still; the connection must not break."""

    class Away:
        gone = True

        def write(self, batch: np.ndarray):
            if self.gone:
                raise StoreUnavailableError("away")
            return sink.write(batch)

        def quarantine(self, rejected):
            return sink.quarantine(rejected)

        def latest(self):
            return sink.latest()

        def beat(self, receiver, at):
            raise StoreUnavailableError("away")

    away = Away()
    receiver = receive(broker.port, away, buffer=20)
    receiver.wait(lambda s: s.connected)
    sender = publisher(broker.port)
    for number in range(1, 2001):
        sender.meter(number)
    all_acknowledged(sender, range(1, 2001))
    receiver.wait(lambda s: s.last_error == "away")
    time.sleep(1.5)
    assert receiver.status.connected
    assert receiver.status.received == 0
    away.gone = False
    receiver.wait(lambda s: s.received == 2000)
    assert seconds(sink) == set(range(1, 2001))
    assert receiver.finish().duplicates == 0


def test_stopping_does_not_lose_what_was_not_acknowledged(broker, publisher, receive, sink):
    """A receiver is stopped again and again in the middle of a stream."""
    sender = publisher(broker.port)
    receiver = receive(broker.port, sink)
    receiver.wait(lambda s: s.connected)
    for number in range(1, 3001):
        sender.meter(number)
        if number % 500 == 0:
            receiver.finish()
            receiver = receive(broker.port, sink)
            receiver.wait(lambda s: s.connected)
    assert sink.wait_for(3000)
    assert seconds(sink) == set(range(1, 3001))


def test_a_receiver_without_a_name_is_refused(sink, tag_map):
    with pytest.raises(ConfigurationError, match="client id"):
        run_mqtt(
            MqttSettings(client_id=""),
            sink,
            lambda: tag_map,
            lambda: datetime.now(UTC),
            threading.Event(),
        )


def test_a_client_of_the_broker_cannot_play_a_receiver_of_ours(
    start_broker, publisher, receive, sink
):
    """A city that reads JSON under a filter for everything: HJ 212 stays with its own server."""

    def decode(topic, payload, received_at):
        raise AssertionError("a frame that nobody checked")

    ours = MessageProtocol("hj212", (), decode, sources=("hj212/#",))
    wide = DeviceProfile(
        "wide", "json", "*", AssetKind.METER, (P,), parameters={"topic": "#", "device": 1}
    )
    (filter_, reader), *_ = json_map.configure([wide])
    known = Protocols((ours, MessageProtocol("json", (filter_,), reader)), ())
    broker = start_broker()
    receiver = receive(broker.port, sink, protocols=known)
    receiver.wait(lambda s: s.connected)
    publisher(broker.port).publish(1, "hj212/station-1/Asia/Shanghai", b"##0101QN=...")
    receiver.wait(lambda s: s.quarantined == 1)
    assert sink.rejected[0].source == "hj212/station-1/Asia/Shanghai"
    assert "not JSON" in sink.rejected[0].reason


def test_a_message_that_is_too_large_is_kept_by_name(start_broker, publisher, receive, sink):
    broker = start_broker()
    receiver = receive(broker.port, sink, largest=1_000)
    receiver.wait(lambda s: s.connected)
    sender = publisher(broker.port)
    sender.publish(1, "senml/demo/large", bytes(5_000))
    sender.meter(2)
    receiver.wait(lambda s: s.received == 2)
    assert (sink.rejected[0].source, sink.rejected[0].payload) == ("senml/demo/large", b"")
    assert "at most 1000 are taken" in sink.rejected[0].reason
    assert seconds(sink) == {2}
