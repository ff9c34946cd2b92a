"""Readings written and read again, against what PostgreSQL itself can do with the same rows.

Writers go into the same partitioned, keyed table of one embedded server, in turns, so that what
else the machine does falls on all of them.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from psycopg.sql import SQL

from core.readings import READING_DTYPE
from core.series import Series
from core.timeaxis import DAY, HOUR, MICROSECOND, QUARTER_HOUR, from_us
from store import backend, copybinary, latest, readings, retention, rollups, series, writing
from store.database import Connection, Database
from store.embedded import EmbeddedServer
from store.migrate import migrate

ROWS = 10_000
SERIES = 1_000
ROUNDS = 100
REPEATED = 5
"""Of so many batches one comes twice; and of so many rounds one writes the slow way."""
_STEP_US = 900_000_000
_FIRST_US = 1_782_057_600_000_000  # 2026-06-22 00:00 +08:00

_COPY = SQL("COPY reading (series_id, ts, value, quality) FROM STDIN (FORMAT BINARY)")
_INSERT = (
    "INSERT INTO reading (series_id, ts, value, quality) "
    "SELECT * FROM unnest(%s::int[], %s::timestamptz[], %s::float8[], %s::int2[]) "
    "ON CONFLICT (series_id, ts) DO NOTHING"
)
_HOURS_OF_READINGS = (
    "SELECT date_bin('1 hour', ts, '1970-01-01 00:00+00'), avg(value) FROM reading "
    "WHERE series_id = %s AND ts >= %s AND ts < %s GROUP BY 1 ORDER BY 1"
)
_HOURS = "SELECT bucket, sum / n FROM rollup_hour WHERE series_id = %s AND bucket >= %s ORDER BY 1"
_NEWEST = (
    "SELECT DISTINCT ON (series_id) key, ts, value, quality FROM reading "
    "JOIN series ON id = series_id ORDER BY series_id, ts DESC"
)
_BESIDE = "SELECT key, ts, value, quality FROM reading_latest JOIN series ON id = series_id"


def rows() -> list[dict[str, object]]:
    """figure, ours, reference, ratio (ours over the reference, of rates; for seconds, how many
    times quicker), unit, note.
    """
    return [*_writing(), *_a_year(), *_newest()]


@contextmanager
def _database() -> Iterator[Database]:
    folder = Path(tempfile.mkdtemp(prefix="verdigrid-bench-"))
    server = EmbeddedServer.start(folder)
    try:
        with Database(server.url) as database:
            migrate(database)
            yield database
    finally:
        server.stop()
        shutil.rmtree((folder / "cluster").resolve())
        shutil.rmtree(folder)


# --- writing -----------------------------------------------------------------------------------


def _batch(number: int, rng: np.random.Generator) -> np.ndarray:
    """ROWS readings of SERIES series, no key twice over all numbers, in the order of arrival."""
    times = ROWS // SERIES
    rows = np.zeros(ROWS, READING_DTYPE)
    rows["series_id"] = np.tile(np.arange(1, SERIES + 1), times)
    steps = np.repeat(np.arange(times), SERIES) + number * times
    rows["ts_us"] = _FIRST_US + steps * _STEP_US
    rows["value"] = rng.normal(size=ROWS)
    return rows


def _insert(connection: Connection, batch: np.ndarray) -> None:
    times = [from_us(us) for us in batch["ts_us"].tolist()]
    columns = [batch[name].tolist() for name in ("series_id", "value", "quality")]
    connection.execute(_INSERT, (columns[0], times, columns[1], columns[2]))


def _timed(database: Database, write: Callable[[Connection], object]) -> float:
    """Seconds of the write with its commit."""
    with database.connection() as connection:
        connection.execute("SELECT 1")  # the pool's own check is not measured
        connection.commit()  # each write is a transaction of its own, as the ingester's are
        began = time.perf_counter()
        write(connection)
        connection.commit()
        return time.perf_counter() - began


def _writing() -> list[dict[str, object]]:
    rng = np.random.default_rng(1)
    spent: dict[str, list[float]] = {"ours": [], "copy": [], "insert": [], "again": []}
    with _database() as database:
        with database.connection() as connection:
            last_us = _FIRST_US + 3 * (ROUNDS + REPEATED) * (ROWS // SERIES) * _STEP_US
            days = range(_FIRST_US, last_us + 86_400_000_000, 86_400_000_000)
            backend.ensure(connection, (from_us(us).date() for us in days))
        for number in range(ROUNDS + REPEATED):
            ours, copied, inserted = (_batch(3 * number + k, rng) for k in range(3))
            text = b"".join(writing.encode(writing.prepare(copied)))  # made before the clock starts
            turns: list[tuple[str, Callable[[Connection], object]]] = [
                ("ours", partial(writing.write, batch=ours)),
                ("copy", partial(copybinary.send, statement=_COPY, text=text)),
            ]
            if number % REPEATED == 0:
                turns.append(("insert", partial(_insert, batch=inserted)))
            order = rng.permutation(len(turns))
            took = {turns[k][0]: _timed(database, turns[k][1]) for k in order}
            if number % REPEATED == 0:
                took["again"] = _timed(database, partial(writing.write, batch=ours))
            if number >= REPEATED:  # the first warm up
                for name, seconds in took.items():
                    spent[name].append(seconds)
    clean, copy = np.array(spent["ours"]), np.array(spent["copy"])
    # Of each group of batches, the last one is the first again.
    groups = clean.reshape(-1, REPEATED)
    mixed = (groups[:, :-1].sum(axis=1) + np.array(spent["again"])) / REPEATED
    return [
        _rate(
            "readings stored, clean batches, against COPY BINARY",
            clean,
            copy,
            "into the same table with its key; COPY gets its bytes ready made",
        ),
        _rate(
            "readings stored, 20 % repeated batches, against COPY BINARY",
            mixed,
            copy.reshape(-1, REPEATED).mean(axis=1),
            "COPY itself can meet no duplicate",
        ),
        _rate(
            "readings stored, clean batches, against INSERT ON CONFLICT",
            groups.mean(axis=1),
            np.array(spent["insert"]),
            "one statement over arrays",
        ),
    ]


def _rate(figure: str, ours: np.ndarray, reference: np.ndarray, note: str) -> dict[str, object]:
    """Seconds of batches as rows/s; the ratio is the median of the rounds', above 1: faster."""
    return {
        "figure": figure,
        "ours": round(ROWS / float(np.median(ours))),
        "reference": round(ROWS / float(np.median(reference))),
        "ratio": round(float(np.median(reference / ours)), 3),
        "unit": "rows/s",
        "note": f"batches of {ROWS:,}; {note}",
    }


