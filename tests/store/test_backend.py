"""Plain PostgreSQL or TimescaleDB: decided when the database is made, and never again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from core.readings import READING_DTYPE, Quality, batch
from core.series import Series
from core.timeaxis import to_us
from store import backend, readings, series, writing
from store.database import Connection, Database
from store.migrate import available, migrate
from store.writing import WriteResult

START = datetime(2026, 6, 22, tzinfo=UTC)
STEP = timedelta(minutes=15)
DAY = timedelta(days=1)


def described(connection: Connection) -> str:
    return backend.backend(connection).describe(connection)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("embedded", backend.Plain, "native daily partitions."),
        ("postgres", backend.Plain, "native daily partitions."),
        ("timescale", backend.Timescale, "a hypertable of TimescaleDB 2."),
    ],
)
def test_each_server_keeps_readings_its_way(
    host_named: Callable[[str], Any], name: str, kind: type, words: str
) -> None:
    """All tests of this folder run on each of these servers, as far as their address is set."""
    host = host_named(name)
    with Database(host.url(host.make())) as database:
        migrate(database)
        with database.connection() as connection:
            assert isinstance(backend.backend(connection), kind)
            assert described(connection).startswith(f"Readings are kept in {words}")


def test_two_days_with_repetitions_and_late_data(database: Database) -> None:
    """The whole way: clean batches, one sent twice, one that overlaps, then a day that is late."""
    assets = [f"meter-{i:03d}" for i in range(50)]
    with database.connection() as connection:
        ids = series.register(connection, [Series("demo", a, "p_mw", STEP) for a in assets])
    keys = [f"demo/{a}/p_mw" for a in assets]

    def part(first: datetime, steps: int, value: float) -> np.ndarray:
        rows = np.zeros(steps * len(keys), READING_DTYPE)
        rows["series_id"] = np.tile([ids[key] for key in keys], steps)
        rows["ts_us"] = to_us(first) + np.repeat(np.arange(steps), len(keys)) * 900_000_000
        rows["value"] = value
        return rows

    def write(rows: np.ndarray) -> WriteResult:
        with database.connection() as connection:
            return writing.write(connection, rows)

    assert write(part(START, 96, 1.0)) == WriteResult(4800, 0)
    assert write(part(START + DAY, 48, 2.0)) == WriteResult(2400, 0)
    assert write(part(START, 96, 9.0)) == WriteResult(0, 4800)  # sent twice
    assert write(part(START + DAY, 96, 3.0)) == WriteResult(2400, 2400)  # overlaps
    assert write(part(START - 2 * DAY, 96, 4.0)) == WriteResult(4800, 0)  # late
    with database.connection() as connection:
        days = readings.read(connection, keys, START - 2 * DAY, START + 2 * DAY, DAY)
        halves = readings.read(connection, keys, START + DAY, START + 2 * DAY, DAY / 2)
        newest = readings.latest(connection)
        counted = readings.counts(connection)
    expected = np.repeat([[4.0], [np.nan], [1.0], [2.5]], len(keys), axis=1)
    np.testing.assert_array_equal(days.values, expected)
    np.testing.assert_array_equal(halves.values[:, 0], [2.0, 3.0])
    assert list(newest.key) == keys
    assert set(newest.ts) == {START + 2 * DAY - STEP}
    assert not counted["exact"]
    assert counted["last_ts"] == START + 2 * DAY - STEP


class TestDecidedOnce:
    @pytest.fixture
    def plain_beside_timescale(self, host_named: Callable[[str], Any]) -> Iterator[Any]:
        """A database made by a role that may not create extensions, where there is TimescaleDB."""
        host = host_named("timescale")
        name = host.make()
        host.run("REVOKE CREATE ON DATABASE {name} FROM {role}", name=name, role=host.role)
        with Database(host.url(name)) as database:
            assert migrate(database) == [migration.name for migration in available()]
            yield host, name, database

    def test_a_role_that_may_not_create_extensions(self, plain_beside_timescale: Any) -> None:
        _, _, database = plain_beside_timescale
        with database.connection() as connection:
            assert isinstance(backend.backend(connection), backend.Plain)
            assert "which is not used" in described(connection)

    def test_an_extension_that_comes_later(
        self, plain_beside_timescale: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        host, name, database = plain_beside_timescale
        with database.connection() as connection:
            rows = batch([(1, START, 1.0, 0), (2, START, 2.0, 0)])
            assert writing.write(connection, rows) == WriteResult(2, 0)
        host.run("GRANT CREATE ON DATABASE {name} TO {role}", name=name, role=host.role)
        with database.session() as connection:
            connection.execute("CREATE EXTENSION timescaledb")
        with caplog.at_level(logging.INFO, "store"), Database(host.url(name)) as later:
            assert migrate(later) == []
            with later.connection() as connection:
                assert isinstance(backend.backend(connection), backend.Plain)
                rows = batch([(2, START, 9.0, 0), (2, START + DAY, 3.0, Quality.LATE)])
                assert writing.write(connection, rows) == WriteResult(1, 1)
                found = connection.execute("SELECT series_id, value FROM reading ORDER BY ts, 1")
                assert found.fetchall() == [(1, 1.0), (2, 2.0), (2, 3.0)]
        assert "was made without it and stays as it is" in caplog.text

    def test_an_extension_that_is_there_already(self, host_named: Callable[[str], Any]) -> None:
        """As in databases made from a template that has it."""
        host = host_named("timescale")
        with Database(host.url(host.make())) as database:
            with database.session() as connection:
                connection.execute("CREATE EXTENSION timescaledb")
            migrate(database)
            with database.connection() as connection:
                assert isinstance(backend.backend(connection), backend.Timescale)
                assert writing.write(connection, batch([(1, START, 1.0, 0)])) == WriteResult(1, 0)
                assert backend.backend(connection).newest_day(connection) == START.date()
