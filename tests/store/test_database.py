"""Connections: transactions, a pool that heals itself, and sentences that keep the password."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Literal

from core.errors import (
    ConfigurationError,
    StoreError,
    StoreUnavailableError,
    StoreVersionError,
)
from store import database as module
from store import locks
from store.database import Database
from store.embedded import EmbeddedServer


def test_commit_on_success_and_rollback_on_error(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("CREATE TABLE t (x int)")
        connection.execute("INSERT INTO t VALUES (1)")

    def fail() -> None:
        with database.connection() as connection:
            connection.execute("INSERT INTO t VALUES (2)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.connection() as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_times_come_back_in_utc(database: Database) -> None:
    with database.connection() as connection:
        row = connection.execute("SELECT timestamptz '2026-06-22 00:00+08'").fetchone()
    assert row is not None
    assert row[0].isoformat() == "2026-06-21T16:00:00+00:00"


def test_an_error_of_a_statement_is_a_store_error_with_its_cause(database: Database) -> None:
    with pytest.raises(StoreError, match="nowhere") as caught, database.connection() as connection:
        connection.execute("SELECT * FROM nowhere")
    assert not isinstance(caught.value, StoreUnavailableError)
    assert type(caught.value.__cause__).__name__ == "UndefinedTable"


def test_nobody_listens() -> None:
    url = "postgresql://reader:hush-hush@127.0.0.1:1/city"
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1/city cannot be") as caught:
        Database(url)
    assert "hush-hush" not in str(caught.value)


def test_no_url() -> None:
    with pytest.raises(ConfigurationError, match="postgresql://user") as caught:
        Database("postgresql://reader:hush-hush@[broken/city")
    assert "hush-hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody-known"}, "nobody-known"),
        ({"host": "no-such-host.invalid"}, "resolve host 'no-such-host.invalid'"),
        ({"host": "127.0.0.1", "port": "1"}, "Connection refused"),
        ({"host": "127.0.0.1,localhost", "port": "1"}, "Connection refused"),
    ],
)
def test_a_server_that_cannot_be_used(host: Any, change: dict[str, str], reason: str) -> None:
    """One sentence with the host, the database and the reason; the password is nowhere in it."""
    password = host.password if "dbname" in change else "hush-hush"
    url = make_conninfo(host.url("somewhere"), **{"password": password, **change})
    with pytest.raises(StoreUnavailableError) as caught:
        Database(url)
    said = str(caught.value)
    asked = conninfo_to_dict(url)
    assert said.startswith(f"The database {asked['host']}:")
    assert f"/{asked['dbname']} cannot be reached: " in said
    assert reason in said
    assert "VERDIGRID_DATABASE_URL" in said
    assert "\n" not in said
    assert password not in said


def test_a_wrong_password(host: Any) -> None:
    url = make_conninfo(host.url("template1"), password="hush-hush")
    if "password" not in conninfo_to_dict(host.admin_url):
        return  # the server trusts whoever reaches its socket
    with pytest.raises(StoreUnavailableError, match="password authentication failed") as caught:
        Database(url)
    assert "hush-hush" not in str(caught.value)


def test_a_server_that_accepts_and_keeps_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._OPTIONS["connect_timeout"] <= 5  # for each of the two addresses of localhost
    monkeypatch.setitem(module._OPTIONS, "connect_timeout", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://reader@127.0.0.1:{silent.getsockname()[1]}/city"
        with pytest.raises(StoreUnavailableError, match="connection timeout expired"):
            Database(url)


@pytest.mark.parametrize(("version", "major"), [("14.22", 14), ("9.6.24", 9)])
def test_too_old_a_server(version: str, major: int) -> None:
    """The first words of such a server, as the protocol has them; none can be installed here."""

    def message(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack(">i", len(body) + 4) + body

    def greet() -> None:
        client, _ = listening.accept()
        with client:
            client.recv(8)  # asks for TLS
            client.sendall(b"N")
            client.recv(4096)  # user and database
            client.sendall(
                message(b"R", struct.pack(">i", 0))
                + message(b"S", f"server_version\0{version}\0".encode())
                + message(b"S", b"client_encoding\0UTF8\0")
                + message(b"Z", b"I")
            )
            client.recv(4096)  # good-bye

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=greet)
        server.start()
        url = f"postgresql://reader@127.0.0.1:{listening.getsockname()[1]}/city?sslmode=prefer"
        with pytest.raises(
            StoreVersionError, match=f"is PostgreSQL {major}, and Verdigrid needs 15"
        ):
            Database(url)
        server.join()


def test_the_version_of_a_real_server(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by a program of the future."""
    monkeypatch.setattr(module, "MINIMUM_VERSION", 99)
    with pytest.raises(StoreVersionError, match="is PostgreSQL 18, and Verdigrid needs 99"):
        Database(server.url)


