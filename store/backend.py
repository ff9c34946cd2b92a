"""The seam between plain PostgreSQL and TimescaleDB: what differs in how readings are kept.

Everything above asks the same SQL of the table ``reading`` and of its roll-ups; here they get room
for what they are about to hold, lose what is no longer kept, and are packed when they are old.
Which of the two it is was decided when the database was made, and shows in the kind of the table:
installing TimescaleDB later changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any, Protocol

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from store import sqltext
from store.database import Connection, savepoint

_SQL = sqltext.load("backend")
_LARGEST_BYTES = 4 * 2**30
_TABLES = ("reading", "rollup_15min", "rollup_hour", "rollup_day")
_JOINED = MappingProxyType(
    {
        "reading": ("ts", "7 days"),
        "rollup_15min": ("bucket", "30 days"),
        "rollup_hour": ("bucket", "30 days"),
    }
)
"""What is packed by which order, and how much of it together. A packed segment holds one series of
one chunk and pays from 100 rows on: a day of readings has but 96 quarter-hours, a week 672, or 168
hours. A month of roll-ups to days would be 30 rows: they stay as they are."""


@dataclass(frozen=True, slots=True)
class Part:
    """A partition or chunk: what it is called and the time it holds, [start, end)."""

    name: str
    start: datetime
    end: datetime


class Backend(Protocol):
    """One way of keeping readings and roll-ups."""

    def ensure(self, connection: Connection, days: Sequence[date]) -> None:
        """Makes room for readings of the UTC days ``days``."""

    def ensure_months(
        self, connection: Connection, tables: Sequence[str], months: Sequence[date]
    ) -> None:
        """Makes room in tables of roll-ups for the UTC months that begin at ``months``."""

    def parts(self, connection: Connection, table: str) -> list[Part]:
        """The parts of ``table`` in the order of time."""

    def newest_day(self, connection: Connection) -> date | None:
        """The UTC day that the newest readings are kept under; None without any."""

    def size_bytes(self, connection: Connection, table: str) -> int:
        """What ``table`` takes on the disk with its indexes."""

    def drop_before(self, connection: Connection, table: str, before: datetime) -> None:
        """Drops the parts of ``table`` that end by ``before``.

        Raises LockNotAvailable (psycopg) when others used the table all the time.
        """

    def pack(self, connection: Connection, before: datetime) -> list[str]:
        """Packs the parts of all tables that end by ``before``, each once; their names.

        connection: in autocommit. What others are using is left for the next time.
        """

    def describe(self, connection: Connection) -> str:
        """How readings are kept, as a sentence."""


class Plain:
    """Native range partitions: readings by day, roll-ups by month."""

    def ensure(self, connection: Connection, days: Sequence[date]) -> None:
        names = {f"reading_{day:%Y%m%d}": (day, day + timedelta(days=1)) for day in days}
        _make_room(connection, "reading", names)

    def ensure_months(
        self, connection: Connection, tables: Sequence[str], months: Sequence[date]
    ) -> None:
        for table in tables:
            names = {f"{table}_{first:%Y%m}": (first, _next_month(first)) for first in months}
            _make_room(connection, table, names)

    def parts(self, connection: Connection, table: str) -> list[Part]:
        return _parts(connection, "partitions", table)

    def newest_day(self, connection: Connection) -> date | None:
        day: date | None = _one(connection, "newest_partition")
        return day

    def size_bytes(self, connection: Connection, table: str) -> int:
        return int(_one(connection, "partitions_bytes", table=table))

    def drop_before(self, connection: Connection, table: str, before: datetime) -> None:
        for part in self.parts(connection, table):
            if part.end <= before:
                connection.execute(_SQL["patience"])
                connection.execute(_SQL["drop"].format(part=_named(part.name)))

    def pack(self, connection: Connection, before: datetime) -> list[str]:
        """Rewrites a partition in the order of its key, so that a day of a series lies on one page
        or two instead of one for each batch, and freezes it. Who wants that day waits meanwhile,
        for some seconds in each gigabyte: beyond four gigabytes it stays as it is.
        """
        connection.execute(_SQL["patience_of_session"])
        packed = []
        for table in _TABLES:
            ends = {part.name: part.end for part in self.parts(connection, table)}
            given = {"table": table, "largest": _LARGEST_BYTES}
            for name, index in connection.execute(_SQL["loose"], given).fetchall():
                if ends[name] <= before and _tried(connection, _cluster(name, index)):
                    connection.execute(_SQL["freeze"].format(part=_named(name)))
                    packed.append(name)
        return packed

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
    """Hypertables, which make their chunks of a day or 30 days when rows come."""

    def ensure(self, connection: Connection, days: Sequence[date]) -> None:
        """Nothing to do."""

    def ensure_months(
        self, connection: Connection, tables: Sequence[str], months: Sequence[date]
    ) -> None:
        """Nothing to do."""

    def parts(self, connection: Connection, table: str) -> list[Part]:
        return _parts(connection, "chunks", table)

    def newest_day(self, connection: Connection) -> date | None:
        day: date | None = _one(connection, "newest_chunk")
        return day

    def size_bytes(self, connection: Connection, table: str) -> int:
        return int(_one(connection, "chunks_bytes", table=table))

    def drop_before(self, connection: Connection, table: str, before: datetime) -> None:
        connection.execute(_SQL["patience"])
        connection.execute(_SQL["drop_chunks"], {"table": table, "before": before})

    def pack(self, connection: Connection, before: datetime) -> list[str]:
        """Moves chunks into the columnstore and joins those of a week; a chunk that late readings
        have come to since is packed again. An edition of TimescaleDB without columnstore packs
        nothing.
        """
        if _one(connection, "license") != "timescale":
            return []
        connection.execute(_SQL["patience_of_session"])
        return [name for table in _JOINED for name in _packed(connection, table, before)]

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


def _make_room(connection: Connection, table: str, wanted: Mapping[str, tuple[date, date]]) -> None:
    if not _missing(connection, table, wanted):
        return
    with savepoint(connection):  # in autocommit too, the lock and the steps are one
        connection.execute(_SQL["lock"])
        for name in _missing(connection, table, wanted):  # some were made while we waited
            start, end = (datetime.combine(day, time.min, tzinfo=UTC) for day in wanted[name])
            given = {
                "table": Identifier(table),
                "partition": Identifier(name),
                "start": Literal(start),
                "end": Literal(end),
            }
            connection.execute(_SQL["create"].format(**given))
            connection.execute(_SQL["attach"].format(**given))


def _missing(connection: Connection, table: str, names: Iterable[str]) -> list[str]:
    given = {"table": table, "names": list(names)}
    return [row[0] for row in connection.execute(_SQL["missing"], given)]


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _parts(connection: Connection, name: str, table: str) -> list[Part]:
    return [Part(*row) for row in connection.execute(_SQL[name], {"table": table}).fetchall()]


def _cluster(name: str, index: str) -> Composed:
    return _SQL["cluster"].format(part=_named(name), index=_named(index))


def _named(name: str) -> SQL | Composed:
    """A name as the server wrote it, quoted where it must be and with its schema."""
    return SQL(".").join(Identifier(part.strip('"')) for part in name.split("."))


def _tried(connection: Connection, statement: SQL | Composed) -> Any:
    """What the statement gave (True without rows); None when others hold what it needs."""
    try:
        cursor = connection.execute(statement)
    except psycopg.errors.LockNotAvailable:
        return None
    row = cursor.fetchone() if cursor.description else None
    return row[0] if row else True


def _packed(connection: Connection, table: str, before: datetime) -> list[str]:
    """Packs chunks of a hypertable; their names, once each where several were joined."""
    column, joined = _JOINED[table]
    setting = _SQL["columnstore"].format(
        table=Identifier(table), column=Literal(column), joined=Literal(joined)
    )
    if not _one(connection, "packs", table=table) and _tried(connection, setting) is None:
        return []
    grown: dict[str, None] = {}
    given = {"table": table, "before": before}
    for (name,) in connection.execute(_SQL["loose_chunks"], given).fetchall():
        chunk = _tried(connection, _SQL["pack"].format(chunk=Literal(name)))
        if chunk:
            grown[chunk] = None
    for name in grown:  # days that were joined: now their segments, too
        _tried(connection, _SQL["pack_anew"].format(chunk=Literal(name)))
    return list(grown)


def _one(connection: Connection, name: str, **given: object) -> Any:
    row = connection.execute(_SQL[name], given or None).fetchone()
    return row[0] if row else None
