"""PostgreSQL's binary COPY format to and from numpy arrays, all rows at once.

A row is its number of fields (int16), then for each field its length (int32) and its bytes, all
big-endian: with fixed widths and no nulls, that is one numpy record.
Reference: PostgreSQL 18 documentation, COPY, "Binary Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from psycopg.sql import SQL, Composed

from core.errors import StoreError
from store.database import Connection

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_ROWS = 1_000  # of a piece: some 40 kB, which stay in the processor's cache
EPOCH_US = 946_684_800_000_000
"""2000-01-01 UTC, PostgreSQL's zero, in microseconds since 1970."""


def row_dtype(fields: Sequence[tuple[str, str]]) -> np.dtype:
    """The record of a row whose fields are (name, numpy type such as ``>i4``)."""
    parts: list[tuple[str, str]] = [("_count", ">i2")]
    for name, kind in fields:
        parts += [(f"_{name}_bytes", ">i4"), (name, kind)]
    return np.dtype(parts)


def encode(fields: Sequence[tuple[str, str]], columns: Mapping[str, np.ndarray]) -> bytes:
    """``columns``, arrays of shape (n,), as the whole text of a binary COPY."""
    return b"".join(stream(fields, columns))


def stream(
    fields: Sequence[tuple[str, str]], columns: Mapping[str, np.ndarray]
) -> Iterator[bytes | bytearray]:
    """The same in pieces: the server works on the first while the next are made."""
    length = len(next(iter(columns.values())))
    dtype = row_dtype(fields)
    blank = np.zeros((), dtype)
    blank["_count"] = len(fields)
    for name, kind in fields:
        blank[f"_{name}_bytes"] = np.dtype(kind).itemsize
    # What is the same in every row is repeated as bytes; the columns are written into its place.
    same = blank.tobytes()
    yield _HEADER
    for first in range(0, length, _ROWS):
        part = slice(first, min(first + _ROWS, length))
        text = bytearray(same * (part.stop - part.start))
        rows = np.frombuffer(text, dtype)
        for name, _ in fields:
            rows[name] = columns[name][part]
        yield text
    yield _TRAILER


def decode(fields: Sequence[tuple[str, str]], text: bytes) -> np.ndarray:
    """The rows of a binary COPY, shape (n,); raises StoreError for nulls and other widths."""
    dtype = row_dtype(fields)
    body = memoryview(text)[len(_HEADER) : -len(_TRAILER)]
    if len(body) % dtype.itemsize or not text.startswith(_HEADER):
        raise StoreError("The database sent rows of another shape than was asked for.")
    rows = np.frombuffer(body, dtype)
    for name, kind in fields:
        if (rows[f"_{name}_bytes"] != np.dtype(kind).itemsize).any():
            raise StoreError(
                f"The database sent a column {name!r} of another width than asked for."
            )
    return rows


def send(connection: Connection, statement: SQL, text: bytes | Iterable[bytes | bytearray]) -> int:
    """Runs a COPY FROM STDIN with ``text``, whole or in pieces; the number of rows taken."""
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for piece in (text,) if isinstance(text, bytes) else text:
                copy.write(piece)
        return cursor.rowcount


def fetch(
    connection: Connection, statement: SQL | Composed, fields: Sequence[tuple[str, str]]
) -> np.ndarray:
    """Runs a COPY TO STDOUT and returns its rows."""
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        return decode(fields, b"".join(bytes(part) for part in copy))


def postgres_us(ts_us: Any) -> Any:
    """Microseconds since 1970 as PostgreSQL counts them."""
    return ts_us - EPOCH_US


def unix_us(ts: Any) -> Any:
    """Microseconds since 1970 of PostgreSQL's."""
    return ts + EPOCH_US
