"""Migrations: once each, in order, never edited, safe to start twice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from core.errors import ConfigurationError, MigrationError
from store import sqltext
from store.database import Database
from store.migrate import Migration, available, migrate, pending


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    with Database(empty_url) as opened:
        yield opened


def names(database: Database) -> list[str]:
    with database.connection() as connection:
        rows = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 't%_x'")
        return sorted(row[0] for row in rows)


def make(*texts: str) -> list[Migration]:
    return [Migration(i, f"{i:04d}_x.sql", text) for i, text in enumerate(texts, 1)]


def test_the_schema_is_built_once(empty: Database) -> None:
    files = [migration.name for migration in available()]
    assert files, "the folder is found"
    with empty.connection() as connection:
        assert pending(connection) == files
    assert migrate(empty) == files
    assert migrate(empty) == []
    with empty.connection() as connection:
        assert pending(connection) == []


def test_two_processes_at_once(
    empty_url: str, python: Callable[..., subprocess.Popen[str]]
) -> None:
    code = "import sys; from store.database import Database; from store.migrate import migrate\n"
    code += "with Database(sys.argv[1]) as database: print(len(migrate(database)))"
    processes = [python(code, empty_url) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert sorted(int(out) for out, _ in outputs) == [0, len(available())]


def test_an_edited_file_is_refused_by_name(empty: Database) -> None:
    first, second = make("CREATE TABLE t1_x ();", "CREATE TABLE t2_x ();")
    migrate(empty, [first])
    with pytest.raises(MigrationError, match=r"0001_x\.sql was applied .* another content"):
        migrate(empty, [replace(first, text=first.text + " -- edited"), second])
    assert names(empty) == ["t1_x"]


def test_line_ends_of_the_platform_are_no_edit(empty: Database) -> None:
    (first,) = make("CREATE TABLE\nt1_x ();\n")
    migrate(empty, [first])
    assert migrate(empty, [replace(first, text=first.text.replace("\n", "\r\n"))]) == []


def test_a_database_of_a_newer_program(empty: Database) -> None:
    both = make("CREATE TABLE t1_x ();", "CREATE TABLE t2_x ();")
    migrate(empty, both)
    with pytest.raises(MigrationError, match=r"0002_x\.sql.*update Verdigrid"):
        migrate(empty, both[:1])


def test_a_failing_file_leaves_nothing_and_can_be_mended(empty: Database) -> None:
    with pytest.raises(MigrationError, match=r"0002_x\.sql failed: .*nonsense"):
        migrate(empty, make("CREATE TABLE t1_x ();", "CREATE TABLE t2_x (); nonsense;"))
    assert names(empty) == ["t1_x"]
    mended = make("CREATE TABLE t1_x ();", "CREATE TABLE t2_x ();")
    assert migrate(empty, mended) == ["0002_x.sql"]


def test_outside_a_transaction(empty: Database) -> None:
    """CREATE INDEX CONCURRENTLY is refused inside one; a $$ body may hold semicolons."""
    text = "CREATE TABLE IF NOT EXISTS t1_x (x int);\nDO $$\nBEGIN\n  PERFORM 1;\nEND $$;\n"
    text += "CREATE INDEX CONCURRENTLY IF NOT EXISTS t1_index_x ON t1_x (x);\n"
    with pytest.raises(MigrationError, match="CONCURRENTLY"):
        migrate(empty, make(text))
    assert migrate(empty, make("-- no-transaction\n" + text)) == ["0001_x.sql"]
    assert names(empty) == ["t1_index_x", "t1_x"]


class TestSqlText:
    def test_blocks_by_name(self) -> None:
        blocks = sqltext.parse("-- a file\n-- name: one\nSELECT 1;\n-- name: two\nSELECT 2;", "f")
        assert [blocks[name].as_string() for name in blocks] == ["SELECT 1;", "SELECT 2;"]

    @pytest.mark.parametrize(
        "text",
        [
            "SELECT 0;\n-- name: a\nSELECT 1;",
            "-- name: a\n-- name: b\nSELECT 1;",
            "-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;",
        ],
        ids=["before the first name", "empty", "twice"],
    )
    def test_a_malformed_file(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match=r"queries/f\.sql"):
            sqltext.parse(text, "f")
