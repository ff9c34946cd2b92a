"""The city lives: each interval's messages go to the broker when their city time has come.

Energy is computed when its quarter-hour has ended, with the set-points known by then. What is not
confirmed by the broker counts as not sent: the state on disk names the newest quarter-hour before
which everything is confirmed, and a restart begins there; repeated readings do no harm.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from core.clock import CityClock
from core.errors import DecodeError
from core.sites import Site
from core.timeaxis import EPOCH, MICROSECOND
from sandbox import citytime, setpoints, state, wire
from sandbox.air import PER_QUARTER
from sandbox.setpoints import Setpoints
from sandbox.state import Holding, State
from sandbox.world import World

_log = logging.getLogger("sandbox")

MAX_UNCONFIRMED = 1000
"""Messages that may wait for the broker; beyond it the city waits, so that memory is bounded."""

CATCH_UP_QUARTERS = 2 * citytime.STEPS_PER_DAY
"""After a longer pause the city goes on without telling what happened before these two days."""

_MESSAGES_PER_CITY_S = 220 / 3600
_CATCH_UP_FACTOR = 8.0
_MIN_RATE_PER_S = 200.0
_SAVE_EVERY_S = 5.0
_SETTLE_S = 0.5
_FAREWELL_S = 5.0
_LONGEST_NAP_S = 0.5


@dataclass(frozen=True)
class Settings:
    """Where to publish, by which clock, and which file survives."""

    host: str
    port: int
    clock: CityClock
    state: Path
    seed: int
    until: datetime | None = None
    with_noise: bool = True


def run(world: World, site: Site, settings: Settings) -> None:
    """Publishes until SIGTERM, SIGINT or ``settings.until``; saves the state on the way out.

    A broker that is away is waited for. Raises ConfigurationError when the state cannot be used.
    """
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    link = _Link(settings, site)
    life = _Life(world, site, settings, link)
    # WNTR takes seconds to load, and the first water is wanted a quarter-hour from now.
    threading.Thread(target=world.water, args=(np.array([life.quarter]),), daemon=True).start()
    link.start()
    try:
        if link.wait(stop):
            life.live(stop)
    finally:
        life.farewell()
        link.stop()


class _Link:
    """The connection to the broker: publishes with QoS 1, and listens for set-points."""

    def __init__(self, settings: Settings, site: Site) -> None:
        self.setpoints = Setpoints()
        self._own = {asset.id for asset in site.assets if asset.element}
        self._confirmed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ready = threading.Event()
        # A clean session: set-points are retained, so that nothing piles up while we are away.
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"verdigrid-sandbox-{site.id}",
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        self._client.max_inflight_messages_set(100)
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(1, 5)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._received
        # Runs within a lock of paho's: it must not wait for anything.
        self._client.on_publish = lambda _c, _u, mid, *_: self._confirmed.put(mid)
        self._address = (settings.host, settings.port)

    def start(self) -> None:
        self._client.connect_async(*self._address, keepalive=30)
        self._client.loop_start()

    def wait(self, stop: threading.Event) -> bool:
        """Until the broker answers and retained set-points are in; False when told to stop."""
        told = False
        while not stop.is_set():
            if self._ready.wait(0.2):
                return not stop.wait(_SETTLE_S)
            if not told:
                told = True
                _log.info("waiting for the broker at %s:%d", *self._address)
        return False

    def publish(self, message: wire.Message) -> int:
        """Hands ``message`` over; returns the number under which it will be confirmed."""
        return self._client.publish(message.topic, message.payload, qos=1).mid

    def confirmed(self) -> Iterator[int]:
        """The messages that the broker has confirmed since the last call."""
        while True:
            try:
                yield self._confirmed.get_nowait()
            except queue.Empty:
                return

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: paho.Client, _data: Any, _flags: Any, code: Any, _: Any) -> None:
        if code.is_failure:
            _log.warning("the broker refuses the sandbox: %s", code)
            return
        _log.info("connected to the broker")
        client.subscribe(setpoints.TOPIC, qos=1)

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, code: Any, _: Any) -> None:
        if code.is_failure:
            _log.warning("the broker is gone (%s); its messages wait for it", code)

    def _received(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.rsplit("/", 1)[-1] not in self._own:
            return  # of a device that answers for itself, by another protocol
        payload = bytes(message.payload)
        try:
            told = self.setpoints.take(message.topic, payload)
        except DecodeError as error:
            _log.warning("%s", error)
            told = setpoints.refusal(message.topic, payload, str(error))
        if told is not None:  # published from paho's own thread, which must not wait
            self._client.publish(*told, qos=1)


@dataclass
class _Chapter:
    """A quarter-hour on its way: what the city held before it, and what is unconfirmed."""

    quarter: int
    holding: Holding
    waiting: int = 0
    complete: bool = False


@dataclass(order=True)
class _Due:
    """A message and the city time, in microseconds, at which it goes out."""

    at_us: int
    number: int
    message: wire.Message = field(compare=False)
    chapter: _Chapter = field(compare=False)


class _Life:
    """The loop: begins quarter-hours, ends them, sends what is due, remembers what arrived."""

    def __init__(self, world: World, site: Site, settings: Settings, link: _Link) -> None:
        self._world = world
        self._site = site
        self._settings = settings
        self._link = link
        self._due: list[_Due] = []
        self._numbers = itertools.count()
        self._unconfirmed: dict[int, _Chapter] = {}
        self._chapters: deque[_Chapter] = deque()
        self._saved_at = time.monotonic()
        self._until = None if settings.until is None else citytime.quarter(settings.until)
        self.quarter, self._holding = self._beginning()
        some = np.array([self.quarter])
        self._gateways = wire.gateways(site, world.electric(some, self._holding, Setpoints())[0])
        self._air_sensors = wire.sensors(site, world.air(some))
        self._weather_sensors = wire.sensors(site, world.weather(some))
        self._water_sensors: tuple[wire.Sensor, ...] | None = None
        rate = settings.clock.pace * _MESSAGES_PER_CITY_S * _CATCH_UP_FACTOR
        self._rate_per_s = max(rate, _MIN_RATE_PER_S)

    def live(self, stop: threading.Event) -> None:
        """Until told to stop, or the last wanted quarter-hour has been confirmed."""
        self._begin()
        while not stop.is_set():
            self._note_confirmed()
            now_us = self._now_us()
            if self._end_us() <= now_us and len(self._due) < MAX_UNCONFIRMED and not self._over():
                self._end()
                self._begin()
            self._send(now_us)
            self._save_sometimes()
            if self._over() and not self._due and not self._unconfirmed:
                return
            stop.wait(self._nap_s())

    def farewell(self) -> None:
        """Waits a little for the broker's last words, and saves the state."""
        deadline = time.monotonic() + _FAREWELL_S
        while self._unconfirmed and time.monotonic() < deadline:
            time.sleep(0.02)
            self._note_confirmed()
        self._save()

    def _beginning(self) -> tuple[int, Holding]:
        """The quarter-hour to go on with, and what the city holds there."""
        energy, clock = self._world.energy, self._settings.clock
        born = citytime.quarter(clock.origin_city)
        now = max(citytime.quarter(clock.at(datetime.now(UTC))), born)
        kept = state.load(self._settings.state, self._settings.seed, len(energy.batteries))
        if kept is None:
            first = max(born, now - CATCH_UP_QUARTERS)
            return first, energy.settled(first)
        if kept.quarter > now + 1:
            _log.warning("the city's clock went back; it goes on with what it holds")
            return now, kept.holding
        first = max(kept.quarter, now - CATCH_UP_QUARTERS)
        holding = kept.holding
        if first > kept.quarter:
            _log.warning("a pause of %d city hours is passed over", (first - kept.quarter) // 4)
            quarters = np.arange(kept.quarter, first)
            holding = energy.run(quarters, holding, Setpoints())[-1].holding
        return first, holding

    def _begin(self) -> None:
        """The air stations speak within the quarter-hour; their messages are ready before it."""
        chapter = _Chapter(self.quarter, self._holding)
        self._chapters.append(chapter)
        if self._over():
            return
        panel = self._world.air(np.array([self.quarter]))
        for row in range(PER_QUARTER):
            end_us = int(panel.ts_us[row]) + panel.interval_s * 1_000_000
            for sensor in self._air_sensors:
                self._queue(wire.uplink(sensor, panel, row), end_us, chapter)

    def _end(self) -> None:
        """The quarter-hour is over: meters, weather, water, and now and then some noise."""
        chapter, end_us = self._chapters[-1], self._end_us()
        now = np.array([self.quarter])
        electric, self._holding = self._world.electric(now, self._holding, self._link.setpoints)
        for gateway in self._gateways:
            self._queue(wire.senml(self._site.id, gateway, electric, 0), end_us, chapter)
        weather, water = self._world.weather(now), self._world.water(now)
        if self._water_sensors is None:
            self._water_sensors = wire.sensors(self._site, water)
        for panel, sensors in ((weather, self._weather_sensors), (water, self._water_sensors)):
            for sensor in sensors:
                self._queue(wire.uplink(sensor, panel, 0), end_us, chapter)
        if self._settings.with_noise and self.quarter % 4 == 3:
            for message in wire.noise_of_the_hour(self._site.id, end_us - 3_600_000_000):
                self._queue(message, end_us, chapter)
        chapter.complete = True
        self.quarter += 1

    def _queue(self, message: wire.Message, end_us: int, chapter: _Chapter) -> None:
        at_us = end_us + round(message.delay_s * 1e6)
        heapq.heappush(self._due, _Due(at_us, next(self._numbers), message, chapter))
        chapter.waiting += 1

    def _send(self, now_us: int) -> None:
        """What is due, but no more at once than a nap's share of the highest rate."""
        most = max(1, round(self._rate_per_s * _LONGEST_NAP_S / 10))
        for _ in range(most):
            due = self._due and (self._due[0].at_us <= now_us or self._over())
            if not due or len(self._unconfirmed) >= MAX_UNCONFIRMED:
                return
            entry = heapq.heappop(self._due)
            self._unconfirmed[self._link.publish(entry.message)] = entry.chapter

    def _note_confirmed(self) -> None:
        for mid in self._link.confirmed():
            chapter = self._unconfirmed.pop(mid, None)
            if chapter is not None:
                chapter.waiting -= 1
        while self._chapters and self._chapters[0].complete and not self._chapters[0].waiting:
            self._chapters.popleft()

    def _save_sometimes(self) -> None:
        if time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            self._save()

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        first = self._chapters[0] if self._chapters else _Chapter(self.quarter, self._holding)
        kept = State(first.quarter, first.holding)
        state.save(self._settings.state, kept, self._settings.seed)

    def _over(self) -> bool:
        return self._until is not None and self.quarter >= self._until

    def _end_us(self) -> int:
        return (citytime.quarter_start(self.quarter + 1) - EPOCH) // MICROSECOND

    def _now_us(self) -> int:
        return (self._settings.clock.at(datetime.now(UTC)) - EPOCH) // MICROSECOND

    def _nap_s(self) -> float:
        """Until something is due; a tenth of the longest nap where something is overdue."""
        next_us = self._end_us() if not self._over() else self._now_us()
        if self._due:
            next_us = min(next_us, self._due[0].at_us)
        ahead_s = (next_us - self._now_us()) / 1e6 / self._settings.clock.pace
        return min(max(ahead_s, _LONGEST_NAP_S / 10), _LONGEST_NAP_S)