def test_recovers_by_itself_when_the_server_comes_back(
    used_dir: Path, kill_server: Callable[[Path], int]
) -> None:
    server = EmbeddedServer.start(used_dir)
    with Database(server.url, timeout_s=0.3) as database:
        for end in (server.stop, lambda: kill_server(used_dir)):
            with database.connection() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            end()
            for _ in range(2):
                with pytest.raises(StoreUnavailableError), database.connection():
                    pass
            EmbeddedServer.start(used_dir)
            deadline = time.monotonic() + 20
            while True:
                try:
                    with database.connection() as connection:
                        assert connection.execute("SELECT 1").fetchone() == (1,)
                    break
                except StoreUnavailableError:
                    assert time.monotonic() < deadline


def test_connection_lost_in_the_middle_of_a_transaction(database: Database) -> None:
    pids = []

    def lose() -> None:
        with database.connection() as connection, database.session() as other:
            pids.append(connection.info.backend_pid)
            other.execute("SELECT pg_terminate_backend(%s)", pids)
            connection.execute("SELECT 1")

    with pytest.raises(StoreUnavailableError):
        lose()
    with database.connection() as connection:
        assert connection.info.backend_pid not in pids


class TestLocks:
    def test_one_holder_at_a_time(self, database: Database) -> None:
        with locks.held(database, "scheduler") as first:
            assert first is not None
            first.check()
            with locks.held(database, "scheduler") as second:
                assert second is None
            with locks.held(database, "another") as other:
                assert other is not None
        with locks.held(database, "scheduler") as again:
            assert again is not None

    def test_lost_with_its_connection(self, database: Database) -> None:
        with database.session() as keeper, locks.held(database, "scheduler") as lock:
            assert lock is not None
            pid = lock.connection.info.backend_pid
            keeper.execute("SELECT pg_terminate_backend(%s)", (pid,))
            with pytest.raises(StoreUnavailableError, match="'scheduler' was lost"):
                lock.check()

    def test_of_ten_threads_one_gets_it(self, database: Database) -> None:
        got, barrier = [], threading.Barrier(10)

        def try_it() -> None:
            with database.session() as connection:
                taken = locks.advisory(connection, "one")
                barrier.wait()  # all have asked before the first lets go
                got.append(taken)

        threads = [threading.Thread(target=try_it) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == [False] * 9 + [True]


@pytest.mark.parametrize(
    ("state", "later"),
    [
        ("53100", True),  # disk full
        ("53200", True),  # out of memory
        ("58030", True),  # the disk fails
        ("40P01", True),  # a deadlock
        ("40001", True),  # a transaction that had to give way
        ("25006", True),  # only reading is allowed
        ("23505", False),  # a key that is there
        ("22003", False),  # a number too large for its column
    ],
)
def test_what_may_succeed_later_is_told_from_what_never_will(
    database: Database, state: str, later: bool
) -> None:
    """The first is tried again for ever, the second goes to the quarantine."""
    body = SQL("DO {}").format(Literal(f"BEGIN RAISE 'no' USING ERRCODE = '{state}'; END"))
    with pytest.raises(StoreError) as caught, database.connection() as connection:
        connection.execute(body)
    assert isinstance(caught.value, StoreUnavailableError) is later
