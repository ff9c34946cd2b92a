"""Asks Modbus TCP devices at regular times and hands what they say to a spool, as documents.

ingest/modbus_asker.py knows how a device is asked, ingest/modbus_line.py how its answers travel;
here is when, and what happens if not.

One thread for all devices, one connection for each ``host:port``, which stays open: the devices
behind a gateway take turns on it, and above some 900 hosts the process needs more file descriptors
than most systems grant unasked (``ulimit -n``).

``interval_s`` of a link counts wall seconds, also where the city's clock runs faster, because it
is the device that must not be asked too often; the readings carry the city's time. Polls stand on
a grid of the interval, so that devices can be added up, spread a little so that they do not all
answer in the same millisecond. A point of the grid that was missed stays so.

A device that does not answer is asked less and less often. After a new connection it may be
another one, so it is asked again for its models; as it is when a model is not where it was.

A device waits with its next poll until the spool has the last one: a full spool stops the
polling, and the status says so. What would have been measured meanwhile is not; what was measured
is kept, except the one poll a device may hold when the process ends with the spool still full.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from pymodbus.exceptions import ModbusException

from core.errors import DecodeError, SpoolFullError
from core.sites import Link, Site
from core.timeaxis import utc
from ingest.modbus_asker import PROTOCOLS, Asker, asker_for, timeout_s
from ingest.modbus_line import Line, NoAnswerError, RefusedError
from ingest.pipeline import Message

_log = logging.getLogger(__name__)

Accept = Callable[[Sequence[Message]], None]
"""Returns when the messages are safe; raises SpoolFullError when they cannot be taken."""

_STOP_CHECK_S = 0.1
_MOST_DOUBLINGS = 30


class PollState(StrEnum):
    """How it stands with a device."""

    STARTING = "starting"
    POLLING = "polling"
    NOT_ANSWERING = "not answering"
    PAUSED = "paused"  # it answers, but the spool is full


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What is known of a device.

    detail: why it does not answer, or is paused. identity: maker, model, version and serial number
    where it says them. polls: kept since the start. failures: in a row.
    """

    device: str
    state: PollState = PollState.STARTING
    detail: str = ""
    identity: str = ""
    polls: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class PollerSettings:
    """What to ask, and how patiently.

    wanted: the tags that are described for a device; without them a device gives all it has.
    backoff_max_s: longest pause before a silent device is asked again. full_pause_s: before a full
    spool is asked again. spread_s: the most by which a device is moved off its grid.
    jitter: a random number in [0, 1) at each call; it shortens a pause to as little as half, so
    that devices that went away together do not come back together.
    """

    links: tuple[Link, ...]
    wanted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    backoff_max_s: float = 300.0
    full_pause_s: float = 1.0
    spread_s: float = 1.0
    jitter: Callable[[], float] = random.random


def settings_for(site: Site, **options: Any) -> PollerSettings:
    """The links of ``site`` that are asked over Modbus, with the tags described for each.

    A device's own tags count; without any, those of the profile by which it registers itself (the
    first that fits and does so), or of the first that fits. options: further fields of
    PollerSettings.
    """
    links = tuple(link for link in site.links if link.protocol in PROTOCOLS)
    own: dict[str, set[str]] = {}
    for tag in site.tags:
        own.setdefault(tag.device, set()).add(tag.tag)
    wanted = {link.device: own.get(link.device) or _profile_tags(site, link) for link in links}
    return PollerSettings(links, {d: frozenset(t) for d, t in wanted.items() if t}, **options)


def check(settings: PollerSettings) -> None:
    """Raises ConfigurationError for a link that cannot be used."""
    for link in settings.links:
        asker_for(link, settings.wanted.get(link.device))
        timeout_s(link)


def _profile_tags(site: Site, link: Link) -> set[str]:
    fitting = [
        profile
        for profile in site.profiles
        if profile.protocol == link.protocol and fnmatchcase(link.device, profile.pattern)
    ]
    if not fitting:
        return set()
    chosen = next((profile for profile in fitting if profile.register), fitting[0])
    return {tag.tag for tag in chosen.tags}


def run_sunspec(
    settings: PollerSettings,
    accept: Accept,
    now: Callable[[], datetime],
    stop: threading.Event,
    on_status: Callable[[DeviceStatus], None] = lambda _: None,
) -> None:
    """Poll the devices of ``settings`` until ``stop`` is set.

    now: city time. on_status: called, from this thread, when the state of a device changes.
    Raises ConfigurationError for a link that cannot be used, and what ``accept`` raises besides
    SpoolFullError.
    """
    # What it says of every single request stands in the status of the device.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    asyncio.run(_run(settings, accept, now, stop, on_status))


def backoff_s(interval_s: float, failures: int, longest_s: float, jitter: float) -> float:
    """Seconds until a device is asked again that did not answer ``failures`` times in a row.

    Doubles from the interval up to ``longest_s``; jitter in [0, 1) takes off up to a half.
    """
    doubled = interval_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
    return min(doubled, longest_s) * (1.0 - jitter / 2.0)


def until_grid_s(wall_s: float, interval_s: float, phase_s: float) -> float:
    """Seconds from ``wall_s`` to the next point of the grid, moved by ``phase_s``; never 0."""
    return interval_s - math.fmod(wall_s - phase_s, interval_s)


