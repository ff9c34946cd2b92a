"""A sink that waits: while the store is away each call is tried again, until it is told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import numpy as np

from core.errors import StoreUnavailableError
from core.readings import Rejected
from core.sites import Registration, Route
from ingest.sinks import Sink

_log = logging.getLogger(__name__)

T = TypeVar("T")


class StoppedError(Exception):
    """The work shall stop while the store is away; nothing after the last commit was stored."""


class Patience:
    """Tries again while the store is away, with growing pauses.

    on_away: told the reason when the store goes away, and an empty one when it is back.
    """

    def __init__(
        self,
        stop: threading.Event,
        *,
        first_s: float = 0.1,
        longest_s: float = 5.0,
        on_away: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._stop = stop
        self._first_s = first_s
        self._longest_s = longest_s
        self._on_away = on_away

    def call(self, work: Callable[[], T]) -> T:
        """What ``work`` gives; raises StoppedError when the store is away and stop is set."""
        pause = self._first_s
        away = False
        while True:
            try:
                result = work()
            except StoreUnavailableError as error:
                if not away:
                    _log.warning("store away, trying again", extra={"reason": str(error)})
                    self._on_away(str(error))
                    away = True
            else:
                if away:
                    self._on_away("")
                return result
            if self._stop.wait(pause):
                raise StoppedError
            pause = min(2 * pause, self._longest_s)


class PatientSink:
    """``sink``, asked with patience."""

    def __init__(self, sink: Sink, patience: Patience) -> None:
        self._sink = sink
        self._call = patience.call

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        """See Sink."""
        return self._call(lambda: self._sink.write(batch))

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """See Sink."""
        self._call(lambda: self._sink.quarantine(rejected))

    def register(self, registrations: Sequence[Registration]) -> Sequence[Route]:
        """See Sink."""
        return self._call(lambda: self._sink.register(registrations))

    def charging(self, events: Sequence[Any]) -> None:
        """See Sink."""
        self._call(lambda: self._sink.charging(events))

    def latest(self) -> np.ndarray:
        """See Sink."""
        return self._call(self._sink.latest)

    def beat(self, receiver: str, at: datetime) -> None:
        """See Sink."""
        self._call(lambda: self._sink.beat(receiver, at))
