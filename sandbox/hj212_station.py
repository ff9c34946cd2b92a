"""A simulated air and noise station that speaks HJ 212-2017: ``python -m sandbox.hj212_station``.

It sends five-minute, hour and day values, each again and again until it is answered, and keeps
what is unsent, and when it was on, in a small file. It answers the host: what its clock shows,
setting it, and sending a period again that it has measured. Its parts of the protocol are written
anew, after the standard and not after the receiver: two that agree by copying prove nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from core.clock import CityClock
from core.sites import AssetKind, DeviceProfile, Link, ProfileTag
from core.timeaxis import EPOCH, parse
from sandbox import hj212_air
from sandbox.citytime import LOCAL, TIMEZONE

PASSWORD = "sandbx"  # noqa: S105 - six characters by the standard; it guards nothing
PATTERN = "564447524944323132??????"

_log = logging.getLogger("sandbox.hj212_station")

MINUTE, HOUR, DAY = "2051", "2061", "2031"
LENGTHS_S = {MINUTE: hj212_air.FIVE_MINUTES_S, HOUR: 3600, DAY: 86_400}
_ZONE_S = 8 * 3600  # days are local
_REMEMBERED_S = 30 * 86_400
_RESENDS = 3
_LONGEST_PAUSE_S = 10.0
_TICK_S = 0.1
_SMALL_SHIFT = timedelta(minutes=5)

Values = tuple[str, int]
"""A command and the beginning of its interval, seconds since 1970-01-01 UTC."""


def mn_of(number: int) -> str:
    """The MN, 24 characters, of the sandbox's station ``number``."""
    return f"564447524944323132{number:06d}"


def describe() -> tuple[tuple[DeviceProfile, ...], tuple[Link, ...]]:
    """The profile of such stations: they register by themselves; only five-minute means are kept,
    the city computes its own hours and days.
    """
    tags = tuple(
        ProfileTag(f"{f.code}-{f.field}@{MINUTE}", f.variable, f.unit, LENGTHS_S[MINUTE])
        for f in hj212_air.FACTORS
    )
    profile = DeviceProfile(
        name="sandbox-hj212-air",
        protocol="hj212",
        pattern=PATTERN,
        kind=AssetKind.AIR_STATION,
        tags=tags,
        register=True,
        parameters={
            "password": PASSWORD,
            "timezone": TIMEZONE,
            "keep": [f"*-Avg@{MINUTE}", f"Leq-Data@{MINUTE}"],
        },
    )
    return (profile,), ()


def crc(segment: bytes) -> int:
    """Annex A of the standard, bit by bit as it is printed there."""
    register = 0xFFFF
    for byte in segment:
        register = (register >> 8) ^ byte
        for _ in range(8):
            lowest = register & 1
            register >>= 1
            if lowest:
                register ^= 0xA001
    return register


def frame(segment: str) -> bytes:
    """A segment as a frame."""
    raw = segment.encode()
    return b"##%04d" % len(raw) + raw + b"%04X\r\n" % crc(raw)


def content(seed: int, values: Values) -> str:
    """The CP of an interval's values."""
    cn, begin_s = values
    local = EPOCH + timedelta(seconds=begin_s)
    parts = [f"DataTime={local.astimezone(LOCAL):%Y%m%d%H%M%S}"]
    for one in hj212_air.measure(seed, begin_s, LENGTHS_S[cn]):
        code, digits = one.factor.code, one.factor.decimals
        fields = [f"{code}-{one.factor.field}={one.average:.{digits}f}"]
        if one.factor.unit in ("µg/m3", "mg/m3"):
            fields.insert(0, f"{code}-Min={one.minimum:.{digits}f}")
            fields.append(f"{code}-Max={one.maximum:.{digits}f}")
        parts.append(",".join([*fields, f"{code}-Flag={one.mark}"]))
    return ";".join(parts)


