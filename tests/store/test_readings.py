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
from core.readings import READING_DTYPE, Quality, batch, empty_batch
from core.series import Series
from core.timeaxis import to_us
from store import backend, copybinary, readings, series
from store.database import Connection, Database
from store.embedded import EmbeddedServer
from store.migrate import migrate
from store.readings import WriteResult

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
        result = readings.write(connection, batch(rows))
        assert result == WriteResult(expected, len(rows) - expected)
    assert stored(connection) == model


def test_writing_again_changes_nothing(connection: Connection, ids: list[int]) -> None:
    rows = batch([(ids[0], START, 1.5, 0), (ids[1], START, 0.25, 8)])
    assert readings.write(connection, rows) == WriteResult(2, 0)
    assert readings.write(connection, rows) == WriteResult(0, 2)
    assert stored(connection) == {(ids[0], START): (1.5, 0), (ids[1], START): (0.25, 8)}


def test_an_empty_batch(connection: Connection) -> None:
    assert readings.write(connection, empty_batch()) == WriteResult(0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(connection: Connection, value: float) -> None:
    with pytest.raises(StoreError, match="NaN or infinite"):
        readings.write(connection, batch([(1, START, 0.0, 0), (1, START + STEP, value, 0)]))


def test_times_of_a_broken_clock_make_no_partitions(connection: Connection) -> None:
    for ts in (datetime(1969, 12, 31, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)):
        with pytest.raises(StoreError, match="1970 to 2099"):
            readings.write(connection, batch([(1, ts, 0.0, 0)]))


def test_another_dtype_is_refused(connection: Connection) -> None:
    with pytest.raises(StoreError, match="READING_DTYPE"):
        readings.write(connection, np.zeros(3))


def test_the_write_belongs_to_the_transaction(database: Database) -> None:
    def fail() -> None:
        with database.connection() as connection:
            readings.write(connection, batch([(1, START, 1.0, 0)]))
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
        assert readings.write(connection, one) == WriteResult(1, 0)
        assert readings.write(connection, two) == WriteResult(1, 1)
        assert stored(connection) == {(1, START): (1.0, 0), (2, START): (2.0, 0)}


def test_encoding_is_what_the_server_itself_writes(connection: Connection) -> None:
    """PostgreSQL as the judge: its own binary COPY of the rows equals ours byte for byte."""
    rows = batch([(7, START, -0.0, 64), (7, START + timedelta(microseconds=1), 1e-300, 0)])
    readings.write(connection, rows)
    query = "COPY (SELECT * FROM reading ORDER BY 1, 2) TO STDOUT (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        assert b"".join(bytes(part) for part in copy) == readings.encode(rows)


def test_nulls_are_no_fixed_width(connection: Connection) -> None:
    query = copybinary.SQL("COPY (SELECT NULL::int, 1::int8) TO STDOUT (FORMAT BINARY)")
    with pytest.raises(StoreError):
        copybinary.fetch(connection, query, (("a", ">i4"), ("b", ">i8")))


class TestPartitions:
    def test_one_for_each_utc_day(self, connection: Connection) -> None:
        midnight = datetime(2026, 6, 23, tzinfo=UTC)
        instants = [midnight - timedelta(microseconds=1), midnight]
        readings.write(connection, batch([(1, ts, 0.0, 0) for ts in instants]))
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
                results.append(readings.write(connection, batch(rows)))

        threads = [threading.Thread(target=write, args=(i,)) for i in (1, 1, 2, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted((r.inserted, r.duplicates) for r in results) == [(0, 30)] * 2 + [(30, 0)] * 2

    def test_a_new_day_while_another_transaction_reads_and_writes(self, database: Database) -> None:
        """Attaching a partition must not wait for those who use the table."""
        with database.connection() as busy:
            readings.write(busy, batch([(1, START, 0.0, 0)]))
        with database.connection() as busy, database.connection() as connection:
            busy.execute("SELECT count(*) FROM reading")
            readings.write(busy, batch([(1, START + STEP, 0.0, 0)]))
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
            assert readings.write(connection, batch([(1, START, 0.0, 0)])) == WriteResult(1, 0)

    def test_a_batch_over_known_and_new_days_with_keys_that_are_there(
        self, connection: Connection
    ) -> None:
        """Both kinds of trouble in one batch, in the order of the key and against it."""
        day = timedelta(days=1)
        readings.write(connection, batch([(2, START, 1.0, 0)]))
        rows = batch([(1, START + day, 2.0, 0), (2, START, 9.0, 0), (3, START - day, 3.0, 0)])
        assert readings.write(connection, rows) == WriteResult(2, 1)
        assert stored(connection) == {
            (1, START + day): (2.0, 0),
            (2, START): (1.0, 0),
            (3, START - day): (3.0, 0),
        }


class TestRead:
    def test_native_times_are_joined(self, connection: Connection, ids: list[int]) -> None:
        rows = [(ids[0], START, 1.0, 0), (ids[2], START + STEP, 3.0, 0)]
        readings.write(connection, batch(rows))
        found = readings.read(connection, [KEYS[2], KEYS[0], KEYS[2]], START, START + 2 * STEP)
        assert found.dims == ("time", "series")
        assert list(found.series.values) == [KEYS[2], KEYS[0], KEYS[2]]
        np.testing.assert_array_equal(found.values, [[np.nan, 1.0, np.nan], [3.0, np.nan, 3.0]])
        assert found.time.values.dtype == "datetime64[ns]"
        assert "units" not in found.attrs
        assert readings.read(connection, KEYS[:1], START, START + STEP).attrs == {"units": "MW"}

    def test_the_end_is_open(self, connection: Connection, ids: list[int]) -> None:
        readings.write(connection, batch([(ids[0], START + k * STEP, k, 0) for k in range(4)]))
        found = readings.read(connection, KEYS[:1], START + STEP, START + 3 * STEP)
        np.testing.assert_array_equal(found.values[:, 0], [1.0, 2.0])

    def test_buckets_follow_the_variable(self, connection: Connection, ids: list[int]) -> None:
        values = (1.0, 2.0, 6.0, 3.0)
        rows = [(i, START + k * STEP, v, 0) for i in ids for k, v in enumerate(values)]
        readings.write(connection, batch(rows))
        hour = timedelta(hours=1)
        found = readings.read(connection, KEYS, START, START + 2 * hour, hour)
        np.testing.assert_array_equal(found.values, [[3.0, 3.0, 12.0], [np.nan] * 3])
        np.testing.assert_array_equal(
            found.time.values, np.array(["2026-06-22T00", "2026-06-22T01"], "datetime64[ns]")
        )

    def test_the_first_bucket_holds_the_start(self, connection: Connection, ids: list[int]) -> None:
        readings.write(connection, batch([(ids[0], START + k * STEP, k, 0) for k in range(8)]))
        hour = timedelta(hours=1)
        found = readings.read(connection, KEYS[:1], START + 2 * STEP, START + 2 * hour, hour)
        np.testing.assert_array_equal(found.values[:, 0], [2.5, 5.5])

    def test_flagged_readings_can_be_left_out(self, connection: Connection, ids: list[int]) -> None:
        flags = (Quality.GOOD, Quality.OUT_OF_RANGE, Quality.LATE)
        rows = [(ids[0], START + k * STEP, k, flag) for k, flag in enumerate(flags)]
        readings.write(connection, batch(rows))
        found = readings.read(
            connection, KEYS[:1], START, START + 4 * STEP, exclude=Quality.OUT_OF_RANGE
        )
        np.testing.assert_array_equal(found.values[:, 0], [0.0, 2.0])

    def test_nothing_there(self, connection: Connection, ids: list[int]) -> None:
        assert readings.read(connection, KEYS, START, START + STEP).shape == (0, 3)
        assert readings.read(connection, [], START, START + STEP).shape == (0, 0)
        assert readings.read(connection, KEYS, START, START + STEP, STEP).shape == (1, 3)

    def test_an_unknown_key_is_named(self, connection: Connection) -> None:
        with pytest.raises(StoreError, match="no series 'demo/b/p_mw'"):
            readings.read(connection, ["demo/b/p_mw"], START, START + STEP)

    def test_too_much_at_once(self, connection: Connection, ids: list[int]) -> None:
        with pytest.raises(StoreError, match="longer buckets"):
            readings.read(
                connection, KEYS, START, START + timedelta(days=365), timedelta(seconds=1)
            )

    def test_latest_and_counts(self, connection: Connection, ids: list[int]) -> None:
        assert readings.counts(connection) == {"rows": 0, "exact": True, "last_ts": None}
        assert readings.latest(connection).empty
        late = START + timedelta(days=3)
        rows = [(ids[0], late, 2.0, 4), (ids[0], START, 1.0, 0), (ids[1], START, 0.5, 0)]
        readings.write(connection, batch(rows))
        found = readings.latest(connection)
        assert found.to_dict("records") == [
            {"key": KEYS[0], "ts": late, "value": 2.0, "quality": 4},
            {"key": KEYS[1], "ts": START, "value": 0.5, "quality": 0},
        ]
        assert list(readings.latest(connection, [KEYS[1]]).key) == [KEYS[1]]
        assert readings.counts(connection) == {"rows": 3, "exact": True, "last_ts": late}

    def test_counts_of_many(self, database: Database) -> None:
        """Estimated, with and without statistics; the newest time is exact, and no row is read to
        count them.
        """
        days, steps = 5, 96
        with database.connection() as connection:
            found = series.register(
                connection, [Series("demo", f"m-{i}", "p_mw") for i in range(60)]
            )
            rows = np.zeros(len(found) * days * steps, READING_DTYPE)
            rows["series_id"] = np.tile(list(found.values()), days * steps)
            rows["ts_us"] = to_us(START) + np.repeat(np.arange(days * steps), 60) * 900_000_000
            assert readings.write(connection, rows) == WriteResult(len(rows), 0)
        empty = days * 64 * 136  # a table may have grown by 64 pages for rows that did not come
        for most in (len(rows) + empty, len(rows)):
            with database.connection() as connection:
                counted = readings.counts(connection)
            assert not counted["exact"]
            assert len(rows) * 0.98 < counted["rows"] < most * 1.02
            assert counted["last_ts"] == START + timedelta(days=days) - STEP
            with database.session() as connection:
                connection.execute("VACUUM ANALYZE reading")

    def test_the_newest_after_a_rollback_and_after_deletion(self, database: Database) -> None:
        """A day that holds nothing any more hides no older one."""
        later = START + timedelta(days=1)
        with database.connection() as connection:
            (number,) = series.register(connection, [Series("demo", "a", "p_mw")]).values()
            readings.write(connection, batch([(number, START, 1.0, 0), (number, later, 1.0, 0)]))
            connection.execute("DELETE FROM reading WHERE ts = %s", (later,))
            assert readings.counts(connection)["last_ts"] == START
            connection.execute("DELETE FROM reading")
            assert readings.counts(connection)["last_ts"] is None


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
                    readings.write(connection, make(number))
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
