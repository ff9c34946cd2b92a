"""A table of a file to columns, by the mapping that says which of its columns are what.

Shared by all formats. Whole columns are converted at once; only when that fails are the bad cells
looked for, so a clean file costs nothing and a dirty one loses its bad rows only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import ConfigurationError, DecodeError
from core.readings import Quality
from core.timeaxis import zone
from ingest import filetimes, wire
from ingest.columns import KEPT_ROWS, BadRow, Columns
from ingest.decoded import Name
from ingest.filemapping import PLAIN, FileMapping, Measure, Source
from ingest.localtimes import LocalClock

_FLAGS = sum(Quality)

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_WHOLE = r"^\d{1,5}$"


def used_columns(mapping: FileMapping, present: list[str], what: str) -> tuple[str, ...]:
    """The columns to read of a file that has those of ``present``.

    what: the file, in the words that a sentence begins with.
    Raises DecodeError when one is missing or a name that is needed stands twice.
    """
    try:
        used = mapping.columns(present)
    except ConfigurationError as error:
        raise DecodeError(f"{what} {error}.") from error
    twice = [name for name in used if present.count(name) > 1]
    if twice:
        raise DecodeError(f"{what} has the column {', '.join(twice)} more than once.")
    return used


def sentence_end(error: Exception) -> str:
    """The first line of an error of a library, as the end of a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ") + "."


@dataclass(frozen=True, slots=True)
class _Coded:
    """n texts as codes into the few distinct ones."""

    words: list[str | None]
    code: np.ndarray
    constant: bool = False

    @property
    def named(self) -> np.ndarray:
        """Which of the n are names, asked once for each distinct text; a constant is one."""
        names = [self.constant or _is_name(word) for word in self.words]
        found: np.ndarray = np.array(names, dtype=bool)[self.code]
        return found


