"""The senders that speak HJ 212: a frame goes again and again until its 9014 comes."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import suppress
from datetime import datetime
from time import time
from zoneinfo import ZoneInfo

from bench.fault_books import SECOND_US, Books, Device, Post
from bench.fault_city import HJ212, PASSWORD, ZONE
from bench.fault_line import HOST
from sandbox.hj212_station import frame

STATIONS = 8
_ANSWER_S = 1.5
"""Ten by the standard: everything is quicker here."""

_RESENDS = 3
_PAUSE_S = 0.3
_TURN_S = 0.05
_REPEATED = 0.05
_POISON = 0.02
_NOISE = 0.02
_ANSWER = re.compile(rb"QN=(\d+);.*CN=(\d{4});")
_TZ = ZoneInfo(ZONE)


class Station:
    """One station: what it measures, and its line."""

    def __init__(self, device: Device, port: int, rng: random.Random) -> None:
        self.device = device
        self._port = port
        self._rng = rng
        self._number = 0

    async def run(self) -> None:
        """Measure and send until cancelled."""
        while True:
            with suppress(OSError, TimeoutError, EOFError):
                reader, writer = await asyncio.open_connection(HOST, self._port)
                try:
                    await self._talk(reader, writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(_PAUSE_S)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        books, unsent = self.device.books, self.device.unsent
        while True:
            self.device.measure(int(time() * SECOND_US))
            if not unsent:
                await asyncio.sleep(_TURN_S)
                continue
            post = unsent[0]
            await self._until_answered(reader, writer, post)
            unsent.popleft()
            if self._rng.random() < _REPEATED:  # as if the answer had been lost
                await self._until_answered(reader, writer, post)
            if not books.closed.is_set() and self._rng.random() < _POISON:
                unsent.appendleft(books.poison(HJ212.protocol))
            if self._rng.random() < _NOISE:
                books.count("noise on a line")
                writer.write(self._rng.randbytes(self._rng.randrange(200)))

    async def _until_answered(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, post: Post
    ) -> None:
        """Send ``post`` until it is answered; TimeoutError when it is not, however often."""
        self._number += 1
        qn = f"{datetime.now(_TZ):%Y%m%d%H%M%S}{self._number % 1000:03d}"
        for _ in range(_RESENDS):
            post.sent += 1
            writer.write(self._frame(qn, post))
            await writer.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_S):
                    await _answer(reader, qn)
                post.acknowledged = True
                return
            self.device.books.count("hj212 frames without an answer")
        raise TimeoutError

    def _frame(self, qn: str, post: Post) -> bytes:
        if post.token:
            cp = f"DataTime={datetime.now(_TZ):%Y%m%d%H%M%S};a34004-Rtd={post.token}"
        else:
            at = datetime.fromtimestamp(post.readings[0].ts_us / SECOND_US, _TZ)
            said = (f"{r.tag.partition('@')[0]}={r.value}" for r in post.readings)
            cp = f"DataTime={at:%Y%m%d%H%M%S};{';'.join(said)}"
        who = f"PW={PASSWORD};MN={self.device.name}"
        return frame(f"QN={qn};ST=22;CN=2011;{who};Flag=5;CP=&&{cp}&&")


async def _answer(reader: asyncio.StreamReader, qn: str) -> None:
    """Wait for the 9014 to ``qn``; EOFError when the line ends."""
    while line := await reader.readline():
        said = _ANSWER.search(line)
        if said and (said[1].decode(), said[2]) == (qn, b"9014"):
            return
    raise EOFError


def stations(
    books: Books,
    port: int,
    rng: random.Random,
    *,
    first: int = 0,
    count: int = STATIONS,
    begin_us: int,
) -> list[Station]:
    """Stations ``first`` and following; a measurement a second, on the second."""
    made = []
    for number in range(first, first + count):
        device = Device(
            books,
            HJ212.protocol,
            f"{HJ212.stem}{number:04d}",
            HJ212.tags,
            begin_us=begin_us // SECOND_US * SECOND_US,
            step_s=1.0,
        )
        made.append(Station(device, port, random.Random(rng.random())))
    return made
