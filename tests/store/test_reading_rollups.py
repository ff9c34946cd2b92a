"""Reading with roll-ups equals reading without: any data, bucket, range, flags and late rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.readings import READING_DTYPE, Quality
from core.series import Series
from core.timeaxis import HOUR, QUARTER_HOUR, from_datetime64, local_day, to_us, zone
from core.variables import variable
from store import corrections, readings, rollups, series, writing
from store.database import Connection, Database
from store.readings import Days

DAY = timedelta(days=1)
BERLIN, SHANGHAI, KOLKATA = "Europe/Berlin", "Asia/Shanghai", "Asia/Kolkata"
SERIES = (
    Series("demo", "a", "p_mw", None, timezone="UTC"),
    Series("demo", "a", "e_mwh", QUARTER_HOUR, timezone=BERLIN),
    Series("demo", "a", "soc", timedelta(minutes=5), timezone=SHANGHAI),
    Series("demo", "b", "p_mw", HOUR, timezone=BERLIN),
    Series("demo", "b", "soc", None, timezone=BERLIN),
    Series("demo", "c", "vm_pu", timedelta(seconds=10), timezone=KOLKATA),
    Series("demo", "c", "billed_m3", DAY, timezone=SHANGHAI),
)
KEYS = [s.key for s in SERIES]
BUCKETS = (
    timedelta(minutes=7),
    QUARTER_HOUR,
    timedelta(minutes=30),
    HOUR,
    3 * HOUR,
    DAY,
    36 * HOUR,
    Days("UTC"),
    Days(BERLIN),
    Days(SHANGHAI),
    Days(KOLKATA),
)
STARTS = (  # the clocks of Berlin go forward, back, and stay
    datetime(2026, 3, 27, tzinfo=UTC),
    datetime(2026, 10, 23, tzinfo=UTC),
    datetime(2026, 6, 22, tzinfo=UTC),
)
FLAGS = (0, 0, 0, 0, 0, 0, 1, 64)
FIVE_MINUTES_US = 300_000_000


def made(rng: np.random.Generator, ids: list[int], start: datetime, count: int) -> np.ndarray:
    """Readings of four days, most of them on multiples of five minutes."""
    rows = np.zeros(count, READING_DTYPE)
    rows["series_id"] = rng.choice(ids, count)
    rows["ts_us"] = to_us(start) + rng.integers(0, 4 * 288, count) * FIVE_MINUTES_US
    rows["ts_us"] += np.where(rng.random(count) < 0.2, rng.integers(0, FIVE_MINUTES_US, count), 0)
    rows["value"] = np.round(rng.normal(size=count), 3)
    rows["quality"] = rng.choice(FLAGS, count)
    return writing.prepare(rows)


def labels(bucket: timedelta | Days, start: datetime, end: datetime) -> list[datetime]:
    """The beginnings of the buckets of [start, end), and the end of the last one."""
    if isinstance(bucket, timedelta):
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        found = [epoch + (start - epoch) // bucket * bucket]
        while found[-1] < end:
            found.append(found[-1] + bucket)
        return found
    tz = zone(bucket.zone)
    day: date = start.astimezone(tz).date()
    found = [local_day(day, tz)[0]]
    while found[-1] < end:
        day += DAY
        found.append(local_day(day, tz)[0])
    return found


def expected(
    stored: np.ndarray,
    ids: list[int],
    start: datetime,
    end: datetime,
    bucket: timedelta | Days,
    exclude: int,
) -> dict[str, np.ndarray]:
    """value by the variable's aggregation, mean, minimum, maximum, n: (times, series), by loops."""
    edges = labels(bucket, start, end)
    figures = ("value", "mean", "minimum", "maximum", "n")
    tables = {name: np.full((len(edges) - 1, len(ids)), np.nan) for name in figures}
    tables["n"][:] = 0
    kept = stored[
        (stored["ts_us"] >= to_us(start))
        & (stored["ts_us"] < to_us(end))
        & ((stored["quality"] & exclude) == 0)
    ]
    for column, number in enumerate(ids):
        own = np.sort(kept[kept["series_id"] == number], order="ts_us")
        how = variable(SERIES[column].variable).aggregation
        for row, (first, last) in enumerate(pairwise(edges)):
            values = own["value"][(own["ts_us"] >= to_us(first)) & (own["ts_us"] < to_us(last))]
            if len(values):
                value = {"mean": values.mean(), "sum": values.sum(), "last": values[-1]}[how]
                tables["value"][row, column] = value
                tables["mean"][row, column] = values.mean()
                tables["minimum"][row, column] = values.min()
                tables["maximum"][row, column] = values.max()
                tables["n"][row, column] = len(values)
    return tables


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """In autocommit: roll-ups are made by another connection."""
    with database.session() as opened:
        yield opened