@dataclass(slots=True)
class Memory:
    """What survives a restart: when the station measured, and what nobody has taken yet."""

    path: Path | None
    runs: list[list[int]] = field(default_factory=list)
    unsent: list[Values] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path | None) -> Memory:
        """The memory in ``path``; an empty one where there is none or it is damaged."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            if path is not None:
                tree = json.loads(path.read_text())
                return cls(path, tree["runs"], [(cn, begin) for cn, begin in tree["unsent"]])
        return cls(path)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self.path is None:
            return
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"runs": self.runs, "unsent": self.unsent}))
        new.replace(self.path)

    def switch_on(self, at_s: int) -> None:
        """From ``at_s`` on the station measures."""
        self.runs.append([at_s, at_s])

    def measured_until(self, now_s: int) -> list[Values]:
        """The intervals that have ended since the last call, oldest first; they become unsent."""
        run = self.runs[-1]
        last_s, run[1] = run[1], max(run[0], now_s)  # a clock that is set back ends nothing
        ended = [
            (cn, begin)
            for cn, length in LENGTHS_S.items()
            for begin in _beginnings(cn, max(run[0], last_s - length + 1), now_s)
        ]
        ended.sort(key=lambda values: values[1] + LENGTHS_S[values[0]])
        self.unsent.extend(ended)
        self.runs = [r for r in self.runs if r[1] >= now_s - _REMEMBERED_S]
        return ended

    def measured(self, cn: str, begin_s: int, end_s: int) -> list[Values]:
        """The intervals of command ``cn`` that begin in [begin_s, end_s] and were measured."""
        return sorted(
            {
                (cn, begin)
                for first, last in self.runs
                for begin in _beginnings(cn, first, last)
                if begin_s <= begin <= end_s
            }
        )


def _beginnings(cn: str, first_s: int, last_s: int) -> Iterator[int]:
    """Beginnings of the whole intervals in [first_s, last_s]."""
    length, offset = LENGTHS_S[cn], _ZONE_S if cn == DAY else 0
    begin = -(-(first_s + offset) // length) * length - offset
    yield from range(begin, last_s - length + 1, length)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to, who as, by which clock. answer_s: wall seconds until a frame is sent again.

    memory_hours: how long a station without a file has been measuring already, unsent by anybody.
    """

    host: str
    port: int
    mn: str
    password: str
    clock: CityClock
    seed: int = 1
    state: Path | None = None
    answer_s: float = 10.0
    memory_hours: float = 0.0
    clock_offset_s: float = 0.0


