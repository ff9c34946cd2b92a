"""Looks into the table while everything around it dies: how old is the newest reading of a wire?"""

from __future__ import annotations

import statistics
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import time
from typing import NamedTuple

import psycopg

_EVERY_S = 0.2
_NEWEST = """
SELECT t.device,
       (SELECT extract(epoch FROM max(r.ts)) FROM reading r
        WHERE r.series_id = s.id AND r.ts BETWEEN %(since)s AND now() + interval '1 minute')
FROM device_tag t JOIN series s ON s.key = t.series_key
WHERE t.device = ANY(%(devices)s)
"""


class Seen(NamedTuple):
    """One look, wall seconds. newest: for each device the time of its newest stored reading."""

    at: float
    newest: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Delay:
    """How old the newest stored reading of a device was, over devices and looks, in seconds."""

    median_s: float
    worst_s: float


class Watch(threading.Thread):
    """Looks several times a second at devices whose clocks are right.

    devices: names by wire.
    """

    def __init__(self, url: str, devices: Mapping[str, Iterable[str]]) -> None:
        super().__init__(name="fault-watch")
        self._url = url
        self._wire_of = {name: wire for wire, names in devices.items() for name in names}
        self._since = datetime.now(UTC) - timedelta(minutes=1)
        self._stopped = threading.Event()
        self._looks: list[Seen] = []
        self.last_error = ""

    def run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=2) as connection:
                    while not self._stopped.wait(_EVERY_S):
                        self._look(connection)
            except psycopg.Error as error:  # the database is away just now
                self.last_error = str(error).strip()

    def _look(self, connection: psycopg.Connection) -> None:
        wanted = {"devices": list(self._wire_of), "since": self._since}
        rows = connection.execute(_NEWEST, wanted).fetchall()
        newest = {device: float(at) for device, at in rows if at is not None}
        self._looks.append(Seen(time(), newest))
        self.last_error = ""

    def close(self) -> None:
        """Look no more."""
        self._stopped.set()
        self.join()

    @property
    def wires(self) -> frozenset[str]:
        """Those it looks at."""
        return frozenset(self._wire_of.values())

    def behind(self, since: float) -> list[str]:
        """The devices without a stored reading that they made after ``since``."""
        newest = self._looks[-1].newest if self._looks else {}
        return [device for device in self._wire_of if newest.get(device, 0.0) <= since]

    def flowed_again_s(self, wires: Iterable[str], after: float) -> float | None:
        """Seconds from ``after`` until each of ``wires`` had a reading stored that it made since;
        None while one has not.
        """
        waiting = set(wires)
        for look in self._looks:
            if look.at >= after:
                fresh = {self._wire_of[d] for d, newest in look.newest.items() if newest > after}
                waiting -= fresh
                if not waiting:
                    return look.at - after
        return None

    def delay(self, begin: float, end: float) -> Delay:
        """Between two moments, over all devices."""
        by_device: dict[str, list[float]] = defaultdict(list)
        for look in self._looks:
            if begin <= look.at <= end:
                for device, newest in look.newest.items():
                    by_device[device].append(look.at - newest)
        if not by_device:
            return Delay(float("inf"), float("inf"))
        medians = [statistics.median(ages) for ages in by_device.values()]
        return Delay(statistics.median(medians), max(max(ages) for ages in by_device.values()))

    def progressed(self, begin: float, end: float) -> bool:
        """Whether every device got something stored between two moments that it made then."""
        last = [look for look in self._looks if begin <= look.at <= end]
        newest = last[-1].newest if last else {}
        return all(newest.get(device, 0.0) > begin for device in self._wire_of)
