"""The MQTT receiver: QoS 1, a persistent session, and acknowledgements after the commit.

Two threads: paho's reads the network into a bounded queue, the caller's runs the pipeline. When
the queue is full paho's thread waits, so the socket fills and the broker holds the rest. A thread
that waits cannot send MQTT pings; therefore MQTT's keep-alive is off and TCP's watches the line.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from core.errors import ConfigurationError
from ingest.mapping import TagMap
from ingest.pipeline import BatchSettings, Message, Pipeline, Status
from ingest.protocols import Protocols, find
from ingest.quality import STANDARD, Tolerances
from ingest.sinks import Sink

_log = logging.getLogger(__name__)

_DRAIN_S = 2.0
"""How long a stop waits for the last acknowledgements to leave."""


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where the broker is and how much is kept in memory.

    client_id: names the session the broker keeps; two receivers must not share one.
    buffer: messages waiting for the pipeline at most, the bound on memory while the store is away.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    client_id: str = "verdigrid-ingest"
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    buffer: int = 20_000
    reconnect_max_s: int = 10
    batch: BatchSettings = field(default_factory=BatchSettings)
    tolerances: Tolerances = STANDARD


def run_mqtt(
    settings: MqttSettings,
    sink: Sink,
    tag_map: Callable[[], TagMap],
    now: Callable[[], datetime],
    stop: threading.Event,
    on_status: Callable[[Status], None] = lambda _: None,
    *,
    protocols: Protocols | None = None,
) -> Status:
    """Receive until ``stop`` is set, then finish the batch at hand, disconnect and return.

    now: city time. A broker or a store that is away is waited for, for ever, and shows as
    ``last_error`` in the status. Raises ConfigurationError for an empty client id.
    """
    if not settings.client_id:
        raise ConfigurationError("The MQTT receiver needs a client id, or its session is lost.")
    receiver = _Receiver(settings, sink, tag_map, now, stop, on_status, protocols or find())
    return receiver.run()


class _Receiver:
    def __init__(
        self,
        settings: MqttSettings,
        sink: Sink,
        tag_map: Callable[[], TagMap],
        now: Callable[[], datetime],
        stop: threading.Event,
        on_status: Callable[[Status], None],
        protocols: Protocols,
    ) -> None:
        self._settings = settings
        self._now = now
        self._stop = stop
        self._topics = [(topic, 1) for topic in protocols.topics]
        self._inbox: queue.Queue[Message] = queue.Queue(maxsize=settings.buffer)
        # Packet ids mean something on one connection only. The lock makes "is it still this
        # connection?" and "queue the acknowledgement" one step, because paho throws away what is
        # queued when it connects again.
        self._connection = 0
        self._connection_lock = threading.Lock()
        self._pipeline = Pipeline(
            protocols,
            sink,
            tag_map,
            self._acknowledge,
            batch=settings.batch,
            tolerances=settings.tolerances,
            on_status=on_status,
        )
        self._client = self._build(settings)

    def _build(self, settings: MqttSettings) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        if settings.username:
            client.username_pw_set(settings.username, settings.password)
        if settings.tls:
            client.tls_set()
        client.reconnect_delay_set(1, settings.reconnect_max_s)
        client.on_socket_open = _watch_line
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def run(self) -> Status:
        self._client.connect_async(self._settings.host, self._settings.port, keepalive=0)
        self._client.loop_start()
        try:
            self._pipeline.run(self._inbox, self._stop)
        finally:
            self._stop.set()  # lets a network thread go that waits before a full queue
            self._drain()
            self._client.disconnect()
            self._client.loop_stop()
        self._pipeline.note(connected=False)
        return self._pipeline.status

    def _drain(self) -> None:
        """Wait until the acknowledgements are on the wire; lost ones would only be duplicates."""
        deadline = time.monotonic() + _DRAIN_S
        while self._client.is_connected() and self._client.want_write():
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        with self._connection_lock:
            for message in messages:
                connection, mid, qos = message.ticket
                # One from an earlier connection comes again under a new id: not this one.
                if connection == self._connection:
                    self._client.ack(mid, qos)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "(topic is not UTF-8)"
        ticket = (self._connection, message.mid, message.qos)
        entry = Message(topic, bytes(message.payload), self._now(), ticket)
        while not self._stop.is_set():
            try:
                return self._inbox.put(entry, timeout=0.2)
            except queue.Full:
                continue

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._pipeline.note(connected=False, last_error=f"The broker refuses: {reason}.")
            return
        # Always, also where the session is still there: it may be an older version's.
        client.subscribe(self._topics)

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        where = f"{self._settings.host}:{self._settings.port}"
        self._pipeline.note(connected=False, last_error=f"No MQTT broker answers at {where}.")

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        with self._connection_lock:
            self._connection += 1
        if not self._stop.is_set():
            _log.warning("lost the broker", extra={"reason": str(reason)})
            self._pipeline.note(connected=False, last_error=f"Lost the MQTT broker: {reason}.")

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any
    ) -> None:
        refused = [t for (t, _), r in zip(self._topics, reasons, strict=False) if r.is_failure]
        if refused:
            self._pipeline.note(last_error=f"The broker refuses the topics {', '.join(refused)}.")
            return
        # Only now: what is published before the broker knows the topics is nobody's.
        _log.info("receiving from the broker", extra={"port": self._settings.port})
        self._pipeline.note(connected=True, last_error="")


def _watch_line(_client: paho.Client, _data: Any, line: Any) -> None:
    """Notice within about a minute that the other side vanished without a word."""
    if not isinstance(line, socket.socket):
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # not on every system
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
