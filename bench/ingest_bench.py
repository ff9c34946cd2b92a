"""Writing of readings, against what PostgreSQL itself can do with the same rows.

All three go into the same partitioned, keyed table of one embedded server, in turns, so that
what else the machine does falls on all of them.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from core.readings import READING_DTYPE
from core.timeaxis import from_us
from store import backend, copybinary, writing
from store.database import Connection, Database
from store.embedded import EmbeddedServer
from store.migrate import migrate

ROWS = 10_000
SERIES = 1_000
ROUNDS = 100
_STEP_US = 900_000_000
_FIRST_US = 1_782_057_600_000_000  # 2026-06-22 00:00 +08:00

_COPY = copybinary.SQL("COPY reading (series_id, ts, value, quality) FROM STDIN (FORMAT BINARY)")
_INSERT = (
    "INSERT INTO reading (series_id, ts, value, quality) "
    "SELECT * FROM unnest(%s::int[], %s::timestamptz[], %s::float8[], %s::int2[]) "
    "ON CONFLICT (series_id, ts) DO NOTHING"
)


def _batch(number: int, rng: np.random.Generator) -> np.ndarray:
    """ROWS readings of SERIES series, no key twice over all numbers, in the order of arrival."""
    times = ROWS // SERIES
    rows = np.zeros(ROWS, READING_DTYPE)
    rows["series_id"] = np.tile(np.arange(1, SERIES + 1), times)
    steps = np.repeat(np.arange(times), SERIES) + number * times
    rows["ts_us"] = _FIRST_US + steps * _STEP_US
    rows["value"] = rng.normal(size=ROWS)
    return rows


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


def _ours(connection: Connection, batch: np.ndarray) -> None:
    writing.write(connection, batch)


def _insert(connection: Connection, batch: np.ndarray) -> None:
    times = [from_us(us) for us in batch["ts_us"].tolist()]
    columns = [batch[name].tolist() for name in ("series_id", "value", "quality")]
    connection.execute(_INSERT, (columns[0], times, columns[1], columns[2]))


def _timed(database: Database, write: Callable[[Connection], None]) -> float:
    """Seconds of the write with its commit."""
    with database.connection() as connection:
        connection.execute("SELECT 1")  # the pool's own check is not measured
        connection.commit()  # each write is a transaction of its own, as the ingester's are
        began = time.perf_counter()
        write(connection)
        connection.commit()
        return time.perf_counter() - began


def rows() -> list[dict[str, object]]:
    """figure, ours and reference (rows/s, medians), ratio (median of the rounds), unit, note."""
    rng = np.random.default_rng(1)
    spent: dict[str, list[float]] = {"ours": [], "copy": [], "insert": []}
    with _database() as database:
        with database.connection() as connection:
            last_us = _FIRST_US + 3 * (ROUNDS + 2) * (ROWS // SERIES) * _STEP_US
            days = range(_FIRST_US, last_us + 86_400_000_000, 86_400_000_000)
            backend.ensure(connection, (from_us(us).date() for us in days))
        for number in range(ROUNDS + 2):
            ours, copied, inserted = (_batch(3 * number + k, rng) for k in range(3))
            text = b"".join(writing.encode(writing.prepare(copied)))  # prepared before the clock starts
            turns = [
                ("ours", lambda c, b=ours: _ours(c, b)),
                ("copy", lambda c, t=text: copybinary.send(c, _COPY, t)),
                ("insert", lambda c, b=inserted: _insert(c, b)),
            ]
            rng.shuffle(turns)
            for name, write in turns:
                seconds = _timed(database, write)
                if number >= 2:  # the first two warm up
                    spent[name].append(seconds)
    return [
        _row(
            "store.writing.write against raw COPY BINARY",
            spent["ours"],
            spent["copy"],
            "the reference gets its bytes ready made, and cannot meet a duplicate",
        ),
        _row(
            "store.writing.write against INSERT ON CONFLICT",
            spent["ours"],
            spent["insert"],
            "one statement over arrays",
        ),
    ]


def _row(figure: str, ours: list[float], reference: list[float], note: str) -> dict[str, object]:
    """ratio above 1: ours is faster."""
    return {
        "figure": f"{figure}, batches of {ROWS:,}",
        "ours": round(ROWS / statistics.median(ours)),
        "reference": round(ROWS / statistics.median(reference)),
        "ratio": round(statistics.median(r / o for o, r in zip(ours, reference, strict=True)), 3),
        "unit": "rows/s",
        "note": note,
    }


if __name__ == "__main__":
    for row in rows():
        print(row)
