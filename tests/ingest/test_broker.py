"""The broker is a child that can be found again, and says in one sentence why it does not start."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from core.errors import ServiceError
from ingest import mqtt_wire as wire
from ingest.broker import MAX_PACKET, Broker, BrokerKind, mosquitto_program
from ingest.inbox import Inbox
from ingest.mqtt_access import Access
from ingest.mqtt_session import Session, SessionSettings
from ingest.mqtt_wire import Version


def test_it_answers_on_loopback_and_goes_when_asked(broker, broker_kind):
    assert broker.kind is broker_kind
    assert broker.host == "127.0.0.1"
    assert broker.alive()
    with socket.create_connection((broker.host, broker.port), timeout=5):
        pass
    broker.stop()
    assert not broker.alive()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((broker.host, broker.port), timeout=5)


def test_an_orphan_is_taken_over(broker, start_broker):
    """The supervisor was killed; a new one starts the same broker and finds it running."""
    again = start_broker(broker.kind, broker.port)
    assert again.adopted
    assert (again.pid, again.port) == (broker.pid, broker.port)
    again.stop()
    assert not broker.alive()


def test_an_orphan_on_another_port_is_replaced(broker, start_broker, free_port):
    other = start_broker(broker.kind, free_port)
    assert not other.adopted
    assert other.port == free_port
    assert not broker.alive()


def test_a_killed_broker_is_started_anew(broker, start_broker):
    os.kill(broker.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while broker.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    again = start_broker(broker.kind, broker.port)
    assert not again.adopted
    assert again.pid != broker.pid


def test_a_number_that_belongs_to_somebody_else_now_is_left_alone(tmp_path):
    """The state file names a living process that is no broker: us."""
    folder = tmp_path / "broker"
    folder.mkdir()
    (folder / "broker.json").write_text(
        f'{{"pid": {os.getpid()}, "port": 1, "kind": "amqtt", "started": "1"}}'
    )
    assert Broker.stop_left(folder) is False


def test_a_busy_port_is_named(broker_kind, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=f"Port {port} is in use by another program"):
            Broker.start(tmp_path / "broker", port, broker_kind)


def test_an_unusable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="file/broker cannot be used"):
        Broker.start(tmp_path / "file" / "broker")


def test_a_broker_that_ends_at_once_gives_its_last_words(tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    (folder / "amqtt.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(ServiceError, match="file is not a database"):
        Broker.start(folder, kind=BrokerKind.AMQTT)


@pytest.mark.broker
@pytest.mark.skipif(mosquitto_program() is None, reason="the program mosquitto is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up rights")
def test_mosquitto_gives_up_roots_rights_where_its_own_user_can_work(start_broker, tmp_path):
    """Also: where it cannot, it still saves its queues."""
    reachable = all(folder.stat().st_mode & 0o001 for folder in (tmp_path, *tmp_path.parents))
    started = start_broker(BrokerKind.MOSQUITTO)
    status = Path(f"/proc/{started.pid}/status").read_text()
    uid = int(status.partition("Uid:")[2].split()[0])
    assert (uid != 0) is reachable
    started.stop()
    assert (tmp_path / "broker" / "mosquitto.db").exists()


def test_retained_messages_survive_and_go_to_subscribers_only(broker, start_broker):
    """Set-points are retained; a receiver of readings that comes again must not be sent them."""
    sender = connected(broker.port, "sender")
    sender.publish("verdigrid/setpoints/b", b"plan", qos=1, retain=True).wait_for_publish(5)
    sender.publish("verdigrid/setpoints/gone", b"plan", qos=1, retain=True).wait_for_publish(5)
    sender.publish("verdigrid/setpoints/gone", b"", qos=1, retain=True).wait_for_publish(5)
    closed(sender)
    broker.stop()
    again = start_broker(broker.kind, broker.port)
    got: dict[str, list[tuple[str, bytes]]] = {"battery": [], "receiver": []}
    battery = connected(again.port, "battery", "verdigrid/setpoints/+", got["battery"])
    for _ in range(2):  # the second time its session is known
        closed(connected(again.port, "receiver", "senml/#", got["receiver"]))
    deadline = time.monotonic() + 5
    while not got["battery"] and time.monotonic() < deadline:
        time.sleep(0.02)
    closed(battery)
    assert got == {"battery": [("verdigrid/setpoints/b", b"plan")], "receiver": []}


@pytest.mark.broker
@pytest.mark.skipif(mosquitto_program() is None, reason="the program mosquitto is not installed")
@pytest.mark.parametrize("version", list(Version))
def test_a_hundred_thousand_messages_wait_for_who_is_away(start_broker, version):
    """mosquitto's defaults keep 1,000 and drop the rest after having acknowledged it."""
    broker = start_broker(BrokerKind.MOSQUITTO)
    settings = SessionSettings(Access(port=broker.port), version=version, buffer=200_000)
    taker(settings, [])  # subscribes, and leaves
    flood(broker.port, [b"%d" % n for n in range(100_000)])
    broker.stop()
    start_broker(BrokerKind.MOSQUITTO, broker.port)
    got: list[bytes] = []
    taker(settings, got, wanted=100_000)
    assert got == [b"%d" % n for n in range(100_000)]


