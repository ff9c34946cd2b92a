"""Locks by name, for what only one process may do."""

from __future__ import annotations

from store import sqltext
from store.database import Connection

_SQL = sqltext.load("locks")


def advisory(connection: Connection, name: str) -> bool:
    """Whether the lock ``name`` was free and is now held by ``connection`` until that closes.

    Ask on a connection of ``Database.session``: one of the pool would go back and keep the lock.
    """
    row = connection.execute(_SQL["advisory"], {"name": f"verdigrid {name}"}).fetchone()
    return bool(row and row[0])
