"""Many rows of a query as numpy arrays, packed by the server.

A row of a result is a message of its own, and taking it out of the connection costs more than
everything else done with it: rows are joined to one message for each series instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from psycopg.sql import SQL, Composable, Identifier

from store import sqltext
from store.database import Connection

_SQL = sqltext.load("blobs")

Fields = Sequence[tuple[str, str, str]]
"""Of each column: its name, the function of PostgreSQL that writes it in binary, numpy's type."""


def dtype(fields: Fields) -> np.dtype:
    """The record of a row."""
    return np.dtype([(name, kind) for name, _, kind in fields])


def fetch(connection: Connection, query: Composable, fields: Fields) -> np.ndarray:
    """The rows of ``query``, shape (n,); its columns are ``fields``, not null, series_id first."""
    packed = SQL(" || ").join(
        SQL("{}({})").format(Identifier(send), Identifier(name)) for name, send, _ in fields
    )
    columns = SQL(", ").join(Identifier(name) for name, _, _ in fields)
    statement = _SQL["packed"].format(packed=packed, query=query, columns=columns)
    with connection.cursor(binary=True) as cursor:
        found = cursor.execute(statement).fetchall()
    return np.frombuffer(b"".join(row[0] for row in found), dtype(fields))
