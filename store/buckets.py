"""Ways of cutting time into buckets, told to numpy and to SQL alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
from psycopg.sql import Composable, Literal

from core.errors import StoreError
from core.timeaxis import DAY, EPOCH, MICROSECOND, midnights, zone
from store import sqltext

_SQL = sqltext.load("buckets")
_DAY_US = DAY // MICROSECOND


@dataclass(frozen=True, slots=True)
class Days:
    """Natural days of a zone as buckets: 23 to 25 hours long, beginning at local midnight."""

    zone: str


class Buckets(Protocol):
    """A cut of time. Times are microseconds since 1970 UTC, labels the beginnings of buckets."""

    def labels(self, start_us: int, end_us: int) -> np.ndarray:
        """All buckets that meet [start, end), int64 (n,)."""

    def floor(self, us: int) -> int:
        """The last edge at or before ``us``."""

    def ceil(self, us: int) -> int:
        """The first edge at or after ``us``."""

    def label(self, ts: Composable) -> Composable:
        """SQL: the label of the bucket that holds ``ts``."""

    def until(self, label: Composable) -> Composable:
        """SQL: where the bucket of that label ends."""

    def made_of(self, step_us: int) -> bool:
        """Whether every edge lies on a multiple of ``step_us``."""


@dataclass(frozen=True, slots=True)
class Even:
    """Buckets of one length, counted from 1970 UTC."""

    step_us: int

    def labels(self, start_us: int, end_us: int) -> np.ndarray:
        return np.arange(self.floor(start_us), end_us, self.step_us)

    def floor(self, us: int) -> int:
        return us // self.step_us * self.step_us

    def ceil(self, us: int) -> int:
        return -(-us // self.step_us) * self.step_us

    def label(self, ts: Composable) -> Composable:
        step = Literal(self.step_us * MICROSECOND)
        return _SQL["even_label"].format(step=step, ts=ts, origin=Literal(EPOCH))

    def until(self, label: Composable) -> Composable:
        return _SQL["even_until"].format(step=Literal(self.step_us * MICROSECOND), label=label)

    def made_of(self, step_us: int) -> bool:
        return self.step_us % step_us == 0


@dataclass(frozen=True, slots=True, eq=False)
class Natural:
    """Natural days around the range that is read: their edges, int64 (n + 1,), ascending."""

    edges_us: np.ndarray

    def labels(self, start_us: int, end_us: int) -> np.ndarray:
        first = max(int(np.searchsorted(self.edges_us, start_us, "right")) - 1, 0)
        last = int(np.searchsorted(self.edges_us, end_us, "left"))
        found: np.ndarray = self.edges_us[first:last]
        return found

    def floor(self, us: int) -> int:
        return int(self.edges_us[max(int(np.searchsorted(self.edges_us, us, "right")) - 1, 0)])

    def ceil(self, us: int) -> int:
        place = int(np.searchsorted(self.edges_us, us, "left"))
        return int(self.edges_us[min(place, len(self.edges_us) - 1)])

    def label(self, ts: Composable) -> Composable:
        return _SQL["natural_label"].format(edges=self._edges(), ts=ts)

    def until(self, label: Composable) -> Composable:
        return _SQL["natural_until"].format(edges=self._edges(), label=label)

    def made_of(self, step_us: int) -> bool:
        return not (self.edges_us % step_us).any()

    def _edges(self) -> Literal:
        times = np.datetime_as_string(self.edges_us.astype("datetime64[us]"), timezone="UTC")
        return Literal(f"{{{','.join(times)}}}")


def cut(bucket: timedelta | Days, start: datetime, end: datetime) -> Buckets:
    """The buckets asked for. Raises StoreError for one without length, TimeError for a zone that
    does not exist.
    """
    if isinstance(bucket, timedelta):
        if bucket <= timedelta(0):
            raise StoreError(f"A bucket must last longer than nothing, not {bucket}.")
        return Even(bucket // MICROSECOND)
    if bucket.zone == "UTC":
        return Even(_DAY_US)
    return Natural(midnights(start, end, zone(bucket.zone)))