def empty(connection: Connection) -> None:
    connection.execute("TRUNCATE reading, reading_revision, rollup_dirty")
    connection.execute("TRUNCATE rollup_15min, rollup_hour, rollup_day")
    connection.execute("UPDATE rollup_state SET rolled_to = '1970-01-01Z'")
    connection.execute("UPDATE rollup_late SET before = '1970-01-01Z'")


def roll(database: Database, to: datetime) -> None:
    assert rollups.refresh(database, to, settle=timedelta(0)) is not None


ranges = st.tuples(st.integers(-20, 1200), st.integers(1, 1300)).map(
    lambda pair: (pair[0] * 5, (pair[0] + pair[1]) * 5)
)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    start=st.sampled_from(STARTS),
    count=st.integers(0, 600),
    rolled_hours=st.integers(0, 100),
    late=st.integers(0, 15),
    again=st.booleans(),
    minutes=st.lists(ranges, min_size=1, max_size=3),
    bucket=st.sampled_from(BUCKETS),
    exclude=st.sampled_from([0, 1, 65]),
)
def test_read_equals_a_loop_over_all_readings(
    database: Database,
    connection: Connection,
    seed: int,
    start: datetime,
    count: int,
    rolled_hours: int,
    late: int,
    again: bool,
    minutes: list[tuple[int, int]],
    bucket: timedelta | Days,
    exclude: int,
) -> None:
    empty(connection)
    found = series.register(connection, SERIES)
    ids = [found[key] for key in KEYS]
    rng = np.random.default_rng(seed)
    first = made(rng, ids, start, count)
    writing.write(connection, first)
    to = start + rolled_hours * HOUR
    roll(database, to)
    second = made(rng, ids, start, late)
    new = second[~np.isin(second[["series_id", "ts_us"]], first[["series_id", "ts_us"]])]
    writing.write(connection, second)
    stored = np.concatenate([first, new])
    if again:
        roll(database, to + HOUR)
    for low, high in minutes:
        begin, end = start + low * timedelta(minutes=1), start + high * timedelta(minutes=1)
        wanted = expected(stored, ids, begin, end, bucket, exclude)
        got = readings.read(connection, KEYS, begin, end, bucket, exclude=Quality(exclude))
        assert [from_datetime64(t) for t in got.time.values] == labels(bucket, begin, end)[:-1]
        close(got.values, wanted["value"])
        shape = readings.envelope(connection, KEYS, begin, end, 50, exclude=Quality(exclude))
        length = timedelta(seconds=shape.attrs["bucket_s"])
        wanted = expected(stored, ids, begin, end, length, exclude)
        assert shape.sizes["time"] <= 50
        for name in ("mean", "minimum", "maximum", "n"):
            close(shape[name].values, wanted[name])


@pytest.fixture
def one(connection: Connection) -> Callable[..., int]:
    """Registers a series of instants and writes values every ``step`` from ``start`` on."""

    def store(
        start: datetime,
        values: list[float] | np.ndarray,
        step: timedelta = QUARTER_HOUR,
        zone_name: str = BERLIN,
        variable_name: str = "p_mw",
    ) -> int:
        asset = Series("demo", "a", variable_name, None, timezone=zone_name)
        (number,) = series.register(connection, [asset]).values()
        rows = np.zeros(len(values), READING_DTYPE)
        rows["series_id"] = number
        rows["ts_us"] = [to_us(start + n * step) for n in range(len(values))]
        rows["value"] = values
        writing.write(connection, rows)
        return number

    return store


