"""What devices answer to their set-points: off the broker, acknowledged after the commit.

The session is persistent: what devices answer while nobody listens waits at the broker.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from core.errors import DecodeError, StoreError
from core.setpoints import Acknowledgement
from ingest.inbox import Inbox
from ingest.messages import Message
from ingest.mqtt_session import Session, SessionSettings
from ingest.setpoints import ANSWERS, decode_answer

_log = logging.getLogger(__name__)

CLIENT_ID = "verdigrid-acknowledgements"
_TAKE_S = 0.2
_RETRY_S = 2.0

Keep = Callable[[Sequence[Acknowledgement]], None]


def receive(
    settings: SessionSettings, keep: Keep, now: Callable[[], datetime], stop: threading.Event
) -> None:
    """Receive answers until ``stop`` is set.

    now: city time, of arrival. keep: commits before it returns; a StoreError is waited for and
    nothing is acknowledged to the broker meanwhile. What cannot be read is logged and passed over:
    the device is then one that has not answered. Raises ConfigurationError for settings of no use.
    """
    inbox: Inbox[Message] = Inbox()

    def note(connected: bool, reason: str) -> None:
        if reason:
            _log.warning("no answers of devices: %s", reason)
        elif connected:
            _log.info("listening for the answers of devices")

    session = Session(settings, [f"{ANSWERS}/+"], now, inbox.put, note)
    try:
        while not stop.is_set():
            messages = inbox.take(_TAKE_S)
            if messages and _kept(messages, keep, stop):
                session.acknowledge(messages)
    finally:
        session.close()


def _kept(messages: Sequence[Message], keep: Keep, stop: threading.Event) -> bool:
    """Whether the answers are safe; False when it ends before they are."""
    answers = list(_read(messages))
    while not stop.is_set():
        try:
            keep(answers)
        except StoreError as error:
            _log.warning("answers of devices wait for the database", extra={"reason": str(error)})
            stop.wait(_RETRY_S)
        else:
            return True
    return False


def _read(messages: Sequence[Message]) -> Iterator[Acknowledgement]:
    for message in messages:
        try:
            yield decode_answer(message.topic, message.payload)
        except DecodeError as error:
            _log.warning("an answer of a device cannot be read", extra={"reason": str(error)})
