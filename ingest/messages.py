"""Messages as they came, and bundles of them: several as one piece of bytes, and back.

A bundle is a line of JSON with topic, time of arrival (microseconds since 1970 UTC) and length of
each message, then the payloads one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import orjson

from core.errors import DecodeError
from core.timeaxis import from_us, to_us
from ingest.wire import shown


class Message(NamedTuple):
    """A payload as it came, and the ``ticket`` by which its source knows it again.

    fault: why its source could not take it whole; such a message goes to the quarantine.
    """

    topic: str
    payload: bytes
    received_at: datetime
    ticket: tuple[int, int, int] = (0, 0, 0)
    fault: str = ""


def pack(messages: Sequence[Message]) -> bytes:
    """``messages`` without their tickets; what cannot be printed in a topic becomes U+FFFD."""
    head = [[shown(m.topic), to_us(m.received_at), len(m.payload)] for m in messages]
    return b"".join((orjson.dumps(head), b"\n", *(m.payload for m in messages)))


def unpack(content: bytes) -> list[Message]:
    """The messages of ``pack``; raises DecodeError for anything else."""
    head, newline, rest = content.partition(b"\n")
    messages = []
    start = 0
    try:
        for topic, received_us, length in orjson.loads(head):
            if not isinstance(topic, str) or length < 0:
                raise ValueError("a topic or a length is none")
            messages.append(Message(topic, rest[start : start + length], from_us(received_us)))
            start += length
    except (ValueError, TypeError, OverflowError) as error:
        raise DecodeError(f"The bundle of messages cannot be taken apart: {error}.") from error
    if not newline or start != len(rest):
        raise DecodeError("The bundle of messages is not whole.")
    return messages
