"""Messages to committed readings, in batches; a message is acknowledged after its commit only.

decode -> resolve -> register who is new -> one draft, converted and flagged -> one write, one
quarantine -> acknowledge all of the batch. While one batch is written the next is drafted. What
makes it safe is what it does not do: while the store is away nothing is acknowledged and nothing
is given up; the source stops reading, and whoever sends keeps the rest.

Whatever a message makes a decoder, the mapping or the store do, an error of ours included, it ends
in the quarantine with the reason, and the others go on.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from core.errors import DecodeError, StoreError, StoreUnavailableError
from core.sites import Registration
from ingest.draft import NOTHING, NOWHERE, Draft, Item, draft
from ingest.inbox import Inbox
from ingest.mapping import TagMap
from ingest.messages import Message as Message
from ingest.overflow import STANDARD as STANDARD_QUOTA
from ingest.overflow import DeviceQuota, Overflow, Quota
from ingest.protocols import Protocols
from ingest.quality import STANDARD, History, Tolerances
from ingest.sinks import Sink

_log = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_S = 0.1
"""How long an idle pipeline takes at most to notice that it shall stop."""

_TURN_S = 0.0002
"""How long a thread keeps the interpreter while another one wants it. Who writes gives it away at
each of the half dozen questions to the server and then asks for it back; with Python's 5 ms a draft
would be finished before the write beside it has well begun, and they would go in turn."""

_BEAT_S = 5.0
_LONGEST_REASON = 300
_MOST_BUGS = 100


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """When a batch is full: by readings, or by seconds since its first message.

    A batch that is due waits for the one before it, and grows meanwhile up to ``rows``.
    retry_s, retry_max_s: first and longest pause between attempts while the store is away.
    """

    rows: int = 5_000
    wait_s: float = 0.02
    retry_s: float = 0.1
    retry_max_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """What a receiver has done since it started.

    connected: whether the broker knows this receiver and its topics. received counts messages,
    quarantined entries in the quarantine, stored and duplicates readings, registered devices.
    last_error is empty while all is well.
    """

    connected: bool = False
    received: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    registered: int = 0
    last_error: str = ""


class _StoppedError(Exception):
    """The receiver shall stop while the store is away; nothing was acknowledged."""


class Pipeline:
    """Takes messages out of an inbox until it is told to stop.

    tag_map: asked once per batch, so that a changed catalogue counts from the next batch on; may
    raise StoreError while the catalogue cannot be read.
    acknowledge: called with the messages of a batch after its commit, from another thread.
    quota: None takes whatever comes. beat: called every few seconds while the source is connected.
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
        quota: Quota | None = STANDARD_QUOTA,
        beat: Callable[[], None] = lambda: None,
        on_status: Callable[[Status], None] = lambda _: None,
    ) -> None:
        self._protocols = protocols
        self._sink = sink
        self._tag_map = tag_map
        self._acknowledge = acknowledge
        self._batch = batch
        self._tolerances = tolerances
        self._quota = quota
        self._beat = beat
        self._on_status = on_status
        self._history = History()
        self._overflow = Overflow(quota or STANDARD_QUOTA)
        self._measured: tuple[TagMap, DeviceQuota] | None = None
        self._bugs: set[str] = set()
        self._status_lock = threading.Lock()
        self.status = Status()

    def note(self, **changes: object) -> None:
        """Change fields of the status and report it; from any thread."""
        with self._status_lock:
            self.status = replace(self.status, **changes)  # type: ignore[arg-type]
            self._on_status(self.status)

    def run(self, inbox: Inbox[Message], stop: threading.Event) -> None:
        """Process messages until ``stop``; those already drafted are finished, the rest stays.

        While the store is away a stop leaves them unacknowledged: their source has them still.
        """
        try:
            self._history.seed(self._patiently(self._sink.latest, StoreError, stop))
            with _short_turns(), _Writer(lambda whole: self._store(whole, stop)) as writer:
                self._loop(inbox, stop, writer)
        except _StoppedError:
            _log.warning("stopped while the store was away; unacknowledged messages stay queued")

    def _loop(self, inbox: Inbox[Message], stop: threading.Event, writer: _Writer) -> None:
        waiting: list[Message] = []
        next_beat = 0.0
        while not stop.is_set():
            if time.monotonic() >= next_beat and self.status.connected:
                next_beat = time.monotonic() + _BEAT_S
                with suppress(StoreError):  # the store is away, which the batches will tell
                    self._beat()
            waiting = waiting or inbox.take(_POLL_S)
            if waiting:
                tag_map = self._patiently(self._tag_map, StoreError, stop)
                items, waiting = self._collect(waiting, inbox, tag_map, writer)
                writer.hand_over(self._draft(items, tag_map, stop))

    def _collect(
        self, waiting: list[Message], inbox: Inbox[Message], tag_map: TagMap, writer: _Writer
    ) -> tuple[list[Item], list[Message]]:
        """The next batch, decoded, and the messages that are left over."""
        items: list[Item] = []
        rows = 0
        deadline = time.monotonic() + self._batch.wait_s
        while True:
            for place, message in enumerate(waiting):
                if rows >= self._batch.rows:
                    return items, waiting[place:]
                items.append(self._decode(message, tag_map))
                rows += len(items[-1].decoded.value) + 1  # one without readings takes its place too
            left = deadline - time.monotonic()
            if left <= 0.0 and writer.idle:
                return items, []
            waiting = inbox.take(max(left, 0.001))

    def _decode(self, message: Message, tag_map: TagMap) -> Item:
        if message.fault:
            item = Item(message)
            item.refuse(message.fault)
            return item
        try:
            protocol = self._protocols.of(message.topic)
            decoded = protocol.decode(message.topic, message.payload, message.received_at)
            resolved = tag_map.resolve(decoded.names, protocol.name)
            return Item(message, decoded, resolved, protocol.name)
        except DecodeError as error:
            item = Item(message)
            item.refuse(str(error))
        except Exception as error:  # noqa: BLE001 - a bug must not stop the stream
            item = Item(message)
            self._bug(item, error)
        return item

    def _bug(self, item: Item, error: Exception) -> None:
        """Keep a message that made us fail; the first of a kind is worth a traceback."""
        reason = f"our error, please report it: {type(error).__name__}: {error}"
        item.refuse(reason[:_LONGEST_REASON])
        kind = f"{item.protocol} {type(error).__name__}"
        if kind not in self._bugs and len(self._bugs) < _MOST_BUGS:
            self._bugs.add(kind)
            _log.error("a message made the receiver fail", exc_info=error)

    def _draft(self, items: list[Item], tag_map: TagMap, stop: threading.Event) -> Draft:
        self._register(items, tag_map, stop)
        for item in items:
            if item.resolved.problems:
                _note_problems(item)
        return self._drafted(items, tag_map)

    def _drafted(self, items: list[Item], tag_map: TagMap) -> Draft:
        """The draft of ``items``; one that makes it fail is left out with the reason."""
        rules = tag_map.rules.table
        try:
            return draft(items, rules, self._tolerances, self._history, self._measure(tag_map))
        except Exception as error:  # noqa: BLE001 - a bug must not stop the stream
            if len(items) == 1:
                self._bug(items[0], error)
                items[0].decoded, items[0].resolved = NOTHING, NOWHERE
                return draft(items, rules, self._tolerances, self._history)
        middle = len(items) // 2
        first = self._drafted(items[:middle], tag_map)
        return first.joined(self._drafted(items[middle:], tag_map))

    def _measure(self, tag_map: TagMap) -> DeviceQuota | None:
        """The quota of each device; a new map numbers the devices anew."""
        if self._quota is None:
            return None
        if self._measured is None or self._measured[0] is not tag_map:
            self._measured = (tag_map, DeviceQuota(self._quota))
        return self._measured[1]

    def _register(self, items: list[Item], tag_map: TagMap, stop: threading.Event) -> None:
        """Let the store take in unknown devices that fit a profile, and resolve them again."""
        if tag_map.registrar is None:
            return
        plans: dict[str, Registration | str] = {}
        touched: list[tuple[Item, list[str]]] = []
        for item in items:
            unknown = {p.device for p in item.resolved.problems if p.unknown_device}
            for device in unknown - plans.keys():
                tags = [tag for name, tag, _ in item.decoded.names if name == device]
                plans[device] = tag_map.registrar.plan(item.protocol, device, tags)
            if unknown:
                touched.append((item, sorted(unknown)))
        planned = [plan for plan in plans.values() if isinstance(plan, Registration)]
        if planned:
            try:
                routes = self._patiently(
                    lambda: self._sink.register(planned), StoreUnavailableError, stop
                )
                tag_map.add(routes)
                self.note(registered=self.status.registered + len(planned))
            except StoreError as error:
                _log.warning("the store refused new devices", extra={"reason": str(error)})
        for item, devices in touched:
            item.resolved = tag_map.resolve(item.decoded.names, item.protocol)
            for device in devices:
                plan = plans[device]
                if isinstance(plan, str):
                    item.refuse(plan, device=device, unknown="device")

    def _store(self, whole: Draft, stop: threading.Event) -> None:
        """Write, quarantine and acknowledge a draft; runs in the writer's thread."""
        stored, duplicates = self._write(whole, stop)
        events = [event for item in whole.items for event in item.decoded.events]
        if events:
            self._keep(events, whole, stop)
        entries = self._overflow.entries(
            ((item.message, item.rejected) for item in whole.items if item.reason),
            ((item.flooded, item.message) for item in whole.items if item.flooded),
        )
        if entries:
            self._patiently(lambda: self._sink.quarantine(entries), StoreError, stop)
        self._acknowledge([item.message for item in whole.items])
        self.note(
            received=self.status.received + len(whole.items),
            stored=self.status.stored + stored,
            duplicates=self.status.duplicates + duplicates,
            quarantined=self.status.quarantined + len(entries),
            last_error="",
        )

    def _keep(self, events: Sequence[Any], whole: Draft, stop: threading.Event) -> None:
        """Hand over events; where the store refuses them, the messages go to the quarantine."""
        try:
            self._patiently(lambda: self._sink.charging(events), StoreUnavailableError, stop)
        except StoreError as error:
            _log.warning("the store refused events", extra={"reason": str(error)})
            for item in whole.items:
                if item.decoded.events:
                    item.refuse(f"store: {error}")

    def _write(self, part: Draft, stop: threading.Event) -> tuple[int, int]:
        """Write the rows of ``part``; where the store refuses, halve until the culprit is alone."""
        if not len(part.rows):
            return 0, 0
        try:
            return self._patiently(lambda: self._sink.write(part.rows), StoreUnavailableError, stop)
        except StoreError as error:
            if len(part.items) == 1:
                _log.warning("the store refused a message", extra={"reason": str(error)})
                part.items[0].refuse(f"store: {error}")
                return 0, 0
        first, second = (self._write(half, stop) for half in part.half())
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