@pytest.mark.broker
@pytest.mark.skipif(mosquitto_program() is None, reason="the program mosquitto is not installed")
@pytest.mark.parametrize("version", list(Version))
def test_more_under_way_than_there_are_packet_ids(start_broker, version):
    """A receiver whose store is away holds 80,000 messages; of MQTT 3.1.1 ids come twice then.

    Acknowledged in order, each is acknowledged once: half of them now, the other half comes again.
    """
    broker = start_broker(BrokerKind.MOSQUITTO)
    settings = SessionSettings(Access(port=broker.port), version=version, buffer=200_000)
    numbers = [b"%d" % n for n in range(80_000)]
    taker(settings, [])
    flood(broker.port, numbers)
    first: list[bytes] = []
    under_way = 65_535 if version is Version.V5 else 80_000  # MQTT 5 agrees on how many
    taker(settings, first, wanted=under_way, acknowledged=40_000)
    assert first == numbers[:under_way]
    second: list[bytes] = []
    taker(settings, second, wanted=40_000)
    assert second == numbers[40_000:]


@pytest.mark.broker
@pytest.mark.skipif(mosquitto_program() is None, reason="the program mosquitto is not installed")
def test_a_message_above_the_limit_is_not_acknowledged(start_broker):
    """message_size_limit would acknowledge it, and drop it."""
    broker = start_broker(BrokerKind.MOSQUITTO)
    flood(broker.port, [bytes(MAX_PACKET - 100)])
    with pytest.raises(OSError, match=r"closed|reset|pipe"):
        flood(broker.port, [bytes(MAX_PACKET)])


def flood(port, payloads):
    """Publish at QoS 1, as fast as the broker takes it; returns when all are acknowledged."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(wire.connect("flood", version=Version.V3_1_1, keep_alive_s=0, clean=True))
        assert line.recv(4) == b"\x20\x02\x00\x00"
        for begin in range(0, len(payloads), 1_000):
            part = payloads[begin : begin + 1_000]
            frames = [
                wire.publish("t/x", payload, packet_id=n, qos=1, version=Version.V3_1_1)
                for n, payload in enumerate(part, 1)
            ]
            line.sendall(b"".join(frames))
            left = 4 * len(part)
            while left:
                data = line.recv(left)
                if not data:
                    raise OSError("closed")
                left -= len(data)


def taker(settings, got, wanted=0, acknowledged=None):
    """Receive until ``wanted`` messages are in ``got``; acknowledge all, or in the end so many."""
    subscribed, inbox = threading.Event(), Inbox()
    session = Session(
        settings,
        ["t/#"],
        lambda: datetime.now(UTC),
        inbox.put,
        lambda up, _: subscribed.set() if up else None,
    )
    messages = []
    deadline = time.monotonic() + 20
    while len(messages) < wanted and time.monotonic() < deadline:
        taken = inbox.take(0.1)
        messages += taken
        if acknowledged is None:
            session.acknowledge(taken)
    assert subscribed.wait(5)
    session.acknowledge(messages[: acknowledged or 0])
    session.close()
    got += [message.payload for message in messages]


def connected(port, name, topic=None, got=None):
    """A client with a persistent session, subscribed to ``topic`` when it returns."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    ready = threading.Event()
    client.on_message = lambda _client, _data, m: got.append((m.topic, m.payload))
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda *_: client.subscribe(topic, 1) if topic else ready.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(5)
    return client


def closed(client):
    client.disconnect()
    client.loop_stop()
