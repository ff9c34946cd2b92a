"""Connections: a pool that heals itself after the database restarted, and errors as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

from core.errors import (
    ConfigurationError,
    StoreError,
    StoreUnavailableError,
    StoreVersionError,
)

__all__ = ["Connection", "Database", "savepoint"]

MINIMUM_VERSION = 15

_CONNECT_TIMEOUT_S = 5  # for each address of the host: localhost has two
_OPTIONS: dict[str, Any] = {
    "application_name": "verdigrid",
    "connect_timeout": _CONNECT_TIMEOUT_S,
    # TimescaleDB refuses to change many packed readings at once, as retention and corrections do.
    "options": "-c timezone=UTC -c timescaledb.max_tuples_decompressed_per_dml_transaction=0",
    # Without these a client waits for hours on a server whose machine went away.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


class Database:
    """A PostgreSQL 15+ or TimescaleDB database.

    url: a PostgreSQL connection URL. size: connections at most, for as many threads at once.
    timeout_s: how long ``connection`` waits for a free or working connection.
    Raises StoreUnavailableError when it cannot be reached, StoreVersionError when it is too old,
    ConfigurationError when the URL is none.
    """

    def __init__(self, url: str, *, size: int = 8, timeout_s: float = 10.0) -> None:
        self._url = url
        self.name = _describe(url)
        self._timeout_s = timeout_s
        with self.session() as connection:
            _check_version(connection, self.name)
        self._pool = ConnectionPool(
            url,
            kwargs=_OPTIONS,
            min_size=1,
            max_size=size,
            timeout=timeout_s,
            check=ConnectionPool.check_connection,
            # Retries wait ever longer within this time, and begin anew when somebody asks for a
            # connection: kept short so that a database that comes back is found at once.
            reconnect_timeout=2.0,
            name=f"verdigrid {self.name}",
            open=True,
        )

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection of the pool in a transaction: committed on success, else rolled back.

        Errors of the driver inside become StoreUnavailableError (the connection is lost, the disk
        is full, others were in the way: the same work may be tried again) or StoreError (the work
        itself was refused), with the driver's as their cause.
        """
        with _sentences(self.name), self._pool.connection(self._timeout_s) as connection:
            yield connection

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection of one's own, outside the pool and in autocommit, closed at the end.

        For what lasts as long as its connection (advisory locks), and for migrations.
        """
        with _sentences(self.name), _connect(self._url, self.name) as connection:
            yield connection

    def close(self) -> None:
        """Closes the pool; idle connections at once, borrowed ones when they come back."""
        self._pool.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """What happens inside is undone alone when it fails, and never committed before the caller's.

    ``connection.transaction()`` by itself commits at its end when no statement came before it.
    """
    if connection.autocommit or connection.info.transaction_status != TransactionStatus.IDLE:
        with connection.transaction():
            yield
        return
    try:  # nothing came before: to undo all is to undo this alone, and saves two round trips
        yield
    except BaseException:
        connection.rollback()
        raise


def _describe(url: str) -> str:
    """``host:port/name`` of ``url``, never its password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        # The driver's message quotes the URL with its password: it is not shown, nor kept as cause.
        raise ConfigurationError(
            "The database URL cannot be read; it looks like "
            "postgresql://user:password@host:5432/name."
        ) from None
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    port = str(parts.get("port") or "").strip(",") or 5432  # "," for two hosts without one
    return f"{host}:{port}/{parts.get('dbname') or parts.get('user') or ''}"


def _connect(url: str, name: str) -> Connection:
    try:
        return psycopg.connect(url, autocommit=True, **_OPTIONS)
    except psycopg.OperationalError as error:
        raise StoreUnavailableError(
            f"The database {name} cannot be reached: {_first_line(error)} "
            "Check that it runs, and that VERDIGRID_DATABASE_URL has its name, user and password."
        ) from error


def _check_version(connection: Connection, name: str) -> None:
    major = connection.info.server_version // 10_000
    if major < MINIMUM_VERSION:
        raise StoreVersionError(
            f"The database {name} is PostgreSQL {major}, and Verdigrid needs {MINIMUM_VERSION} "
            "or newer: upgrade it, or unset VERDIGRID_DATABASE_URL to use the embedded one."
        )


_PASSING = {
    "53100": "Make room on its disk.",
    "53": "Give its server more of it.",
    "58": "Look after its disk, and see the server's log.",
    "40": "",  # deadlocks, and transactions that cannot be put in any order
    "55P03": "",  # a lock that others hold
    "57014": "",  # a statement that was cancelled or took too long
    "25006": "Let it be written to: it only lets itself be read.",
    "25P03": "",  # waited for us for too long
    "25P04": "",
}
"""States, or classes of them, that say nothing against the work itself, and what helps. Taken for
a refusal, they would send good readings into quarantine."""


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Turns the driver's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        if _lost(error):
            raise StoreUnavailableError(
                f"The database {name} cannot be reached: {_first_line(error)} "
                "It is tried again with the next request; check that it runs."
            ) from error
        help_ = _passing(error.sqlstate or "")
        if help_ is not None:
            raise StoreUnavailableError(
                f"The database {name} cannot do this for now: {_first_line(error)} "
                f"It may be tried again. {help_}".rstrip()
            ) from error
        raise StoreError(f"The database {name} refused: {_first_line(error)}") from error


def _lost(error: psycopg.Error) -> bool:
    """Whether the connection, rather than the statement, failed.

    Class 57P is the server shutting down or starting; an OperationalError without a state comes
    from the client's side of a broken or missing connection.
    """
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(("08", "57P"))


def _passing(state: str) -> str | None:
    """What helps against an error that passes; None for one that is the work's own."""
    return _PASSING.get(state, _PASSING.get(state[:2]))


def _first_line(error: psycopg.Error) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith(".") else f"{line}."
