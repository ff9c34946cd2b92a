"""A draft: decoded messages as one array of readings, flagged, with the way back to the messages.

Everything that a reading costs happens here, for all readings of a batch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.readings import READING_DTYPE, Rejected
from core.timeaxis import MICROSECOND, to_us
from ingest.decoded import Decoded
from ingest.mapping import Resolved
from ingest.messages import Message
from ingest.overflow import DeviceQuota
from ingest.quality import History, Tolerances, clock_flags, range_flags
from ingest.rules import Ruled, converted
from ingest.wire import shown

NOTHING = Decoded((), [], [])
_NONE = np.empty(0, dtype=np.int32)
NOWHERE = Resolved(_NONE, _NONE, _NONE)


@dataclass(slots=True)
class Item:
    """A message on its way: what it says, where that leads, and what is wrong with it.

    reason, detail: why it goes to the quarantine, empty when it does not; readings that are good
    are stored all the same. flooded: the device that is beyond its measure with it.
    """

    message: Message
    decoded: Decoded = NOTHING
    resolved: Resolved = NOWHERE
    protocol: str = ""
    reason: str = ""
    detail: dict[str, str] = field(default_factory=dict)
    flooded: str = ""

    def refuse(self, reason: str, **detail: str) -> None:
        """Note that something of the message cannot be stored; the first reason stands."""
        if not self.reason:
            self.reason, self.detail = reason, detail

    @property
    def rejected(self) -> Rejected:
        """The entry of the quarantine."""
        message = self.message
        source = shown(message.topic)
        return Rejected(source, self.reason, message.payload, message.received_at, self.detail)


@dataclass(frozen=True, slots=True)
class Draft:
    """rows: READING_DTYPE (n,); those of items[i] are rows[starts[i] : starts[i + 1]]."""

    items: Sequence[Item]
    rows: np.ndarray
    starts: np.ndarray

    def joined(self, other: Draft) -> Draft:
        """This one with another one behind it."""
        starts = np.concatenate((self.starts, other.starts[1:] + self.starts[-1]))
        rows = np.concatenate((self.rows, other.rows))
        return Draft([*self.items, *other.items], rows, starts)

    def half(self) -> tuple[Draft, Draft]:
        """The first and the second half of the messages."""
        middle = len(self.items) // 2
        return self._part(0, middle), self._part(middle, len(self.items))

    def _part(self, begin: int, end: int) -> Draft:
        starts = self.starts[begin : end + 1]
        return Draft(self.items[begin:end], self.rows[starts[0] : starts[-1]], starts - starts[0])


def draft(
    items: Sequence[Item],
    rules: np.ndarray,
    tolerances: Tolerances,
    history: History,
    quota: DeviceQuota | None = None,
) -> Draft:
    """``items`` as one array; what cannot be stored is noted at its item.

    rules: the table of the map that resolved the items. Refused are values that are not finite
    when converted, times further ahead than the tolerances allow, of readings and of events, and
    what is beyond ``quota``.
    """
    for item in items:
        if item.decoded.events:
            _refuse_events(item, tolerances)
    counts = np.array([len(item.resolved.series_id) for item in items])
    owner = np.repeat(np.arange(len(items)), counts)
    if not len(owner):
        return Draft(items, np.empty(0, dtype=READING_DTYPE), np.zeros(len(items) + 1, np.int64))
    ts_us, value, quality = _columns(items)
    ruled = Ruled(rules, np.concatenate([item.resolved.rule for item in items]))
    value = converted(value, ruled)
    arrived_us = _arrived_us(items)
    age_us = arrived_us[owner] - ts_us
    infinite = ~np.isfinite(value)
    ahead = age_us < -(tolerances.refuse_ahead // MICROSECOND)
    refused = infinite | ahead
    if refused.any():
        _note(items, owner, infinite, "value is too large in the unit of its variable")
        _note(items, owner, ahead, tolerances.too_far_ahead)
    if quota is not None:
        device = np.concatenate([item.resolved.device for item in items])
        beyond = quota.beyond(device, int(arrived_us.max()))
        if beyond.any():
            _note_flood(items, owner, beyond)
            refused |= beyond
    rows = np.empty(len(owner), dtype=READING_DTYPE)
    rows["series_id"] = np.concatenate([item.resolved.series_id for item in items])
    rows["ts_us"] = ts_us
    rows["value"] = value
    rows["quality"] = quality | clock_flags(age_us, tolerances) | range_flags(value, ruled)
    if refused.any():
        rows, ruled, owner = rows[~refused], ruled.of(~refused), owner[~refused]
        counts = np.bincount(owner, minlength=len(items))
    rows["quality"] |= history.flags(rows, ruled, neighbours=tolerances.neighbours)
    return Draft(items, rows, np.concatenate(([0], np.cumsum(counts))))


def _arrived_us(items: Sequence[Item]) -> np.ndarray:
    """When the messages came, int64 (n,); those that were read together have one time."""
    came = [item.message.received_at for item in items]
    known = {at: to_us(at) for at in set(came)}
    return np.array([known[at] for at in came], dtype=np.int64)


def _columns(items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, values and flags of the readings that are known, in order."""
    ts_us: list[int] = []
    value: list[float] = []
    marked: list[tuple[int, list[int]]] = []
    for item in items:
        decoded, places = item.decoded, item.resolved.places
        begin = len(ts_us)
        if places is None:
            ts_us += decoded.ts_us
            value += decoded.value
            quality = decoded.quality
        else:
            ts_us += [decoded.ts_us[place] for place in places]
            value += [decoded.value[place] for place in places]
            quality = decoded.quality and [decoded.quality[place] for place in places]
        if quality:
            marked.append((begin, quality))
    flags = np.zeros(len(ts_us), dtype=np.int16)
    for begin, quality in marked:
        flags[begin : begin + len(quality)] = quality
    return np.array(ts_us, dtype=np.int64), np.array(value, dtype=np.float64), flags


def _names(
    items: Sequence[Item], owner: np.ndarray, mask: np.ndarray
) -> list[tuple[Item, str, str]]:
    """Item, device and tag of the first masked reading of each item."""
    rows = np.flatnonzero(mask)
    numbers, first = np.unique(owner[rows], return_index=True)
    found = []
    for number, row in zip(numbers.tolist(), rows[first].tolist(), strict=True):
        item = items[number]
        place = row - int(np.searchsorted(owner, number))
        if item.resolved.places is not None:
            place = item.resolved.places[place]
        device, tag, _ = item.decoded.names[place]
        found.append((item, device, tag))
    return found


def _note(items: Sequence[Item], owner: np.ndarray, mask: np.ndarray, reason: str) -> None:
    for item, device, tag in _names(items, owner, mask):
        item.refuse(f"{reason}: {device!r} {tag!r}", device=device, tag=tag)


def _refuse_events(item: Item, tolerances: Tolerances) -> None:
    """Leave out events that lie further ahead than a reading may: nothing newer could follow."""
    latest = item.message.received_at + tolerances.refuse_ahead
    timely = tuple(event for event in item.decoded.events if event.ts <= latest)
    if len(timely) < len(item.decoded.events):
        item.refuse(f"{tolerances.too_far_ahead}: a charging event")
        item.decoded = replace(item.decoded, events=timely)


def _note_flood(items: Sequence[Item], owner: np.ndarray, mask: np.ndarray) -> None:
    for item, device, _ in _names(items, owner, mask):
        item.flooded = device
