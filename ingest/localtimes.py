"""Local times of files: which of the two instants was meant when a clock showed a time twice.

When clocks are put back an hour is lived through twice, and a file without zones writes it twice.
The order of a device's rows tells which is which: where its times fall back, the second hour has
begun. A file whose newest row stands on top is read the other way round.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from enum import StrEnum
from zoneinfo import ZoneInfo

import numpy as np

from core.timeaxis import localize

_DAY_US = 86_400_000_000


class Fold(StrEnum):
    """How a time that was there twice is read."""

    ORDER = "order"  # by the order of a device's rows; where that says nothing, the first
    FIRST = "first"
    SECOND = "second"


class LocalClock:
    """The local times of one file in one zone, piece after piece.

    What was seen of a repeated hour is kept from one piece to the next.
    """

    def __init__(self, zone: ZoneInfo, fold: Fold = Fold.ORDER) -> None:
        self._zone = zone
        self._fold = fold
        self._seen: dict[tuple[Hashable, int], tuple[int, int]] = {}

    def utc(
        self, naive_us: np.ndarray, code: np.ndarray, names: Sequence[Hashable]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Microseconds since 1970 UTC, and whether the clock ever showed that time; both (n,).

        naive_us: on the local clock, in the order of the file. code: whose row each is, int64
        (n,) into ``names``: order counts among rows of the same name only.
        """
        first, last = localize(naive_us, self._zone)
        twice = last > first
        ts_us = first.copy()
        if self._fold is Fold.SECOND:
            ts_us[twice] = last[twice]
        elif self._fold is Fold.ORDER and twice.any():
            chosen = np.flatnonzero(twice)
            second = self._second(naive_us[chosen], code[chosen], names, _falling(naive_us, code))
            ts_us[chosen[second]] = last[chosen[second]]
        return ts_us, last >= first

    def _second(
        self, naive_us: np.ndarray, code: np.ndarray, names: Sequence[Hashable], falling: set[int]
    ) -> np.ndarray:
        """Which of these rows, all of times shown twice, belong to the second time; bool (n,)."""
        second = np.zeros(len(code), dtype=bool)
        day = naive_us // _DAY_US
        order = np.lexsort((day, code))  # stable: rows of one name and day stay in their order
        starts = np.flatnonzero(
            np.r_[True, (np.diff(code[order]) != 0) | (np.diff(day[order]) != 0)]
        )
        for rows in np.split(order, starts[1:]):
            whose = int(code[rows[0]])
            sign = -1 if whose in falling else 1
            key = (names[whose], int(day[rows[0]]))
            turned = self._turns(key, sign * naive_us[rows])
            if turned[-1] <= 1:  # more turns are no order
                second[rows] = (turned == 1) ^ (sign < 0)
        return second

    def _turns(self, key: tuple[Hashable, int], times: np.ndarray) -> np.ndarray:
        """How often the times have turned back until each of them, counted over all pieces."""
        before, turns = self._seen.get(key, (int(times[0]) - 1, 0))
        counted: np.ndarray = turns + np.cumsum(np.diff(times, prepend=before) <= 0)
        self._seen[key] = (int(times[-1]), int(counted[-1]))
        return counted


def _falling(naive_us: np.ndarray, code: np.ndarray) -> set[int]:
    """The codes whose last row is older than their first."""
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(code[order]) != 0])
    ends = np.r_[starts[1:], len(order)] - 1
    falls = naive_us[order[ends]] < naive_us[order[starts]]
    return set(code[order[starts[falls]]].tolist())
