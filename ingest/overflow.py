"""Overflow: what a device sends beyond all measure is kept, but small, so that others get through.

A device may send so many readings a second, and more for a while (a token bucket in city time);
likewise a topic may fill so many rows of the quarantine. What comes beyond goes to the quarantine
in bundles: the messages of one batch compressed into a few rows, to be replayed like any other.
A device may fill a bounded number of bytes an hour that way; further messages are counted only.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from core.errors import DecodeError
from core.readings import Rejected
from core.timeaxis import to_us
from ingest.messages import Message, pack, unpack
from ingest.wire import shown

BUNDLE = "zlib"
"""``detail["bundle"]`` of an entry whose payload is a bundle (``open_bundle``)."""

_LARGEST = 64 * 1024
"""Bytes of a compressed bundle: what the store keeps of a payload."""

_PART_BYTES = 60_000
"""Bytes of the messages in one bundle: it fits, even if nothing can be compressed."""

_HEAD_BYTES = 60
_MOST_RAW = 8 * 1024 * 1024
_MOST_KEYS = 100_000
_SECOND_US, _HOUR_US = 1e6, 3_600_000_000


@dataclass(frozen=True, slots=True)
class Quota:
    """What is within measure.

    readings_per_s, burst: of one device; the burst lets it deliver what it held back for an hour.
    entries_per_s, entries_burst: rows of the quarantine for one topic.
    bundle_bytes: of bundles for one device or topic in an hour.
    """

    readings_per_s: float = 50.0
    burst: float = 200_000.0
    entries_per_s: float = 0.1
    entries_burst: float = 500.0
    bundle_bytes: int = 16 * 1024 * 1024


STANDARD = Quota()


class DeviceQuota:
    """Which readings are beyond the measure of their device."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._spent = np.zeros(0)  # tokens taken; they come back with time
        self._at_us = np.zeros(0, dtype=np.int64)

    def beyond(self, device: np.ndarray, now_us: int) -> np.ndarray:
        """Mask of the readings that are too many; device: int32 (n,), in the order they came."""
        beyond = np.zeros(len(device), dtype=bool)
        devices, count = np.unique(device, return_counts=True)
        self._grow(int(devices[-1]) + 1)
        passed_s = np.maximum(now_us - self._at_us[devices], 0) / _SECOND_US
        spent = np.maximum(self._spent[devices] - passed_s * self._quota.readings_per_s, 0.0)
        allowed = np.floor(self._quota.burst - spent)
        for i in np.flatnonzero(count > allowed):
            own = np.flatnonzero(device == devices[i])
            beyond[own[int(allowed[i]) :]] = True
        self._spent[devices] = spent + np.minimum(count, allowed)
        self._at_us[devices] = np.maximum(now_us, self._at_us[devices])
        return beyond

    def _grow(self, size: int) -> None:
        if size > len(self._spent):
            size += size // 4
            for name in ("_spent", "_at_us"):
                old = getattr(self, name)
                new = np.zeros(size, dtype=old.dtype)
                new[: len(old)] = old
                setattr(self, name, new)


@dataclass(slots=True)
class _Key:
    """What one topic has used up."""

    entries: float = 0.0
    at_us: int = 0
    hour: int = -1
    bytes: int = 0


@dataclass(slots=True)
class _Pending:
    """Messages of one source that await their bundle."""

    reason: str
    detail: dict[str, str] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)


class Overflow:
    """Makes entries of the quarantine out of messages, one by one or in bundles."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._keys: dict[str, _Key] = {}

    def entries(
        self, rejected: Iterable[tuple[Message, Rejected]], flooded: Iterable[tuple[str, Message]]
    ) -> list[Rejected]:
        """The entries of one batch, in bundles where there are too many.

        rejected: messages with the entry of each. flooded: messages beyond the measure of their
        device, with its name.
        """
        single: list[Rejected] = []
        pending: dict[str, _Pending] = {}
        for message, entry in rejected:
            if self._within(entry.source, to_us(message.received_at)):
                single.append(entry)
                continue
            found = pending.setdefault(
                entry.source, _Pending(f"too many like this: {entry.reason}")
            )
            found.messages.append(message)
        for device, message in flooded:
            name = shown(device)
            rate = f"more than {self._quota.readings_per_s:g} readings a second"
            found = pending.setdefault(
                name, _Pending(f"{rate} from device {name!r}", {"device": name})
            )
            found.messages.append(message)
        for source, held in pending.items():
            single.extend(self._bundled(source, held))
        return single

    def _key(self, name: str) -> _Key:
        found = self._keys.get(name)
        if found is None:
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            found = self._keys[name] = _Key()
        return found

    def _within(self, source: str, now_us: int) -> bool:
        key = self._key(source)
        back = max(0, now_us - key.at_us) / _SECOND_US * self._quota.entries_per_s
        key.entries = max(0.0, key.entries - back)
        key.at_us = max(now_us, key.at_us)
        if key.entries + 1.0 > self._quota.entries_burst:
            return False
        key.entries += 1.0
        return True

    def _bundled(self, source: str, held: _Pending) -> list[Rejected]:
        reason, messages = held.reason, held.messages
        key = self._key(source)
        last = messages[-1].received_at
        hour = to_us(last) // _HOUR_US
        if hour != key.hour:
            key.hour, key.bytes = hour, 0
        entries = []
        counted = 0
        for part in _parts(messages):
            content = b"" if key.bytes >= self._quota.bundle_bytes else _compressed(part)
            if not content:
                counted += len(part)
                continue
            key.bytes += len(content)
            detail = held.detail | {"bundle": BUNDLE, "messages": str(len(part))}
            entries.append(Rejected(source, reason, content, last, detail))
        if counted:
            detail = held.detail | {"messages": str(counted)}
            why = f"{reason}; counted only, because this hour's share is used up"
            entries.append(Rejected(source, why, b"", last, detail))
        return entries


def open_bundle(payload: bytes) -> list[Message]:
    """The messages of an entry with ``detail["bundle"]``; raises DecodeError."""
    opener = zlib.decompressobj()
    try:
        content = opener.decompress(payload, _MOST_RAW)
    except zlib.error as error:
        raise DecodeError(f"The bundle of messages cannot be opened: {error}.") from error
    return unpack(content)


def _parts(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """``messages`` in pieces that become entries."""
    begin = size = 0
    for place, message in enumerate(messages):
        more = len(message.payload) + _HEAD_BYTES
        if size + more > _PART_BYTES and place > begin:
            yield messages[begin:place]
            begin, size = place, 0
        size += more
    yield messages[begin:]


def _compressed(messages: Sequence[Message]) -> bytes:
    """The bundle, or nothing where it is too large even for a row of its own."""
    content = zlib.compress(pack(messages), level=1)
    return content if len(content) <= _LARGEST else b""
