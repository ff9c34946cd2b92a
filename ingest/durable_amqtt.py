"""amqtt with a memory on disk: the broker of a machine without mosquitto.

Run as ``python -m ingest.durable_amqtt FOLDER PORT`` by ingest/broker.py. amqtt 0.12 speaks MQTT
but does not keep it: read in its source and seen in experiments, it acknowledges a QoS 1 message
before handing it on, forgets a message whose receiver does not answer within 5 s or disconnects
first, drops the sessions of clients without a user name, and holds everything in memory.

So QoS 1 takes another way here. A message for a persistent session goes into a SQLite file, is
acknowledged after the commit, is sent from the file, and is deleted when its receiver has
acknowledged it; subscriptions and retained messages are kept likewise. What that guarantees:
a QoS 1 message that was acknowledged to its publisher reaches each persistent session subscribed
at that time at least once and in order, whatever is killed in between. Sessions that are not
persistent, QoS 0 and QoS 2 go amqtt's own way, with amqtt's guarantees.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import amqtt.broker
from amqtt.broker import Broker, RetainedApplicationMessage
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import OutgoingApplicationMessage, Session

_log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_PAGE = 500
"""Messages read from the file at once."""

_IN_FLIGHT = 5_000
"""Messages sent to one receiver and not yet acknowledged; the rest waits in the file."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS subscription (
    client TEXT, filter TEXT, qos INTEGER, PRIMARY KEY (client, filter)
);
CREATE TABLE IF NOT EXISTS message (
    -- never the number of a deleted one: senders remember how far they are
    id INTEGER PRIMARY KEY AUTOINCREMENT, client TEXT, topic TEXT, payload BLOB
);
CREATE INDEX IF NOT EXISTS message_client ON message (client, id);
CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, payload BLOB, qos INTEGER);
"""

_ADD = "INSERT INTO message (client, topic, payload) VALUES (?, ?, ?)"
_DELETE = "DELETE FROM message WHERE id = ?"
_SUBSCRIBE = "INSERT OR REPLACE INTO subscription VALUES (?, ?, ?)"
_UNSUBSCRIBE = "DELETE FROM subscription WHERE client = ? AND filter = ?"
_RETAIN = "INSERT OR REPLACE INTO retained VALUES (?, ?, ?)"
_CLEAR = "DELETE FROM retained WHERE topic = ?"

_Change = tuple[str, tuple[Any, ...]]


class Spool:
    """The file. Changes wait for each other and are committed together, off the event loop."""

    def __init__(self, path: Path) -> None:
        self._writer = self._open(path)
        self._writer.executescript(_SCHEMA)
        self._reader = self._open(path)
        self._waiting: list[tuple[Sequence[_Change], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def change(self, changes: Sequence[_Change]) -> asyncio.Future[None]:
        """Queue ``changes``, in the order of the calls; the future ends after their commit."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((changes, done))
        self._wake.set()
        return done

    async def run(self) -> None:
        """Commit what is queued, for ever; raises sqlite3.Error when the file cannot be written."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            taken, self._waiting = self._waiting, []
            await asyncio.to_thread(self._commit, [c for changes, _ in taken for c in changes])
            for _, done in taken:
                if not done.done():
                    done.set_result(None)

    def _commit(self, changes: Sequence[_Change]) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        for statement, values in changes:
            self._writer.execute(statement, values)
        self._writer.execute("COMMIT")

    def page(self, client: str, after: int) -> list[tuple[int, str, bytes]]:
        """The next messages of ``client`` behind the number ``after``: number, topic, payload."""
        return self._reader.execute(
            "SELECT id, topic, payload FROM message WHERE client = ? AND id > ? "
            "ORDER BY id LIMIT ?",
            (client, after, _PAGE),
        ).fetchall()

    def subscriptions(self) -> list[tuple[str, str, int]]:
        """Client, filter and QoS of every persistent session's subscriptions."""
        return self._reader.execute("SELECT client, filter, qos FROM subscription").fetchall()

    def retained(self) -> list[tuple[str, bytes, int]]:
        """Topic, payload and QoS of every retained message."""
        return self._reader.execute("SELECT topic, payload, qos FROM retained").fetchall()


