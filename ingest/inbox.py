"""The hand-over between the thread that receives and the one that stores: lists, not messages.

A lock and a wake-up for each message cost more than receiving it. Nothing here is bounded,
because only the source can bound well: it counts what it handed over and has not been told to
acknowledge, which includes the batch that is being stored at the moment.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """A list that one thread fills and another one empties."""

    def __init__(self) -> None:
        self._waiting: list[T] = []
        self._arrived = threading.Condition()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def put(self, messages: Iterable[T]) -> None:
        """Hand over ``messages``; never waits."""
        with self._arrived:
            self._waiting.extend(messages)
            self._arrived.notify()

    def take(self, timeout_s: float) -> list[T]:
        """Everything that is there, in order; waits for the first, empty after ``timeout_s``."""
        with self._arrived:
            if not self._waiting:
                self._arrived.wait(timeout_s)
            taken, self._waiting = self._waiting, []
            return taken
