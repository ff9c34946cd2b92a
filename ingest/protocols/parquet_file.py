"""Parquet files: by default columns device, tag, ts, value, and unit and quality if any.

``ts`` is a timestamp with its zone, or ISO 8601 text with one, and labels the BEGINNING of an
interval; ``value`` is any number type. Rows are counted from 1. Other columns, wide tables and
times of a local clock are declared by a mapping (ingest/filemapping.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DecodeError
from ingest.columns import Columns
from ingest.filemapping import PLAIN, FileMapping
from ingest.table import Table, sentence_end, used_columns

NAME = "parquet"
SUFFIXES = (".parquet",)

BATCH_ROWS = 262_144


def read(
    path: Path, mapping: FileMapping = PLAIN, batch_rows: int = BATCH_ROWS
) -> Iterator[Columns]:
    """The file in pieces of ``batch_rows``; bad rows stand in each piece with their number.

    Raises DecodeError when the file cannot be read, lacks a column or has times without a zone.
    """
    what = f"The file {path.name}"
    try:
        with pq.ParquetFile(path) as file:
            used = used_columns(mapping, file.schema_arrow.names, what)
            table = Table(mapping, what)
            row = 1
            for batch in file.iter_batches(batch_size=batch_rows, columns=list(used)):
                line = np.arange(row, row + batch.num_rows, dtype=np.int64)
                row += batch.num_rows
                yield table.columns(batch, line, [])
    except (pa.ArrowException, OSError) as error:
        raise DecodeError(f"{what} cannot be read: {sentence_end(error)}") from error
