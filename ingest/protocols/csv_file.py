"""CSV files: by default one row per reading, with the columns device, tag, unit, ts and value.

The columns stand in any order under a header; ``unit`` and ``quality`` may be missing, further
columns are passed over. ``ts`` is ISO 8601 with its zone and labels the BEGINNING of an interval.
UTF-8, comma, quotes as in RFC 4180; a row is one line. Everything else can be declared by a
mapping (ingest/filemapping.py).
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from core.errors import DecodeError
from ingest.columns import KEPT_ROWS, BadRow, Columns
from ingest.filemapping import PLAIN, FileMapping
from ingest.table import Table, none, sentence_end, used_columns

NAME = "csv"
SUFFIXES = (".csv",)

BLOCK_BYTES = 8 * 1024 * 1024

_LONGEST_HEADER = 100_000
_LONGEST_TEXT = 1_000


def read(
    path: Path, mapping: FileMapping = PLAIN, block_bytes: int = BLOCK_BYTES
) -> Iterator[Columns]:
    """The file in pieces of ``block_bytes``; bad rows stand in each piece with their line.

    Raises DecodeError when the file cannot be read or lacks a column.
    """
    what = f"The file {path.name}"
    try:
        rows = CsvRows(_header(path, mapping), mapping, what)
        with path.open("rb") as file:
            first_line = mapping.header_row + 1
            yield from rows.pieces(file, first_line, block_bytes, skip=mapping.header_row)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DecodeError(f"{what} cannot be read: {sentence_end(error)}") from error


def _header(path: Path, mapping: FileMapping) -> str:
    """The line with the names of the columns; what stands behind it may be damaged."""
    with path.open(encoding=mapping.encoding, errors="replace") as lines:
        text = ""
        for _ in range(mapping.header_row):
            text = lines.readline(_LONGEST_HEADER)
    return text


class CsvRows:
    """The rows under a header, handed in at once or piece by piece.

    what: where they come from, in the words that a sentence begins with.
    Raises DecodeError when the header is none or lacks a column.
    """

    def __init__(self, header: str, mapping: FileMapping, what: str) -> None:
        names = _names(header, mapping, what)
        self._width = len(names)
        self._used = used_columns(mapping, names, what)
        self._places = [names.index(name) for name in self._used]
        self._mapping = mapping
        self._table = Table(mapping, what)
        self._what = what

    def pieces(
        self, file: BinaryIO, first_line: int, block_bytes: int, *, skip: int = 0
    ) -> Iterator[Columns]:
        """The rows in ``file``, whose first one, behind ``skip`` others, is number first_line."""
        lost: list[BadRow] = []
        counted = reported = 0
        try:
            for batch in self._open(file, block_bytes, skip, first_line, lost):
                line = _lines(counted, batch.num_rows, [row.line for row in lost], first_line)
                counted += batch.num_rows
                columns = [batch.column(i) for i in self._places]
                picked = pa.RecordBatch.from_arrays(columns, names=list(self._used))
                filled = _not_blank(picked)
                # The reader looks ahead: these may stand behind the piece, never before the last.
                fresh, reported = lost[reported:], len(lost)
                yield self._table.columns(picked.filter(pa.array(filled)), line[filled], fresh)
        except (pa.ArrowException, UnicodeError) as error:
            why = sentence_end(error)
            if "straddling" in why:  # Arrow's word for a row that has no end within a block
                why = (
                    f"a row is longer than {block_bytes:,} bytes; it is no CSV, or a quote is open."
                )
            raise DecodeError(f"{self._what} cannot be read: {why}") from error
        if lost[reported:]:
            yield none(lost[reported:])

    def _open(
        self, file: BinaryIO, block_bytes: int, skip: int, first_line: int, lost: list[BadRow]
    ) -> Iterator[pa.RecordBatch]:
        """Every column as text, which cannot fail; rows of another width go to ``lost``."""

        def keep(row: pacsv.InvalidRow) -> str:
            if row.text.strip():
                reason = f"{row.actual_columns} columns instead of {row.expected_columns}"
                text = row.text[:_LONGEST_TEXT] if len(lost) < KEPT_ROWS else ""
                line = first_line + int(row.number) - 1 - skip
                lost.append(BadRow(line, reason, orjson.dumps({"text": text}).decode()))
            return "skip"

        names = [str(i) for i in range(self._width)]  # headers may repeat, positions do not
        reader: Iterator[pa.RecordBatch] = pacsv.open_csv(
            pa.TransformInputStream(
                pa.PythonFile(file, mode="r"), _as_utf8(self._mapping.encoding)
            ),
            # In one thread, or the rows that are skipped have no number.
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=block_bytes, column_names=names, skip_rows=skip
            ),
            # Empty lines are kept for the count and dropped afterwards.
            parse_options=pacsv.ParseOptions(
                delimiter=self._mapping.delimiter,
                invalid_row_handler=keep,
                ignore_empty_lines=False,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
        return reader


def _names(header: str, mapping: FileMapping, what: str) -> list[str]:
    """The names of the columns; a byte order mark is none of them."""
    names: list[str] = []
    with suppress(csv.Error):
        names = next(csv.reader([header.removeprefix("\ufeff")], delimiter=mapping.delimiter), [])
    if not names or "\ufffd" in header:
        raise DecodeError(
            f"{what} has no header of a CSV file in {mapping.encoding.upper()} "
            f"in row {mapping.header_row}."
        )
    return [name.strip() for name in names]


def _as_utf8(encoding: str) -> Callable[[Any], bytes]:
    """Puts U+FFFD for bytes that are not of ``encoding``, over which the reader would stumble.

    A name with one in it is unknown, a number is none: the row is rejected by what it says.
    """
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    return lambda piece: decoder.decode(bytes(piece), final=len(piece) == 0).encode()


def _lines(counted: int, rows: int, lost: list[int], first_line: int) -> np.ndarray:
    """The lines of ``rows`` rows after ``counted`` earlier ones, given the lines that were lost.

    A lost line stands before a row when not more rows precede it.
    """
    index = counted + np.arange(rows, dtype=np.int64)
    before = np.array(lost, dtype=np.int64) - first_line - np.arange(len(lost))
    return index + first_line + np.searchsorted(before, index, side="right")


def _not_blank(batch: pa.RecordBatch) -> np.ndarray:
    lengths = [pc.binary_length(column).to_numpy(zero_copy_only=False) for column in batch.columns]
    mask: np.ndarray = np.logical_or.reduce([length > 0 for length in lengths])
    return mask