class Station:
    """The station with its clock, its memory and its line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._offset = timedelta(seconds=settings.clock_offset_s)
        self._memory = Memory.load(settings.state)
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._last_qn = 0
        self._unsent = asyncio.Event()
        fresh = not self._memory.runs
        since = self._now_s() - (int(settings.memory_hours * 3600) if fresh else 0)
        self._memory.switch_on(since)
        self._memory.runs[-1][1] = self._now_s()

    async def run(self) -> None:
        """Measure and send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._measure())
            tasks.create_task(self._stay_connected())

    def _now(self) -> datetime:
        """What the station's clock shows."""
        return self._settings.clock.at(datetime.now(UTC)) + self._offset

    def _now_s(self) -> int:
        return (self._now() - EPOCH) // timedelta(seconds=1)

    def _set_clock(self, ts: datetime) -> None:
        shift = ts - self._now()
        self._offset += shift
        if abs(shift) > _SMALL_SHIFT:  # it has not measured what its clock now leaves out
            self._memory.switch_on(self._now_s())

    async def _measure(self) -> None:
        while True:
            if self._memory.measured_until(self._now_s()):
                self._memory.save()
                self._unsent.set()
            await asyncio.sleep(_TICK_S)

    async def _stay_connected(self) -> None:
        pause = 0.2
        while True:
            try:
                reader, writer = await asyncio.open_connection(
                    self._settings.host, self._settings.port
                )
            except OSError:
                pass
            else:
                pause = 0.2
                with suppress(OSError, TimeoutError):
                    await self._talk(reader, writer)
                writer.close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send what is unsent and listen, until either ends."""
        _log.info("connected")
        listening = asyncio.create_task(self._listen(reader, writer))
        sending = asyncio.create_task(self._send_all(writer))
        try:
            await asyncio.wait((listening, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (listening, sending):
                task.cancel()
            await asyncio.gather(listening, sending, return_exceptions=True)

    async def _send_all(self, writer: asyncio.StreamWriter) -> None:
        await self._until_answered(writer, "1013", "")
        while True:
            self._unsent.clear()
            while self._memory.unsent:
                values = self._memory.unsent[0]
                said = content(self._settings.seed, values)
                await self._until_answered(writer, values[0], said)
                self._memory.unsent.remove(values)
                self._memory.save()
            await self._unsent.wait()

    async def _until_answered(self, writer: asyncio.StreamWriter, cn: str, cp: str) -> None:
        """Send a packet until its answer comes; TimeoutError when it does not."""
        qn = self._qn()
        answer = self._answers[qn] = asyncio.get_running_loop().create_future()
        try:
            for _ in range(1 + _RESENDS):
                writer.write(self._packet(qn, "22", cn, 5, cp))
                await writer.drain()
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(answer), self._settings.answer_s)
                    return
            raise TimeoutError
        finally:
            del self._answers[qn]

    def _qn(self) -> str:
        """The station's time to the millisecond; never the same twice."""
        now_ms = (self._now() - EPOCH) // timedelta(milliseconds=1)
        self._last_qn = max(now_ms, self._last_qn + 1)
        ts = EPOCH + timedelta(milliseconds=self._last_qn)
        return f"{ts.astimezone(LOCAL):%Y%m%d%H%M%S}{self._last_qn % 1000:03d}"

    def _packet(self, qn: str, st: str, cn: str, flag: int, cp: str) -> bytes:
        who = f"PW={self._settings.password};MN={self._settings.mn}"
        return frame(f"QN={qn};ST={st};CN={cn};{who};Flag={flag};CP=&&{cp}&&")

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            raw = line.strip()
            if not raw.startswith(b"##") or int(raw[-4:], 16) != crc(raw[6:-4]):
                continue
            head, _, rest = raw[6:-4].decode().partition("CP=&&")
            said = dict(part.split("=", 1) for part in head.split(";") if part)
            await self._hear(writer, said, rest.removesuffix("&&"))

    async def _hear(self, writer: asyncio.StreamWriter, said: dict[str, str], cp: str) -> None:
        qn, cn = said.get("QN", ""), said["CN"]
        if cn in ("9013", "9014"):
            if qn in self._answers and not self._answers[qn].done():
                self._answers[qn].set_result(cn)
        elif cn.startswith("9"):
            _log.warning("the host refuses", extra={"answer": cp})
        elif said.get("PW") != self._settings.password:
            writer.write(self._packet(qn, "91", "9011", 4, "QnRtn=3"))
        else:
            for answer in self._obey(qn, cn, dict(p.split("=", 1) for p in cp.split(",") if p)):
                writer.write(answer)
                await writer.drain()

    def _obey(self, qn: str, cn: str, asked: dict[str, str]) -> Iterator[bytes]:
        """The answers to a command of the host, in order."""
        if cn not in ("1011", "1012", *LENGTHS_S):
            yield self._packet(qn, "91", "9011", 4, "QnRtn=8")
            return
        yield self._packet(qn, "91", "9011", 4, "QnRtn=1")
        result = "ExeRtn=1"
        if cn == "1011":
            shown = f"SystemTime={self._now().astimezone(LOCAL):%Y%m%d%H%M%S}"
            yield self._packet(qn, "22", "1011", 4, shown)
        elif cn == "1012":
            self._set_clock(_local(asked["SystemTime"]))
        else:
            begin, end = (_local(asked[name]) for name in ("BeginTime", "EndTime"))
            first_s, last_s = ((ts - EPOCH) // timedelta(seconds=1) for ts in (begin, end))
            remembered = self._memory.measured(cn, first_s, last_s)
            for values in remembered:
                yield self._packet(qn, "22", cn, 4, content(self._settings.seed, values))
            result = "ExeRtn=1" if remembered else "ExeRtn=100"
        yield self._packet(qn, "91", "9012", 4, result)


def _local(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=LOCAL).astimezone(UTC)


def main(
    port: Annotated[int, typer.Option(help="TCP port of the HJ 212 server.")],
    host: Annotated[str, typer.Option(help="Host of the HJ 212 server.")] = "127.0.0.1",
    mn: Annotated[str, typer.Option(help="The station's MN.")] = mn_of(1),
    password: Annotated[str, typer.Option(help="The station's password.")] = PASSWORD,
    origin_wall: Annotated[
        str | None, typer.Option(help="Wall time at which the city shows ...; default now.")
    ] = None,
    origin_city: Annotated[
        str | None, typer.Option(help="... this city time; both ISO 8601 with zone; default now.")
    ] = None,
    pace: Annotated[float, typer.Option(help="City seconds in a second.")] = 1.0,
    seed: Annotated[int, typer.Option(help="One seed is one station.")] = 1,
    state: Annotated[
        Path | None, typer.Option(help="File that keeps what is unsent over a restart.")
    ] = None,
    answer_s: Annotated[
        float, typer.Option(help="Wall seconds until an unanswered frame is sent again.")
    ] = 10.0,
    memory_hours: Annotated[
        float, typer.Option(help="City hours that a station without a file remembers.")
    ] = 0.0,
    clock_offset_s: Annotated[
        float, typer.Option(help="How far the station's clock is ahead at first.")
    ] = 0.0,
) -> None:
    """Run one simulated station until SIGTERM."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    now = datetime.now(UTC)
    clock = CityClock(
        parse(origin_wall) if origin_wall else now, parse(origin_city) if origin_city else now, pace
    )
    settings = Settings(
        host, port, mn, password, clock, seed, state, answer_s, memory_hours, clock_offset_s
    )
    asyncio.run(_until_ended(Station(settings)))


async def _until_ended(station: Station) -> None:
    running = asyncio.ensure_future(station.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    typer.run(main)
