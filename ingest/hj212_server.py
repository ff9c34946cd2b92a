"""Receives HJ 212 stations over TCP; a frame is answered after it is safe, and only then.

A frame with data goes to ``accept`` (the spool) and is answered 9014 when that has returned; a
notice is answered 9013. When the spool is full there is no answer: the station keeps its data and
sends it again, ten seconds later by the standard. What came twice is one reading, because its key
is (MN, CN, DataTime, factor).

A frame with a wrong CRC or password, or of a station that no profile describes, is counted and
kept in quarantine; the latter two are told so and the connection ends after some of them.

hj212_door judges a frame, hj212_keeper brings it to the spool, hj212_connection speaks with one
station, hj212_host asks stations, hj212_control lets other processes ask.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from core.errors import ServiceError, VerdigridError
from ingest import hj212_control
from ingest.hj212_connection import READ_BYTES, Connection, Limits
from ingest.hj212_door import Door, Heard, Verdict
from ingest.hj212_frame import Bad
from ingest.hj212_host import Host, Patience, Period
from ingest.hj212_keeper import Accept, Keeper
from ingest.hj212_stations import Stations

_log = logging.getLogger(__name__)

WANTS_CLOCK = "1013"

_TICK_S = 0.1
_REPORT_S = 0.5
_FILLED_AT_ONCE = 4
"""Stations that are asked for their past at the same time: after a restart all come at once."""


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
    """What stands behind all connections."""

    def __init__(
        self,
        settings: Hj212Settings,
        accept: Accept,
        now: Callable[[], datetime],
        on_status: Callable[[Hj212Status], None],
        missing: Missing,
    ) -> None:
        self._settings = settings
        self._door = Door(
            settings.stations,
            now,
            quarantined_per_minute=settings.limits.quarantined_per_minute,
            experimental_2025=settings.experimental_2025,
        )
        self._keeper = Keeper(accept)
        self._host = Host(now, settings.patience)
        self._missing = missing
        self._on_status = on_status
        self._status = Hj212Status(port=settings.port)
        self._connections: dict[Connection, None] = {}  # the oldest first
        self._tasks: set[asyncio.Task[None]] = set()
        self._filling = asyncio.Semaphore(_FILLED_AT_ONCE)

    async def run(self, stop: threading.Event) -> None:
        """Listen until ``stop``; an error of ``accept`` that is not its own ends the server."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self._keeper)
            keeping = self._spawn(self._keeper.run())
            stack.push_async_callback(self._end_tasks)
            server = await self._listen()
            stack.callback(server.close)
            if self._settings.control is not None:
                await stack.enter_async_context(
                    hj212_control.serving(self._settings.control, self._host)
                )
            self._note(port=server.sockets[0].getsockname()[1])
            _log.info("receiving HJ 212 stations", extra={"port": self._status.port})
            await self._until(stop, keeping)

    async def _listen(self) -> asyncio.Server:
        host, port = self._settings.host, self._settings.port
        try:
            return await asyncio.start_server(
                self._connected, host, port, backlog=1024, limit=READ_BYTES
            )
        except OSError as error:
            raise ServiceError(f"HJ 212 cannot be received at {host}:{port}: {error}.") from error

    async def _until(self, stop: threading.Event, keeping: asyncio.Task[None]) -> None:
        told: Hj212Status | None = None
        tell_at = 0.0
        while not stop.is_set() and not keeping.done():
            self._note(stations=len(self._host.stations), connections=len(self._connections))
            now_s = asyncio.get_running_loop().time()
            if self._status != told and now_s >= tell_at:
                told, tell_at = self._status, now_s + _REPORT_S
                self._on_status(told)
            await asyncio.sleep(_TICK_S)
        if keeping.done():
            await keeping

    async def _end_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run ``work`` beside everything else; it ends with the server at the latest."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _note(self, **changes: int | str) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]

    # --- Connections ---------------------------------------------------------------------

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limits = self._settings.limits
        strangers = [c for c in self._connections if c.stranger]
        full = len(self._connections) >= limits.connections
        if full and not strangers:
            self._note(last_error=f"More than {limits.connections} connections; one was refused.")
            writer.transport.abort()
            return
        if full or len(strangers) >= limits.strangers:
            strangers[0].abort()
            self.gone(strangers[0])
        connection = Connection(self, limits, reader, writer)
        self._connections[connection] = None
        self._spawn(connection.run())

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)
        self._host.gone(connection.send)

    async def take(self, found: Sequence[bytes | Bad]) -> Sequence[tuple[Heard, bool]]:
        """Judge frames and keep what has to be; each with whether its message is safe."""
        at_s = asyncio.get_running_loop().time()
        heard = [self._door.judge(one, at_s) for one in found]
        refusal = await self._keeper.keep([h.message for h in heard if h.message])
        self._count([h.verdict for h in heard], refusal)
        return [(h, not (refusal and h.message)) for h in heard]

    def _count(self, verdicts: Sequence[Verdict], refusal: str) -> None:
        """refusal: why nothing was kept; empty when all was."""
        status = self._status
        data = verdicts.count(Verdict.DATA)
        self._note(
            kept=status.kept + (0 if refusal else data),
            unanswered=status.unanswered + (data if refusal else 0),
            refused=status.refused + verdicts.count(Verdict.REFUSED),
            bad=status.bad + verdicts.count(Verdict.BAD),
            last_error=refusal or ("" if data else status.last_error),
        )

    # --- What a frame leads to -----------------------------------------------------------

    def follow(self, heard: Heard, connection: Connection, *, safe: bool) -> None:
        """Know the station, hand over what the host waits for, do what a notice asks."""
        packet, station = heard.packet, heard.station
        if packet is None or station is None:
            return
        if self._host.heard(station, packet, connection.send):
            self._spawn(self._fill(packet.mn))
        self._host.offer(packet, safe=safe)
        if packet.cn == WANTS_CLOCK:
            self._spawn(self._set_clock(packet.mn))

    async def _fill(self, mn: str) -> None:
        """Ask a station that came back for what is missing of it, until it does not answer."""
        await asyncio.sleep(self._settings.fill_after_s)
        async with self._filling:
            try:
                for period in await asyncio.to_thread(self._missing, mn):
                    count = await self._host.recollect(mn, period)
                    _log.info("collected again", extra={"station": mn, "packets": count})
            except VerdigridError as error:
                _log.warning("not collected again", extra={"station": mn, "reason": str(error)})
                self._note(last_error=str(error))

    async def _set_clock(self, mn: str) -> None:
        """Set the clock of a station that asked for it."""
        try:
            await self._host.set_clock(mn)
        except VerdigridError as error:
            self._note(last_error=str(error))
