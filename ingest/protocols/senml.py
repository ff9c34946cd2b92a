"""SenML packs in JSON (RFC 8428), on ``senml/<site>/<gateway>``.

A pack is a list of records; base fields (bn bt bu bv bs bver) hold from their record on. The
resolved name, base name plus name, is split at its last ``:`` into device and tag. Numbers
(``v``) are readings; a sum (``s``) is a reading of the tag with ``#sum`` behind it. Texts,
booleans and data values are checked and passed over. Times label the BEGINNING of an interval.

Section numbers in comments are those of RFC 8428.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Any

from core.errors import DecodeError
from core.timeaxis import to_us
from ingest import senml_shape, wire
from ingest.decoded import Decoded, Name
from ingest.senml_shape import Shape

NAME = "senml"
TOPICS = ("senml/+/+",)

SUM = "#sum"
VERSION = 10
"""The version of RFC 8428; RFC 9100 gives higher ones feature bits that we do not have."""

_RELATIVE_BELOW = 2.0**28  # section 4.5.3: smaller times are relative to now
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")  # section 4.5.1
_FARTHEST_S = 4.2e9  # a bound on what is added to a time: the years 1970 to 2099
_BASES = frozenset(("bn", "bt", "bu", "bv", "bs", "bver"))
_NAMES_KEPT, _PACKS_KEPT = 1 << 16, 1 << 13


def decode(topic: str, payload: bytes, received_at: datetime) -> Decoded:  # noqa: ARG001
    """The readings of one pack; raises DecodeError, also for a pack without any number."""
    resolver = _Resolver(received_at)
    known = senml_shape.read(payload)
    if known is not None:
        resolver.take(known.first)
        if resolver.take_usual(known.shape, known.value):
            return resolver.decoded
        resolver = _Resolver(received_at)
    first, *others = _records(payload) or ({},)
    resolver.take(first)
    if others:
        resolver.take_all(others)
    return resolver.decoded


def _records(payload: bytes) -> list[dict[str, Any]]:
    pack = wire.json_value(payload)
    if not isinstance(pack, list):
        raise DecodeError("A SenML pack is a list of records.")
    if not all(isinstance(record, dict) for record in pack):
        raise DecodeError("A SenML record is a JSON object.")
    return pack


class _Resolver:
    """Records of one pack to columns; the base fields in force (section 4.1) and what was read."""

    def __init__(self, received_at: datetime) -> None:
        self._received_at = received_at
        self._name = ""
        self._time = 0.0
        self._unit: str | None = None
        self._value: float | None = None
        self._sum: float | None = None
        self._version: int | None = None
        self._base_us: int | None = None  # the base time worked out, once it was needed
        self._names: list[Name] = []
        self._ts_us: list[int] = []
        self._values: list[float] = []

    @property
    def decoded(self) -> Decoded:
        """What was taken; raises DecodeError where that is nothing."""
        if not self._names:
            raise DecodeError("The SenML pack holds no number.")
        return Decoded(tuple(self._names), self._ts_us, self._values)

    def take_all(self, records: list[dict[str, Any]]) -> None:
        """Take records of any kind, the short way where it can be gone."""
        shape = senml_shape.shape_of(records)
        if shape is None or not self.take_usual(shape, [float(r["v"]) for r in records]):
            for record in records:
                self.take(record)

    def take_usual(self, shape: Shape, value: list[float]) -> bool:
        """Take the values of records that have no more than a shape; whether that could be done.

        The same result as ``take`` of each, in a fraction of the time: a gateway's pack is like
        this.
        """
        if self._value is not None or self._sum is not None:
            return False
        if value:
            self._names += _split_all(self._name, self._unit, *shape)
            self._ts_us += [self._base()] * len(value)
            self._values += value
        return True

    def _advance(self, record: dict[str, Any]) -> None:
        """Change the base fields that this record names."""
        for label in record:
            # Section 4.4: unknown labels are passed over, except those that must be understood.
            if label.endswith("_"):
                raise DecodeError(
                    f"The SenML label {wire.shown(label[:40])!r} must be understood, and is not."
                )
        if _BASES.isdisjoint(record):
            return
        if "bn" in record:
            self._name = _text(record, "bn")
        if "bu" in record:
            self._unit = _unit(record, "bu")
        if "bt" in record:
            self._time = wire.number(record["bt"], "bt")
            self._base_us = None
        if "bv" in record:
            self._value = wire.number(record["bv"], "bv")
        if "bs" in record:
            self._sum = wire.number(record["bs"], "bs")
        if "bver" in record:
            self._version = _version(self._version, record["bver"])

    def take(self, record: dict[str, Any]) -> None:
        """Take the base fields and the value of any record, if it has one."""
        self._advance(record)
        other = _other_value(record)
        value = _plus(self._value, record, "v", alone=not other and "s" not in record)
        total = _plus(self._sum, record, "s", alone=True)
        if value is None and total is None and not other:
            if any(label in record for label in ("n", "t", "u")):
                raise DecodeError("A SenML record has no value.")
            return  # nothing but base fields
        unit = _unit(record, "u") if "u" in record else self._unit
        resolved = self._name + (_text(record, "n") if "n" in record else "")
        device, tag, _ = name = _split(resolved, unit)
        ts_us = self._time_us(record)
        if value is not None:
            self._add(name, ts_us, value)
        if total is not None:
            self._add((device, tag + SUM, None if unit is None else f"{unit}*s"), ts_us, total)

    def _add(self, name: Name, ts_us: int, value: float) -> None:
        self._names.append(name)
        self._ts_us.append(ts_us)
        self._values.append(value)

    def _time_us(self, record: dict[str, Any]) -> int:
        if "ut" in record:
            wire.number(record["ut"], "ut")
        if "t" in record:
            return self._instant(self._time + wire.number(record["t"], "t"))
        return self._base()

    def _base(self) -> int:
        if self._base_us is None:
            self._base_us = self._instant(self._time)
        return self._base_us

    def _instant(self, seconds: float) -> int:
        if not abs(seconds) < _FARTHEST_S:
            raise DecodeError("A SenML time lies too far away.")
        start_us = to_us(self._received_at) if seconds < _RELATIVE_BELOW else 0
        return wire.bounded_us(start_us + round(seconds * 1e6))


def _version(earlier: int | None, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= VERSION:
        raise DecodeError(f"SenML version {value!r:.20} is not understood; {VERSION} is.")
    if earlier not in (None, value):
        raise DecodeError("The SenML records have different versions.")
    return value


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


@lru_cache(maxsize=_NAMES_KEPT)
def _split(resolved: str, unit: str | None) -> Name:
    """Device and tag, what stands before and behind the last colon, and the unit.

    Cached, because a gateway repeats its names in every pack.
    """
    if len(resolved) > wire.MAX_NAME or not _NAME.fullmatch(resolved):
        raise DecodeError(f"{wire.shown(resolved[:60])!r} is not a SenML name.")
    if unit is not None:
        wire.name(unit, "u")
    device, colon, tag = resolved.rpartition(":")
    return (device, tag, unit) if colon else (resolved, "", unit)


@lru_cache(maxsize=_PACKS_KEPT)
def _split_all(
    base: str, base_unit: str | None, names: tuple[str, ...], units: tuple[str | None, ...]
) -> tuple[Name, ...]:
    return tuple(
        _split(base + name, base_unit if unit is None else unit)
        for name, unit in zip(names, units, strict=True)
    )


def _text(record: dict[str, Any], label: str) -> str:
    value = record[label]
    if not isinstance(value, str):
        raise DecodeError(f"{label} is not a text.")
    return value


def _unit(record: dict[str, Any], label: str) -> str:
    return wire.name(record[label], label)
