"""Readings as arrays: which values stand where, and what is known of all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core.errors import StoreError
from core.readings import READING_DTYPE, Quality, batch
from core.series import Series
from core.timeaxis import to_us
from store import readings, series, writing
from store.database import Connection, Database
from store.writing import WriteResult

START = datetime(2026, 6, 22, tzinfo=UTC)
STEP = timedelta(minutes=15)
VARIABLES = ("p_mw", "soc", "e_mwh")  # mean, last, sum
KEYS = [f"demo/a/{variable}" for variable in VARIABLES]


@pytest.fixture
def ids(connection: Connection) -> list[int]:
    found = series.register(connection, [Series("demo", "a", v) for v in VARIABLES])
    return [found[key] for key in KEYS]


class TestRead:
    def test_native_times_are_joined(self, connection: Connection, ids: list[int]) -> None:
        rows = [(ids[0], START, 1.0, 0), (ids[2], START + STEP, 3.0, 0)]
        writing.write(connection, batch(rows))
        found = readings.read(connection, [KEYS[2], KEYS[0], KEYS[2]], START, START + 2 * STEP)
        assert found.dims == ("time", "series")
        assert list(found.series.values) == [KEYS[2], KEYS[0], KEYS[2]]
        np.testing.assert_array_equal(found.values, [[np.nan, 1.0, np.nan], [3.0, np.nan, 3.0]])
        assert found.time.values.dtype == "datetime64[ns]"
        assert "units" not in found.attrs
        assert readings.read(connection, KEYS[:1], START, START + STEP).attrs == {"units": "MW"}

    def test_the_end_is_open(self, connection: Connection, ids: list[int]) -> None:
        writing.write(connection, batch([(ids[0], START + k * STEP, k, 0) for k in range(4)]))
        found = readings.read(connection, KEYS[:1], START + STEP, START + 3 * STEP)
        np.testing.assert_array_equal(found.values[:, 0], [1.0, 2.0])

    def test_buckets_follow_the_variable(self, connection: Connection, ids: list[int]) -> None:
        values = (1.0, 2.0, 6.0, 3.0)
        rows = [(i, START + k * STEP, v, 0) for i in ids for k, v in enumerate(values)]
        writing.write(connection, batch(rows))
        hour = timedelta(hours=1)
        found = readings.read(connection, KEYS, START, START + 2 * hour, hour)
        np.testing.assert_array_equal(found.values, [[3.0, 3.0, 12.0], [np.nan] * 3])
        np.testing.assert_array_equal(
            found.time.values, np.array(["2026-06-22T00", "2026-06-22T01"], "datetime64[ns]")
        )

    def test_the_first_bucket_holds_the_start(self, connection: Connection, ids: list[int]) -> None:
        writing.write(connection, batch([(ids[0], START + k * STEP, k, 0) for k in range(8)]))
        hour = timedelta(hours=1)
        found = readings.read(connection, KEYS[:1], START + 2 * STEP, START + 2 * hour, hour)
        np.testing.assert_array_equal(found.values[:, 0], [2.5, 5.5])

    def test_flagged_readings_can_be_left_out(self, connection: Connection, ids: list[int]) -> None:
        flags = (Quality.GOOD, Quality.OUT_OF_RANGE, Quality.LATE)
        rows = [(ids[0], START + k * STEP, k, flag) for k, flag in enumerate(flags)]
        writing.write(connection, batch(rows))
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
        fast = Series("demo", "b", "p_mw", timedelta(seconds=1))
        series.register(connection, [fast])
        with pytest.raises(StoreError, match="shorter time"):
            readings.read(connection, [fast.key], START, START + timedelta(days=600))

    def test_latest_and_counts(self, connection: Connection, ids: list[int]) -> None:
        assert readings.counts(connection) == {"rows": 0, "exact": True, "last_ts": None}
        assert readings.latest(connection).empty
        late = START + timedelta(days=3)
        rows = [(ids[0], late, 2.0, 4), (ids[0], START, 1.0, 0), (ids[1], START, 0.5, 0)]
        writing.write(connection, batch(rows))
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
            assert writing.write(connection, rows) == WriteResult(len(rows), 0)
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
            writing.write(connection, batch([(number, START, 1.0, 0), (number, later, 1.0, 0)]))
            connection.execute("DELETE FROM reading WHERE ts = %s", (later,))
            assert readings.counts(connection)["last_ts"] == START
            connection.execute("DELETE FROM reading")
            assert readings.counts(connection)["last_ts"] is None
