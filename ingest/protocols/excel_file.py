"""Excel workbooks (.xlsx): one sheet, with the columns and mapping of a CSV file.

A formula counts as the value that was stored with it. Cells of dates hold no zone, so that they
need a mapping with a ``timezone``; a number in the column of times is a date as spreadsheets
count them. Rows are numbered as the spreadsheet numbers them.

A workbook is a ZIP archive and may unpack to a thousand times its size: what is larger than any
real one is refused before it is unpacked.
"""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
from openpyxl.utils import get_column_letter
from openpyxl.utils.datetime import from_excel
from openpyxl.utils.exceptions import InvalidFileException

from core.errors import DecodeError
from ingest.columns import Columns
from ingest.filemapping import PLAIN, FileMapping, TimeRule
from ingest.table import Table, used_columns

NAME = "excel"
SUFFIXES = (".xlsx",)

BATCH_ROWS = 20_000

LARGEST_BYTES = 200_000_000
LARGEST_UNPACKED_BYTES = 2_000_000_000
LARGEST_TEXTS_BYTES = 200_000_000  # shared texts are held in memory
HIGHEST_RATIO = 250  # sheets of numbers reach about 30
MOST_PARTS = 5_000
MOST_ROWS = 1_048_576
MOST_COLUMNS = 16_384

# What a reader of XML in a ZIP archive can raise over bytes that are neither.
_TROUBLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    InvalidFileException,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

Row = Sequence[Any]


def read(
    path: Path, mapping: FileMapping = PLAIN, batch_rows: int = BATCH_ROWS
) -> Iterator[Columns]:
    """The sheet in pieces of ``batch_rows``; bad rows stand in each piece with their number.

    Raises DecodeError when the workbook cannot be read, is unreasonably large, or its sheet or
    one of the columns is missing.
    """
    what = f"The file {path.name}"
    pieces = _pieces(path, mapping, what, batch_rows)
    while True:
        try:
            # Of openpyxl's warnings none concerns values: styles, validations, print settings.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                piece = next(pieces, None)
        except DecodeError:
            raise
        except _TROUBLE as error:
            raise DecodeError(f"{what} cannot be read as a workbook: {error!r:.200}.") from error
        if piece is None:
            return
        yield piece


def _pieces(path: Path, mapping: FileMapping, what: str, batch_rows: int) -> Iterator[Columns]:
    _check_size(path, what)
    with (  # openpyxl leaves a file open that it opened itself and cannot read
        path.open("rb") as file,
        closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book,
    ):
        sheet = _sheet(book, mapping.sheet, what)
        sheet.reset_dimensions()  # what the sheet says of its own size may be wrong
        header = _header(sheet, mapping.header_row, what)
        used = used_columns(mapping, header, what)
        place = [header.index(name) for name in used]
        cells = _Cells(mapping, used, book.epoch)
        table = Table(mapping, what)
        rows = sheet.iter_rows(
            min_row=mapping.header_row + 1, max_col=len(header), values_only=True
        )
        line = mapping.header_row + 1
        while piece := list(islice(rows, batch_rows)):
            if line + len(piece) - 1 > MOST_ROWS:
                raise DecodeError(f"{what} has more than {MOST_ROWS:,} rows.")
            numbers = np.arange(line, line + len(piece), dtype=np.int64)
            line += len(piece)
            picked = [[row[i] if i < len(row) else None for i in place] for row in piece]
            filled = np.array([any(cell is not None for cell in row) for row in picked])
            kept = [row for row, there in zip(picked, filled, strict=True) if there]
            if kept:
                yield table.columns(cells.batch(kept), numbers[filled], [])


def _check_size(path: Path, what: str) -> None:
    """Raises DecodeError for an archive that would unpack to more than a workbook is."""
    if path.stat().st_size > LARGEST_BYTES:
        raise DecodeError(f"{what} is larger than {LARGEST_BYTES // 1_000_000} MB.")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    # A part is never unpacked beyond the size that is declared here.
    unpacked = sum(part.file_size for part in parts)
    packed = max(1, sum(part.compress_size for part in parts))
    texts = sum(p.file_size for p in parts if p.filename.lower().endswith("sharedstrings.xml"))
    too_large = (
        len(parts) > MOST_PARTS
        or unpacked > LARGEST_UNPACKED_BYTES
        or texts > LARGEST_TEXTS_BYTES
        or (unpacked > 10_000_000 and unpacked / packed > HIGHEST_RATIO)
    )
    if too_large:
        raise DecodeError(
            f"{what} would unpack to {unpacked / 1e6:,.0f} MB from {packed / 1e6:,.1f} MB; "
            "hand it in as CSV."
        )


