"""SenML packs in JSON (RFC 8428), on ``senml/<site>/<gateway>``.

A pack is a list of records; base fields (bn bt bu bv bs bver) hold from their record on. The
resolved name, base name plus name, is split at its last ``:`` into device and tag. Numbers
(``v``) are readings; a sum (``s``) is a reading of the tag with ``#sum`` behind it. Texts,
booleans and data values are checked and passed over. Times label the BEGINNING of an interval.

Section numbers in comments are those of RFC 8428.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from core.errors import DecodeError
from core.readings import RawReading
from core.timeaxis import EPOCH
from ingest import wire

NAME = "senml"
TOPICS = ("senml/+/+",)

SUM = "#sum"
VERSION = 10
"""The version of RFC 8428; RFC 9100 gives higher ones feature bits that we do not have."""

_RELATIVE_BELOW = 2.0**28  # section 4.5.3: smaller times are relative to now
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")  # section 4.5.1
_FARTHEST_S = 4.2e9  # a bound on what is added to a time: the years 1970 to 2099


@dataclass(frozen=True, slots=True)
class _Base:
    """The base fields in force (section 4.1)."""

    name: str = ""
    time: float = 0.0
    unit: str | None = None
    value: float | None = None
    sum: float | None = None
    version: int | None = None


def decode(topic: str, payload: bytes, received_at: datetime) -> list[RawReading]:  # noqa: ARG001
    """The readings of one pack; raises DecodeError, also for a pack without any number."""
    pack = wire.json_value(payload)
    if not isinstance(pack, list):
        raise DecodeError("A SenML pack is a list of records.")
    base = _Base()
    readings: list[RawReading] = []
    for record in pack:
        if not isinstance(record, dict):
            raise DecodeError("A SenML record is a JSON object.")
        base = _advance(base, record)
        readings.extend(_readings(base, record, received_at))
    if not readings:
        raise DecodeError("The SenML pack holds no number.")
    return readings


def _advance(base: _Base, record: dict[str, Any]) -> _Base:
    """The base fields from this record on."""
    for label in record:
        # Section 4.4: unknown labels are passed over, except those that must be understood.
        if label.endswith("_"):
            raise DecodeError(f"The SenML label {label[:40]!r} must be understood, and is not.")
    changed: dict[str, Any] = {}
    if "bn" in record:
        changed["name"] = _text(record, "bn")
    if "bu" in record:
        changed["unit"] = _unit(record, "bu")
    for label, name in (("bt", "time"), ("bv", "value"), ("bs", "sum")):
        if label in record:
            changed[name] = wire.number(record[label], label)
    if "bver" in record:
        changed["version"] = _version(base, record["bver"])
    return replace(base, **changed) if changed else base


def _version(base: _Base, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= VERSION:
        raise DecodeError(f"SenML version {value!r:.20} is not understood; {VERSION} is.")
    if base.version not in (None, value):
        raise DecodeError("The SenML records have different versions.")
    return value


def _readings(base: _Base, record: dict[str, Any], received_at: datetime) -> Iterator[RawReading]:
    other = _other_value(record)
    value = _plus(base.value, record, "v", alone=not other and "s" not in record)
    total = _plus(base.sum, record, "s", alone=True)
    if value is None and total is None and not other:
        if any(label in record for label in ("n", "t", "u")):
            raise DecodeError("A SenML record has no value.")
        return  # nothing but base fields
    device, tag = _split(base.name + (_text(record, "n") if "n" in record else ""))
    unit = _unit(record, "u") if "u" in record else base.unit
    ts = _time(base, record, received_at)
    if value is not None:
        yield RawReading(device, tag, ts, value, unit)
    if total is not None:
        yield RawReading(device, tag + SUM, ts, total, None if unit is None else f"{unit}*s")


def _other_value(record: dict[str, Any]) -> bool:
    """Whether the record carries a text, a boolean or data; at most one value is allowed."""
    if sum(label in record for label in ("v", "vs", "vb", "vd")) > 1:
        raise DecodeError("A SenML record has more than one value.")
    for label, kind in (("vs", str), ("vb", bool), ("vd", str)):
        if label in record:
            if not isinstance(record[label], kind):
                raise DecodeError(f"{label} has the wrong type.")
            return True
    return False


def _plus(base: float | None, record: dict[str, Any], label: str, *, alone: bool) -> float | None:
    """Base plus own value, a missing one counting as zero (section 4.5.4); None for neither.

    alone: whether the base stands for a value where the record has none of its own.
    """
    if label in record:
        return wire.number((base or 0.0) + wire.number(record[label], label), label)
    return base if alone else None


def _time(base: _Base, record: dict[str, Any], received_at: datetime) -> datetime:
    own = wire.number(record["t"], "t") if "t" in record else 0.0
    if "ut" in record:
        wire.number(record["ut"], "ut")
    seconds = base.time + own
    if not abs(seconds) < _FARTHEST_S:
        raise DecodeError("A SenML time lies too far away.")
    start = received_at if seconds < _RELATIVE_BELOW else EPOCH
    return wire.bounded(start + timedelta(microseconds=round(seconds * 1e6)))


def _split(resolved: str) -> tuple[str, str]:
    """Device and tag: what stands before and behind the last colon."""
    if len(resolved) > wire.MAX_NAME or not _NAME.fullmatch(resolved):
        raise DecodeError(f"{resolved[:60]!r} is not a SenML name.")
    device, colon, tag = resolved.rpartition(":")
    return (device, tag) if colon else (resolved, "")


def _text(record: dict[str, Any], label: str) -> str:
    value = record[label]
    if not isinstance(value, str):
        raise DecodeError(f"{label} is not a text.")
    return value


def _unit(record: dict[str, Any], label: str) -> str:
    return wire.name(record[label], label)
