"""The seam between plain PostgreSQL and TimescaleDB: what differs in how readings are kept.

Everything above asks the same SQL of the table ``reading``; here it gets room for the days it
is about to hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Protocol

from psycopg.sql import Identifier, Literal

from store import sqltext
from store.database import Connection

_SQL = sqltext.load("backend")


class Backend(Protocol):
    """One way of keeping readings."""

    def ensure(self, connection: Connection, missing: Sequence[date]) -> None:
        """Makes room for the UTC days ``missing``."""


class Plain:
    """Native daily range partitions."""

    def ensure(self, connection: Connection, missing: Sequence[date]) -> None:
        connection.execute(_SQL["lock"])
        for day in _state(connection, missing)[1]:  # another writer may have made some meanwhile
            start = datetime.combine(day, time.min, tzinfo=UTC)
            names = {
                "partition": Identifier(f"reading_{day:%Y%m%d}"),
                "start": Literal(start),
                "end": Literal(start + timedelta(days=1)),
            }
            connection.execute(_SQL["create"].format(**names))
            connection.execute(_SQL["attach"].format(**names))


class Timescale:
    """A hypertable, which makes its chunks when rows come."""

    def ensure(self, connection: Connection, missing: Sequence[date]) -> None:
        """Nothing to do."""


_BACKENDS: MappingProxyType[str, Backend] = MappingProxyType({"p": Plain(), "r": Timescale()})


def backend(connection: Connection) -> Backend:
    """The backend of the database behind ``connection``."""
    return _BACKENDS[_state(connection, [])[0]]


def ensure(connection: Connection, days: Iterable[date]) -> None:
    """Makes room for readings of the UTC days ``days``; cheap when there is room already."""
    kind, missing = _state(connection, sorted(set(days)))
    if missing:
        _BACKENDS[kind].ensure(connection, missing)


def _state(connection: Connection, days: Sequence[date]) -> tuple[str, list[date]]:
    row = connection.execute(_SQL["state"], {"days": list(days)}).fetchone()
    assert row is not None
    kind = row[0].decode() if isinstance(row[0], bytes) else row[0]
    return kind, row[1]
