"""CSV files of the long format: one row per reading.

Columns ``device,tag,unit,ts,value`` in any order, with a header; ``unit`` and ``quality`` may be
missing, further columns are passed over. Other headers are declared by a mapping from our names
to the file's. ``ts`` is ISO 8601 with its zone and labels the BEGINNING of an interval. UTF-8,
comma, quotes as in RFC 4180; a row is one line.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from core.errors import DecodeError
from ingest.columns import BadRow, Columns
from ingest.table import OPTIONAL, REQUIRED, check_names, columns

NAME = "csv"
SUFFIXES = (".csv",)

BLOCK_BYTES = 8 * 1024 * 1024

_FIRST_LINE = 2
_LONGEST_HEADER = 100_000
_LONGEST_TEXT = 1_000


def read(
    path: Path, names: Mapping[str, str] | None = None, block_bytes: int = BLOCK_BYTES
) -> Iterator[Columns]:
    """The file in pieces of ``block_bytes``; bad rows stand in each piece with their line.

    names: for files with other headers, ``{"device": "meter no", ...}``.
    Raises DecodeError when the file cannot be read or lacks a column.
    """
    given = dict(names or {})
    lost: list[BadRow] = []
    try:
        header = _header(path)
        ours = {name: given.get(name, name) for name in (*REQUIRED, *OPTIONAL)}
        place = {name: header.index(theirs) for name, theirs in ours.items() if theirs in header}
        check_names(list(place), f"The file {path.name}")
        counted = reported = 0
        for batch in _open(path, len(header), lost, block_bytes):
            line = _lines(counted, batch.num_rows, [row.line for row in lost])
            counted += batch.num_rows
            picked = pa.RecordBatch.from_arrays(
                [batch.column(i) for i in place.values()], names=list(place)
            )
            filled = _not_blank(picked)
            # The reader looks ahead: these may stand behind the piece, never before the last one.
            fresh, reported = lost[reported:], len(lost)
            yield columns(picked.filter(pa.array(filled)), line[filled], fresh)
        if lost[reported:]:
            yield columns(picked.slice(0, 0), np.empty(0, dtype=np.int64), lost[reported:])
    except (pa.ArrowException, OSError) as error:
        raise DecodeError(f"The file {path.name} cannot be read: {error}") from error


def _header(path: Path) -> list[str]:
    with path.open("rb") as file:
        first = file.readline(_LONGEST_HEADER)
    try:
        header = next(csv.reader([first.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DecodeError(f"The header of {path.name} is not CSV in UTF-8.") from error
    return [name.strip() for name in header]


def _open(path: Path, width: int, lost: list[BadRow], block_bytes: int) -> Iterator[pa.RecordBatch]:
    """Every column as text, which cannot fail; rows of another width go to ``lost``."""

    def keep(row: pacsv.InvalidRow) -> str:
        if row.text.strip():
            reason = f"{row.actual_columns} columns instead of {row.expected_columns}"
            lost.append(BadRow(int(row.number), reason, row.text[:_LONGEST_TEXT]))
        return "skip"

    names = [str(i) for i in range(width)]  # headers may repeat, positions do not
    reader: Iterator[pa.RecordBatch] = pacsv.open_csv(
        pa.TransformInputStream(pa.OSFile(str(path)), _valid_utf8()),
        # In one thread, or the rows that are skipped have no number.
        read_options=pacsv.ReadOptions(
            use_threads=False, block_size=block_bytes, column_names=names, skip_rows=1
        ),
        # Empty lines are kept for the count and dropped afterwards.
        parse_options=pacsv.ParseOptions(invalid_row_handler=keep, ignore_empty_lines=False),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )
    return reader


def _valid_utf8() -> Callable[[Any], bytes]:
    """Puts U+FFFD for bytes that are not UTF-8, over which the reader would stumble.

    A name with one in it is unknown, a number is none: the row is rejected by what it says.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda piece: decoder.decode(bytes(piece), final=len(piece) == 0).encode()


def _lines(counted: int, rows: int, lost: list[int]) -> np.ndarray:
    """The lines of ``rows`` rows after ``counted`` earlier ones, given the lines that were lost.

    The header is line 1. A lost line stands before a row when not more rows precede it.
    """
    index = counted + np.arange(rows, dtype=np.int64)
    before = np.array(lost, dtype=np.int64) - _FIRST_LINE - np.arange(len(lost))
    return index + _FIRST_LINE + np.searchsorted(before, index, side="right")


def _not_blank(batch: pa.RecordBatch) -> np.ndarray:
    lengths = [pc.binary_length(column).to_numpy(zero_copy_only=False) for column in batch.columns]
    mask: np.ndarray = np.logical_or.reduce([length > 0 for length in lengths])
    return mask
