"""What every wire format shares: JSON that cannot hurt, numbers, names and times within reason.

Devices send anything. Each function returns a plain value or raises DecodeError with the reason.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

import orjson

from core.errors import DecodeError, TimeError
from core.timeaxis import parse, to_us

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

_EARLIEST_US, _LATEST_US = to_us(EARLIEST), to_us(LATEST)

MAX_NAME = 200
"""Characters of a device, tag or unit name; longer ones are not names."""

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def json_value(payload: bytes) -> Any:
    """The value of a JSON text in UTF-8; of a name that stands twice in an object the last.

    Numbers are finite: NaN, Infinity and what is too large for a double are refused, and so are
    lone surrogates and more than 1,024 levels. A whole number beyond 64 bits becomes a float.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"The payload is not JSON: {error}.") from error


def number(value: object, what: str) -> float:
    """A finite float; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeError(f"{what} is not a number.")
    try:
        result = float(value)
    except OverflowError as error:
        raise DecodeError(f"{what} is too large.") from error
    if not math.isfinite(result):
        raise DecodeError(f"{what} is not finite.")
    return result


def name(value: object, what: str) -> str:
    """A printable, not too long text: it will be shown to people and stored in a database."""
    if not isinstance(value, str):
        raise DecodeError(f"{what} is not a text.")
    if not value or len(value) > MAX_NAME or not value.isprintable():
        raise DecodeError(f"{what} is empty, too long or not printable.")
    return value


def bounded(ts: datetime) -> datetime:
    """``ts`` if it lies in the years 1970 to 2099."""
    if not EARLIEST <= ts < LATEST:
        raise DecodeError(f"The time {ts.isoformat()} lies outside 1970 to 2099.")
    return ts


def bounded_us(us: int) -> int:
    """``bounded`` for microseconds since 1970-01-01 UTC."""
    if not _EARLIEST_US <= us < _LATEST_US:
        raise DecodeError(f"The time {us / 1e6:.0f} s after 1970 lies outside 1970 to 2099.")
    return us


def rfc3339(value: object, what: str) -> datetime:
    """A time of RFC 3339 with up to nine decimals, to the microsecond below."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise DecodeError(f"{what} is not an RFC 3339 time with its zone.")
    try:
        return bounded(parse(value))
    except TimeError as error:
        raise DecodeError(f"{what} is not a time: {error}") from error


def shown(text: str) -> str:
    """``text`` with U+FFFD for what cannot be printed: databases refuse NUL and lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
