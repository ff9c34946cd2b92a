"""The seam between plain PostgreSQL and TimescaleDB: what differs in how readings are kept.

Everything above asks the same SQL of the table ``reading``; here it gets room for the days it
is about to hold. Which of the two it is was decided when the database was made, and shows in the
kind of that table: installing TimescaleDB later changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any, Protocol

from psycopg.sql import Identifier, Literal

from store import sqltext
from store.database import Connection, savepoint

_SQL = sqltext.load("backend")


class Backend(Protocol):
    """One way of keeping readings."""

    def ensure(self, connection: Connection, days: Sequence[date]) -> None:
        """Makes room for the UTC days ``days``."""

    def newest_day(self, connection: Connection) -> date | None:
        """The UTC day that the newest readings are kept under; None without any."""

    def describe(self, connection: Connection) -> str:
        """How readings are kept, as a sentence."""


class Plain:
    """Native daily range partitions."""

    def ensure(self, connection: Connection, days: Sequence[date]) -> None:
        if not _without_room(connection, days):
            return
        with savepoint(connection):  # in autocommit too, the lock and the steps are one
            connection.execute(_SQL["lock"])
            for day in _without_room(connection, days):  # some were made while we waited
                _make_partition(connection, day)

    def newest_day(self, connection: Connection) -> date | None:
        day: date | None = _one(connection, "newest_partition")
        return day

    def describe(self, connection: Connection) -> str:
        sentence = "Readings are kept in native daily partitions."
        version = _one(connection, "timescale_available")
        if version is None:
            return sentence
        return (
            f"{sentence} The server offers TimescaleDB {version}, which is not used: this database "
            "was made without it and stays as it is. A new database uses it when the server "
            "preloads it and the role may create extensions."
        )


class Timescale:
    """A hypertable, which makes its chunks of a day when rows come."""

    def ensure(self, connection: Connection, days: Sequence[date]) -> None:
        """Nothing to do."""

    def newest_day(self, connection: Connection) -> date | None:
        day: date | None = _one(connection, "newest_chunk")
        return day

    def describe(self, connection: Connection) -> str:
        version = _one(connection, "timescale_installed")
        return f"Readings are kept in a hypertable of TimescaleDB {version}, in chunks of a day."


_BACKENDS: MappingProxyType[str, Backend] = MappingProxyType({"p": Plain(), "r": Timescale()})


def backend(connection: Connection) -> Backend:
    """The backend of the database behind ``connection``, whose schema is there."""
    return _BACKENDS[_one(connection, "kind")]


def ensure(connection: Connection, days: Iterable[date]) -> None:
    """Makes room for readings of the UTC days ``days``; cheap when there is room already."""
    backend(connection).ensure(connection, sorted(set(days)))


def _without_room(connection: Connection, days: Sequence[date]) -> list[date]:
    return [row[0] for row in connection.execute(_SQL["without_room"], {"days": list(days)})]


def _make_partition(connection: Connection, day: date) -> None:
    start = datetime.combine(day, time.min, tzinfo=UTC)
    names = {
        "partition": Identifier(f"reading_{day:%Y%m%d}"),
        "start": Literal(start),
        "end": Literal(start + timedelta(days=1)),
    }
    connection.execute(_SQL["create"].format(**names))
    connection.execute(_SQL["attach"].format(**names))


def _one(connection: Connection, name: str) -> Any:
    row = connection.execute(_SQL[name]).fetchone()
    return row[0] if row else None
