"""The newest readings: never newer than what is committed, and caught up with after a crash."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StoreUnavailableError
from core.readings import READING_DTYPE, batch
from core.series import Series
from store import latest, series, writing
from store.database import Connection, Database
from store.latest import Latest

START = datetime(2026, 6, 22, tzinfo=UTC)
STEP = timedelta(minutes=15)
DAY = timedelta(days=1)
LONG_S = 3600.0  # no timer runs out in a test that flushes by itself

Row = tuple[int, datetime, float, int]


@pytest.fixture
def ids(database: Database) -> list[int]:
    with database.connection() as connection:
        made = [Series("demo", f"m-{n}", "p_mw", STEP) for n in range(4)]
        return list(series.register(connection, made).values())


def beside(database: Database) -> dict[int, tuple[datetime, float, int]]:
    with database.connection() as connection:
        rows = connection.execute("SELECT series_id, ts, value, quality FROM reading_latest")
        return {row[0]: row[1:] for row in rows.fetchall()}


def store(database: Database, rows: list[Row]) -> np.ndarray:
    made = batch(rows)
    with database.connection() as connection:
        writing.write(connection, made)
    return made


def test_batches_in_any_order(database: Database, ids: list[int]) -> None:
    a, b, c, _ = ids
    table = Latest(database, every_s=LONG_S)
    table.note(store(database, [(a, START, 1.0, 0), (b, START, 1.0, 0)]))
    table.note(store(database, [(a, START + 3 * STEP, 4.0, 8), (a, START + STEP, 2.0, 0)]))
    table.note(store(database, [(a, START + 2 * STEP, 3.0, 0)]))
    assert beside(database) == {}
    assert table.flush() == 2
    assert beside(database) == {a: (START + 3 * STEP, 4.0, 8), b: (START, 1.0, 0)}
    assert table.flush() == 0
    table.note(store(database, [(a, START + 2 * STEP + STEP / 2, 9.0, 0), (c, START, 5.0, 0)]))
    assert table.flush() == 1
    assert beside(database)[a] == (START + 3 * STEP, 4.0, 8)
    table.note(store(database, [(a, START + 2 * DAY, 7.0, 0)]))
    table.close()
    assert beside(database)[a] == (START + 2 * DAY, 7.0, 0)


def test_of_two_readings_with_one_key_the_stored_counts(database: Database, ids: list[int]) -> None:
    table = Latest(database, every_s=LONG_S)
    store(database, [(ids[0], START, 1.0, 0)])
    table.note(store(database, [(ids[0], START, 2.0, 0)]))
    table.flush()
    assert beside(database) == {ids[0]: (START, 1.0, 0)}


def test_what_was_never_committed_does_not_count(database: Database, ids: list[int]) -> None:
    table = Latest(database, every_s=LONG_S)
    table.note(batch([(ids[1], START, 3.0, 0)]))
    assert table.flush() == 0
    assert beside(database) == {}


def test_it_flushes_by_itself(database: Database, ids: list[int]) -> None:
    table = Latest(database, every_s=0.02)
    for n in range(3):  # each note after a flush begins anew
        table.note(store(database, [(ids[n], START, 1.0, 0)]))
        deadline = time.monotonic() + 20
        while len(beside(database)) <= n:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_a_database_that_is_away_meanwhile(
    database: Database, ids: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """What was noted is kept for the next time."""
    table = Latest(database, every_s=LONG_S)
    table.note(store(database, [(ids[0], START, 1.0, 0)]))
    with database.connection() as holder:
        holder.execute("LOCK TABLE reading_latest")
        with database.session() as session:
            session.execute("ALTER ROLE current_user SET lock_timeout = '50ms'")
        try:
            with Database(database._url) as hasty:
                table._database = hasty
                with pytest.raises(StoreUnavailableError):
                    table.flush()
                table.close()
        finally:
            with database.session() as session:
                session.execute("ALTER ROLE current_user RESET lock_timeout")
    assert "wait for the database" in caplog.text
    table._database = database
    assert table.flush() == 1


def test_two_processes(database: Database, ids: list[int]) -> None:
    """Both flush the same series at once, newer and older readings: the newest stays."""
    tables = [Latest(database, every_s=LONG_S) for _ in range(3)]
    last = START + 40 * STEP

    def work(number: int) -> None:
        for n in range(number, 41, len(tables)):
            rows: list[Row] = [(i, START + n * STEP, float(n), 0) for i in ids]
            tables[number].note(store(database, rows))
            tables[number].flush()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(tables))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert beside(database) == dict.fromkeys(ids, (last, 40.0, 0))


class TestReconcile:
    def test_a_first_time(self, database: Database, ids: list[int]) -> None:
        store(database, [(ids[0], START - 300 * DAY, 1.0, 0), (ids[1], START, 2.0, 4)])
        with database.connection() as connection:
            assert latest.reconcile(connection, START) == 2
        assert beside(database) == {
            ids[0]: (START - 300 * DAY, 1.0, 0),
            ids[1]: (START, 2.0, 4),
        }

    def test_after_a_crash(self, database: Database, ids: list[int]) -> None:
        table = Latest(database, every_s=LONG_S)
        table.note(store(database, [(ids[0], START, 1.0, 0), (ids[1], START, 1.0, 0)]))
        table.flush()
        store(database, [(ids[0], START + STEP, 2.0, 0), (ids[0], START - STEP, 0.0, 0)])
        store(database, [(ids[2], START - 2 * DAY, 3.0, 0)])  # older than it looks back
        with database.connection() as connection:
            assert latest.reconcile(connection, START - DAY) == 1
            assert latest.reconcile(connection, START - DAY) == 0
        assert beside(database) == {
            ids[0]: (START + STEP, 2.0, 0),
            ids[1]: (START, 1.0, 0),
        }


class TestRead:
    def test_few_series_are_known_exactly(self, database: Database, ids: list[int]) -> None:
        store(database, [(ids[0], START, 1.0, 2), (ids[0], START - STEP, 0.0, 0)])
        with database.connection() as connection:
            for keys in (None, ["demo/m-0/p_mw", "demo/m-1/p_mw"]):
                found = latest.read(connection, keys)
                assert found.to_dict("records") == [
                    {"key": "demo/m-0/p_mw", "ts": START, "value": 1.0, "quality": 2}
                ]

    def test_many_come_from_the_table_and_look_the_same(
        self, database: Database, ids: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = Latest(database, every_s=LONG_S)
        table.note(store(database, [(i, START + i * STEP, i, 2) for i in ids if i != ids[1]]))
        table.flush()

        def read(connection: Connection, keys: list[str] | None) -> object:
            return latest.read(connection, keys)

        for keys in (None, [f"demo/m-{n}/p_mw" for n in (3, 1, 0)]):
            with database.connection() as connection:
                exact = latest.read(connection, keys)
                monkeypatch.setattr(latest, "_FEW", 1)
                many = latest.read(connection, keys)
                monkeypatch.undo()
            assert exact.equals(many)
            assert list(exact.dtypes) == list(many.dtypes)
            assert len(many) == (3 if keys is None else 2)

    def test_none_at_all(
        self, database: Database, ids: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(latest, "_FEW", 1)
        with database.connection() as connection:
            found = latest.read(connection)
        assert found.empty
        assert list(found.columns) == ["key", "ts", "value", "quality"]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1))
def test_the_newest_of_each_series(rows: list[tuple[int, int]]) -> None:
    batch_ = np.zeros(len(rows), READING_DTYPE)
    batch_["series_id"], batch_["ts_us"] = np.array(rows).T
    found = latest.newest(batch_["series_id"], batch_["ts_us"])
    assert list(zip(*(column.tolist() for column in found), strict=True)) == sorted(
        {s: max(t for other, t in rows if other == s) for s, _ in rows}.items()
    )