class TestWhichRollUps:
    """A false roll-up shows where it is read."""

    START = datetime(2026, 6, 21, 22, tzinfo=UTC)  # midnight in Berlin

    @pytest.fixture(autouse=True)
    def rolled(self, database: Database, connection: Connection, one: Callable[..., int]) -> None:
        one(self.START, np.zeros(4 * 24 * 3))
        roll(database, self.START + 3 * DAY - HOUR)
        for name, value in (("15min", 1.0), ("hour", 10.0), ("day", 100.0)):
            connection.execute(f"UPDATE rollup_{name} SET sum = %s * n", (value,))

    def read(self, connection: Connection, first: timedelta, last: timedelta, bucket: object):
        start, end = self.START + first, self.START + last
        return readings.read(connection, ["demo/a/p_mw"], start, end, bucket).values[:, 0].tolist()

    def test_the_coarsest_that_divides_the_bucket(self, connection: Connection) -> None:
        for bucket, value in (
            (timedelta(minutes=10), 0.0),
            (timedelta(minutes=45), 1.0),
            (2 * HOUR, 10.0),
            (Days(BERLIN), 100.0),
            (Days(SHANGHAI), 10.0),
            (DAY, 10.0),
        ):
            first = timedelta(hours=2) if bucket == DAY else timedelta(0)
            if bucket == Days(SHANGHAI):
                first = timedelta(hours=18)
            found = self.read(connection, first, first + 2 * DAY, bucket)
            assert {one for one in found if not np.isnan(one)} == {value}, bucket

    def test_what_is_cut_or_not_rolled_up_comes_from_finer_ones(
        self, connection: Connection
    ) -> None:
        """The first day from 08:20: readings to 08:30, quarters to 09:00, then hours; the third is
        rolled up to 23:00.
        """
        first = timedelta(hours=8, minutes=20)
        found = self.read(connection, first, 3 * DAY, Days(BERLIN))
        quarters = 4 * 24 - 4 * 8 - 2  # from 08:30 on
        assert found[0] == pytest.approx((2 * 1.0 + (quarters - 2) * 10.0) / quarters)
        assert found[1:] == [100.0, pytest.approx(23 * 10.0 / 24)]

    def test_an_envelope_reads_them_too(self, connection: Connection) -> None:
        connection.execute("UPDATE rollup_hour SET minimum = -7, maximum = 7")
        shape = readings.envelope(
            connection, ["demo/a/p_mw"], self.START + 2 * HOUR, self.START + 14 * HOUR, 12
        )
        assert set(shape["mean"].values[:, 0]) == {10.0}
        assert set(shape["minimum"].values[:, 0]) == {-7.0}
        assert set(shape["maximum"].values[:, 0]) == {7.0}
        assert set(shape["n"].values[:, 0]) == {4}


@pytest.mark.parametrize(
    ("name", "day", "quarters"),
    [
        (BERLIN, date(2026, 3, 29), 92),
        (BERLIN, date(2026, 10, 25), 100),
        (BERLIN, date(2026, 6, 22), 96),
        (SHANGHAI, date(2026, 3, 29), 96),
        ("America/Havana", date(2026, 11, 1), 100),  # midnight twice
    ],
)
@pytest.mark.parametrize("rolled", [False, True])
def test_a_natural_day_holds_its_own_hours(
    database: Database,
    connection: Connection,
    one: Callable[..., int],
    name: str,
    day: date,
    quarters: int,
    rolled: bool,
) -> None:
    """The sum over a day of ones is the number of its quarter-hours: 23, 24 or 25 hours."""
    start, end = local_day(day, zone(name))
    one(start - DAY, np.ones(4 * 24 * 4), zone_name=name, variable_name="e_mwh")
    if rolled:
        roll(database, end + DAY)
    found = readings.read(connection, ["demo/a/e_mwh"], start, end, Days(name))
    assert found.values.tolist() == [[quarters]]
    assert from_datetime64(found.time.values[0]) == start
    around = readings.read(connection, ["demo/a/e_mwh"], start - HOUR, end + HOUR, Days(name))
    assert around.values[:, 0].tolist() == [4, quarters, 4]


def test_corrections_are_read_with_roll_ups(
    database: Database, connection: Connection, one: Callable[..., int]
) -> None:
    start = datetime(2026, 6, 22, tzinfo=UTC)
    number = one(start, [1.0] * 8)
    end = start + 2 * HOUR

    def hours(**options: object) -> list[float]:
        found = readings.read(connection, ["demo/a/p_mw"], start, end, HOUR, **options)  # type: ignore[arg-type]
        return found.values[:, 0].tolist()

    roll(database, end)
    rows = np.array([(number, to_us(start), 5.0, 0)], READING_DTYPE)
    corrections.correct(connection, rows, reason="ratio", by="li", at=end)
    assert (hours(), hours(raw=True)) == ([2.0, 1.0], [1.0, 1.0])
    roll(database, end)
    assert not connection.execute("SELECT count(*) FROM rollup_dirty").fetchone()[0]
    assert (hours(), hours(raw=True)) == ([2.0, 1.0], [1.0, 1.0])
