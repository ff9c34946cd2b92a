"""The field service: receivers without a broker, a spool that keeps what they accept, and the
pipeline that carries it to the store.

    receivers --accept--> spool --take--> pipeline --commit--> store
                            ^-----------done-----------'

A receiver may answer its device as soon as ``accept`` returns. One that dies is started again,
with growing pauses, and shows in the status; the others do not notice. While the store is away the
spool fills; what it holds at a stop is there at the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from core.errors import VerdigridError
from ingest.inbox import Inbox
from ingest.mapping import TagMap
from ingest.messages import Message
from ingest.overflow import STANDARD as STANDARD_QUOTA
from ingest.overflow import Quota
from ingest.pipeline import BatchSettings, Pipeline, Status
from ingest.protocols import Protocols, find
from ingest.quality import STANDARD, Tolerances
from ingest.sinks import Sink
from ingest.spool import Spool

_log = logging.getLogger(__name__)

Accept = Callable[[Sequence[Message]], None]
Report = Callable[[object], None]

PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Before a receiver that died is started again."""
_STEADY_S = 60.0
"""A receiver that ran this long begins again with the shortest pause."""

_HEALED_S = 2.0
"""A receiver that ran this long does not suffer any more from what it died of."""

_AT_ONCE = 200
_IN_FLIGHT = 20_000
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Receiver:
    """Something that receives until it is told to stop.

    name: of its protocol. run: called with ``accept``, which returns when messages are safe or
    raises SpoolFullError, the event that stops it, and where to report its own status.
    """

    name: str
    run: Callable[[Accept, threading.Event, Report], object]


@dataclass(frozen=True, slots=True)
class ReceiverStatus:
    """failures: how often it died. last_error: of the last time; empty again when it has said
    something of itself, or has run for a moment. detail: what it says of itself.
    """

    running: bool = False
    failures: int = 0
    last_error: str = ""
    detail: object = None


@dataclass(frozen=True, slots=True)
class FieldStatus:
    """What the service has done since it started, and how full its spool is."""

    stored: Status
    receivers: Mapping[str, ReceiverStatus]
    spool_bytes: int
    spool_capacity: int


@dataclass(frozen=True, slots=True)
class FieldSettings:
    """How what was received is stored."""

    batch: BatchSettings = field(default_factory=BatchSettings)
    tolerances: Tolerances = STANDARD
    quota: Quota | None = STANDARD_QUOTA
    pauses_s: Sequence[float] = PAUSES_S


def run(
    spool: Spool,
    receivers: Sequence[Receiver],
    sink: Sink,
    tag_map: Callable[[], TagMap],
    now: Callable[[], datetime],
    stop: threading.Event,
    on_status: Callable[[FieldStatus], None] = lambda _: None,
    *,
    settings: FieldSettings | None = None,
    protocols: Protocols | None = None,
) -> FieldStatus:
    """Receive and store until ``stop``; then stop the receivers and finish the batch at hand.

    now: city time. on_status: called from any thread; must be quick.
    """
    service = _Service(spool, receivers, sink, now, on_status)
    return service.run(tag_map, stop, settings or FieldSettings(), protocols or find())


