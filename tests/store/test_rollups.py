"""Roll-ups equal what numpy makes of all readings, whatever came when and was interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import StoreError, StoreUnavailableError
from core.readings import READING_DTYPE, batch
from core.series import Series
from core.timeaxis import floor_to, local_date, local_day, to_us
from store import rollups, series, writing
from store.database import Connection, Database
from store.writing import WriteResult

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
START = datetime(2026, 10, 24, tzinfo=UTC)  # the day before clocks are put back in Berlin
NONE = timedelta(0)

SERIES = (  # resolution and zone: of each level's kind, with and without a day of 25 hours
    (None, "Europe/Berlin"),
    (timedelta(minutes=1), "Asia/Shanghai"),
    (timedelta(minutes=15), "Europe/Berlin"),
    (timedelta(minutes=30), "Asia/Kathmandu"),  # midnight at 18:15 UTC
    (HOUR, "America/Havana"),  # puts clocks back at one: midnight comes twice
    (DAY, "UTC"),
)
WIDTH = {"15min": timedelta(minutes=15), "hour": HOUR, "day": DAY}

Reading = tuple[int, datetime, float, int]
Model = dict[tuple[int, datetime], tuple[float, int]]
Rolled = dict[tuple[str, int, datetime], tuple[object, ...]]


@pytest.fixture
def city(database: Database) -> Database:
    with database.connection() as connection:
        series.register(
            connection,
            [
                Series("demo", f"a{n}", "p_mw", resolution, timezone=zone)
                for n, (resolution, zone) in enumerate(SERIES)
            ],
        )
    return database


def number(connection: Connection, place: int) -> int:
    return series.ids(connection)[f"demo/a{place}/p_mw"]


def rolled(connection: Connection) -> Rolled:
    """All roll-ups there are."""
    found: Rolled = {}
    for level in rollups.LEVELS:
        rows = connection.execute(
            "SELECT s.asset, bucket, n, sum, minimum, maximum, last, last_ts, flags"
            f" FROM {level.table} JOIN series s ON s.id = series_id"
        ).fetchall()
        for asset, bucket, *figures in rows:
            found[level.name, int(asset[1:]), bucket] = tuple(figures)
    return found


def expected(model: Model, until: datetime) -> Rolled:
    """All roll-ups there should be, by another way than SQL."""
    members: dict[tuple[str, int, datetime], list[tuple[datetime, float, int]]] = {}
    for (place, ts), (value, flags) in model.items():
        resolution, zone = SERIES[place]
        for name, width in WIDTH.items():
            if (resolution or NONE) >= width:
                continue
            start = floor_to(ts, width)
            end = start + width
            if name == "day":
                start, end = local_day(local_date(ts, ZoneInfo(zone)), ZoneInfo(zone))
            if end <= until:
                members.setdefault((name, place, start), []).append((ts, value, flags))
    found: Rolled = {}
    for key, held in members.items():
        values = np.array([value for _, value, _ in held])
        last_ts, last, _ = max(held)
        flags = int(np.bitwise_or.reduce([flag for *_, flag in held]))
        figures = (len(held), values.sum(), values.min(), values.max(), last, last_ts, flags)
        found[key] = figures
    return found


def write(database: Database, rows: Sequence[Reading]) -> WriteResult:
    """Readings whose first number is the place in SERIES."""
    with database.connection() as connection:
        ids = [number(connection, n) for n in range(len(SERIES))]
        return writing.write(connection, batch([(ids[n], ts, v, q) for n, ts, v, q in rows]))


def dirty(database: Database) -> int:
    with database.connection() as connection:
        row = connection.execute("SELECT count(*) FROM rollup_dirty").fetchone()
        assert row is not None
        return int(row[0])


def check(database: Database, model: Model) -> None:
    with database.connection() as connection:
        assert rolled(connection) == expected(model, rollups.rolled_to(connection))


times = st.one_of(
    st.integers(0, 12 * 24 * 4).map(lambda n: START + n * timedelta(minutes=5)),
    st.sampled_from([1, 40, 300]).map(lambda n: START - n * DAY + HOUR),
)
values = st.integers(-1000, 1000).map(float)  # their sums are exact in any order
reading = st.tuples(
    st.integers(0, len(SERIES) - 1), times, values, st.sampled_from([0, 0, 1, 64, 256])
)
steps = st.lists(
    st.one_of(
        st.lists(reading, max_size=25),
        st.tuples(st.just("refresh"), st.integers(-12, 130)),
        st.tuples(st.just("correct"), st.integers(0, 10**6), values),
    ),
    min_size=2,
    max_size=8,
)


def clear(database: Database) -> None:
    with database.connection() as connection:
        names = ", ".join(level.table for level in rollups.LEVELS)
        connection.execute(f"TRUNCATE reading, rollup_dirty, {names}")
        connection.execute("UPDATE rollup_state SET rolled_to = '1970-01-01'")
        connection.execute("UPDATE rollup_late SET before = '1970-01-01'")


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
def test_they_equal_numpy(city: Database, steps: Sequence[Any]) -> None:
    """New, late, doubled, corrected readings in any order, with refreshes in between."""
    clear(city)
    model: Model = {}
    for step in steps:
        if step and step[0] == "refresh":
            assert rollups.refresh(city, START + step[1] * HOUR, settle=HOUR)
            check(city, model)
        elif step and step[0] == "correct" and model:
            place, ts = sorted(model)[step[1] % len(model)]
            model[place, ts] = (step[2], 256)
            with city.connection() as connection:
                series_id = number(connection, place)
                connection.execute(
                    "UPDATE reading SET value = %s, quality = 256 WHERE series_id = %s AND ts = %s",
                    (step[2], series_id, ts),
                )
                rollups.mark(connection, np.array([series_id]), np.array([to_us(ts)]))
        elif step and step[0] != "correct":
            write(city, step)
            model = {(n, ts): (v, q) for n, ts, v, q in step} | model
    rollups.refresh(city, START + 6 * DAY)
    check(city, model)
    assert dirty(city) == 0


def test_days_of_23_and_25_hours(city: Database) -> None:
    """Berlin's March 29 and October 25 of 2026, a reading each hour."""
    for first, hours in (
        (datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        (datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
    ):
        write(city, [(2, first + k * HOUR, 1.0, 0) for k in range(-24, 49)])
        rollups.refresh(city, first + 4 * DAY)
        with city.connection() as connection:
            row = connection.execute(
                "SELECT n FROM rollup_day WHERE bucket = %s", (first,)
            ).fetchone()
        assert row == (hours,)


def test_a_day_that_ends_where_no_reading_is(city: Database) -> None:
    """The local day ends on a UTC day without a partition, years before the next reading."""
    old = datetime(2019, 3, 5, 20, tzinfo=UTC)  # March 6 in Shanghai
    write(city, [(1, old, 1.0, 0), (1, START, 2.0, 0)])
    rollups.refresh(city, START + 3 * DAY)
    check(city, {(1, old): (1.0, 0), (1, START): (2.0, 0)})


class TestMarks:
    def test_the_common_case_leaves_none(self, city: Database) -> None:
        """Neither the first import nor what comes in time."""
        write(city, [(0, START + k * HOUR, 1.0, 0) for k in range(-300, 0)])
        rollups.refresh(city, START + HOUR, settle=HOUR)
        write(city, [(n, START + k * HOUR, 1.0, 0) for n in range(6) for k in range(3)])
        assert dirty(city) == 0

    def test_a_late_reading_leaves_one_and_its_repetition_none(self, city: Database) -> None:
        rollups.refresh(city, START, settle=HOUR)
        late = [(0, START - 2 * HOUR + k * timedelta(minutes=1), 1.0, 0) for k in range(30)]
        assert write(city, late) == WriteResult(30, 0)
        assert dirty(city) == 1
        assert write(city, late) == WriteResult(0, 30)
        assert dirty(city) == 1
        more = [*late, (0, START - 5 * HOUR, 1.0, 0), (1, START, 1.0, 0)]
        assert write(city, more) == WriteResult(2, 30)
        assert dirty(city) == 2
        done = rollups.refresh(city, START, settle=HOUR)
        assert done is not None
        assert done.hours == 2
        assert dirty(city) == 0

    def test_what_is_rolled_back_leaves_none(self, city: Database) -> None:
        rollups.refresh(city, START)

        def fail() -> None:
            with city.connection() as connection:
                rows = batch([(number(connection, 0), START - DAY, 1.0, 0)])
                writing.write(connection, rows)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert dirty(city) == 0

    def test_more_than_fit_in_one_transaction(
        self, city: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rollups, "_MOST_MARKS", 7)
        rollups.refresh(city, START)
        model: Model = {(n, START - k * HOUR): (1.0, 0) for n in range(6) for k in range(4, 12)}
        write(city, [(n, ts, *rest) for (n, ts), rest in model.items()])
        done = rollups.refresh(city, START)
        assert done is not None
        assert done.hours == len(model)
        check(city, model)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


def waits(database: Database) -> bool:
    """Whether a refresh has looked which transactions it has to wait for."""
    with database.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND state = 'idle' AND query LIKE %s",
            ("%virtualtransaction%",),
        ).fetchone()
    return row == (1,)


class Refresh:
    """A refresh in a thread."""

    def __init__(self, database: Database, now: datetime) -> None:
        self.errors: list[Exception] = []
        self._database, self._now = database, now
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            rollups.refresh(self._database, self._now, settle=NONE)
        except StoreError as error:
            self.errors.append(error)

    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(30)
        assert not self.running()


class TestWritersMeetARefresh:
    @pytest.fixture
    def by_the_old_time(self, city: Database) -> Iterator[Connection]:
        """A transaction that has stored a reading of an hour before the one announced next."""
        rollups.refresh(city, START, settle=NONE)
        write(city, [(5, START, 0.0, 0)])  # the day has room, and nobody waits for another's
        with city.connection() as connection:
            rows = batch([(number(connection, 0), START + HOUR, 1.0, 0)])
            writing.write(connection, rows)
            yield connection

    MODEL: Model = {(0, START + HOUR): (1.0, 0)}  # noqa: RUF012

    def test_it_waits_for_those_that_go_by_the_old_time(
        self, city: Database, by_the_old_time: Connection
    ) -> None:
        refresh = Refresh(city, START + 3 * HOUR)
        wait_until(lambda: waits(city))
        time.sleep(0.1)
        assert refresh.running()
        by_the_old_time.commit()
        refresh.join()
        assert refresh.errors == []
        check(city, self.MODEL)

    def test_and_not_for_those_that_go_by_the_new(
        self, city: Database, by_the_old_time: Connection
    ) -> None:
        """Nor do these wait for it: nobody is locked out."""
        refresh = Refresh(city, START + 3 * HOUR)
        wait_until(lambda: waits(city))
        with city.connection() as newer:
            newer.execute("SET lock_timeout = '1s'")
            rows = batch([(number(newer, 1), START + 2 * HOUR, 2.0, 0)])
            writing.write(newer, rows)
            by_the_old_time.commit()
            refresh.join()
            assert refresh.errors == []
        assert dirty(city) == 1
        rollups.refresh(city, START + 3 * HOUR, settle=NONE)
        check(city, {**self.MODEL, (1, START + 2 * HOUR): (2.0, 0)})

    def test_one_that_does_not_end(
        self, city: Database, by_the_old_time: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is said, nothing is counted without it, and the next refresh makes up for it."""
        monkeypatch.setattr(rollups, "_WAIT_S", 0.05)
        with pytest.raises(StoreUnavailableError, match="wait for a transaction"):
            rollups.refresh(city, START + 3 * HOUR, settle=NONE)
        by_the_old_time.commit()
        rollups.refresh(city, START + HOUR, settle=NONE)  # whatever the clock says
        check(city, self.MODEL)
        with city.connection() as connection:
            assert rollups.rolled_to(connection) == START + 3 * HOUR

    def test_a_refresh_killed_after_its_announcement(
        self, city: Database, by_the_old_time: Connection
    ) -> None:
        refresh = Refresh(city, START + 3 * HOUR)
        wait_until(lambda: waits(city))
        write(city, [(1, START + 2 * HOUR, 2.0, 0)])
        with city.session() as session:
            killed = session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
                "             AND mode = 'ExclusiveLock')"
            ).fetchall()
            assert killed == [(True,)]
        refresh.join()
        assert isinstance(refresh.errors[0], StoreUnavailableError)
        by_the_old_time.commit()
        rollups.refresh(city, START + 3 * HOUR, settle=NONE)
        check(city, {**self.MODEL, (1, START + 2 * HOUR): (2.0, 0)})

    def test_two_at_once_are_one(self, city: Database, by_the_old_time: Connection) -> None:
        refresh = Refresh(city, START + 3 * HOUR)
        wait_until(lambda: waits(city))
        assert rollups.refresh(city, START + 9 * HOUR) is None
        by_the_old_time.commit()
        refresh.join()


def test_one_that_fails_half_way(city: Database) -> None:
    """What was done stays, what was not is done by the next."""
    write(city, [(0, START + k * HOUR, float(k), 0) for k in range(72)])
    with city.connection() as connection:
        connection.execute("CREATE TABLE broken (id int)")
        connection.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.n > 0 AND NEW.maximum >= 30 THEN RAISE EXCEPTION 'half way'; END IF;"
            " RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER fails BEFORE INSERT ON rollup_hour FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    with pytest.raises(StoreError, match="half way"):
        rollups.refresh(city, START + 3 * DAY, settle=NONE)
    model: Model = {(0, START + k * HOUR): (float(k), 0) for k in range(72)}
    check(city, model)
    with city.connection() as connection:
        assert rollups.rolled_to(connection) == START + DAY
        connection.execute("DROP TRIGGER fails ON rollup_hour")
    rollups.refresh(city, START + 3 * DAY, settle=NONE)
    check(city, model)


def test_an_end_that_was_moved_back(city: Database) -> None:
    """As by somebody who wants all of it made anew."""
    model: Model = {(0, START + k * HOUR): (float(k), 0) for k in range(72)}
    write(city, [(n, ts, value, flags) for (n, ts), (value, flags) in model.items()])
    rollups.refresh(city, START + 4 * DAY)
    with city.connection() as connection:
        connection.execute("UPDATE reading SET value = 7")
        connection.execute("UPDATE rollup_state SET rolled_to = %s", (START,))
    rollups.refresh(city, START + 4 * DAY)
    check(city, dict.fromkeys(model, (7.0, 0)))


def test_writers_and_refreshes_at_once(city: Database) -> None:
    """Three writers of readings old and new, while the time before which they are late runs past
    them: in the end nothing is missing.
    """
    end = START + 30 * HOUR
    now = [START]
    stop = threading.Event()
    failures: list[BaseException] = []

    def write_as_ingesters_do(rows: np.ndarray, pause_s: float) -> None:
        """Again where TimescaleDB has them deadlock: two that meet with the same keys while a
        third makes the chunk of a new day.
        """
        for _ in range(20):
            with suppress(StoreUnavailableError), city.connection() as connection:
                writing.write(connection, rows)
                time.sleep(pause_s)
                return

    def write_some(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            with city.connection() as connection:
                ids = np.array([number(connection, n) for n in range(len(SERIES))])
            for _ in range(60):
                rows = np.zeros(40, READING_DTYPE)
                rows["series_id"] = rng.choice(ids, len(rows))
                offset = rng.integers(-120, 90, len(rows))
                rows["ts_us"] = to_us(now[0]) + offset * 60_000_000
                rows["value"] = rng.integers(0, 100, len(rows))
                write_as_ingesters_do(rows, rng.uniform(0, 0.004))
                now[0] = min(now[0] + timedelta(minutes=10), end)
        except BaseException as error:
            failures.append(error)
            raise

    def refresh() -> None:
        while not stop.is_set():
            try:
                rollups.refresh(city, now[0], settle=NONE)
            except BaseException as error:
                failures.append(error)
                raise

    refresher = threading.Thread(target=refresh)
    writers = [threading.Thread(target=write_some, args=(seed,)) for seed in range(3)]
    for thread in (*writers, refresher):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    refresher.join()
    assert failures == []
    rollups.refresh(city, end + 3 * DAY)
    with city.connection() as connection:
        rows = connection.execute(
            "SELECT s.asset, ts, value, quality FROM reading JOIN series s ON s.id = series_id"
        ).fetchall()
    check(city, {(int(asset[1:]), ts): (value, flags) for asset, ts, value, flags in rows})


def test_slices_are_whole_days_of_readings_or_gaps() -> None:
    day = [START + k * DAY for k in range(5)]
    slices = rollups._slices([day[1], day[2]], day[0] + HOUR, day[4] + HOUR)
    assert slices == [
        (day[0] + HOUR, day[1]),
        (day[1], day[2]),
        (day[2], day[3]),
        (day[3], day[4] + HOUR),
    ]
