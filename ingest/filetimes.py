"""The times of a file as UTC: texts of ISO 8601 or of a declared pattern, numbers, timestamps.

Whole columns are converted at once where the texts allow it; else each distinct text once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import DecodeError
from core.timeaxis import EPOCH, MICROSECOND, to_us
from ingest import wire
from ingest.filemapping import TimeRule
from ingest.localtimes import LocalClock

FIRST_US, END_US = to_us(wire.EARLIEST), to_us(wire.LATEST)

NO_TIME = "ts is not a time with its zone between 1970 and 2099"
NO_LOCAL_TIME = "ts is not a time between 1970 and 2099"
NEVER_SHOWN = "ts is a time that clocks never showed: they were put forward"

_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[t ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(z|[+-]\d\d:?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_MIDNIGHT = re.compile(r"(?<![:\d])24:00(:00)?(?![:\d])")
_DAY_US = 86_400_000_000
_UNITS = {"unix_s": 1e6, "unix_ms": 1e3, "excel": float(_DAY_US)}
_EXCEL_EPOCH_US = -25_569 * _DAY_US  # 30 December 1899: day 1 is 31 December, as serials have it
_MARGIN_US = 2 * _DAY_US


@dataclass(frozen=True, slots=True)
class Times:
    """us: microseconds since 1970 UTC, the beginning of the interval, int64 (n,).

    checks: what can be wrong, and for which rows it is not; bool (n,).
    """

    us: np.ndarray
    checks: tuple[tuple[str, np.ndarray], ...]


def read(
    columns: Sequence[pa.Array],
    rule: TimeRule,
    clock: LocalClock | None,
    code: np.ndarray,
    names: Sequence[Hashable],
) -> Times:
    """The times in ``columns`` (of ``rule``, one or several).

    clock: the zone of times that name none; None where each must name its own.
    code, names: whose row each is, as LocalClock.utc takes them.
    Raises DecodeError for a column of timestamps without a zone where no zone is declared.
    """
    us, zoned = _instants(columns, rule, local=clock is not None)
    known = (us >= FIRST_US - _MARGIN_US) & (us < END_US + _MARGIN_US)
    us = np.where(known, us, 0)
    shown = np.ones(len(us), dtype=bool)
    if clock is None:
        known &= zoned
    else:
        local = known & ~zoned
        us[local], shown[local] = clock.utc(us[local], code[local], names)
    us -= rule.back_us
    known &= (us >= FIRST_US) & (us < END_US)
    sentence = NO_TIME if clock is None else NO_LOCAL_TIME
    return Times(us, ((sentence, known), (NEVER_SHOWN, shown)))


def _instants(
    columns: Sequence[pa.Array], rule: TimeRule, *, local: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds, and whether they are UTC (else they are a local clock's).

    What is no time is out of every bound.
    """
    column = columns[0]
    if pa.types.is_timestamp(column.type):
        zoned = column.type.tz is not None
        if not zoned and not local:
            raise DecodeError(
                "its times are without a zone; store them in UTC, "
                "or declare their timezone in a mapping."
            )
        us = _whole(pc.cast(pc.cast(column, _type(zoned=zoned), safe=False), pa.int64()))
        return us, np.full(len(us), zoned)
    if rule.format in _UNITS:
        return _numbers(column, rule.format)
    texts = _joined(columns)
    if rule.format == "iso":
        try:
            us = _whole(pc.cast(pc.cast(texts, _type(zoned=not local)), pa.int64()))
            return us, np.full(len(us), not local)
        except pa.ArrowInvalid:
            return _each(texts, _iso)
    return _each(texts, partial(_patterned, rule.format))


def _type(*, zoned: bool) -> pa.DataType:
    return pa.timestamp("us", tz="UTC" if zoned else None)


def _whole(us: pa.Array) -> np.ndarray:
    found: np.ndarray = pc.fill_null(us, END_US * 2).to_numpy(zero_copy_only=False).copy()
    return found


def _numbers(column: pa.Array, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Seconds or milliseconds since 1970 UTC, or days of a spreadsheet on a local clock."""
    number = floats(column) * _UNITS[form]
    usable = np.abs(number) < float(END_US * 2)  # also not NaN
    us = np.where(usable, np.round(np.where(usable, number, 0.0)), END_US * 2).astype(np.int64)
    if form != "excel":
        return us, np.ones(len(us), dtype=bool)
    us = np.where(usable, np.round(us / 1e3).astype(np.int64) * 1_000 + _EXCEL_EPOCH_US, us)
    return us, np.zeros(len(us), dtype=bool)


def floats(column: pa.Array) -> np.ndarray:
    """Numbers or texts of numbers as float64, NaN for what is none."""
    if pa.types.is_string(column.type):
        words = pc.dictionary_encode(pc.fill_null(column, ""))
        values = np.array([_float(w) for w in words.dictionary.to_pylist()], dtype=np.float64)
        found: np.ndarray = values[words.indices.to_numpy(zero_copy_only=False)]
        return found
    try:
        found = pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan")).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.full(len(column), np.nan)
    return found


def _float(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        return float("nan")


def _joined(columns: Sequence[pa.Array]) -> pa.Array:
    texts = [c if pa.types.is_string(c.type) else pa.nulls(len(c), pa.string()) for c in columns]
    if len(texts) == 1:
        return pc.utf8_trim_whitespace(texts[0])
    trimmed = [pc.utf8_trim_whitespace(pc.fill_null(c, "")) for c in texts]
    return pc.utf8_trim_whitespace(pc.binary_join_element_wise(*trimmed, " "))


Instant = tuple[int, bool]
"""Microseconds, and whether they are UTC."""

_NONE: Instant = (END_US * 2, True)


def _each(texts: pa.Array, read_one: Callable[[str], Instant]) -> tuple[np.ndarray, np.ndarray]:
    """``read_one`` of every distinct text."""
    words = pc.dictionary_encode(pc.fill_null(texts, ""))
    found = [_or_none(read_one, word) for word in words.dictionary.to_pylist()]
    us = np.array([us for us, _ in found], dtype=np.int64)
    zoned = np.array([zoned for _, zoned in found], dtype=bool)
    place = words.indices.to_numpy(zero_copy_only=False)
    return us[place], zoned[place]


def _or_none(read_one: Callable[[str], Instant], text: str) -> Instant:
    """The end of a day may be called 24:00: it is the beginning of the next one."""
    early, days = _MIDNIGHT.subn(r"00:00\1", text, count=1)
    try:
        us, zoned = read_one(early)
    except (ValueError, OverflowError):
        return _NONE
    return us + days * _DAY_US, zoned


def _iso(text: str) -> Instant:
    match = _ISO.fullmatch(text)
    if match is None:
        return _NONE
    day, clock, offset = match.groups()
    whole = f"{day}T{clock or '00:00'}{(offset or '').upper()}"
    return _instant(datetime.fromisoformat(whole))


def _patterned(pattern: str, text: str) -> Instant:
    return _instant(datetime.strptime(text, pattern))  # noqa: DTZ007 - may have none, as files do


def _instant(ts: datetime) -> Instant:
    if ts.tzinfo is not None:
        return to_us(ts), True
    return (ts.replace(tzinfo=UTC) - EPOCH) // MICROSECOND, False
