"""What was sent, what was acknowledged, and what has to be found at the end.

A device of the harness measures on a steady grid of time and keeps each measurement until it is
acknowledged, as a real one does. Its numbers follow from their place, so that a value that comes
out wrong is seen, and they are eighths, which no way of writing them changes.
"""

from __future__ import annotations

import itertools
import threading
import zlib
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SECOND_US = 1_000_000
_VALUES = 997
"""Measurements until a device's numbers begin again: a prime, so that no two grids fit together."""


class Reading(NamedTuple):
    """A number as it goes over the wire, in the unit of its tag."""

    device: str
    tag: str
    ts_us: int
    value: float


@dataclass(slots=True, eq=False)
class Post:
    """One message, or one row of a request, on its way.

    readings: what must be in the table once it is acknowledged. token: instead of readings, a text
    in a message that cannot be read, which must be in the quarantine. sent: how often.
    """

    wire: str
    readings: Sequence[Reading]
    token: str = ""
    sent: int = 0
    acknowledged: bool = False


@dataclass(slots=True)
class Books:
    """All posts of a run. Any thread may write; each post has one sender.

    counts: what else senders have seen, by name. problems: answers that must not be, as sentences.
    """

    posts: list[Post] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, wire: str, readings: Sequence[Reading]) -> Post:
        """A message with readings."""
        made = Post(wire, readings)
        self.posts.append(made)
        return made

    def poison(self, wire: str) -> Post:
        """A message that nobody can read, with a token to know it again."""
        made = Post(wire, (), token=f"poison-{next(self._numbers):08d}")
        self.posts.append(made)
        return made

    def count(self, name: str, more: int = 1) -> None:
        """Note something that happened."""
        with self._lock:
            self.counts[name] += more

    def problem(self, sentence: str) -> None:
        """Note an answer that must not be."""
        with self._lock:
            self.problems.append(sentence)

    def close(self) -> None:
        """No device measures any more; what is unsent still goes out."""
        self.closed.set()

    @property
    def waiting(self) -> int:
        """How many posts are not acknowledged."""
        return sum(not post.acknowledged for post in self.posts)


class Device:
    """Measures every ``step_s`` seconds and keeps what is not acknowledged.

    begin_us: of its first measurement; a device that was cut off for long begins in the past.
    shift_s: what its clock is wrong by. lifetime: after so many measurements it is exchanged for
    another one, with another name; 0 for never.
    """

    def __init__(
        self,
        books: Books,
        wire: str,
        name: str,
        tags: Sequence[str],
        *,
        begin_us: int,
        step_s: float,
        shift_s: float = 0.0,
        lifetime: int = 0,
    ) -> None:
        self.books = books
        self.wire = wire
        self.unsent: deque[Post] = deque()
        self._name = name
        self._tags = tuple(tags)
        self._begin_us = begin_us
        self._step_us = round(step_s * SECOND_US)
        self._shift_us = round(shift_s * SECOND_US)
        self._lifetime = lifetime
        self._count = 0

    @property
    def name(self) -> str:
        """The name at present."""
        return f"{self._name}-{self._count // self._lifetime:03d}" if self._lifetime else self._name

    def measure(self, now_us: int) -> None:
        """Put everything measured until ``now_us`` to what is unsent."""
        while self._begin_us + self._count * self._step_us <= now_us:
            if self.books.closed.is_set():
                return
            self.unsent.append(self.books.post(self.wire, self._readings()))
            self._count += 1

    def _readings(self) -> tuple[Reading, ...]:
        name, count = self.name, self._count
        ts_us = self._begin_us + count * self._step_us + self._shift_us
        begin = zlib.crc32(self._name.encode())
        return tuple(
            Reading(name, tag, ts_us, (begin + 31 * place + 7 * count) % _VALUES / 8)
            for place, tag in enumerate(self._tags)
        )
