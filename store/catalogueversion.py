"""The number of the catalogue's state: whoever holds a copy of series, tags or assets reads them
anew when it has risen.
"""

from __future__ import annotations

from store import sqltext
from store.database import Connection

_SQL = sqltext.load("catalogueversion")


def version(connection: Connection) -> int:
    """The number now."""
    return _number(connection, "version")


def raise_version(connection: Connection) -> int:
    """To be called in the transaction of every change of series, tags or assets; the new number.

    Such transactions wait for each other from here on: call it last.
    """
    return _number(connection, "raise_version")


def _number(connection: Connection, name: str) -> int:
    row = connection.execute(_SQL[name]).fetchone()
    assert row is not None, "the table has one row"
    return int(row[0])