def _sheet(book: openpyxl.Workbook, wanted: str, what: str) -> Any:
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    if not sheets:
        raise DecodeError(f"{what} has no sheet of cells.")
    if not wanted:
        return next(iter(sheets.values()))
    if wanted not in sheets:
        raise DecodeError(f"{what} has no sheet {wanted!r}, only {', '.join(sheets)}.")
    return sheets[wanted]


def _header(sheet: Any, number: int, what: str) -> list[str]:
    rows = sheet.iter_rows(min_row=number, max_row=number, max_col=MOST_COLUMNS, values_only=True)
    header = ["" if cell is None else str(cell).strip() for cell in next(rows, ())]
    while header and not header[-1]:
        header.pop()
    if not header:
        raise DecodeError(
            f"{what} has no header in row {number} of the sheet {sheet.title!r}; "
            "a mapping can name another header_row."
        )
    if "" in header:
        letter = get_column_letter(header.index("") + 1)
        raise DecodeError(
            f"{what} has no name in column {letter} of its header, row {number} of the sheet "
            f"{sheet.title!r}: unmerge its cells, or name another header_row in a mapping."
        )
    return header


class _Cells:
    """Rows of cells as arrays: times as timestamps, texts as texts, values as numbers."""

    def __init__(self, mapping: FileMapping, used: Sequence[str], epoch: datetime) -> None:
        self._rule = mapping.time
        self._used = used
        self._epoch = epoch
        self._decimal = mapping.decimal
        self._numbers = {m.column for m in mapping.measures}
        self._numbers |= {m.quality.column for m in mapping.measures if m.quality.column}
        self._time_places = [used.index(name) for name in mapping.time.columns]

    def batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        """The rows as a table with the names of ``used``."""
        arrays = []
        for i, name in enumerate(self._used):
            if i in self._time_places:
                arrays.append(self._times(rows, i))
            elif name in self._numbers:
                arrays.append(_numbers([row[i] for row in rows], self._decimal))
            else:
                arrays.append(pa.array([_text(row[i]) for row in rows], pa.string()))
        return pa.RecordBatch.from_arrays(arrays, names=list(self._used))

    def _times(self, rows: Sequence[Row], place: int) -> pa.Array:
        if place != self._time_places[0]:
            return pa.array([""] * len(rows), pa.string())  # joined to the first one already
        found = [self._moment([row[i] for i in self._time_places]) for row in rows]
        if all(isinstance(moment, datetime | None) for moment in found):
            return pa.array(found, pa.timestamp("us"))
        if self._rule.format in ("unix_s", "unix_ms"):
            return _numbers(found, ".")
        return pa.array([_written(moment, self._rule) for moment in found], pa.string())

    def _moment(self, cells: Sequence[Any]) -> Any:
        """A time on the local clock where the cells are dates; else what stands there."""
        first, *rest = [self._dated(cell) for cell in cells]
        for cell in rest:
            if isinstance(first, datetime) and isinstance(cell, time):
                first = datetime.combine(first, cell)
            elif isinstance(first, datetime) and isinstance(cell, timedelta):
                first += cell
            else:
                return " ".join(_text(c) or "" for c in cells)
        return first

    def _dated(self, cell: Any) -> Any:
        """Numbers as spreadsheets count days, unless they are declared to count seconds."""
        number = isinstance(cell, int | float) and not isinstance(cell, bool)
        if number and self._rule.format not in ("unix_s", "unix_ms"):
            try:
                return from_excel(cell, self._epoch)
            except (ValueError, OverflowError):
                return None
        if isinstance(cell, date) and not isinstance(cell, datetime):
            return datetime.combine(cell, time())
        return cell


def _written(moment: Any, rule: TimeRule) -> str | None:
    """A time as text: dates among texts are written as the texts are."""
    if isinstance(moment, datetime):
        iso = rule.format in ("iso", "excel")
        return moment.isoformat(sep=" ") if iso else moment.strftime(rule.format)
    return _text(moment)


def _numbers(cells: Sequence[Any], decimal: str) -> pa.Array:
    if all(isinstance(c, int | float | None) and not isinstance(c, bool) for c in cells):
        return pa.array([None if c is None else float(c) for c in cells], pa.float64())
    return pa.array([_number_text(c, decimal) for c in cells], pa.string())


def _number_text(cell: Any, decimal: str) -> str | None:
    text = _text(cell)
    number = isinstance(cell, float)
    return text.replace(".", decimal) if number and text is not None else text


def _text(cell: Any) -> str | None:
    """What a spreadsheet would show, roughly: the number 17 is "17", not "17.0"."""
    if cell is None:
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    text = str(cell)
    return text.encode("utf-8", "replace").decode("utf-8")
