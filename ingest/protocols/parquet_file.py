"""Parquet files of the long format: columns device, tag, ts, value, and unit and quality if any.

``ts`` is a timestamp with its zone, or ISO 8601 text with one, and labels the BEGINNING of an
interval; ``value`` is any number type. Rows are counted from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DecodeError
from ingest.columns import Columns
from ingest.table import OPTIONAL, REQUIRED, check_names, columns

NAME = "parquet"
SUFFIXES = (".parquet",)

BATCH_ROWS = 262_144


def read(path: Path, batch_rows: int = BATCH_ROWS) -> Iterator[Columns]:
    """The file in pieces of ``batch_rows``; bad rows stand in each piece with their number.

    Raises DecodeError when the file cannot be read, lacks a column or has times without a zone.
    """
    try:
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            check_names(present, f"The file {path.name}")
            wanted = [name for name in (*REQUIRED, *OPTIONAL) if name in present]
            row = 1
            for batch in file.iter_batches(batch_size=batch_rows, columns=wanted):
                line = np.arange(row, row + batch.num_rows, dtype=np.int64)
                row += batch.num_rows
                yield columns(batch, line, [])
    except (pa.ArrowException, OSError) as error:
        raise DecodeError(f"The file {path.name} cannot be read: {error}") from error