class Welcome(BaseAuthPlugin):  # type: ignore[misc]
    """Lets every client in; amqtt's own plugin for that would make their sessions forgettable."""

    async def authenticate(self, *, session: Session) -> bool:  # noqa: ARG002
        """Always true: the broker listens on loopback."""
        return True


class DurableHandler(BrokerProtocolHandler):  # type: ignore[misc]
    """One connection. For a persistent session it sends what the file holds."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.news = asyncio.Event()
        """Set when the file may hold something new for this session."""
        self._sender: asyncio.Task[None] | None = None
        self._sent: dict[int, int] = {}
        self._room = asyncio.Semaphore(_IN_FLIGHT)

    @property
    def _broker(self) -> DurableBroker:
        broker: DurableBroker = self.plugins_manager.context._broker_instance
        return broker

    async def start(self) -> None:
        await super().start()
        if self.session is not None and not self.session.clean_session:
            self._sender = asyncio.create_task(self._send_all(self.session))

    async def stop(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        if self.session is not None:
            for packet_id in self._sent:
                self.session.inflight_out.pop(packet_id, None)
        self._sent.clear()
        await super().stop()

    async def handle_publish(self, publish_packet: PublishPacket) -> None:
        topic = publish_packet.topic_name
        if publish_packet.qos != 1 or not topic or topic[0] == "$" or set(topic) & {"#", "+"}:
            await super().handle_publish(publish_packet)  # which refuses the bad ones
            return
        data = bytes(publish_packet.data or b"")
        retain = bool(publish_packet.retain_flag)
        await self._broker.route(self.session, topic, data, retain=retain)
        await self._send_packet(PubackPacket.build(publish_packet.packet_id))

    async def handle_puback(self, puback: PubackPacket) -> None:
        packet_id = puback.variable_header.packet_id
        number = self._sent.pop(packet_id, None)
        if number is None or self.session is None:
            await super().handle_puback(puback)
            return
        self.session.inflight_out.pop(packet_id, None)
        self._room.release()
        self._broker.spool.change([(_DELETE, (number,))])

    async def _send_all(self, session: Session) -> None:
        """Send every message of the session in order, then wait for more, until cancelled."""
        last = 0
        while True:
            self.news.clear()
            page = self._broker.spool.page(session.client_id, last)
            for number, topic, payload in page:
                await self._room.acquire()
                again = number <= self._broker.sent_before.get(session.client_id, 0)
                await self._send_one(session, number, topic, payload, again=again)
                last = number
            if page:
                self._broker.note_sent(session.client_id, last)
            else:
                await self.news.wait()

    async def _send_one(
        self, session: Session, number: int, topic: str, payload: bytes, *, again: bool
    ) -> None:
        packet_id = session.next_packet_id
        # Marks the packet id as taken for amqtt, too.
        session.inflight_out[packet_id] = OutgoingApplicationMessage(
            packet_id, topic, 1, payload, retain=False
        )
        self._sent[packet_id] = number
        await self._send_packet(PublishPacket.build(topic, payload, packet_id, again, 1, False))


class DurableBroker(Broker):  # type: ignore[misc]
    """amqtt's broker with QoS 1 by way of the spool."""

    def __init__(self, config: dict[str, Any], spool: Spool) -> None:
        super().__init__(config)
        self.spool = spool
        self.sent_before: dict[str, int] = {}
        """How far each session was sent on any connection: what comes again says so (DUP)."""

    def note_sent(self, client: str, number: int) -> None:
        """Remember that ``client`` was sent everything up to ``number``."""
        self.sent_before[client] = max(number, self.sent_before.get(client, 0))

    async def route(self, source: Session | None, topic: str, data: bytes, *, retain: bool) -> None:
        """Hand a QoS 1 message on; returns when it stands in the file for all who rely on it."""
        changes: list[_Change] = []
        kept: set[str] = set()
        for pattern, subscribers in self._subscriptions.items():
            if not self._matches(topic, pattern):
                continue
            for session, qos in subscribers:
                if session.clean_session or qos == 0:
                    self._pass_on(session, topic, data, min(qos, 1))
                elif session.client_id not in kept:
                    kept.add(session.client_id)
                    changes.append((_ADD, (session.client_id, topic, data)))
        if retain:
            await self.retain_message(source, topic, data, 1)
            changes.append((_RETAIN, (topic, data, 1)) if data else (_CLEAR, (topic,)))
        if changes:
            # Shielded: the publisher may vanish, the message is on its way already.
            done = self.spool.change(changes)
            done.add_done_callback(lambda _: self._tell(kept))
            await asyncio.shield(done)

    def _pass_on(self, session: Session, topic: str, data: bytes, qos: int) -> None:
        handler = self._get_handler(session)
        if handler is not None and session.transitions.state == "connected":
            sending = handler.mqtt_publish(topic, data, qos, retain=False)
            self._tasks_queue.append(asyncio.ensure_future(sending))

    def _tell(self, clients: set[str]) -> None:
        for client in clients:
            handler = self._sessions.get(client, (None, None))[1]
            if isinstance(handler, DurableHandler):
                handler.news.set()

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        code: int = await super().add_subscription(subscription, session)
        if code < 0x80 and not session.clean_session:
            await self.spool.change([(_SUBSCRIBE, (session.client_id, subscription[0], code))])
        return code

    async def _handle_unsubscription(
        self, client_session: Session, handler: Any, unsubscribe_waiter: asyncio.Future[Any]
    ) -> None:
        topics = unsubscribe_waiter.result().topics
        await self.spool.change([(_UNSUBSCRIBE, (client_session.client_id, t)) for t in topics])
        await super()._handle_unsubscription(client_session, handler, unsubscribe_waiter)

    async def _delete_session(self, client_id: str) -> None:
        """A client that asks for a clean session gives up the persistent one it had."""
        known = client_id in self._sessions
        await super()._delete_session(client_id)
        if known:
            tables = ("subscription", "message")
            await self.spool.change(
                [(f"DELETE FROM {table} WHERE client = ?", (client_id,)) for table in tables]  # noqa: S608
            )

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        # On a reconnection amqtt offers a session the retained messages of everybody's filters.
        if any(s is session for s, _ in self._subscriptions.get(subscription[0], [])):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _start_listeners(self) -> None:
        """Bring the sessions back before anybody can connect."""
        for client, pattern, qos in self.spool.subscriptions():
            if client not in self._sessions:
                handler, session = self.create_offline_session(client)
                session.clean_session = False
                self._sessions[client] = (session, handler)
            self._subscriptions.setdefault(pattern, []).append((self._sessions[client][0], qos))
        for topic, data, qos in self.spool.retained():
            self._retained_messages[topic] = RetainedApplicationMessage(None, topic, data, qos)
        await super()._start_listeners()


async def serve(folder: Path, port: int) -> None:
    """Serve until SIGTERM or SIGINT. There is nothing to save at the end: it is on disk."""
    # The one place where amqtt names its handler; it has no setting for it.
    amqtt.broker.BrokerProtocolHandler = DurableHandler
    spool = Spool(folder / "amqtt.db")
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{_HOST}:{port}"}},
        "plugins": {"ingest.durable_amqtt.Welcome": {}},
    }
    broker = DurableBroker(config, spool)
    committing = asyncio.create_task(spool.run())
    await broker.start()
    ended = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({waiting, committing}, return_when=asyncio.FIRST_COMPLETED)
    if committing.done():
        _log.critical("the file cannot be written: %s", committing.exception())
    # At once, as if killed: what was acknowledged is on disk, and a client that does not read
    # would hold up an orderly end for ever.
    os._exit(1 if committing.done() else 0)


def main() -> None:
    """The program: FOLDER PORT."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))


if __name__ == "__main__":
    main()
