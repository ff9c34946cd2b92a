"""Receives HJ 212 stations over TCP; a frame is answered after it is safe, and only then.

A frame with data goes to ``accept`` (the spool) and is answered 9014 when that has returned; a
notice is answered 9013. All connections share one commit: while one is on its way to the disk the
next gathers. When the spool is full there is no answer: the station keeps its data and sends it
again, ten seconds later by the standard. What came twice is one reading, because its key is
(MN, CN, DataTime, factor).

A frame with a wrong CRC or password, or of a station that no profile describes, is counted and
kept in quarantine; the latter two are told so by 9011 and the connection ends after some of them.
The standard has no answer to an upload that is refused; 9011 is the one whose codes say why.

Stations hang on mobile networks: lines die without a word, and anybody can connect. So every wait
has an end, every buffer a bound, and strangers make room for each other.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from core.errors import DecodeError, ServiceError, SpoolFullError, VerdigridError
from ingest import hj212_control, hj212_frame, hj212_sm4
from ingest.hj212_frame import Bad, Packet, Splitter
from ingest.hj212_host import READY, Host, Patience, Period
from ingest.hj212_stations import Station, Stations
from ingest.pipeline import Message
from ingest.protocols.hj212 import refused_topic

_log = logging.getLogger(__name__)

NOTICE_TAKEN, DATA_TAKEN, HEARTBEAT = "9013", "9014", "9015"
WANTS_CLOCK = "1013"
REGISTRATION = "1001"
SYSTEM = "91"
"""The ST of the host's own answers."""

WRONG_PASSWORD, UNKNOWN_MN = "3", "4"
"""Codes of QnRtn."""

