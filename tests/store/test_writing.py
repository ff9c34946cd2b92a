"""Readings: whatever comes, in whatever order and how often, the table equals a dictionary."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from core.errors import StoreError, StoreUnavailableError
from core.readings import READING_DTYPE, batch, empty_batch
from core.series import Series
from store import backend, copybinary, series, writing
from store.database import Connection, Database
from store.embedded import EmbeddedServer
from store.migrate import migrate
from store.writing import WriteResult

START = datetime(2026, 6, 22, tzinfo=UTC)
STEP = timedelta(minutes=15)
VARIABLES = ("p_mw", "soc", "e_mwh")  # mean, last, sum
KEYS = [f"demo/a/{variable}" for variable in VARIABLES]

Row = tuple[int, datetime, float, int]


@pytest.fixture
def ids(connection: Connection) -> list[int]:
    found = series.register(connection, [Series("demo", "a", v) for v in VARIABLES])
    return [found[key] for key in KEYS]


def stored(connection: Connection) -> dict[tuple[int, datetime], tuple[float, int]]:
    rows = connection.execute("SELECT series_id, ts, value, quality FROM reading").fetchall()
    assert len({row[:2] for row in rows}) == len(rows)
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


rows_of_a_batch = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(-400, 400).map(lambda n: START + n * STEP),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([0, 1, 64, 127]),
    ),
    max_size=40,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=st.lists(rows_of_a_batch, max_size=4))
def test_the_table_equals_a_dictionary(
    connection: Connection, batches: Sequence[Sequence[Row]]
) -> None:
    """Within a batch the last reading of a key wins, between batches the first."""
    connection.execute("TRUNCATE reading")
    model: dict[tuple[int, datetime], tuple[float, int]] = {}
    for rows in batches:
        fresh = {(s, t): (v, q) for s, t, v, q in rows}
        expected = len(fresh.keys() - model.keys())
        model = fresh | model
        result = writing.write(connection, batch(rows))
        assert result == WriteResult(expected, len(rows) - expected)
    assert stored(connection) == model


def test_writing_again_changes_nothing(connection: Connection, ids: list[int]) -> None:
    rows = batch([(ids[0], START, 1.5, 0), (ids[1], START, 0.25, 8)])
    assert writing.write(connection, rows) == WriteResult(2, 0)
    assert writing.write(connection, rows) == WriteResult(0, 2)
    assert stored(connection) == {(ids[0], START): (1.5, 0), (ids[1], START): (0.25, 8)}


def test_an_empty_batch(connection: Connection) -> None:
    assert writing.write(connection, empty_batch()) == WriteResult(0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(connection: Connection, value: float) -> None:
    with pytest.raises(StoreError, match="NaN or infinite"):
        writing.write(connection, batch([(1, START, 0.0, 0), (1, START + STEP, value, 0)]))


def test_times_of_a_broken_clock_make_no_partitions(connection: Connection) -> None:
    for ts in (datetime(1969, 12, 31, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)):
        with pytest.raises(StoreError, match="1970 to 2099"):
            writing.write(connection, batch([(1, ts, 0.0, 0)]))


def test_another_dtype_is_refused(connection: Connection) -> None:
    with pytest.raises(StoreError, match="READING_DTYPE"):
        writing.write(connection, np.zeros(3))


def test_the_write_belongs_to_the_transaction(database: Database) -> None:
    def fail() -> None:
        with database.connection() as connection:
            writing.write(connection, batch([(1, START, 1.0, 0)]))
            raise ZeroDivisionError

    for _ in range(2):  # on a new day, and on one that has room
        with pytest.raises(ZeroDivisionError):
            fail()
        with database.connection() as connection:
            assert stored(connection) == {}
            backend.ensure(connection, [START.date()])


def test_a_connection_in_autocommit(database: Database) -> None:
    with database.session() as connection:
        one, two = batch([(1, START, 1.0, 0)]), batch([(1, START, 9.0, 0), (2, START, 2.0, 0)])
        assert writing.write(connection, one) == WriteResult(1, 0)
        assert writing.write(connection, two) == WriteResult(1, 1)
        assert stored(connection) == {(1, START): (1.0, 0), (2, START): (2.0, 0)}


def test_encoding_is_what_the_server_itself_writes(connection: Connection) -> None:
    """PostgreSQL as the judge: its own binary COPY of the rows equals ours byte for byte."""
    rows = batch([(7, START, -0.0, 64), (7, START + timedelta(microseconds=1), 1e-300, 0)])
    writing.write(connection, rows)
    query = "COPY (SELECT * FROM reading ORDER BY 1, 2) TO STDOUT (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        assert b"".join(bytes(part) for part in copy) == b"".join(writing.encode(rows))


def test_nulls_are_no_fixed_width(connection: Connection) -> None:
    query = copybinary.SQL("COPY (SELECT NULL::int, 1::int8) TO STDOUT (FORMAT BINARY)")
    with pytest.raises(StoreError):
        copybinary.fetch(connection, query, (("a", ">i4"), ("b", ">i8")))


class TestPartitions:
    def test_one_for_each_utc_day(self, connection: Connection) -> None:
        midnight = datetime(2026, 6, 23, tzinfo=UTC)
        instants = [midnight - timedelta(microseconds=1), midnight]
        writing.write(connection, batch([(1, ts, 0.0, 0) for ts in instants]))
        rows = connection.execute("SELECT tableoid::regclass::text, ts FROM reading ORDER BY ts")
        names, times = zip(*rows.fetchall(), strict=True)
        assert list(times) == instants
        if isinstance(backend.backend(connection), backend.Plain):
            assert names == ("reading_20260622", "reading_20260623")
        else:  # TimescaleDB names its chunks itself
            assert len(set(names)) == 2

    def test_two_writers_meet_a_new_day(self, database: Database) -> None:
        """The second waits for the first, then finds the partition; neither fails."""
        results: list[WriteResult] = []

        def write(series_id: int) -> None:
            with database.connection() as connection:
                rows = [(series_id, START + k * timedelta(hours=8), 0.0, 0) for k in range(30)]
                results.append(writing.write(connection, batch(rows)))

        threads = [threading.Thread(target=write, args=(i,)) for i in (1, 1, 2, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted((r.inserted, r.duplicates) for r in results) == [(0, 30)] * 2 + [(30, 0)] * 2

    def test_a_new_day_while_another_transaction_reads_and_writes(self, database: Database) -> None:
        """Attaching a partition must not wait for those who use the table."""
        with database.connection() as busy:
            writing.write(busy, batch([(1, START, 0.0, 0)]))
        with database.connection() as busy, database.connection() as connection:
            busy.execute("SELECT count(*) FROM reading")
            writing.write(busy, batch([(1, START + STEP, 0.0, 0)]))
            connection.execute("SET lock_timeout = '2s'")
            backend.ensure(connection, [date(2026, 7, 1)])

    def test_half_a_partition_is_never_left(self, database: Database) -> None:
        """In autocommit too: a table made but not attached would close its day for ever."""
        with database.session() as connection:
            if isinstance(backend.backend(connection), backend.Timescale):
                return  # it makes its chunks by itself
            connection.execute(
                "CREATE TABLE blocked PARTITION OF reading FOR VALUES FROM"
                " ('2026-06-22 12:00+00') TO ('2026-06-22 13:00+00')"
            )
            with pytest.raises(psycopg.errors.InvalidObjectDefinition):
                backend.ensure(connection, [START.date()])
            connection.execute("DROP TABLE blocked")
            assert writing.write(connection, batch([(1, START, 0.0, 0)])) == WriteResult(1, 0)

    def test_a_batch_over_known_and_new_days_with_keys_that_are_there(
        self, connection: Connection
    ) -> None:
        """Both kinds of trouble in one batch, in the order of the key and against it."""
        day = timedelta(days=1)
        writing.write(connection, batch([(2, START, 1.0, 0)]))
        rows = batch([(1, START + day, 2.0, 0), (2, START, 9.0, 0), (3, START - day, 3.0, 0)])
        assert writing.write(connection, rows) == WriteResult(2, 1)
        assert stored(connection) == {
            (1, START + day): (2.0, 0),
            (2, START): (1.0, 0),
            (3, START - day): (3.0, 0),
        }


def test_kill_9_of_the_server_during_writes(
    used_dir: Path, kill_server: Callable[[Path], int]
) -> None:
    """An ingester repeats what failed: every batch it saw committed is there, and once."""
    server = EmbeddedServer.start(used_dir)
    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE crashed OWNER verdigrid")
    rows_each, batches, killed_at = 2_000, 30, (8, 18)
    committed: list[int] = []
    failures: list[StoreError] = []

    def make(number: int) -> np.ndarray:
        rows = np.zeros(rows_each, READING_DTYPE)
        rows["series_id"] = np.arange(rows_each)
        rows["ts_us"] = copybinary.EPOCH_US + number * 21_600_000_000  # 4 a day
        rows["value"] = number
        return rows

    def ingest(database: Database) -> None:
        number = 0
        deadline = time.monotonic() + 60
        while number < batches and time.monotonic() < deadline:
            try:
                with database.connection() as connection:
                    writing.write(connection, make(number))
            except StoreUnavailableError as error:
                failures.append(error)
                continue
            committed.append(number)
            number += 1

    url = make_conninfo(server.url, dbname="crashed")
    with Database(url, timeout_s=1.0) as database:
        migrate(database)
        thread = threading.Thread(target=ingest, args=(database,))
        thread.start()
        for count in killed_at:
            while len(committed) < count and thread.is_alive():
                time.sleep(0.001)
            kill_server(used_dir)
            EmbeddedServer.start(used_dir)
        thread.join()
        assert failures, "the server was killed while it was used"
        assert committed == list(range(batches))
        with database.connection() as connection:
            rows = connection.execute(
                "SELECT value, count(*), count(DISTINCT series_id) FROM reading"
                " GROUP BY 1 ORDER BY 1"
            ).fetchall()
    assert rows == [(number, rows_each, rows_each) for number in range(batches)]
