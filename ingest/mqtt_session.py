"""A receiver's session at an MQTT broker: at least once, acknowledged when the caller says so.

One thread owns the socket. It hands messages over in lists, sends what others put in the outbox,
pings, and connects again for ever. It stops reading while the caller holds as much as was agreed;
the socket fills and the broker keeps the rest. Pings go on meanwhile, so that MQTT's keep-alive
tells a busy receiver from a dead one, at both ends.

The broker keeps the session: it sends again what was not acknowledged on an earlier connection,
under packet ids that are valid on one connection only.
"""

from __future__ import annotations

import logging
import math
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from core.errors import ConfigurationError, DecodeError, ServiceError
from ingest import mqtt_wire as wire
from ingest.messages import Message
from ingest.mqtt_access import Access, dial, failure
from ingest.mqtt_wire import Version

_log = logging.getLogger(__name__)

_CHUNK = 256 * 1024
_FIRST_PAUSE_S = 0.2
_CLOSE_S = 2.0
"""How long a stop waits for the last acknowledgements to leave."""

_LONGEST_CLOSE_S = 12.0

_BOOKKEEPING = 300
"""Bytes a message takes in memory beside its payload, roughly."""

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Which session at which broker, and how much of it is held in memory.

    client_id: names the session the broker keeps; two receivers must not share one.
    share: name of a group of receivers among which the broker divides the messages; empty for
    a receiver that gets all. keep_alive_s: after one and a half of these a silent receiver counts
    as dead; 0 turns it off. buffer, buffer_bytes: messages handed over and not acknowledged, and
    their bytes; reading stops at either (what one read brought may lie above). largest: bytes of
    the largest message; a larger one is handed over without its payload, with its fault.
    answer_s: how long the broker may take to answer. reconnect_max_s: the longest pause between
    attempts.
    """

    access: Access = field(default_factory=Access)
    client_id: str = "verdigrid-ingest"
    version: Version = Version.V3_1_1
    share: str = ""
    keep_alive_s: int = 30
    buffer: int = 20_000
    buffer_bytes: int = 64 * 1024 * 1024
    largest: int = 4 * 1024 * 1024
    answer_s: float = 10.0
    reconnect_max_s: float = 10.0

    def check(self) -> None:
        """Raises ConfigurationError for what no broker would take."""
        if not self.client_id:
            raise ConfigurationError("The MQTT receiver needs a client id, or its session is lost.")
        if set(self.share) & set("/+#"):
            raise ConfigurationError(
                f"The name {self.share!r} of a shared subscription must not hold / + or #."
            )
        if not 0 <= self.keep_alive_s <= 65_535:
            raise ConfigurationError("The MQTT keep-alive is 0 to 65535 seconds.")


class Session:
    """Receives ``topics`` in a thread of its own until closed.

    deliver: called with messages as they come, must not wait; each is to be given back to
    ``acknowledge`` once, when it is safe. on_state: told connected or not, and why not.
    now: the time that messages are stamped with.
    Raises ConfigurationError for settings or certificate files of no use.
    """

    def __init__(
        self,
        settings: SessionSettings,
        topics: Sequence[str],
        now: Callable[[], datetime],
        deliver: Callable[[list[Message]], None],
        on_state: Callable[[bool, str], None],
    ) -> None:
        settings.check()
        self._settings = settings
        self._context = settings.access.context()
        self._topics = tuple(topics)
        self._now = now
        self._deliver = deliver
        self._on_state = on_state
        self._books = _Books(settings)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Give ``messages`` back; the acknowledgements leave as one write. From any thread."""
        self._books.give_back(messages)

    def close(self) -> None:
        """Send the acknowledgements that wait, take leave, end; the broker keeps the session."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._books.wake()
        self._thread.join(_LONGEST_CLOSE_S)
        if not self._thread.is_alive():  # else it hangs in a look-up of the broker's name
            self._books.close()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                with dial(self._settings.access, self._context) as line:
                    self._converse(line)
            except OSError as error:
                self._lost(failure(self._settings.access, error))
            except (DecodeError, ServiceError) as error:
                self._lost(str(error))
            except Exception as error:  # noqa: BLE001 - a bug must not end it in silence
                _log.error("the MQTT session failed, connecting again", exc_info=error)
            if time.monotonic() - began > self._settings.reconnect_max_s:
                pause_s = _FIRST_PAUSE_S  # it was a good connection
            self._closing.wait(pause_s)
            pause_s = min(2 * pause_s, self._settings.reconnect_max_s)

    def _converse(self, line: socket.socket) -> None:
        number = self._books.begin()
        try:
            _Connection(
                self._settings,
                line,
                self._books,
                self._topics,
                lambda publishes, oversized: self._hand_over(number, publishes, oversized),
                lambda: self._on_state(True, ""),
            ).run(self._closing)
        finally:
            self._books.end()

    def _hand_over(
        self, number: int, publishes: Sequence[wire.Publish], oversized: Sequence[wire.Oversized]
    ) -> None:
        at = self._now()
        messages = [
            Message(str(topic, "utf-8", "replace"), payload, at, (number, packet_id, qos))
            for topic, payload, packet_id, qos in publishes
        ]
        messages += [self._too_large(number, one, at) for one in oversized]
        self._books.hand_out(messages)
        self._deliver(messages)

    def _too_large(self, number: int, one: wire.Oversized, at: datetime) -> Message:
        return Message(
            str(one.topic, "utf-8", "replace"),
            b"",
            at,
            (number, one.packet_id, one.qos),
            f"The message has {one.size} bytes; at most {self._settings.largest} are taken.",
        )

    def _lost(self, reason: str) -> None:
        if not self._closing.is_set():
            _log.warning("no connection to the broker", extra={"reason": reason})
            self._on_state(False, reason)


class _Books:
    """What the network thread and those who acknowledge share: the outbox, and what is held.

    Packet ids mean something on one connection only, so connections are numbered. The lock makes
    "is it still this connection?" and "put the acknowledgement in the outbox" one step.
    """

    def __init__(self, settings: SessionSettings) -> None:
        self._most, self._most_bytes = settings.buffer, settings.buffer_bytes
        self._lock = threading.Lock()
        self._connection = 0
        self._outbox = bytearray()
        self._held = 0
        self._held_bytes = 0
        self.subscribed = False  # whether the broker has known this session since the start
        self._waker, self.woken = socket.socketpair()
        self._waker.setblocking(False)
        self.woken.setblocking(False)

    def begin(self) -> int:
        """A connection was made; its number."""
        with self._lock:
            self._connection += 1
            self._outbox.clear()
            return self._connection

    def end(self) -> None:
        """The connection is gone; acknowledgements for it are of no use any more."""
        with self._lock:
            self._connection += 1

    def hand_out(self, messages: Sequence[Message]) -> None:
        """Count ``messages`` as held by the caller."""
        with self._lock:
            self._held += len(messages)
            self._held_bytes += _bytes(messages)

    def give_back(self, messages: Sequence[Message]) -> None:
        """Count ``messages`` as done, and acknowledge those of this connection.

        One of an earlier connection comes again under a new packet id, and is not this one.
        """
        received: dict[int, list[int]] = {0: [], 1: [], 2: []}
        with self._lock:
            for message in messages:
                connection, packet_id, qos = message.ticket
                if connection == self._connection:
                    received[qos].append(packet_id)
            self._outbox += wire.acknowledgements(wire.PUBACK, received[1])
            self._outbox += wire.acknowledgements(wire.PUBREC, received[2])
            self._held -= len(messages)
            self._held_bytes -= _bytes(messages)
        self.wake()

    def room(self) -> bool:
        """Whether more may be read."""
        with self._lock:
            return self._held < self._most and self._held_bytes < self._most_bytes

    def take_outbox(self) -> bytes:
        """What is to be sent, once."""
        with self._lock:
            taken = bytes(self._outbox)
            self._outbox.clear()
        return taken

    def wake(self) -> None:
        """Let the network thread look around."""
        with suppress(OSError):  # it is being woken already, or closed
            self._waker.send(b"\0")

    def close(self) -> None:
        """No more wake-ups."""
        self._waker.close()
        self.woken.close()


def _bytes(messages: Sequence[Message]) -> int:
    return sum(len(message.payload) for message in messages) + _BOOKKEEPING * len(messages)


class _Connection:
    """One connection, from CONNECT to its end."""

    def __init__(
        self,
        settings: SessionSettings,
        line: socket.socket,
        books: _Books,
        topics: Sequence[str],
        hand_over: Callable[[Sequence[wire.Publish], Sequence[wire.Oversized]], None],
        on_subscribed: Callable[[], None],
    ) -> None:
        line.setblocking(False)
        self._settings = settings
        self._line = line
        self._books = books
        self._topics = topics
        self._hand_over = hand_over
        self._on_subscribed = on_subscribed
        self._reader = wire.Reader(settings.version, settings.largest)
        self._unsent = bytearray()
        self._accepted = False
        self._keep_alive_s = float(settings.keep_alive_s)
        self._sent_at = time.monotonic()
        self._answer_by = math.inf

    def run(self, closing: threading.Event) -> None:
        """Converse until ``closing``; raises OSError, DecodeError or ServiceError at its end."""
        settings = self._settings
        self._ask(
            wire.connect(
                settings.client_id,
                version=settings.version,
                keep_alive_s=settings.keep_alive_s,
                username=settings.access.username,
                password=settings.access.password,
                receive_maximum=min(settings.buffer, 65_535),
            )
        )
        with selectors.DefaultSelector() as selector:
            selector.register(self._books.woken, selectors.EVENT_READ)
            while not closing.is_set():
                self._flush()
                for key, mask in self._wait(selector):
                    if key.fileobj is self._books.woken:
                        self._books.woken.recv(_CHUNK)
                    elif mask & selectors.EVENT_READ:
                        self._receive()
                self._keep_alive()
        self._leave()

    def _wait(self, selector: selectors.BaseSelector) -> list[tuple[selectors.SelectorKey, int]]:
        """What can be done next; the line is read only while there is room."""
        reading = self._books.room() or not self._accepted
        if not reading:
            self._answer_by = math.inf  # the answer may stand behind what is not read
        wanted = selectors.EVENT_READ * reading | selectors.EVENT_WRITE * bool(self._unsent)
        known = selector.get_map().get(self._line)
        if known and known.events != wanted:
            selector.unregister(self._line)
        if wanted and (not known or known.events != wanted):
            selector.register(self._line, wanted)
        until = min(self._ping_at, self._answer_by)
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        return selector.select(timeout)

    def _receive(self) -> None:
        data = self._read()
        self._answer_by = math.inf
        publishes, others = self._reader.feed(data)
        oversized = []
        for packet in others:
            if isinstance(packet, wire.Oversized):
                oversized.append(packet)
            else:
                self._answer(packet)
        if publishes or oversized:
            self._hand_over(publishes, oversized)

    def _read(self) -> bytes:
        """What is there, about a chunk at most."""
        found = bytearray()
        try:
            while len(found) < _CHUNK:  # TLS gives one record at a time
                data = self._line.recv(_CHUNK)
                if not data and not found:
                    raise ServiceError(self._closed())
                if not data:
                    break  # the end; but first what was said before it
                found += data
        except _WOULD_BLOCK:
            pass
        except (ssl.SSLEOFError, ConnectionResetError) as error:
            raise ServiceError(self._closed()) from error
        return bytes(found)

    def _answer(self, packet: wire.Packet) -> None:
        settings = self._settings
        if isinstance(packet, wire.Connack):
            if packet.reason >= wire.REFUSED:
                self._refuse("refuses us", packet.reason, packet.text)
            self._accepted = True
            if self._books.subscribed and not packet.session_present:
                _log.warning("the broker has forgotten this session and what it held for it")
            if packet.keep_alive_s is not None:
                self._keep_alive_s = float(packet.keep_alive_s)
            self._subscribe()
        elif isinstance(packet, wire.Suback):
            for topic, reason in zip(self._topics, packet.reasons, strict=False):
                if reason >= wire.REFUSED:
                    self._refuse(f"refuses the topic {topic}", reason)
                if reason == 0:
                    _log.warning("the broker gives this topic no QoS 1", extra={"topic": topic})
            self._books.subscribed = True
            # Only now: what is published before the broker knows the topics is nobody's.
            _log.info("receiving from the broker", extra={"broker": str(settings.access)})
            self._on_subscribed()
        elif isinstance(packet, wire.Pubrel):
            self._unsent += wire.acknowledgements(wire.PUBCOMP, [packet.packet_id])
        elif isinstance(packet, wire.Disconnect):
            self._refuse("ended the connection", packet.reason, packet.text)

    def _subscribe(self) -> None:
        """Always, also where the session is still there: it may be an older version's."""
        settings, filters = self._settings, self._topics
        if settings.share:
            filters = [f"$share/{settings.share}/{one}" for one in filters]
        self._ask(wire.subscribe(1, filters, settings.version))
        if settings.share:
            # A session from the time before it shared would go on getting everything. Only now:
            # what is published while nobody subscribes is lost, what comes twice is not.
            self._unsent += wire.unsubscribe(2, self._topics, settings.version)

    def _refuse(self, what: str, reason: int, text: str = "") -> NoReturn:
        words = wire.reason_words(reason, text)
        raise ServiceError(f"The MQTT broker at {self._settings.access} {what}: {words}.")

    def _closed(self) -> str:
        access = self._settings.access
        if self._accepted:
            hint = "may restart, or another receiver has the client id " + self._settings.client_id
        else:
            hint = "may want a client certificate" if access.tls else "may want TLS"
        return f"The MQTT broker at {access} closed the connection without a word; it {hint}."

    def _ask(self, packet: bytes) -> None:
        self._unsent += packet
        self._answer_by = time.monotonic() + self._settings.answer_s

    @property
    def _ping_at(self) -> float:
        return self._sent_at + self._keep_alive_s / 2 if self._keep_alive_s else math.inf

    def _keep_alive(self) -> None:
        now = time.monotonic()
        if now > self._answer_by:
            raise ServiceError(f"The MQTT broker at {self._settings.access} does not answer.")
        if now >= self._ping_at:
            self._ask(wire.PINGREQ)
            self._sent_at = now

    def _flush(self) -> None:
        """Send what waits, as far as the line takes it."""
        self._unsent += self._books.take_outbox()
        try:
            while self._unsent:
                sent = self._line.send(self._unsent)
                del self._unsent[:sent]
                self._sent_at = time.monotonic()
        except _WOULD_BLOCK:
            pass
        except OSError:
            self._receive()  # the broker may have said why before it hung up
            raise

    def _leave(self) -> None:
        """Send the last acknowledgements and wait until the broker has read them.

        A line that is closed while something has not been read at either end loses them. Lost
        ones would only be duplicates, so nothing here is worth more than a moment.
        """
        deadline = time.monotonic() + _CLOSE_S
        self._line.settimeout(_CLOSE_S)
        self._unsent += self._books.take_outbox() + wire.DISCONNECT
        with suppress(OSError):
            self._line.sendall(self._unsent)
            while self._line.recv(_CHUNK) and time.monotonic() < deadline:
                pass  # until the broker closes, as it must (MQTT 5, 3.14.4)
