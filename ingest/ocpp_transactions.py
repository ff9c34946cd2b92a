"""The transactions of chargers, remembered on this machine's disk.

OCPP 1.6 wants an id from the central system for every transaction, and never names the connector
again after the start; 2.0.1 brings its own ids and may leave the EVSE out after the first event.
A charger that got no answer sends its start again, perhaps days later and to another process: it
must get the id it would have got. Hence a small SQLite file, each new transaction committed to the
disk before the charger is answered. Losing the file loses no session: ids begin above those given
before, because they begin with the clock.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import ServiceError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS charging_transaction (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    charger TEXT NOT NULL,
    name TEXT NOT NULL,
    connector INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    UNIQUE (charger, name)
);
CREATE INDEX IF NOT EXISTS charging_transaction_connector
    ON charging_transaction (charger, connector, id);
"""
_BUSY_S = 5.0
_COUNTED_FROM = datetime(2020, 1, 1, tzinfo=UTC)
KEPT = 1_000
"""Transactions remembered for a charger: more than it can hold back unsent."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a transaction. name: the charger's own word for it."""

    id: int
    name: str
    connector: int


class Transactions:
    """The file at ``path``; all methods may be called from any thread.

    now: ids given for the first time begin with the seconds since 2020 until then, and stay below
    2**31, which is all that some chargers can hold, until 2088.
    Raises ServiceError when the file cannot be opened, read or written.
    """

    def __init__(self, path: Path, now: datetime) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._sentences():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
            first = int((now - _COUNTED_FROM).total_seconds())
            self._connection.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT 'charging_transaction', ? "
                "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence)",
                (max(first, 0),),
            )

    def begin(self, charger: str, name: str, connector: int) -> int:
        """The id of a transaction, on the disk when this returns; the same one for the same name.

        name: what the charger says again when it resends the start.
        """
        with self._sentences(), self._lock:
            row = self._connection.execute(
                "SELECT id FROM charging_transaction WHERE charger = ? AND name = ?",
                (charger, name),
            ).fetchone()
            if row is None:
                row = self._add(charger, name, connector)
        return int(row[0])

    def _add(self, charger: str, name: str, connector: int) -> tuple[int]:
        with self._connection:  # commits, or takes back
            self._connection.execute("BEGIN IMMEDIATE")
            row: tuple[int] = self._connection.execute(
                "INSERT INTO charging_transaction (charger, name, connector) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET name = excluded.name RETURNING id",
                (charger, name, connector),
            ).fetchone()
            self._connection.execute(
                "DELETE FROM charging_transaction WHERE charger = ? AND id <= "
                "(SELECT id FROM charging_transaction WHERE charger = ? "
                "ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (charger, charger, KEPT),
            )
        return row

    def by_id(self, charger: str, number: int) -> Known | None:
        """The transaction with the id that ``begin`` gave, if it is remembered."""
        return self._one("charger = ? AND id = ?", charger, number)

    def by_name(self, charger: str, name: str) -> Known | None:
        """The transaction that the charger calls ``name``, if it is remembered."""
        return self._one("charger = ? AND name = ?", charger, name)

    def under_way(self, charger: str, connector: int) -> Known | None:
        """The newest transaction of a connector, unless it has ended."""
        return self._one(
            "id = (SELECT max(id) FROM charging_transaction WHERE charger = ? AND connector = ?) "
            "AND NOT ended",
            charger,
            connector,
        )

    def _one(self, condition: str, *values: str | int) -> Known | None:
        query = "SELECT id, name, connector FROM charging_transaction WHERE " + condition  # noqa: S608
        with self._sentences(), self._lock:
            row = self._connection.execute(query, values).fetchone()
        return None if row is None else Known(*row)

    def end(self, number: int) -> None:
        """Note that a transaction has ended."""
        with self._sentences(), self._lock:
            self._connection.execute(
                "UPDATE charging_transaction SET ended = 1 WHERE id = ? AND NOT ended", (number,)
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _sentences(self) -> _Sentences:
        return _Sentences(self._path)


@dataclass(frozen=True, slots=True)
class _Sentences:
    """Turns errors of the file into one of ours."""

    path: Path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError | sqlite3.Error):
            raise ServiceError(
                f"The file of charging transactions {self.path} cannot be used: {error}. "
                "Chargers keep what they have until then. Check the disk; a damaged file may go."
            ) from error
