"""Corrections: the newest value counts, the first is never lost, and nothing is done twice."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import StoreError
from core.readings import Quality, batch, empty_batch
from core.series import Series
from store import corrections, latest, readings, series, writing
from store.corrections import Corrected
from store.database import Connection, Database

START = datetime(2026, 6, 22, tzinfo=UTC)
NOW = datetime(2026, 6, 24, tzinfo=UTC)
STEP = timedelta(minutes=15)
HOUR = timedelta(hours=1)
KEY = "demo/meter-1/p_mw"
MADE = {"reason": "wrong transformer ratio", "by": "li", "at": NOW}


@pytest.fixture
def meter(connection: Connection) -> int:
    (number,) = series.register(connection, [Series("demo", "meter-1", "p_mw", STEP)]).values()
    return number


def stored(connection: Connection) -> list[tuple[datetime, float, int]]:
    return connection.execute("SELECT ts, value, quality FROM reading ORDER BY ts").fetchall()


def logged(connection: Connection) -> list[tuple[object, ...]]:
    table = corrections.history(connection, KEY, START, START + HOUR)
    columns = ["ts", "old_value", "old_quality", "new_value", "new_quality", "reason", "by_whom"]
    return list(
        table[columns]
        .astype(object)
        .where(table[columns].notna(), None)
        .itertuples(index=False, name=None)
    )


def test_a_value_is_replaced_and_the_old_one_kept(connection: Connection, meter: int) -> None:
    writing.write(connection, batch([(meter, START, 1.0, Quality.OUT_OF_RANGE)]))
    done = corrections.correct(connection, batch([(meter, START, 2.0, 0)]), **MADE)
    assert done == Corrected(1, 0, 0)
    assert stored(connection) == [(START, 2.0, Quality.CORRECTED)]
    assert logged(connection) == [
        (START, 1.0, Quality.OUT_OF_RANGE, 2.0, Quality.CORRECTED, MADE["reason"], "li")
    ]


def test_every_revision_is_kept_in_order(connection: Connection, meter: int) -> None:
    writing.write(connection, batch([(meter, START, 1.0, 0)]))
    for n, value in enumerate((2.0, 1.0, 3.0)):
        corrections.correct(
            connection,
            batch([(meter, START, value, 0)]),
            reason="again",
            by="li",
            at=NOW - n * HOUR,  # whatever the clock says
        )
    table = corrections.history(connection, KEY, START, START + STEP)
    assert list(table.old_value) == [1.0, 2.0, 1.0]
    assert list(table.revised_at) == [NOW, NOW - HOUR, NOW - 2 * HOUR]


def test_a_correction_made_again_leaves_no_trace(connection: Connection, meter: int) -> None:
    writing.write(connection, batch([(meter, START, 1.0, 0), (meter, START + STEP, 1.0, 8)]))
    rows = batch([(meter, START, 2.0, 0), (meter, START + STEP, 1.0, 8)])
    assert corrections.correct(connection, rows, **MADE) == Corrected(1, 0, 1)
    before = stored(connection), logged(connection)
    assert corrections.correct(connection, rows, **MADE) == Corrected(0, 0, 2)
    assert (stored(connection), logged(connection)) == before
    assert len(before[1]) == 1
    assert before[0][1] == (START + STEP, 1.0, 8)  # it was right, and nobody corrected it


def test_a_gap_is_filled_by_hand(connection: Connection, meter: int) -> None:
    """Also on a day that has no partition yet."""
    rows = batch([(meter, START, 2.0, Quality.ESTIMATED)])
    assert corrections.correct(connection, rows, **MADE) == Corrected(0, 1, 0)
    assert corrections.correct(connection, rows, **MADE) == Corrected(0, 0, 1)
    flags = Quality.ESTIMATED | Quality.CORRECTED
    assert stored(connection) == [(START, 2.0, flags)]
    assert logged(connection)[0][:5] == (START, None, None, 2.0, flags)
    late = writing.write(connection, batch([(meter, START, 9.0, 0)]))
    assert (late.inserted, late.duplicates) == (0, 1)


def test_what_was_first_stored_can_be_read(connection: Connection, meter: int) -> None:
    places = [START + n * STEP for n in range(4)]
    writing.write(connection, batch([(meter, ts, n, 0) for n, ts in enumerate(places[:3])]))
    for value in (10.0, 11.0):
        rows = batch([(meter, places[1], value, 0), (meter, places[3], value, Quality.ESTIMATED)])
        corrections.correct(connection, rows, **MADE)
    end = places[3] + STEP

    def values(**options: object) -> list[float]:
        found = readings.read(connection, [KEY], START, end, **options)  # type: ignore[arg-type]
        return found.values[:, 0].tolist()

    assert values() == [0.0, 11.0, 2.0, 11.0]
    assert values(raw=True) == [0.0, 1.0, 2.0]
    assert values(bucket=HOUR) == [6.0]
    assert values(bucket=HOUR, raw=True) == [1.0]


def test_flags_first_stored_decide_in_raw_reading(connection: Connection, meter: int) -> None:
    writing.write(connection, batch([(meter, START, 1.0, Quality.OUT_OF_RANGE)]))
    corrections.correct(connection, batch([(meter, START, 2.0, 0)]), **MADE)
    options = {"exclude": Quality.OUT_OF_RANGE}
    assert readings.read(connection, [KEY], START, START + STEP, **options).values == [[2.0]]
    assert readings.read(connection, [KEY], START, START + STEP, raw=True, **options).size == 0


def test_the_newest_reading_is_known_as_corrected(connection: Connection, meter: int) -> None:
    def newest() -> list[tuple[datetime, float]]:
        return connection.execute("SELECT ts, value FROM reading_latest").fetchall()

    writing.write(connection, batch([(meter, START, 1.0, 0), (meter, START + STEP, 2.0, 0)]))
    latest.reconcile(connection, START)
    corrections.correct(connection, batch([(meter, START, 8.0, 0)]), **MADE)
    assert newest() == [(START + STEP, 2.0)]
    corrections.correct(connection, batch([(meter, START + STEP, 9.0, 0)]), **MADE)
    assert newest() == [(START + STEP, 9.0)]
    corrections.correct(connection, batch([(meter, START + HOUR, 7.0, 0)]), **MADE)
    assert newest() == [(START + HOUR, 7.0)]


@pytest.mark.parametrize(("reason", "by"), [("", "li"), (" ", "li"), ("so", ""), ("so", "\t")])
def test_somebody_must_say_why(connection: Connection, meter: int, reason: str, by: str) -> None:
    with pytest.raises(StoreError, match="needs a reason and the name"):
        corrections.correct(
            connection, batch([(meter, START, 1.0, 0)]), reason=reason, by=by, at=NOW
        )


def test_what_is_no_reading_is_refused_as_everywhere(connection: Connection, meter: int) -> None:
    for rows in (batch([(meter, START, np.nan, 0)]), np.zeros(3)):
        with pytest.raises(StoreError):
            corrections.correct(connection, rows, **MADE)
    assert corrections.correct(connection, empty_batch(), **MADE) == Corrected(0, 0, 0)


def test_the_history_of_an_unknown_series(connection: Connection) -> None:
    with pytest.raises(StoreError, match="no series"):
        corrections.history(connection, KEY, START, NOW)


def test_all_or_nothing(database: Database) -> None:
    with database.connection() as connection:
        (number,) = series.register(connection, [Series("demo", "meter-1", "p_mw")]).values()
        writing.write(connection, batch([(number, START, 1.0, 0)]))

    def fail() -> None:
        with database.connection() as connection:
            corrections.correct(connection, batch([(number, START, 2.0, 0)]), **MADE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.session() as connection:  # in autocommit
        assert stored(connection) == [(START, 1.0, 0)]
        assert logged(connection) == []
        corrections.correct(connection, batch([(number, START, 3.0, 0)]), **MADE)
        assert len(logged(connection)) == 1


def test_two_at_once(database: Database) -> None:
    """Whoever comes second finds what the first one wrote: no revision is lost or invented."""
    with database.connection() as connection:
        (number,) = series.register(connection, [Series("demo", "meter-1", "p_mw")]).values()
        writing.write(connection, batch([(number, START, 0.0, 0)]))

    def work(values: Sequence[float]) -> None:
        for value in values:
            with database.connection() as connection:
                rows = batch([(number, START, value, 0), (number, START + STEP, value, 0)])
                corrections.correct(connection, rows, **MADE)

    threads = [threading.Thread(target=work, args=(range(k, 40, 2),)) for k in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with database.connection() as connection:
        log = logged(connection)
        now = {ts: value for ts, value, _ in stored(connection)}
    for ts, first in ((START, 0.0), (START + STEP, None)):
        chain = [row for row in log if row[0] == ts]
        assert [row[1] for row in chain] == [first, *(row[3] for row in chain[:-1])]
        assert chain[-1][3] == now[ts]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.tuples(
            st.booleans(),
            st.lists(
                st.tuples(st.integers(0, 3), st.sampled_from([1.0, 2.0]), st.sampled_from([0, 1])),
                max_size=4,
            ),
        ),
        max_size=6,
    )
)
def test_readings_corrections_and_their_log_equal_a_dictionary(
    connection: Connection, steps: list[tuple[bool, list[tuple[int, float, int]]]]
) -> None:
    connection.execute("TRUNCATE reading, reading_revision")
    (number,) = series.register(connection, [Series("demo", "meter-1", "p_mw")]).values()
    now: dict[datetime, tuple[float, int]] = {}
    first: dict[datetime, float | None] = {}
    for is_correction, rows in steps:
        new = {START + n * STEP: (value, quality) for n, value, quality in rows}
        sent = batch([(number, ts, *given) for ts, given in new.items()])
        if is_correction:
            corrections.correct(connection, sent, **MADE)
            for ts, (value, quality) in new.items():
                first.setdefault(ts, None)
                old = now.get(ts)
                if old is None or (old[0], old[1] & ~256) != (value, quality):
                    now[ts] = (value, quality | 256)
        else:
            writing.write(connection, sent)
            for ts, pair in new.items():
                first.setdefault(ts, pair[0])
                now.setdefault(ts, pair)
    assert {ts: (value, quality) for ts, value, quality in stored(connection)} == now
    raw = readings.read(connection, [KEY], START, START + HOUR, raw=True)
    kept = {ts: value for ts, value in first.items() if value is not None}
    assert raw.values[:, 0].tolist() == [kept[ts] for ts in sorted(kept)]
