"""Rows of a query as a pandas table."""

from __future__ import annotations

from typing import Any

import pandas as pd
from psycopg import Cursor


def frame(cursor: Cursor[Any]) -> pd.DataFrame:
    """All rows under their column names; times are aware UTC, also when there is no row."""
    columns = [column.name for column in cursor.description or ()]
    types = [column.type_display for column in cursor.description or ()]
    table = pd.DataFrame(cursor.fetchall(), columns=columns)
    for name, kind in zip(columns, types, strict=True):
        if kind == "timestamptz":
            table[name] = pd.to_datetime(table[name], utc=True)
    return table
