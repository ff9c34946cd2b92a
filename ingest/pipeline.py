"""Messages to committed readings, in batches; a message is acknowledged after its commit only.

decode -> map -> flag -> one write, one quarantine -> acknowledge all of the batch. What makes it
safe is what it does not do: while the store is away nothing is acknowledged and nothing is given
up; the buffer in front fills, the source stops reading, and the broker keeps the rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, TypeVar

import numpy as np

from core.errors import DecodeError, StoreError, StoreUnavailableError
from core.readings import READING_DTYPE, Rejected
from ingest.inbox import Inbox
from ingest.mapping import Row, TagMap
from ingest.protocols import Protocols
from ingest.quality import STANDARD, Tolerances
from ingest.sinks import Sink
from ingest.wire import shown

_log = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_S = 0.1
"""How long an idle pipeline takes at most to notice that it shall stop."""


class Message(NamedTuple):  # of all values the cheapest to make
    """A payload as it came, and the ``ticket`` by which its source knows it again.

    fault: why its source could not take it whole; such a message goes to the quarantine.
    """

    topic: str
    payload: bytes
    received_at: datetime
    ticket: tuple[int, int, int] = (0, 0, 0)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """When a batch is full: by readings, or by seconds since its first message.

    retry_s, retry_max_s: first and longest pause between attempts while the store is away.
    """

    rows: int = 5_000
    wait_s: float = 0.05
    retry_s: float = 0.1
    retry_max_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """What a receiver has done since it started.

    connected: whether the broker knows this receiver and its topics. received counts messages,
    quarantined entries in the quarantine, stored and duplicates readings. last_error is empty
    while all is well.
    """

    connected: bool = False
    received: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    last_error: str = ""


@dataclass(slots=True)
class _Item:
    """A decoded message: its rows and what of it was rejected."""

    message: Message
    rows: list[Row]
    rejected: list[Rejected] = field(default_factory=list)


class _StoppedError(Exception):
    """The receiver shall stop while the store is away; nothing was acknowledged."""


class Pipeline:
    """Takes messages out of ``inbox`` until ``stop`` is set.

    tag_map: asked once per batch, so that a changed catalogue counts from the next batch on; may
    raise StoreError while the catalogue cannot be read.
    acknowledge: called with the messages of a batch after its commit.
    on_status: called after each batch and when the store goes away or comes back.
    """

    def __init__(
        self,
        protocols: Protocols,
        sink: Sink,
        tag_map: Callable[[], TagMap],
        acknowledge: Callable[[Sequence[Message]], None],
        *,
        batch: BatchSettings,
        tolerances: Tolerances = STANDARD,
        on_status: Callable[[Status], None] = lambda _: None,
    ) -> None:
        self._protocols = protocols
        self._sink = sink
        self._tag_map = tag_map
        self._acknowledge = acknowledge
        self._batch = batch
        self._tolerances = tolerances
        self._on_status = on_status
        self._status_lock = threading.Lock()
        self._waiting: deque[Message] = deque()
        self.status = Status()

    def note(self, **changes: object) -> None:
        """Change fields of the status and report it; from any thread."""
        with self._status_lock:
            self.status = replace(self.status, **changes)  # type: ignore[arg-type]
            self._on_status(self.status)

    def run(self, inbox: Inbox[Message], stop: threading.Event) -> None:
        """Process messages until ``stop``; those already taken are finished, the rest stays.

        While the store is away a stop leaves them unacknowledged: their source has them still.
        """
        try:
            while not stop.is_set():
                items = self._collect(inbox, stop)
                if items:
                    self._flush(items, stop)
        except _StoppedError:
            _log.warning("stopped while the store was away; unacknowledged messages stay queued")

    def _collect(self, inbox: Inbox[Message], stop: threading.Event) -> list[_Item]:
        """The next batch, decoded; empty when nothing came within the poll time."""
        waiting = self._waiting
        if not waiting:
            waiting.extend(inbox.take(_POLL_S))
            if not waiting:
                return []
        tag_map = self._patiently(self._tag_map, StoreError, stop)
        items: list[_Item] = []
        rows = 0
        deadline = time.monotonic() + self._batch.wait_s
        while rows < self._batch.rows:
            if not waiting:
                waiting.extend(inbox.take(max(0.0, deadline - time.monotonic())))
                if not waiting:
                    break
            items.append(self._decode(waiting.popleft(), tag_map))
            rows += len(items[-1].rows) + 1  # a message without rows still takes its place
        return items

    def _decode(self, message: Message, tag_map: TagMap) -> _Item:
        if message.fault:
            return _Item(message, [], [_rejected(message, message.fault)])
        try:
            decoded = self._protocols.decode(message.topic, message.payload, message.received_at)
        except DecodeError as error:
            return _Item(message, [], [_rejected(message, str(error))])
        rows, rejected = tag_map.rows(
            decoded,
            message.received_at,
            source=shown(message.topic),
            payload=message.payload,
            tolerances=self._tolerances,
        )
        return _Item(message, rows, rejected)

    def _flush(self, items: list[_Item], stop: threading.Event) -> None:
        stored, duplicates = self._write(items, stop)
        rejected = [entry for item in items for entry in item.rejected]
        if rejected:
            self._patiently(lambda: self._sink.quarantine(rejected), StoreError, stop)
        self._acknowledge([item.message for item in items])
        self.note(
            received=self.status.received + len(items),
            stored=self.status.stored + stored,
            duplicates=self.status.duplicates + duplicates,
            quarantined=self.status.quarantined + len(rejected),
            last_error="",
        )

    def _write(self, items: Sequence[_Item], stop: threading.Event) -> tuple[int, int]:
        """Write the rows of ``items``; where the store refuses, halve until the culprit is alone.

        The culprit's rows are moved to its rejected ones, so that nothing else waits for it.
        """
        rows = [row for item in items for row in item.rows]
        if not rows:
            return 0, 0
        batch = np.array(rows, dtype=READING_DTYPE)
        try:
            return self._patiently(lambda: self._sink.write(batch), StoreUnavailableError, stop)
        except StoreError as error:
            if len(items) == 1:
                _log.warning("the store refused a message", extra={"reason": str(error)})
                items[0].rejected.append(_rejected(items[0].message, f"store: {error}"))
                return 0, 0
        middle = len(items) // 2
        first, second = self._write(items[:middle], stop), self._write(items[middle:], stop)
        return first[0] + second[0], first[1] + second[1]

    def _patiently(self, call: Callable[[], T], away: type[StoreError], stop: threading.Event) -> T:
        """``call`` until it does not raise ``away``, with growing pauses."""
        pause = self._batch.retry_s
        while True:
            try:
                return call()
            except away as error:
                if not self.status.last_error:
                    _log.warning("store away, trying again", extra={"reason": str(error)})
                self.note(last_error=str(error))
            if stop.wait(pause):
                raise _StoppedError
            pause = min(2 * pause, self._batch.retry_max_s)


def _rejected(message: Message, reason: str) -> Rejected:
    return Rejected(shown(message.topic), reason, message.payload, message.received_at)