class Table:
    """Turns the pieces of one file into columns, in their order: local times need it."""

    def __init__(self, mapping: FileMapping = PLAIN, what: str = "The table") -> None:
        self._mapping = mapping
        self._what = what
        rule = mapping.time
        self._clock = LocalClock(zone(rule.timezone), rule.fold) if rule.timezone else None
        skips = mapping.wide or mapping.missing
        self._missing = frozenset((*mapping.missing, "")) if skips else None

    def columns(self, table: pa.RecordBatch, line: np.ndarray, lost: list[BadRow]) -> Columns:
        """The readings of ``table``, whose columns are named as in the file.

        line: int64 (n,), the number of each row in its file. lost: rows that were lost before.
        Raises DecodeError when a column is of a type that cannot be what it is declared to be.
        """
        try:
            return self._columns(table, line, lost)
        except DecodeError as error:
            raise DecodeError(f"{self._what} cannot be read: {error}") from error

    def _columns(self, table: pa.RecordBatch, line: np.ndarray, lost: list[BadRow]) -> Columns:
        piece = _Piece(table, line)
        bad = [*lost]
        codes, names = self._owners(table)
        rule = self._mapping.time
        times = filetimes.read(
            [table.column(name) for name in rule.columns], rule, self._clock, codes, names
        )
        timely = piece.refuse(times.checks, ", ".join(rule.columns), bad)
        measures = self._mapping.measures
        parts = [self._part(piece, m, times.us, timely, bad) for m in measures]
        return _together(parts, bad)

    def _owners(self, table: pa.RecordBatch) -> tuple[np.ndarray, Sequence[Hashable]]:
        """Whose row each is, as codes into names; only where local times need to know."""
        if self._clock is None:
            return np.empty(0, dtype=np.int64), []
        first = self._mapping.measures[0]
        sources = [first.device] if self._mapping.wide else [first.device, first.tag]
        return _combined([_coded(table, source) for source in sources])

    def _part(
        self,
        piece: _Piece,
        measure: Measure,
        ts_us: np.ndarray,
        timely: np.ndarray,
        bad: list[BadRow],
    ) -> Columns:
        """The readings of one column of values."""
        table = piece.table
        device, tag, unit = (_coded(table, s) for s in (measure.device, measure.tag, measure.unit))
        cells = table.column(measure.column)
        rows = timely if self._missing is None else timely & ~_empty(cells, self._missing)
        value, value_good = _numbers(cells, self._mapping.decimal)
        quality, quality_good = _quality(table, measure.quality)
        checks = (
            ("device is missing or not a text", device.named, measure.device.column),
            ("tag is missing or not a text", tag.named, measure.tag.column),
            ("value is not a finite number", value_good, measure.column),
            ("quality is not a number of known flags", quality_good, measure.quality.column),
        )
        for reason, good, column in checks:
            rows = piece.refuse(((reason, good),), column, bad, among=rows)
        code, names = _combined([device, tag, unit], rows)
        triples: list[Name] = [(d or "", t or "", u or None) for d, t, u in names]
        return Columns(triples, code, piece.line[rows], ts_us[rows], value[rows], quality[rows], [])


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some rows of a file and their numbers."""

    table: pa.RecordBatch
    line: np.ndarray

    def refuse(
        self,
        checks: tuple[tuple[str, np.ndarray], ...],
        column: str,
        bad: list[BadRow],
        among: np.ndarray | None = None,
    ) -> np.ndarray:
        """The rows (of ``among``, else all) that pass the checks; the others are put to ``bad``."""
        left = np.ones(len(self.line), dtype=bool) if among is None else among
        for reason, good in checks:
            for i in np.flatnonzero(left & ~good):
                text = self._cells(int(i)) if len(bad) < KEPT_ROWS else ""
                bad.append(BadRow(int(self.line[i]), reason, text, column))
            left = left & good
        return left

    def _cells(self, i: int) -> str:
        cells = {name: _shown(self.table.column(name)[i]) for name in self.table.schema.names}
        return orjson.dumps({"cells": cells}).decode()


def none(lost: list[BadRow]) -> Columns:
    """No readings, only rows that were lost."""
    whole, real = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
    return Columns([], whole, whole, whole, real, np.empty(0, dtype=np.int16), lost)


def _together(parts: list[Columns], bad: list[BadRow]) -> Columns:
    """The columns of all measures, those of the first one first."""
    names: list[Name] = []
    codes = []
    for part in parts:
        codes.append(part.code + len(names))
        names += part.names
    line, ts_us, value, quality = (
        np.concatenate([getattr(part, field) for part in parts])
        for field in ("line", "ts_us", "value", "quality")
    )
    return Columns(names, np.concatenate(codes), line, ts_us, value, quality, bad)


def _combined(
    parts: list[_Coded], rows: np.ndarray | None = None
) -> tuple[np.ndarray, list[tuple[str | None, ...]]]:
    """The distinct combinations of the texts (of the rows, else all), and which each row has."""
    chosen = [part.code if rows is None else part.code[rows] for part in parts]
    code = np.zeros(len(chosen[0]), dtype=np.int64)
    for part, own in zip(parts, chosen, strict=True):
        code = code * len(part.words) + own
    distinct, code = np.unique(code, return_inverse=True)
    names: list[tuple[str | None, ...]] = []
    for key in distinct.tolist():
        words: list[str | None] = []
        for part in reversed(parts):
            key, place = divmod(key, len(part.words))
            words.append(part.words[place])
        names.append(tuple(reversed(words)))
    return code.astype(np.int64), names


def _coded(table: pa.RecordBatch, source: Source) -> _Coded:
    if source.column not in table.schema.names:
        zeros = np.zeros(table.num_rows, dtype=np.int64)
        return _Coded([source.constant or None], zeros, constant=True)
    encoded = pc.dictionary_encode(_texts(table.column(source.column)), null_encoding="encode")
    code = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return _Coded(encoded.dictionary.to_pylist() or [None], code)


def _is_name(text: str | None) -> bool:
    return bool(text) and text is not None and len(text) <= wire.MAX_NAME and text.isprintable()


def _empty(column: pa.Array, missing: frozenset[str]) -> np.ndarray:
    """Which cells hold no value at all."""
    if not pa.types.is_string(column.type):
        nulls: np.ndarray = pc.is_null(column).to_numpy(zero_copy_only=False)
        return nulls
    words = pc.dictionary_encode(pc.fill_null(column, ""))
    among = np.array([w.strip() in missing for w in words.dictionary.to_pylist()], dtype=bool)
    found: np.ndarray = among[words.indices.to_numpy(zero_copy_only=False)]
    return found


def _numbers(column: pa.Array, decimal: str) -> tuple[np.ndarray, np.ndarray]:
    """float64 and which of them are finite."""
    if pa.types.is_boolean(column.type):
        raise DecodeError("its values are true and false, not numbers.")
    if _is_number(column.type):
        taken = _attempt(column, lambda c: pc.cast(c, pa.float64(), safe=False), None)
    else:
        texts = _texts(column)
        if decimal != ".":
            texts = _with_points(texts, decimal)
        taken = _attempt(texts, lambda c: pc.cast(c, pa.float64()), _NUMBER)
    value = pc.fill_null(taken, float("nan")).to_numpy(zero_copy_only=False)
    return value, np.isfinite(value)


def _with_points(texts: pa.Array, decimal: str) -> pa.Array:
    """Numbers with a decimal point. One that had a point before is none: it parted thousands."""
    pointed = pc.match_substring(texts, ".")
    return pc.if_else(pointed, None, pc.replace_substring(texts, decimal, "."))


def _quality(table: pa.RecordBatch, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """int16 flags; an empty cell means a good value."""
    count = table.num_rows
    if source.column not in table.schema.names:
        given_here = source.constant or "0"
        flag = int(given_here) if given_here.isdecimal() and len(given_here) < 6 else -1
        good_flag = flag >= 0 and flag & ~_FLAGS == 0
        return np.full(count, flag if good_flag else 0, np.int16), np.full(count, good_flag)
    column = table.column(source.column)
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

    A cell of the right shape may still be no value (1e999): the last resort is to halve the
    column until the culprits are alone.
    """
    try:
        return cast(column)
    except pa.ArrowInvalid:
        if shape is not None:
            trimmed = pc.utf8_trim_whitespace(column)
            fits = pc.match_substring_regex(trimmed, shape)
            return _attempt(pc.if_else(fits, trimmed, None), cast, None)
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


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _shown(cell: pa.Scalar) -> str:
    value = cell.as_py()
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    return "" if value is None else str(value)[: wire.MAX_NAME]
