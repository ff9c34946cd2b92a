"""The body of an HTTP request as readings, taken apart while it comes.

JSON (an array of readings), NDJSON (one reading a line) or CSV (a header, one reading a line).
Whatever is fed, complete rows become columns at once and the rest waits for more, so that memory
holds one piece of the body and never the whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any, Protocol

import numpy as np
import orjson
import pyarrow as pa

from core.errors import DecodeError
from ingest.columns import BY_KEY, BadRow, Columns
from ingest.filemapping import PLAIN, FileMapping, Measure, Source
from ingest.protocols.csv_file import CsvRows
from ingest.table import Table

LONGEST_ROW = 1_000_000
"""Bytes of a single row: one that is longer is no reading."""

_WHAT = "The request"
_SHOWN = 1_000

KEYED = FileMapping(
    name="keyed",
    measures=(
        Measure(
            "value",
            Source("series"),
            Source(constant=BY_KEY),
            Source("unit", optional=True),
            Source("quality", optional=True),
        ),
    ),
)
"""Rows that name their series by its key, where others name device and tag."""

_TEXTS = ("device", "tag", "unit", "series", "ts")
_USUAL = ("device", "tag", "unit", "ts", "value")


class Body(Protocol):
    """A body in one of the formats. Both raise DecodeError where the document is malformed."""

    def feed(self, data: bytes) -> Iterator[Columns]:
        """The readings of all rows that are complete now."""
        ...

    def close(self) -> Iterator[Columns]:
        """The readings of what is left at the end."""
        ...


def of_type(content_type: str) -> Callable[[], Body] | None:
    """The format of a Content-Type; None for one that is not read."""
    kind, _, parameters = content_type.lower().partition(";")
    charset = parameters.replace('"', "").replace(" ", "")
    if charset not in ("", "charset=utf-8", "charset=utf8", "header=present"):
        return None
    return FORMATS.get(kind.strip())


class _Lines:
    """What comes, cut behind its last line break."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> bytes:
        whole, found, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest
        if len(rest) > LONGEST_ROW:
            raise DecodeError(f"{_WHAT} has a line of more than {LONGEST_ROW:,} bytes.")
        return whole + found

    def end(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest


class NdjsonBody:
    """One JSON object a line. A line that is none is a bad row; empty lines count and are none."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._rows = _Rows()
        self._numbers = count(1)

    def feed(self, data: bytes) -> Iterator[Columns]:
        """See Body."""
        return self._read(self._lines.take(data))

    def close(self) -> Iterator[Columns]:
        """See Body."""
        return self._read(self._lines.end())

    def _read(self, text: bytes) -> Iterator[Columns]:
        lines = text.split(b"\n")
        if not lines[-1]:
            lines.pop()  # behind the last line break
        rows: list[Any] = []
        numbers: list[int] = []
        bad: list[BadRow] = []
        for line, number in zip(lines, self._numbers, strict=False):
            try:
                rows.append(orjson.loads(line))
                numbers.append(number)
            except orjson.JSONDecodeError as error:
                if line.strip():
                    bad.append(BadRow(number, f"not JSON: {error}", _as_text(line)))
        yield from self._rows.columns(rows, np.array(numbers, dtype=np.int64), bad)


class JsonBody:
    """One JSON array of objects. Its elements are rows from 1 on.

    The end of an element is found by trying: a text that ends behind a ``}`` and makes an array
    when it is closed there holds whole elements only, because no string or object is open.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._passed = 0
        self._state = "["
        self._rows = _Rows()
        self._count = 0

    def feed(self, data: bytes) -> Iterator[Columns]:
        """See Body."""
        self._rest += data
        self._open()
        self._closed()
        if self._state == "]" or b"}" not in self._rest:
            self._refuse_long()
            return
        end = len(self._rest)
        first_error: orjson.JSONDecodeError | None = None
        for _ in range(_TRIES):
            end = self._rest.rfind(b"}", 0, end)
            if end < 0:
                break
            try:
                elements = self._elements(self._rest[: end + 1])
            except orjson.JSONDecodeError as error:
                first_error = first_error or error
                continue
            self._advance(end + 1)
            yield from self._columns(elements)
            self._closed()
            return
        if first_error is not None and first_error.pos < len(self._rest) - LONGEST_ROW:
            self._malformed(first_error)
        self._refuse_long()

    def close(self) -> Iterator[Columns]:
        """See Body."""
        if self._state != "]":
            text = self._rest.rstrip()
            if not text.endswith(b"]"):
                raise DecodeError(
                    f"{_WHAT}'s JSON array has no end: it breaks off at byte "
                    f"{self._passed + len(self._rest)}, behind row {self._count}."
                )
            try:
                elements = self._elements(text[:-1])
            except orjson.JSONDecodeError as error:
                self._malformed(error)
            yield from self._columns(elements)
            self._rest, self._state = b"", "]"
        if self._rest.strip():
            raise DecodeError(f"{_WHAT} goes on behind its JSON array, at byte {self._passed}.")

    def _open(self) -> None:
        """Pass over the bracket in front of the first element."""
        if self._state == "[" and self._rest.lstrip(_BLANKS):
            if not self._rest.lstrip(_BLANKS).startswith(b"["):
                raise DecodeError(f"{_WHAT} is no JSON array of readings: it begins with none.")
            self._advance(self._rest.index(b"[") + 1)
            self._state = ""

    def _closed(self) -> None:
        """Note whether the array ends here."""
        if self._state in ("", ",") and self._rest.lstrip(_BLANKS).startswith(b"]"):
            self._advance(self._rest.index(b"]") + 1)
            self._state = "]"

    def _elements(self, text: bytes) -> list[Any]:
        """The elements in ``text``; behind the first ones it begins with a comma."""
        stripped = text.lstrip(_BLANKS)
        if self._state == "," and stripped:
            if not stripped.startswith(b","):
                raise orjson.JSONDecodeError("a comma is missing", "", 0)
            if not stripped[1:].strip(_BLANKS):
                raise orjson.JSONDecodeError("nothing follows a comma", "", 0)
            text = text.replace(b",", b" ", 1)
        elements: list[Any] = orjson.loads(b"[" + text + b"]")
        return elements

    def _columns(self, elements: list[Any]) -> Iterator[Columns]:
        line = np.arange(self._count + 1, self._count + len(elements) + 1, dtype=np.int64)
        self._count += len(elements)
        if elements:
            self._state = ","
        yield from self._rows.columns(elements, line, [])

    def _advance(self, length: int) -> None:
        self._rest = self._rest[length:]
        self._passed += length

    def _refuse_long(self) -> None:
        if len(self._rest) > 2 * LONGEST_FEED + LONGEST_ROW:
            raise DecodeError(
                f"{_WHAT}'s JSON is malformed behind byte {self._passed}, after row {self._count}."
            )

    def _malformed(self, error: orjson.JSONDecodeError) -> None:
        at = self._passed + max(0, error.pos - 1)
        raise DecodeError(
            f"{_WHAT}'s JSON is malformed near byte {at}, behind row {self._count}: {error.msg}."
        ) from error


