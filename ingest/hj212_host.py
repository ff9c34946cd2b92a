"""What the host asks of HJ 212 stations: their clock, and data of a missing period.

A command is answered by 9011 (can it be done), then by the data, then by 9012 (was it done)
(HJ 212-2017, 6.6 and annex C). The two codes become sentences. Time-outs are wall time; the
clocks that are read and set show city time. All of this runs in the server's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from core.errors import ConfigurationError, DecodeError, ServiceError, TimeError
from core.timeaxis import EPOCH, MICROSECOND, utc, zone
from ingest import hj212_frame
from ingest.hj212_frame import Packet
from ingest.hj212_stations import Station
from ingest.protocols.hj212 import DAY, HOUR, MINUTE, REALTIME, moment

GET_CLOCK, SET_CLOCK = "1011", "1012"
READY, DONE = "9011", "9012"
RECOLLECTABLE = (REALTIME, DAY, MINUTE, HOUR)

_MILLISECOND = timedelta(milliseconds=1)

NOT_READY = {
    "2": "it refuses the request",
    "3": "it does not accept the password",
    "4": "it does not know itself by this MN",
    "5": "it does not accept the ST",
    "6": "it does not accept the Flag",
    "7": "it does not accept the QN",
    "8": "it does not know the command",
    "9": "the request reached it with a wrong CRC",
    "100": "it gives no reason",
}
"""QnRtn of 9011; 1 is ready."""

NOT_DONE = {
    "2": "it failed and gives no reason",
    "3": "the conditions for it are not met",
    "4": "it took the station too long",
    "5": "the station is busy",
    "6": "the station has a fault",
    "100": "it has no data",
}
"""ExeRtn of 9012; 1 is done."""

NO_DATA = "100"


@dataclass(frozen=True, slots=True)
class Period:
    """Missing values: intervals that begin in [begin, end), aware times, of command ``cn``."""

    cn: str
    begin: datetime
    end: datetime


def periods(gaps: Sequence[tuple[str, datetime, datetime]]) -> tuple[Period, ...]:
    """What to collect again so that gaps are filled: tag, begin and end of each, in any order.

    A command brings all factors of its period, so that gaps of one command that meet, as those of
    several factors do, become one. Tags of commands without history are passed over. Newest first:
    a station that soon falls silent again has then sent what matters most.
    """
    found: list[Period] = []
    for cn in RECOLLECTABLE:
        spans = sorted((begin, end) for tag, begin, end in gaps if tag.endswith(f"@{cn}"))
        for begin, end in spans:
            if found and found[-1].cn == cn and begin <= found[-1].end:
                found[-1] = replace(found[-1], end=max(end, found[-1].end))
            else:
                found.append(Period(cn, begin, end))
    return tuple(sorted(found, key=lambda period: period.end, reverse=True))


@dataclass(frozen=True, slots=True)
class Patience:
    """Wall seconds. answer_s: until 9011, then the request goes out again, ``resends`` times.
    progress_s: between what follows. total_s: for one command altogether.
    """

    answer_s: float = 10.0
    resends: int = 3
    progress_s: float = 60.0
    total_s: float = 900.0


@dataclass(slots=True)
class _Exchange:
    """A command under way, and what has come of it: packets and whether each is safe."""

    request: Packet
    came: asyncio.Queue[tuple[Packet, bool]] = field(default_factory=asyncio.Queue)


Send = Callable[[Packet], Awaitable[None]]


@dataclass(slots=True)
class _Line:
    """The connection on which a station spoke last, and how it spoke there."""

    station: Station
    spoke: Packet
    send: Send
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    exchange: _Exchange | None = None


class Host:
    """Speaks first. now: city time."""

    def __init__(self, now: Callable[[], datetime], patience: Patience) -> None:
        self._now = now
        self._patience = patience
        self._lines: dict[str, _Line] = {}
        self._last_qn = EPOCH

    @property
    def stations(self) -> list[str]:
        """The MN of every station that is connected."""
        return sorted(self._lines)

    def heard(self, station: Station, packet: Packet, send: Send) -> bool:
        """Note where a station speaks; whether it is new on this connection."""
        line = self._lines.get(packet.mn)
        if line is not None and line.send == send:
            line.spoke = packet if packet.st != "91" else line.spoke
            return False
        self._lines[packet.mn] = _Line(station, packet, send)
        return True

    def gone(self, send: Send) -> None:
        """A connection has ended."""
        self._lines = {mn: line for mn, line in self._lines.items() if line.send != send}

    def offer(self, packet: Packet, *, safe: bool) -> None:
        """Hand over what a station sent, if a command waits for it. safe: whether it is kept."""
        line = self._lines.get(packet.mn)
        exchange = line.exchange if line else None
        if exchange is None:
            return
        # Stations may give the data they were asked for numbers of their own.
        if packet.qn == exchange.request.qn or packet.cn == exchange.request.cn:
            exchange.came.put_nowait((packet, safe))

    async def request_clock(self, mn: str) -> datetime:
        """What the station's clock shows, in UTC. Raises ServiceError."""
        told: list[datetime] = []

        def take(packet: Packet, _safe: bool) -> bool:
            shown = hj212_frame.values(packet.cp).get("SystemTime", "")
            told.append(moment(shown, self._line(mn).station.address.timezone, self._now()))
            return True  # many stations send no 9012 after it

        await self._ask(mn, GET_CLOCK, "", take)
        if not told:
            raise ServiceError(f"The station {mn} did not tell its time.")
        return told[0]

    async def set_clock(self, mn: str, at: datetime | None = None) -> datetime:
        """Set the station's clock to ``at`` (default: now); the time set. Raises ServiceError."""
        target = utc(at) if at else self._now()
        local = _local(target, self._line(mn).station)
        await self._ask(mn, SET_CLOCK, f"SystemTime={local}", lambda _packet, _safe: False)
        return target

    async def recollect(self, mn: str, period: Period) -> int:
        """Have the station send a period again; how many packets came and are safe, 0 when it has
        nothing of that period.

        Raises ServiceError when the station does not answer or refuses, or when what it sent could
        not be kept; ConfigurationError for a command without history, TimeError for an empty
        period.
        """
        if period.cn not in RECOLLECTABLE:
            raise ConfigurationError(
                f"CN {period.cn} cannot be collected again; {', '.join(RECOLLECTABLE)} can."
            )
        if utc(period.end) <= utc(period.begin):
            raise TimeError("The period to collect again ends before it begins.")
        station = self._line(mn).station
        begin, end = _local(period.begin, station), _local(_last_label(period, station), station)
        kept: list[bool] = []

        def take(_packet: Packet, safe: bool) -> bool:
            kept.append(safe)
            return False

        asked = f"BeginTime={begin},EndTime={end}"
        await self._ask(mn, period.cn, asked, take, done=("1", NO_DATA))
        if not all(kept):
            raise ServiceError(
                f"The station {mn} sent {len(kept)} packets, and {kept.count(False)} of them found "
                "no room in the spool; ask again when there is."
            )
        return len(kept)

    def _line(self, mn: str) -> _Line:
        line = self._lines.get(mn)
        if line is None:
            raise ServiceError(f"The station {mn} is not connected.")
        return line

    async def _ask(
        self,
        mn: str,
        cn: str,
        cp: str,
        take: Callable[[Packet, bool], bool],
        done: Sequence[str] = ("1",),
    ) -> None:
        """One command from request to result; ``take`` says whether that was all.

        done: what ExeRtn may be. Stations do one thing at a time, so a second command waits.
        Raises ServiceError.
        """
        line = self._line(mn)
        async with line.busy:
            line.exchange = _Exchange(self._request(line, cn, cp))
            try:
                async with asyncio.timeout(self._patience.total_s):
                    first = await self._first(line, line.exchange)
                    last = await self._rest(line.exchange, first, take)
                if last is not None:
                    _check(last, "ExeRtn", NOT_DONE, done)
            except TimeoutError as error:
                raise ServiceError(f"The station {mn} did not finish CN {cn} in time.") from error
            except DecodeError as error:
                raise ServiceError(f"The station {mn} answered CN {cn} wrongly: {error}") from error
            except OSError as error:
                raise ServiceError(f"The line to {mn} broke during CN {cn}: {error}.") from error
            finally:
                line.exchange = None

    async def _first(self, line: _Line, exchange: _Exchange) -> tuple[Packet, bool]:
        """Send the request until something comes; raises ServiceError."""
        for _ in range(1 + self._patience.resends):
            await line.send(exchange.request)
            try:
                return await asyncio.wait_for(exchange.came.get(), self._patience.answer_s)
            except TimeoutError:
                continue
        request = exchange.request
        raise ServiceError(f"The station {request.mn} does not answer CN {request.cn}.")

    async def _rest(
        self,
        exchange: _Exchange,
        first: tuple[Packet, bool],
        take: Callable[[Packet, bool], bool],
    ) -> Packet | None:
        """What follows the first answer: until 9012, which is returned, or ``take`` has all."""
        packet, safe = first
        while packet.cn != DONE:
            if packet.cn == READY:
                _check(packet, "QnRtn", NOT_READY)
            elif packet.cn == exchange.request.cn and take(packet, safe):
                return None
            packet, safe = await asyncio.wait_for(exchange.came.get(), self._patience.progress_s)
        return packet

    def _request(self, line: _Line, cn: str, cp: str) -> Packet:
        spoke = line.spoke
        return Packet(
            cn=cn,
            mn=spoke.mn,
            cp=cp,
            qn=self._next_qn(line.station),
            st=spoke.st,
            pw=line.station.password or spoke.pw,
            flag=spoke.version * 4 + 1,
        )

    def _next_qn(self, station: Station) -> str:
        """Local time to the millisecond, never the same twice."""
        self._last_qn = max(self._now(), self._last_qn + _MILLISECOND)
        return f"{_local(self._last_qn, station)}{self._last_qn.microsecond // 1000:03d}"


def _check(
    packet: Packet, name: str, sentences: dict[str, str], good: Sequence[str] = ("1",)
) -> None:
    """Raises ServiceError unless the code of ``name`` is a good one."""
    code = hj212_frame.values(packet.cp).get(name, "")
    if code not in good:
        why = sentences.get(code, f"{name} is {code[:20]!r}")
        raise ServiceError(f"The station {packet.mn} did not do what was asked: {why}.")


def _last_label(period: Period, station: Station) -> datetime:
    """The last label to ask for: stations that label with the end know the last interval by it."""
    end_s = station.address.end_s
    if not end_s or period.cn not in (MINUTE, HOUR):
        return period.end - MICROSECOND
    return period.end + timedelta(seconds=3600 if period.cn == HOUR else end_s)


def _local(ts: datetime, station: Station) -> str:
    return f"{utc(ts).astimezone(zone(station.address.timezone)):%Y%m%d%H%M%S}"
