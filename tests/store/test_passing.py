"""What says nothing against the readings is tried again: a full disk, locks, deadlocks, time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from core.errors import StoreError, StoreUnavailableError
from core.readings import READING_DTYPE
from core.timeaxis import to_us
from store import backend, writing
from store.database import Connection, Database
from store.embedded import EmbeddedServer
from store.embedded_place import place
from store.embedded_process import alive, recorded
from store.migrate import migrate
from store.writing import WriteResult

START = datetime(2026, 6, 22, tzinfo=UTC)


def part(number: int, rows: int = 20_000) -> np.ndarray:
    batch = np.zeros(rows, READING_DTYPE)
    batch["series_id"] = np.arange(rows)
    batch["ts_us"] = to_us(START) + number * 60_000_000
    batch["value"] = number
    return batch


def passes(database: Database, work: Callable[[Connection], object], words: str) -> None:
    with pytest.raises(StoreUnavailableError, match=words), database.connection() as connection:
        work(connection)


class TestOthersInTheWay:
    def test_a_lock(self, database: Database) -> None:
        with database.connection() as holder:
            holder.execute("LOCK TABLE quarantine")

            def work(connection: Connection) -> None:
                connection.execute("SET LOCAL lock_timeout = '10ms'")
                connection.execute("SELECT count(*) FROM quarantine")

            passes(database, work, "lock timeout")

    def test_time(self, database: Database) -> None:
        def work(connection: Connection) -> None:
            connection.execute("SET LOCAL statement_timeout = '10ms'")
            connection.execute("SELECT pg_sleep(5)")

        passes(database, work, "statement timeout")

    def test_a_database_that_is_read_only(self, database: Database) -> None:
        def work(connection: Connection) -> None:
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute("DELETE FROM quarantine")

        passes(database, work, "read-only")

    def test_a_deadlock(self, database: Database) -> None:
        errors: list[Exception] = []
        met = threading.Barrier(2, timeout=20)

        def lock(first: str, second: str) -> None:
            try:
                with database.connection() as connection:
                    connection.execute(f"LOCK TABLE {first}".encode())
                    met.wait()
                    connection.execute(f"LOCK TABLE {second}".encode())
            except StoreError as error:
                errors.append(error)

        names = ("quarantine", "reading_latest")
        threads = [threading.Thread(target=lock, args=order) for order in (names, names[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        (error,) = errors
        assert isinstance(error, StoreUnavailableError)
        assert "deadlock" in str(error)

    def test_two_that_cannot_be_put_in_order(self, database: Database) -> None:
        def work(connection: Connection) -> None:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT * FROM rollup_late")
            with database.connection() as other:
                other.execute("UPDATE rollup_late SET before = now()")
            connection.execute("UPDATE rollup_late SET before = now()")

        passes(database, work, "could not serialize")

    def test_what_is_refused_stays_refused(self, database: Database) -> None:
        with pytest.raises(StoreError) as caught, database.connection() as connection:
            connection.execute("INSERT INTO retention VALUES ('*', 'week')")
        assert not isinstance(caught.value, StoreUnavailableError)


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], Path]]:
    """A folder on a disk of so many megabytes; asked again, it grows. The server's account can
    enter it.
    """
    parent = Path(tempfile.mkdtemp(prefix="verdigrid-disk-"))
    parent.chmod(0o711)
    folder = parent / "disk"
    folder.mkdir()

    def mount(megabytes: int) -> Path:
        options = f"{'remount,' if os.path.ismount(folder) else ''}size={megabytes}m,mode=0711"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)
    shutil.rmtree(parent)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
class TestAFullDisk:
    def test_of_the_readings(self, used_dir: Path, small_disk: Callable[[int], Path]) -> None:
        """What was committed is there; what was not goes in when there is room again."""
        server = EmbeddedServer.start(used_dir)
        folder = small_disk(8)
        place(used_dir).give(folder)
        with psycopg.connect(server.admin_url, autocommit=True) as admin:
            admin.execute("CREATE DATABASE full_disk OWNER verdigrid")
            admin.execute(f"CREATE TABLESPACE small LOCATION '{folder}'".encode())
            admin.execute("GRANT CREATE ON TABLESPACE small TO verdigrid")
        with Database(make_conninfo(server.url, dbname="full_disk")) as database:
            migrate(database)
            with database.connection() as connection:
                connection.execute("SET LOCAL default_tablespace = small")
                backend.ensure(connection, [START.date()])
            written = fill(database)
            small_disk(40)
            with database.connection() as connection:
                assert writing.write(connection, part(written)) == WriteResult(20_000, 0)
                row = connection.execute("SELECT count(*), max(value) FROM reading").fetchone()
            assert row == ((written + 1) * 20_000, written)
        with psycopg.connect(server.admin_url, autocommit=True) as admin:
            admin.execute("DROP DATABASE full_disk WITH (FORCE)")
            admin.execute("DROP TABLESPACE small")

    def test_of_the_whole_server(self, small_disk: Callable[[int], Path]) -> None:
        """Where its log has no room either, the server stops at once; what it acknowledged is
        there when it runs again.
        """
        folder = small_disk(110)
        data_dir = folder / "data"
        server = EmbeddedServer.start(data_dir)
        try:
            with Database(server.url, timeout_s=2.0) as database:
                migrate(database)
                written = fill(database)
                assert written > 0
                small_disk(400)
                found = recorded(place(data_dir).cluster)
                if found and alive(found.pid, place(data_dir).cluster):
                    wait_for(database)
                EmbeddedServer.start(data_dir)
                wait_for(database)
                with database.connection() as connection:
                    assert writing.write(connection, part(written)).inserted in (0, 20_000)
                    row = connection.execute("SELECT count(*) FROM reading").fetchone()
                assert row == ((written + 1) * 20_000,)
        finally:
            server.stop()


def fill(database: Database) -> int:
    """Writes until there is no room; how many batches were committed."""
    for number in range(100):
        try:
            with database.connection() as connection:
                writing.write(connection, part(number))
        except StoreUnavailableError:
            return number
    pytest.fail("the disk is never full")


def wait_for(database: Database) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with database.connection() as connection:
                connection.execute("SELECT 1")
                return
        except StoreUnavailableError:
            time.sleep(0.05)
    pytest.fail("the server did not come back")