LONGEST_FEED = 8 * 1024 * 1024
"""What is fed at once at most."""

_TRIES = 8
_BLANKS = b" \t\r\n"


class CsvBody:
    """CSV with a header, as ingest/protocols/csv_file.py reads it; the header is row 1."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._rows: CsvRows | None = None
        self._number = 1

    def feed(self, data: bytes) -> Iterator[Columns]:
        """See Body."""
        return self._read(self._lines.take(data))

    def close(self) -> Iterator[Columns]:
        """See Body."""
        yield from self._read(self._lines.end())
        if self._rows is None:
            raise DecodeError(f"{_WHAT} has no header of a CSV file in UTF-8 in row 1.")

    def _read(self, text: bytes) -> Iterator[Columns]:
        if self._rows is None and text:
            first, _, text = text.partition(b"\n")
            header = first.decode("utf-8-sig", "replace").strip()
            mapping = KEYED if "series" in [n.strip(' "') for n in header.split(",")] else PLAIN
            self._rows = CsvRows(header, mapping, _WHAT)
            self._number = 2
        if self._rows is not None and text:
            first_line = self._number
            self._number += text.count(b"\n")
            yield from self._rows.pieces(io.BytesIO(text), first_line, len(text) + 1)


FORMATS: dict[str, Callable[[], Body]] = {
    "application/json": JsonBody,
    "application/x-ndjson": NdjsonBody,
    "application/ndjson": NdjsonBody,
    "application/jsonl": NdjsonBody,
    "text/csv": CsvBody,
}


class _Rows:
    """Rows of JSON as columns: those that name device and tag, and those that name a series."""

    def __init__(self) -> None:
        self._devices = Table(PLAIN, _WHAT)
        self._keys = Table(KEYED, _WHAT)

    def columns(self, rows: list[Any], line: np.ndarray, bad: list[BadRow]) -> Iterator[Columns]:
        """The rows with their numbers ``line``; bad: rows that were lost before."""
        try:
            # Nearly always all rows have all of these, and nothing but these.
            columns = {name: [row[name] for row in rows] for name in _USUAL}
            usual = sum(map(len, rows)) == len(rows) * len(_USUAL) > 0
        except (KeyError, TypeError, IndexError):
            usual = False
        if usual:
            yield _kept_whole(self._devices.columns(_batch(columns), line, bad), rows, line, bad)
            return
        objects = [isinstance(row, dict) for row in rows]
        for place in (i for i, fine in enumerate(objects) if not fine):
            text = _as_text(orjson.dumps(rows[place]))
            bad.append(BadRow(int(line[place]), "a reading is a JSON object", text))
        keyed = [fine and "series" in row for row, fine in zip(rows, objects, strict=True)]
        plain = [fine and not by_key for fine, by_key in zip(objects, keyed, strict=True)]
        yield self._part(self._devices, rows, plain, line, bad)
        if any(keyed):
            yield self._part(self._keys, rows, keyed, line, [])

    def _part(
        self, table: Table, rows: list[Any], mask: list[bool], line: np.ndarray, bad: list[BadRow]
    ) -> Columns:
        chosen = [row for row, wanted in zip(rows, mask, strict=True) if wanted]
        names = (*_TEXTS, "value", "quality")
        columns = {name: [row.get(name) for row in chosen] for name in names}
        own = line[np.array(mask, dtype=bool)]
        return _kept_whole(table.columns(_batch(columns), own, bad), chosen, own, bad)


def _kept_whole(found: Columns, rows: list[Any], line: np.ndarray, before: list[BadRow]) -> Columns:
    """``found``, its bad rows behind ``before`` with all their objects held.

    A text has no place in a column of numbers; it must not be lost with the row, for a person may
    mend it.
    """
    places = {int(number): place for place, number in enumerate(line)} if found.bad else {}
    for i, one in enumerate(found.bad[len(before) :], len(before)):
        if one.text:
            held = {name: _shown(cell) for name, cell in rows[places[one.line]].items()}
            cells = orjson.loads(one.text)["cells"] | held
            found.bad[i] = replace(one, text=orjson.dumps({"cells": cells}).decode())
    return found


def _shown(cell: Any) -> str:
    """A cell as text."""
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else orjson.dumps(cell).decode()


def _batch(columns: dict[str, list[Any]]) -> pa.RecordBatch:
    """The columns with the types they must have; what has another one is missing."""
    arrays = []
    for name, cells in columns.items():
        if name == "value":
            arrays.append(_typed(cells, pa.float64(), _as_float))
        elif name == "quality":
            arrays.append(pa.array([_as_flags(cell) for cell in cells], pa.int64()))
        else:
            arrays.append(_typed(cells, pa.string(), _as_string))
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _typed(cells: Sequence[Any], kind: pa.DataType, clean: Callable[[Any], Any]) -> pa.Array:
    if bool not in set(map(type, cells)):  # which would count as a number
        with suppress(pa.ArrowException):
            return pa.array(cells, kind)
    return pa.array([clean(cell) for cell in cells], kind)


def _as_float(cell: Any) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return None
    return float(cell)


def _as_flags(cell: Any) -> int | None:
    """A number that is no flag where something else stands; empty is none."""
    if cell is None:
        return None
    whole = isinstance(cell, int) and not isinstance(cell, bool)
    return cell if whole and 0 <= cell < 1 << 15 else -1


def _as_string(cell: Any) -> str | None:
    return cell if isinstance(cell, str) else None


def _as_text(row: bytes) -> str:
    return orjson.dumps({"text": row[:_SHOWN].decode("utf-8", "replace")}).decode()
