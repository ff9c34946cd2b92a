"""A table of the long format (device, tag, unit, ts, value, quality) to columns, in bulk.

Shared by the file protocols. Whole columns are converted at once; only when that fails are the
bad cells looked for, so a clean file costs nothing and a dirty one loses its bad rows only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import DecodeError
from core.readings import Quality
from core.timeaxis import to_us
from ingest import wire
from ingest.columns import BadRow, Columns

REQUIRED = ("device", "tag", "ts", "value")
OPTIONAL = ("unit", "quality")

_TIME = pa.timestamp("us", tz="UTC")
_FIRST_US, _END_US = to_us(wire.EARLIEST), to_us(wire.LATEST)
_FLAGS = sum(Quality)

_ZONED = r"(?i)^\d{4}-\d\d-\d\d[t ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(z|[+-]\d\d:?\d\d)$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_WHOLE = r"^\d{1,5}$"


def check_names(names: list[str], what: str) -> None:
    """Raise DecodeError when a required column is missing."""
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise DecodeError(f"{what} has no column {', '.join(missing)}.")


def columns(table: pa.RecordBatch, line: np.ndarray, bad: list[BadRow]) -> Columns:
    """The rows of ``table`` (device, tag, ts, value, and unit and quality where there are any).

    line: int64 (n,), the number of each row in its file. bad: rows that were lost before.
    """
    names = table.schema.names
    ts, ts_good = _times(table.column("ts"))
    value, value_good = _numbers(table.column("value"))
    quality, quality_good = _quality(table, names)
    keys = [_texts(table.column(name)) for name in ("device", "tag")]
    unit = _texts(table.column("unit")) if "unit" in names else pa.nulls(len(line), pa.string())
    checks = (
        ("device is missing or not a text", _present(keys[0])),
        ("tag is missing or not a text", _present(keys[1])),
        ("ts is not a time with its zone between 1970 and 2099", ts_good),
        ("value is not a finite number", value_good),
        ("quality is not a number of known flags", quality_good),
    )
    good = np.logical_and.reduce([mask for _, mask in checks])
    failed = np.flatnonzero(~good)
    found = [
        BadRow(
            int(line[i]),
            next(reason for reason, mask in checks if not mask[i]),
            ",".join(_shown(table.column(name)[int(i)]) for name in names),
        )
        for i in failed
    ]
    triples, code = _codes([*keys, unit], good)
    return Columns(triples, code, line[good], ts[good], value[good], quality[good], [*bad, *found])


def _codes(
    parts: list[pa.Array], good: np.ndarray
) -> tuple[list[tuple[str, str, str | None]], np.ndarray]:
    """The distinct triples of the good rows, and which one each row has."""
    code = np.zeros(int(good.sum()), dtype=np.int64)
    words: list[list[str | None]] = []
    for part in parts:
        encoded = pc.dictionary_encode(part, null_encoding="encode")
        words.append(encoded.dictionary.to_pylist())
        code = code * len(words[-1]) + encoded.indices.to_numpy(zero_copy_only=False)[good]
    distinct, code = np.unique(code, return_inverse=True)
    triples: list[tuple[str, str, str | None]] = []
    for key in distinct.tolist():
        key, unit = divmod(key, len(words[2]))
        device, tag = divmod(key, len(words[1]))
        triples.append((words[0][device] or "", words[1][tag] or "", words[2][unit] or None))
    return triples, code.astype(np.int64)


def _times(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds since 1970 and which of them can be used."""
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            raise DecodeError("The column ts has times without a zone; store them in UTC.")
        taken = _attempt(column, lambda c: pc.cast(c, _TIME, safe=False), None)
    else:
        taken = _attempt(_texts(column), lambda c: pc.cast(c, _TIME), _ZONED)
    us = pc.fill_null(pc.cast(taken, pa.int64()), _FIRST_US - 1).to_numpy(zero_copy_only=False)
    return us, (us >= _FIRST_US) & (us < _END_US)


def _numbers(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """float64 and which of them are finite."""
    if pa.types.is_boolean(column.type):
        raise DecodeError("The column value holds true and false, not numbers.")
    if _is_number(column.type):
        taken = _attempt(column, lambda c: pc.cast(c, pa.float64(), safe=False), None)
    else:
        taken = _attempt(_texts(column), lambda c: pc.cast(c, pa.float64()), _NUMBER)
    value = pc.fill_null(taken, float("nan")).to_numpy(zero_copy_only=False)
    return value, np.isfinite(value)


def _quality(table: pa.RecordBatch, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """int16 flags; an empty cell means a good value."""
    count = table.num_rows
    if "quality" not in names:
        return np.zeros(count, dtype=np.int16), np.ones(count, dtype=bool)
    column = table.column("quality")
    if pa.types.is_integer(column.type):
        taken = _attempt(column, lambda c: pc.cast(c, pa.int64(), safe=False), None)
        given = pc.is_valid(column)
    else:
        texts = _texts(column)
        taken = _attempt(texts, lambda c: pc.cast(c, pa.int64()), _WHOLE)
        given = pc.not_equal(pc.fill_null(texts, ""), "")
    flags = pc.fill_null(taken, -1).to_numpy(zero_copy_only=False)
    empty = ~given.to_numpy(zero_copy_only=False)
    flags = np.where(empty, 0, flags)
    good = (flags >= 0) & (flags & ~_FLAGS == 0)
    return np.where(good, flags, 0).astype(np.int16), good


def _attempt(column: pa.Array, cast: Callable[[pa.Array], pa.Array], shape: str | None) -> pa.Array:
    """``cast`` of the whole column; where that fails, of the cells of the right shape only.

    A cell of the right shape may still be no value (the 31st of February): the last resort is
    to halve the column until the culprits are alone.
    """
    try:
        return cast(column)
    except pa.ArrowInvalid:
        if shape is not None:
            fits = pc.match_substring_regex(column, shape)
            return _attempt(pc.if_else(fits, column, None), cast, None)
    if len(column) == 1:
        return cast(pa.nulls(1, column.type))
    middle = len(column) // 2
    return pa.concat_arrays(
        [_attempt(column.slice(0, middle), cast, None), _attempt(column.slice(middle), cast, None)]
    )


def _texts(column: pa.Array) -> pa.Array:
    """As strings; bytes that are not UTF-8 and things that are no texts become null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_large_string(column.type) or pa.types.is_binary(column.type):
        return _attempt(column, lambda c: pc.cast(c, pa.string()), None)
    return pa.nulls(len(column), pa.string())


def _present(column: pa.Array) -> np.ndarray:
    filled = pc.fill_null(column, "")
    usable = pc.and_(
        pc.utf8_is_printable(filled),
        pc.and_(
            pc.greater(pc.utf8_length(filled), 0),
            pc.less_equal(pc.utf8_length(filled), wire.MAX_NAME),
        ),
    )
    mask: np.ndarray = usable.to_numpy(zero_copy_only=False)
    return mask


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _shown(cell: pa.Scalar) -> str:
    value = cell.as_py()
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    return "" if value is None else str(value)[: wire.MAX_NAME]
