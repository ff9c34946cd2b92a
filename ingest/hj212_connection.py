"""One TCP connection of an HJ 212 station, or of a gateway that speaks for several.

Stations hang on mobile networks: lines die without a word, and anybody can connect. So every wait
has an end and every buffer a bound.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from ingest import hj212_frame
from ingest.hj212_door import Heard, Verdict
from ingest.hj212_frame import Bad, Packet, Splitter

_log = logging.getLogger(__name__)

READ_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Limits:
    """What one station, and all together, may take. Seconds are wall seconds.

    max_segment: bytes of a frame's segment. connections: at once; of them ``strangers`` that have
    not sent one right frame yet: a further one takes the place of the oldest. first_frame_s: for
    strangers. frame_s: from a frame's first byte to its last. idle_s: without any byte; hourly
    stations need more than an hour. write_s: until the other side takes an answer. frames_per_s:
    of one connection; what is faster is read more slowly. refusals: refused frames until a
    connection ends. noise_bytes: the same for bytes outside of frames. quarantined_per_minute:
    refused frames that are kept, of all connections; the others are only counted.
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


class Behind(Protocol):
    """What stands behind all connections."""

    async def take(self, found: Sequence[bytes | Bad]) -> Sequence[tuple[Heard, bool]]:
        """Judge frames and keep what has to be; each with whether its message is safe."""
        ...

    def follow(self, heard: Heard, connection: Connection, *, safe: bool) -> None:
        """Whatever a frame leads to besides its answer."""
        ...

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""
        ...


class Connection:
    """Reads frames, has them judged and kept, and answers, in the order they came."""

    def __init__(
        self,
        behind: Behind,
        limits: Limits,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.stranger = True
        self._behind = behind
        self._limits = limits
        self._reader = reader
        self._writer = writer
        self._splitter = Splitter(limits.max_segment)
        self._refusals = 0
        self._noise_before = 0
        self._frame_since: float | None = None
        self._began = _now_s()
        _watch_line(writer)

    def abort(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    async def send(self, packet: Packet) -> None:
        """Send a packet. Raises OSError or TimeoutError when the other side does not take it."""
        self._writer.write(hj212_frame.build(packet))
        async with asyncio.timeout(self._limits.write_s):
            await self._writer.drain()

    async def run(self) -> None:
        """Receive until the connection ends, by itself or because it has to."""
        try:
            while data := await self._read():
                found = self._splitter.feed(data)
                self._note_progress(found)
                await self._handle(found)
                if self._worn_out():
                    break
                await asyncio.sleep(len(found) / self._limits.frames_per_s)
        except (OSError, TimeoutError) as error:
            _log.info("a station's connection ended", extra={"reason": str(error) or "time-out"})
        finally:
            self._behind.gone(self)
            self._writer.close()

    async def _read(self) -> bytes:
        """What comes next; empty at the end. Raises TimeoutError when it takes too long."""
        async with asyncio.timeout_at(self._deadline()):
            return await self._reader.read(READ_BYTES)

    def _deadline(self) -> float:
        if self._frame_since is not None:
            return self._frame_since + self._limits.frame_s
        if self.stranger:
            return self._began + self._limits.first_frame_s
        return _now_s() + self._limits.idle_s

    def _note_progress(self, found: Sequence[bytes | Bad]) -> None:
        """A frame has its time from its first byte on, however many bytes come meanwhile."""
        if not self._splitter.pending:
            self._frame_since = None
        elif found or self._frame_since is None:
            self._frame_since = _now_s()

    async def _handle(self, found: Sequence[bytes | Bad]) -> None:
        for heard, safe in await self._behind.take(found):
            if heard.packet is not None:
                self.stranger = False
                self._noise_before = self._splitter.skipped
            self._refusals += heard.verdict is Verdict.REFUSED
            if heard.answer is not None and safe:
                await self.send(heard.answer)
            self._behind.follow(heard, self, safe=safe)

    def _worn_out(self) -> bool:
        noise = self._splitter.skipped - self._noise_before
        return self._refusals >= self._limits.refusals or noise > self._limits.noise_bytes


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _watch_line(writer: asyncio.StreamWriter) -> None:
    """Notice within about a minute that the other side vanished without a word."""
    line = writer.get_extra_info("socket")
    with suppress(OSError):  # it may be gone already
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):  # not on every system
                line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