_READ_BYTES = 16_384
_TICK_S = 0.1
_REPORT_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What one station, and all together, may take. Seconds are wall seconds.

    max_segment: bytes of a frame's segment. connections: at once; of them ``strangers`` that have
    not sent one right frame yet: a further one takes the place of the oldest. first_frame_s: for
    strangers. frame_s: from a frame's first byte to its last. idle_s: without any byte; hourly
    stations need more than an hour. write_s: until the other side takes an answer. frames_per_s:
    of one connection; what is faster is read more slowly. refusals: refused frames until a
    connection ends. noise_bytes: the same for bytes outside of frames. quarantined_per_minute:
    refused frames that are kept; the others are only counted, so that a flood of them does not
    fill the spool.
    """

    max_segment: int = hj212_frame.MAX_SEGMENT
    connections: int = 5_000
    strangers: int = 500
    first_frame_s: float = 120.0
    frame_s: float = 10.0
    idle_s: float = 7_500.0
    write_s: float = 10.0
    frames_per_s: float = 100.0
    refusals: int = 3
    noise_bytes: int = 65_536
    quarantined_per_minute: int = 60


@dataclass(frozen=True, slots=True)
class Hj212Settings:
    """host, port: where to listen; port 0 takes a free one, which the status tells.

    control: path of the socket for host commands; None for none. experimental_2025: speak the
    2025 edition (hj212_sm4) with stations that have a key. fill_after_s: wall seconds after a
    station came back until it is asked for what is missing; before that it sends what it kept.
    """

    stations: Stations
    host: str = "127.0.0.1"
    port: int = 0
    control: Path | None = None
    experimental_2025: bool = False
    fill_after_s: float = 5.0
    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class Hj212Status:
    """What the receiver has done since it started.

    kept: frames given to the spool. unanswered: frames it had no room for. refused: frames of
    strangers or with a wrong password. bad: what was no right frame.
    """

    port: int
    stations: int = 0
    connections: int = 0
    kept: int = 0
    unanswered: int = 0
    refused: int = 0
    bad: int = 0
    last_error: str = ""


Accept = Callable[[Sequence[Message]], None]
Missing = Callable[[str], Sequence[Period]]


def run_hj212(
    settings: Hj212Settings,
    accept: Accept,
    now: Callable[[], datetime],
    stop: threading.Event,
    on_status: Callable[[Hj212Status], None] = lambda _: None,
    missing: Missing = lambda _: (),
) -> None:
    """Receive until ``stop`` is set.

    accept: returns when the messages are safe; raises SpoolFullError when they are not kept.
    now: city time. on_status: called when the server listens and, at most twice a second, when
    something changed; must be quick. missing: the periods that a station is asked for when it
    connects; called in a thread of its own. Raises ServiceError when the port or the control
    socket is taken.
    """
    asyncio.run(_Server(settings, accept, now, on_status, missing).run(stop))


class _Server:
    """What all connections share."""

    def __init__(
        self,
        settings: Hj212Settings,
        accept: Accept,
        now: Callable[[], datetime],
        on_status: Callable[[Hj212Status], None],
        missing: Missing,
    ) -> None:
        self.settings = settings
        self.now = now
        self.host = Host(now, settings.patience)
        self.keeper = _Keeper(accept)
        self.strangers: dict[_Connection, None] = {}  # the oldest first
        self.status = Hj212Status(port=settings.port)
        self._quarantine = _Budget(settings.limits.quarantined_per_minute)
        self._missing = missing
        self._on_status = on_status
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking = asyncio.Semaphore(4)  # after a restart all stations come at once

    async def run(self, stop: threading.Event) -> None:
        """Listen until ``stop``; an error of ``accept`` that is not its own ends the server."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self.keeper)
            keeping = self.spawn(self.keeper.run())
            stack.push_async_callback(self._end_tasks)
            server = await self._listen()
            stack.callback(server.close)
            if self.settings.control is not None:
                await stack.enter_async_context(
                    hj212_control.serving(self.settings.control, self.host)
                )
            self.note(port=server.sockets[0].getsockname()[1])
            _log.info("receiving HJ 212 stations", extra={"port": self.status.port})
            await self._until(stop, keeping)

    async def _listen(self) -> asyncio.Server:
        settings = self.settings
        try:
            return await asyncio.start_server(
                self._connected, settings.host, settings.port, backlog=1024, limit=_READ_BYTES
            )
        except OSError as error:
            raise ServiceError(
                f"HJ 212 cannot be received at {settings.host}:{settings.port}: {error}."
            ) from error

    async def _until(self, stop: threading.Event, keeping: asyncio.Task[None]) -> None:
        told: Hj212Status | None = None
        tell_at = 0.0
        while not stop.is_set() and not keeping.done():
            self.note(stations=len(self.host.stations), connections=len(self._connections))
            if self.status != told and asyncio.get_running_loop().time() >= tell_at:
                told, tell_at = self.status, asyncio.get_running_loop().time() + _REPORT_S
                self._on_status(told)
            await asyncio.sleep(_TICK_S)
        if keeping.done():
            await keeping

    async def _end_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run ``work`` beside everything else; it ends with the server at the latest."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def note(self, **changes: int | str) -> None:
        """Change fields of the status."""
        self.status = replace(self.status, **changes)  # type: ignore[arg-type]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limits = self.settings.limits
        full = len(self._connections) >= limits.connections
        if full and not self.strangers:
            self.note(last_error=f"More than {limits.connections} connections; one was refused.")
            writer.transport.abort()
            return
        if full or len(self.strangers) >= limits.strangers:
            next(iter(self.strangers)).abort()
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        self.strangers[connection] = None
        self.spawn(connection.run())

    def gone(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        self.strangers.pop(connection, None)
        self.host.gone(connection.send)

    def quarantined(self, mn: str, reason: str, data: bytes) -> Message | None:
        """A refused frame for the quarantine; None when there were too many lately."""
        if not self._quarantine.take(asyncio.get_running_loop().time()):
            return None
        payload = hj212_frame.without_password(data)
        return Message(refused_topic(mn, reason), payload, self.now())

    async def fill(self, mn: str) -> None:
        """Ask a station that came back for what is missing of it, until it does not answer."""
        await asyncio.sleep(self.settings.fill_after_s)
        async with self._asking:
            try:
                periods = await asyncio.to_thread(self._missing, mn)
                for period in periods:
                    count = await self.host.recollect(mn, period)
                    _log.info("collected again", extra={"station": mn, "packets": count})
            except VerdigridError as error:
                _log.warning("not collected again", extra={"station": mn, "reason": str(error)})
                self.note(last_error=str(error))

    async def tell_clock(self, mn: str) -> None:
        """Set the clock of a station that asked for it."""
        try:
            await self.host.set_clock(mn)
        except VerdigridError as error:
            self.note(last_error=str(error))


class _Budget:
    """So many in a minute."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left = 0
        self._until = 0.0

    def take(self, at_s: float) -> bool:
        """Whether there is one left at ``at_s``."""
        if at_s >= self._until:
            self._left, self._until = self._per_minute, at_s + 60.0
        self._left -= 1
        return self._left >= 0


class _Keeper:
    """Brings messages to ``accept``, one call at a time, with all that wait by then."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hj212-keeper")
        self._waiting: list[tuple[Sequence[Message], asyncio.Future[str]]] = []
        self._wake = asyncio.Event()

    def __enter__(self) -> _Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    async def keep(self, messages: Sequence[Message]) -> str:
        """Returns when ``messages`` are safe, with an empty text, or why they are not kept."""
        if not messages:
            return ""
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, outcome))
        self._wake.set()
        return await outcome

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            refusal = await self._commit([m for messages, _ in waiting for m in messages])
            for _, outcome in waiting:
                if not outcome.done():  # its connection may have ended meanwhile
                    outcome.set_result(refusal)

    async def _commit(self, messages: Sequence[Message]) -> str:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._accept, messages)
        except SpoolFullError as error:
            return str(error)
        return ""


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came, and what is to be done about it.

    message: to be kept first, if anything. answer: to be sent when that is done. packet: for the
    host; None for what was refused.
    """

    message: Message | None
    answer: Packet | None
    packet: Packet | None


class _Connection:
    """One TCP connection: usually one station, but a gateway may speak for several."""

    def __init__(
        self, server: _Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._limits = server.settings.limits
        self._splitter = Splitter(self._limits.max_segment)
        self._refusals = 0
        self._noise = 0
        self._frame_since: float | None = None
        self._began = asyncio.get_running_loop().time()
        _watch_line(writer)

    def abort(self) -> None:
        """End the connection at once."""
        self._server.strangers.pop(self, None)
        self._writer.transport.abort()

    async def run(self) -> None:
        """Receive until the connection ends, by itself or because it has to."""
        try:
            while data := await self._read():
                found = self._splitter.feed(data)
                self._note_progress(found)
                await self._handle(found)
                if self._worn_out():
                    break
                await asyncio.sleep(len(found) / self._limits.frames_per_s if found else 0.0)
        except (OSError, TimeoutError) as error:
            _log.info("a station's connection ended", extra={"reason": str(error) or "time-out"})
        finally:
            self._server.gone(self)
            self._writer.close()

    async def _read(self) -> bytes:
        """What comes next; empty at the end. Raises TimeoutError when it takes too long."""
        async with asyncio.timeout_at(self._deadline()):
            return await self._reader.read(_READ_BYTES)

    def _deadline(self) -> float:
        if self._frame_since is not None:
            return self._frame_since + self._limits.frame_s
        if self in self._server.strangers:
            return self._began + self._limits.first_frame_s
        return asyncio.get_running_loop().time() + self._limits.idle_s

    def _note_progress(self, found: Sequence[bytes | Bad]) -> None:
        """A frame has its time from its first byte on, however many bytes come meanwhile."""
        if not self._splitter.pending:
            self._frame_since = None
        elif found or self._frame_since is None:
            self._frame_since = asyncio.get_running_loop().time()

    def _worn_out(self) -> bool:
        return (
            self._refusals >= self._limits.refusals
            or self._splitter.skipped - self._noise > self._limits.noise_bytes
        )

    async def _handle(self, found: Sequence[bytes | Bad]) -> None:
        heard = [self._hear(one) for one in found]
        refusal = await self._server.keeper.keep([h.message for h in heard if h.message])
        status = self._server.status
        kept = sum(h.message is not None and h.packet is not None for h in heard)
        if refusal:
            self._server.note(unanswered=status.unanswered + kept, last_error=refusal)
        else:
            self._server.note(kept=status.kept + kept, last_error="" if kept else status.last_error)
        for one in heard:
            safe = not (refusal and one.message)
            if one.answer and safe:
                await self.send(one.answer)
            if one.packet:
                self._follow(one.packet, safe=safe)

    def _follow(self, packet: Packet, *, safe: bool) -> None:
        """What a packet leads to besides its answer."""
        self._server.host.offer(packet, safe=safe)
        if packet.cn == WANTS_CLOCK:
            self._server.spawn(self._server.tell_clock(packet.mn))

    def _hear(self, one: bytes | Bad) -> _Heard:
        """Judge one frame; counts, and knows the station from now on."""
        server = self._server
        if isinstance(one, Bad):
            server.note(bad=server.status.bad + 1)
            return _Heard(server.quarantined("", one.reason, one.data), None, None)
        try:
            packet = hj212_frame.parse(one)
        except DecodeError as error:
            server.note(bad=server.status.bad + 1)
            return _Heard(server.quarantined("", str(error), one), None, None)
        station = server.settings.stations.find(packet.mn)
        if station is None:
            return self._refuse(packet, one, UNKNOWN_MN, "No device profile is for this MN.")
        if not station.knows(packet.pw):
            return self._refuse(packet, one, WRONG_PASSWORD, "The password is wrong.")
        try:
            one = self._readable(packet, station, one)
        except DecodeError as error:
            server.note(bad=server.status.bad + 1)
            return _Heard(server.quarantined(packet.mn, str(error), one), None, None)
        self._know(station, packet)
        return self._accepted(packet, station, one)

    def _know(self, station: Station, packet: Packet) -> None:
        self._noise = self._splitter.skipped
        self._server.strangers.pop(self, None)
        if self._server.host.heard(station, packet, self.send):
            self._server.spawn(self._server.fill(packet.mn))

    def _refuse(self, packet: Packet, frame: bytes, code: str, reason: str) -> _Heard:
        self._refusals += 1
        self._server.note(refused=self._server.status.refused + 1)
        answer = _answer(packet, READY, f"QnRtn={code}") if packet.wants_answer else None
        return _Heard(self._server.quarantined(packet.mn, reason, frame), answer, None)

    def _readable(self, packet: Packet, station: Station, frame: bytes) -> bytes:
        """The frame with its CP in the clear (2025 edition, experimental)."""
        wanted = self._server.settings.experimental_2025 and station.sm4_key
        if not wanted or not hj212_sm4.encrypts(packet):
            return frame
        return hj212_frame.build(hj212_sm4.decrypted(packet, station.sm4_key))

    def _accepted(self, packet: Packet, station: Station, frame: bytes) -> _Heard:
        """What to do with the frame of a known station, by its command."""
        kind = packet.cn[0]
        if kind in "23":  # data, and what instruments tell
            payload = hj212_frame.without_password(frame)
            message = Message(station.address.topic, payload, self._server.now())
            return _Heard(message, _taken(packet, DATA_TAKEN), packet)
        if packet.cn == REGISTRATION:  # 2025: somebody has to give it an MN, so it is shown
            shown = self._server.quarantined(packet.mn, "A station asks to be registered.", frame)
            return _Heard(shown, _taken(packet, NOTICE_TAKEN), packet)
        if kind == "1" or packet.cn == HEARTBEAT:
            return _Heard(None, _taken(packet, NOTICE_TAKEN), packet)
        return _Heard(None, None, packet)  # answers to what the host asked

    async def send(self, packet: Packet) -> None:
        """Send a packet. Raises OSError or TimeoutError when the other side does not take it."""
        self._writer.write(hj212_frame.build(packet))
        async with asyncio.timeout(self._limits.write_s):
            await self._writer.drain()


def _taken(packet: Packet, cn: str) -> Packet | None:
    return _answer(packet, cn, "") if packet.wants_answer else None


def _answer(packet: Packet, cn: str, cp: str) -> Packet:
    """The answer to ``packet``: its QN, and the edition it speaks."""
    flag = packet.version * 4
    return Packet(cn=cn, mn=packet.mn, cp=cp, qn=packet.qn, st=SYSTEM, pw=packet.pw, flag=flag)


def _watch_line(writer: asyncio.StreamWriter) -> None:
    """Notice within about a minute that the other side vanished without a word."""
    line = writer.get_extra_info("socket")
    with suppress(OSError):  # it may be gone already
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):  # not on every system
                line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