class _Service:
    def __init__(
        self,
        spool: Spool,
        receivers: Sequence[Receiver],
        sink: Sink,
        now: Callable[[], datetime],
        on_status: Callable[[FieldStatus], None],
    ) -> None:
        self._spool = spool
        self._receivers = receivers
        self._sink = sink
        self._now = now
        self._on_status = on_status
        self._lock = threading.Lock()
        self._states = {receiver.name: ReceiverStatus() for receiver in receivers}
        self._began: dict[str, float] = {}
        self._stored = Status()

    def run(
        self,
        tag_map: Callable[[], TagMap],
        stop: threading.Event,
        settings: FieldSettings,
        protocols: Protocols,
    ) -> FieldStatus:
        inbox: Inbox[Message] = Inbox()
        drained = threading.Event()
        feeder = _Feeder(self._spool, inbox, drained)
        pipeline = Pipeline(
            protocols,
            self._sink,
            tag_map,
            feeder.acknowledge,
            batch=settings.batch,
            tolerances=settings.tolerances,
            quota=settings.quota,
            beat=self._beat,
            on_status=self._note_stored,
        )
        pipeline.note(connected=True)
        threads = [
            threading.Thread(
                target=self._keep_running, args=(receiver, stop, settings), name=receiver.name
            )
            for receiver in self._receivers
        ]
        feeding = threading.Thread(target=feeder.run, name="spool-feeder")
        draining = threading.Thread(
            target=pipeline.run, args=(inbox, drained), name="spool-drainer"
        )
        for thread in (*threads, feeding, draining):
            thread.start()
        try:
            while not stop.wait(_POLL_S):
                if not draining.is_alive() or not feeding.is_alive():
                    raise VerdigridError("The spool is not drained any more; see the log.")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            drained.set()
            feeding.join()
            draining.join()
        return self._status()

    def _keep_running(
        self, receiver: Receiver, stop: threading.Event, settings: FieldSettings
    ) -> None:
        """Run ``receiver`` until ``stop``; whatever it dies of, again.

        The status has what it died of; only an error of ours is worth a traceback, the first time.
        """
        failures = 0
        while not stop.is_set():
            began = self._began[receiver.name] = time.monotonic()
            self._note(receiver.name, running=True)
            try:
                receiver.run(
                    self._spool.append,
                    stop,
                    lambda detail: self._note(receiver.name, detail=detail, last_error=""),
                )
                reason = "it ended by itself"
            except Exception as error:  # noqa: BLE001 - the other receivers go on
                reason = str(error) or type(error).__name__
                if not isinstance(error, VerdigridError) and self._is_new(receiver.name, reason):
                    _log.error("a receiver died", extra={"receiver": receiver.name}, exc_info=error)
            if stop.is_set():
                break
            failures = failures + 1 if time.monotonic() - began < _STEADY_S else 1
            died = self._states[receiver.name].failures + 1
            self._note(receiver.name, running=False, last_error=reason, failures=died)
            stop.wait(settings.pauses_s[min(failures, len(settings.pauses_s)) - 1])
        self._note(receiver.name, running=False)

    def _is_new(self, name: str, reason: str) -> bool:
        return reason != self._states[name].last_error

    def _beat(self) -> None:
        for name, state in self._states.items():
            if not state.running:
                continue
            if state.last_error and time.monotonic() - self._began[name] > _HEALED_S:
                self._note(name, last_error="")
            self._sink.beat(name, self._now())

    def _note(self, name: str, **changes: object) -> None:
        with self._lock:
            self._states[name] = replace(self._states[name], **changes)  # type: ignore[arg-type]
            self._on_status(self._status())

    def _note_stored(self, status: Status) -> None:
        with self._lock:
            self._stored = status
            self._on_status(self._status())

    def _status(self) -> FieldStatus:
        spool = self._spool
        return FieldStatus(self._stored, dict(self._states), spool.held_bytes, spool.capacity_bytes)


class _Feeder:
    """Hands what the spool holds to the pipeline, oldest first and a bounded number at a time."""

    def __init__(self, spool: Spool, inbox: Inbox[Message], stop: threading.Event) -> None:
        self._spool = spool
        self._inbox = inbox
        self._stop = stop
        self._less = threading.Condition()
        self._in_flight = 0

    def run(self) -> None:
        """Feed until the service is stopped."""
        last = seen = 0
        while not self._stop.is_set():
            with self._less:
                if not self._less.wait_for(lambda: self._in_flight < _IN_FLIGHT, _POLL_S):
                    continue
            messages = self._spool.take(_AT_ONCE, after=last)
            if not messages:
                seen = self._spool.wait(seen, _POLL_S)
                continue
            last = messages[-1].ticket[0]
            with self._less:
                self._in_flight += len(messages)
            self._inbox.put(messages)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """The store has ``messages``; they are in order: an append is done with its last one."""
        done = [
            number for number, place, count in (m.ticket for m in messages) if place == count - 1
        ]
        if done:
            self._spool.done(done)
        with self._less:
            self._in_flight -= len(messages)
            self._less.notify_all()