async def _run(
    settings: PollerSettings,
    accept: Accept,
    now: Callable[[], datetime],
    stop: threading.Event,
    on_status: Callable[[DeviceStatus], None],
) -> None:
    asyncio.get_running_loop().set_exception_handler(_on_loop_error)
    lines = _lines(settings.links)
    keeper = _Keeper(accept, settings.full_pause_s)
    followers = [
        _Follower(
            link,
            asker_for(link, settings.wanted.get(link.device)),
            lines[link.host, link.port],
            settings,
            now,
            on_status,
        )
        for link in settings.links
    ]
    tasks = [asyncio.create_task(follower.run(keeper)) for follower in followers]
    tasks += [asyncio.create_task(keeper.run()), asyncio.create_task(_until(stop))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks)
        keeper.close()
        for line in lines.values():
            line.close()
    for task in done:
        task.result()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: before Python 3.12, asyncio.wait_for can swallow a cancel."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_STOP_CHECK_S)


def _lines(links: Sequence[Link]) -> dict[tuple[str, int], Line]:
    """A line for each host and port, as patient as its slowest device needs."""
    patience: dict[tuple[str, int], float] = {}
    for link in links:
        key = (link.host, link.port)
        patience[key] = max(timeout_s(link), patience.get(key, 0.0))
    return {key: Line(*key, seconds) for key, seconds in patience.items()}


async def _until(stop: threading.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(_STOP_CHECK_S)


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What is no Modbus ends the connection, and its reading by a time-out; that is enough."""
    if not isinstance(context.get("exception"), ModbusException):
        loop.default_exception_handler(context)


class _Follower:
    """Polls one device for as long as the program runs."""

    def __init__(
        self,
        link: Link,
        asker: Asker,
        line: Line,
        settings: PollerSettings,
        now: Callable[[], datetime],
        on_status: Callable[[DeviceStatus], None],
    ) -> None:
        self._link = link
        self._asker = asker
        self._line = line
        self._settings = settings
        self._now = now
        self._on_status = on_status
        self._status = DeviceStatus(link.device)
        spread = min(settings.spread_s, link.interval_s / 10.0)
        self._phase_s = zlib.crc32(link.device.encode()) / 2**32 * spread

    async def run(self, keeper: _Keeper) -> None:
        """Poll, keep, wait; for ever."""
        await asyncio.sleep(self._phase_s)
        while True:
            try:
                message = await self._poll()
            except (NoAnswerError, RefusedError, DecodeError) as error:
                failures = self._status.failures + 1
                self._note(PollState.NOT_ANSWERING, detail=str(error), failures=failures)
                await asyncio.sleep(self._backoff_s(failures))
                continue
            await keeper.keep(message, self._paused)
            self._note(
                PollState.POLLING,
                identity=self._asker.identity,
                polls=self._status.polls + 1,
                failures=0,
            )
            await asyncio.sleep(until_grid_s(time.time(), self._link.interval_s, self._phase_s))

    async def _poll(self) -> Message:
        async with self._line.turn:
            await self._line.connect()
            await self._asker.prepare(self._line)
            ts = utc(self._now())
            document = await self._asker.poll(self._line)
        payload = json.dumps({**document, "ts": ts.isoformat()}, separators=(",", ":"))
        topic = f"{self._link.protocol}/{self._link.device}"
        return Message(topic, payload.encode(), utc(self._now()))

    def _backoff_s(self, failures: int) -> float:
        longest = self._settings.backoff_max_s
        return backoff_s(self._link.interval_s, failures, longest, self._settings.jitter())

    def _paused(self, why: str) -> None:
        self._note(PollState.PAUSED, detail=why)

    def _note(self, state: PollState, *, detail: str = "", **changes: Any) -> None:
        """Report a change of state; a poll more or a failure more is none."""
        before = self._status
        self._status = replace(before, state=state, detail=detail, **changes)
        if (before.state, before.detail, before.identity) == (
            state,
            detail,
            self._status.identity,
        ):
            return
        level = logging.INFO if state is PollState.POLLING else logging.WARNING
        facts = {"device": before.device, "state": state.value, "reason": detail}
        _log.log(level, "device %s: %s", before.device, state.value, extra=facts)
        self._on_status(self._status)


@dataclass(frozen=True, slots=True)
class _Held:
    """A message that waits for the spool, and whom to tell when it has to wait longer."""

    message: Message
    kept: asyncio.Future[None]
    on_pause: Callable[[str], None]


class _Keeper:
    """Hands messages to the spool in a thread of its own, all that wait in one go."""

    def __init__(self, accept: Accept, full_pause_s: float) -> None:
        self._accept = accept
        self._full_pause_s = full_pause_s
        self._waiting: asyncio.Queue[_Held] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "sunspec-spool")
        self._held: list[_Held] = []

    async def keep(self, message: Message, on_pause: Callable[[str], None]) -> None:
        """Returns when the spool has the message, however long that takes."""
        kept = asyncio.get_running_loop().create_future()
        await self._waiting.put(_Held(message, kept, on_pause))
        await kept

    async def run(self) -> None:
        """Serve ``keep``; raises what ``accept`` raises besides SpoolFullError."""
        while True:
            self._held.append(await self._waiting.get())
            await self._hand_over()
            for one in self._held:
                if not one.kept.done():  # or its device has been given up
                    one.kept.set_result(None)
            self._held.clear()

    async def _hand_over(self) -> None:
        """Try until the spool has taken all that waits, and what comes meanwhile."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting.empty():
                self._held.append(self._waiting.get_nowait())
            messages = [one.message for one in self._held]
            try:
                await loop.run_in_executor(self._thread, self._accept, messages)
            except SpoolFullError as error:
                for one in self._held:
                    one.on_pause(str(error))
            else:
                return
            await asyncio.sleep(self._full_pause_s)

    def close(self) -> None:
        """Waits until the spool has answered what it was given last."""
        self._thread.shutdown(wait=True)
        lost = len(self._held) + self._waiting.qsize()
        if lost:
            _log.warning("stopped before the spool had the last polls", extra={"polls": lost})
