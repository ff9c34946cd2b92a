"""Locks by name, for what only one process may do. They end with their connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from core.errors import StoreUnavailableError
from store import sqltext
from store.database import Connection, Database

_SQL = sqltext.load("locks")


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that is ours as long as its connection lives."""

    name: str
    connection: Connection

    def check(self) -> None:
        """Raises StoreUnavailableError when the connection is gone, and the lock with it."""
        try:
            self.connection.execute(_SQL["alive"])
        except psycopg.Error as error:
            raise StoreUnavailableError(
                f"The lock {self.name!r} was lost with its connection to the database; "
                "somebody else may hold it now."
            ) from error


def advisory(connection: Connection, name: str) -> bool:
    """Whether the lock ``name`` was free and is now held by ``connection`` until that closes.

    Ask on a connection of ``Database.session``: one of the pool would go back and keep the lock.
    """
    row = connection.execute(_SQL["advisory"], {"name": f"verdigrid {name}"}).fetchone()
    return bool(row and row[0])


@contextmanager
def held(database: Database, name: str) -> Iterator[Held | None]:
    """The lock ``name`` for the length of the context; None when another connection holds it."""
    with database.session() as connection:
        if not advisory(connection, name):
            yield None
            return
        try:
            yield Held(name, connection)
        finally:  # at once: the server may notice a closed connection a little later
            with suppress(psycopg.Error):
                connection.execute(_SQL["release"], {"name": f"verdigrid {name}"})