# --- reading -----------------------------------------------------------------------------------


def _seconds(work: Callable[[], object], times: int = 9) -> float:
    """The median, after a first time that does not count."""
    spent = []
    for _ in range(times + 1):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def _compared(figure: str, ours: float, reference: float, note: str) -> dict[str, object]:
    return {
        "figure": figure,
        "ours": round(ours * 1e3, 1),
        "reference": round(reference * 1e3, 1),
        "ratio": round(reference / ours, 2),
        "unit": "ms",
        "note": note,
    }


def _a_year() -> list[dict[str, object]]:
    """Quarter-hours of 20 meters over a year; hours of one of them."""
    meters, days = 20, 365
    first = from_us(_FIRST_US)
    with _database() as database:
        with database.connection() as connection:
            ids = series.register(
                connection,
                [Series("bench", f"m-{n}", "p_mw", QUARTER_HOUR) for n in range(meters)],
            )
        rng = np.random.default_rng(2)
        for day in range(days):
            rows = np.zeros(96 * meters, READING_DTYPE)
            rows["series_id"] = np.tile(list(ids.values()), 96)
            rows["ts_us"] = _FIRST_US + (day * 96 + np.repeat(np.arange(96), meters)) * _STEP_US
            rows["value"] = rng.normal(size=len(rows))
            with database.connection() as connection:
                writing.write(connection, rows)
        end = first + days * DAY
        began = time.perf_counter()
        rollups.refresh(database, end + DAY)
        rolled_s = time.perf_counter() - began
        retention.pack(database, end + DAY)
        key, number = next(iter(ids.items()))
        with database.connection() as connection:

            def one(statement: str, *given: object) -> int:
                return len(connection.execute(statement.encode(), (number, *given)).fetchall())

            assert one(_HOURS, first) == days * 24
            ours = _seconds(lambda: readings.read(connection, [key], first, end, HOUR))
            summed = _seconds(lambda: one(_HOURS_OF_READINGS, first, end))
            limit = _seconds(lambda: one(_HOURS, first))
    figure = "hours of one series over a year, read as an array"
    note = f"{days * 24:,} hours; all {meters} series were rolled up in {rolled_s:.1f} s"
    return [
        _compared(figure, ours, summed, f"{note}; reference: GROUP BY over the readings"),
        _compared(figure, ours, limit, "reference: SELECT of the rolled-up rows, as the driver"),
    ]


def _newest() -> list[dict[str, object]]:
    """The newest reading of 100,000 series, of which there are eight each, over two days."""
    terminals = 100_000
    with _database() as database:
        with database.connection() as connection:
            made = [Series("bench", f"m-{n}", "p_mw", QUARTER_HOUR) for n in range(terminals)]
            ids = np.array(list(series.register(connection, made).values()))
        noted = latest.Latest(database, every_s=3600.0)
        for step in range(8):
            rows = np.zeros(terminals, READING_DTYPE)
            rows["series_id"] = ids
            rows["ts_us"] = _FIRST_US + step * (6 * HOUR // MICROSECOND)
            rows["value"] = step
            with database.connection() as connection:
                writing.write(connection, rows)
            noted.note(rows)
        began = time.perf_counter()
        assert noted.flush() == terminals
        flushed_s = time.perf_counter() - began
        with database.connection() as connection:
            assert len(latest.read(connection)) == terminals
            ours = _seconds(lambda: latest.read(connection), 5)
            sorted_ = _seconds(lambda: connection.execute(_NEWEST).fetchall(), 3)
            limit = _seconds(lambda: connection.execute(_BESIDE).fetchall(), 5)
    figure = f"newest readings of {terminals:,} series, read as a table"
    note = f"all brought up to date in {flushed_s:.2f} s; reference: DISTINCT ON over readings"
    return [
        _compared(figure, ours, sorted_, note),
        _compared(figure, ours, limit, "reference: SELECT of the same rows, as the driver gives"),
    ]


if __name__ == "__main__":
    for row in rows():
        print(row)
