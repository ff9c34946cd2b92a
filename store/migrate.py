"""The schema, brought up to date by the numbered SQL files of store/migrations.

A file is applied once, in its own transaction, and never edited afterwards: its checksum is
kept. A first line ``-- no-transaction`` runs the file statement by statement outside one (for
what PostgreSQL refuses inside); such a file must be safe to repeat, and each of its statements
ends with a semicolon at the end of a line.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import psycopg

from core.errors import MigrationError
from store import backend, sqltext
from store.database import Connection, Database

_SQL = sqltext.load("migrate")
log = logging.getLogger(__name__)
_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql\Z")
_LOCK = 0x76657264_69677264  # "verdigrd": the advisory lock of migrations
_BARE = "-- no-transaction"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. ``name`` is the file's."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text; the line ends of the platform do not count."""
        return hashlib.sha256("\n".join(self.text.splitlines()).encode()).hexdigest()


def available() -> list[Migration]:
    """The files in order; raises MigrationError for a gap, a double number or a foreign file."""
    found = []
    for file in files("store").joinpath("migrations").iterdir():
        match = _FILE.match(file.name)
        if match:
            text = file.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), file.name, text))
        elif file.name.endswith(".sql"):
            raise MigrationError(f"store/migrations/{file.name} is not named NNNN_words.sql.")
    found.sort(key=lambda migration: migration.number)
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise MigrationError("The numbers of store/migrations must count from 0001 without gaps.")
    return found


def migrate(database: Database, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Applies what is missing and returns the names of the files applied now.

    Processes that do so at once wait for each other. Raises MigrationError when an applied file
    was edited, when the database is newer than the program, or when a file fails.
    """
    wanted = available() if migrations is None else list(migrations)
    with database.session() as connection:
        connection.execute(_SQL["lock"], {"key": _LOCK})
        connection.execute(_SQL["table"])
        missing = wanted[len(_checked(connection, wanted)) :]
        for migration in missing:
            _apply(connection, migration)
        if _there(connection, "reading"):
            sentence = backend.backend(connection).describe(connection)
            # Said once, and again only where it may surprise: TimescaleDB is there and not used.
            surprising = "not used" in sentence
            log.log(logging.INFO if missing or surprising else logging.DEBUG, sentence)
        return [migration.name for migration in missing]


def pending(connection: Connection) -> list[str]:
    """The names of the files that ``migrate`` would apply; raises MigrationError as it does."""
    wanted = available()
    done = len(_checked(connection, wanted)) if _there(connection, "schema_migration") else 0
    return [migration.name for migration in wanted[done:]]


def _there(connection: Connection, table: str) -> bool:
    row = connection.execute(_SQL["exists"], {"table": table}).fetchone()
    return bool(row and row[0])


def _checked(connection: Connection, wanted: Sequence[Migration]) -> list[str]:
    applied = connection.execute(_SQL["applied"]).fetchall()
    for (name, checksum), migration in zip(applied, wanted, strict=False):
        if (name, checksum) != (migration.name, migration.checksum):
            raise MigrationError(
                f"The migration {name} was applied to this database with another content than "
                f"{migration.name} has now: restore the file and put the change into a new one."
            )
    if len(applied) > len(wanted):
        raise MigrationError(
            f"The database already has the migration {applied[len(wanted)][0]}, which this "
            "version of Verdigrid does not know: update Verdigrid."
        )
    return [name for name, _ in applied]


def _apply(connection: Connection, migration: Migration) -> None:
    try:
        if migration.text.startswith(_BARE):
            for statement in _statements(migration.text):
                connection.execute(statement.encode())
            _record(connection, migration)
        else:
            with connection.transaction():
                connection.execute(migration.text.encode())
                _record(connection, migration)
    except psycopg.Error as error:
        raise MigrationError(f"The migration {migration.name} failed: {error}") from error


def _record(connection: Connection, migration: Migration) -> None:
    row = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
    connection.execute(_SQL["record"], row)


def _statements(text: str) -> list[str]:
    """Split at semicolons that end a line, outside of $$ bodies."""
    found, held = [], ""
    for line in text.splitlines(keepends=True):
        held += line
        if line.rstrip().endswith(";") and held.count("$$") % 2 == 0:
            found.append(held)
            held = ""
    return [*found, held] if held.strip() else found
