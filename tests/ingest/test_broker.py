"""The broker is a child that can be found again, and says in one sentence why it does not start."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from core.errors import ServiceError
from ingest.broker import Broker, BrokerKind, mosquitto_program


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


def test_an_orphan_on_another_port_is_replaced(broker, start_broker):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    other = start_broker(broker.kind, port)
    assert not other.adopted
    assert other.port == port
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