@contextmanager
def _short_turns() -> Iterator[None]:
    """Have the threads of this process take turns each _TURN_S."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(min(_TURN_S, usual_s))
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)


class _Writer:
    """A thread that stores one draft while the next is made."""

    def __init__(self, work: Callable[[Draft], None]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._draft: Draft | None = None  # until it is stored
        self._closing = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ingest-writer")

    @property
    def idle(self) -> bool:
        """Whether a draft would be stored at once."""
        return self._draft is None

    def hand_over(self, whole: Draft) -> None:
        """Have ``whole`` stored, as soon as the one before is; raises what made that one fail."""
        with self._changed:
            self._changed.wait_for(lambda: self._draft is None)
            if self._failure is not None:
                raise self._failure
            self._draft = whole
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._draft is not None or self._closing)
                whole = self._draft
            if whole is None:
                return
            try:
                if self._failure is None:  # nothing is stored behind what could not be
                    self._work(whole)
            except BaseException as error:  # noqa: BLE001 - raised again in the pipeline's thread
                self._failure = error
            with self._changed:
                self._draft = None
                self._changed.notify_all()

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure


def _note_problems(item: Item) -> None:
    first, *others = item.resolved.problems
    further = f" (and {len(others)} further values of the message)" if others else ""
    detail = {"device": first.device, "tag": first.tag}
    if first.unknown_device:
        detail["unknown"] = "device"
    item.refuse(first.reason + further, **detail)
