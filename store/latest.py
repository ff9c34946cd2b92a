"""The newest reading of every series, in a table beside the readings.

Who stores readings notes them and pays nothing for it: a second later their series are looked up
and the table is brought up to date, in one transaction. It never runs ahead of what is committed.
A process that dies with notes on its mind leaves the table behind by them; ``reconcile`` catches
up, when the jobs of a city start and every few minutes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
from psycopg.sql import Literal

from core.errors import StoreError
from core.timeaxis import from_us
from store import copybinary, sqltext
from store.database import Connection, Database
from store.frames import frame

_SQL = sqltext.load("latest")
_KEY = (("series_id", ">i4"), ("ts", ">i8"))
_ROW = (*_KEY, ("value", ">f8"), ("quality", ">i2"))
_FEW = 500
"""Series that are quicker looked up one by one, and then known exactly."""

_log = logging.getLogger(__name__)


class Latest:
    """Brings the table up to date with what one process stores.

    every_s: how long after a note the table is brought up to date, by a thread of its own.
    """

    def __init__(self, database: Database, *, every_s: float = 1.0) -> None:
        self._database = database
        self._every_s = every_s
        self._noted: list[tuple[np.ndarray, np.ndarray]] = []
        self._guard = threading.Lock()
        self._one_flush = threading.Lock()
        self._timer: threading.Timer | None = None

    def note(self, batch: np.ndarray) -> None:
        """Remembers a batch (READING_DTYPE) that was committed; returns at once."""
        if not len(batch):
            return
        with self._guard:
            self._noted.append((batch["series_id"], batch["ts_us"]))
            if self._timer is None:
                self._timer = threading.Timer(self._every_s, self._when_due)
                self._timer.daemon = True  # who ends in a hurry leaves it to ``reconcile``
                self._timer.start()

    def flush(self) -> int:
        """Brings the table up to date now; the number of series whose newest reading is newer.

        Raises StoreError; what was noted is then kept for the next time.
        """
        with self._one_flush:
            with self._guard:
                noted, self._noted, self._timer = self._noted, [], None
            if not noted:
                return 0
            series_id, ts_us = newest(*(np.concatenate(c) for c in zip(*noted, strict=True)))
            try:
                with self._database.connection() as connection:
                    return _store(connection, series_id, ts_us)
            except StoreError:
                with self._guard:
                    self._noted.append((series_id, ts_us))
                raise

    def close(self) -> None:
        """Brings the table up to date for the last time, as far as the database lets it."""
        with self._guard:
            if self._timer is not None:
                self._timer.cancel()
        self._when_due()

    def _when_due(self) -> None:
        try:
            self.flush()
        except StoreError as error:
            _log.warning("newest readings wait for the database", extra={"reason": str(error)})


def newest(series_id: np.ndarray, ts_us: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each series once, ascending, with the greatest of its times."""
    order = np.lexsort((ts_us, series_id))
    series_id, ts_us = series_id[order], ts_us[order]
    last = np.append(series_id[1:] != series_id[:-1], True)
    return series_id[last], ts_us[last]


def _store(connection: Connection, series_id: np.ndarray, ts_us: np.ndarray) -> int:
    connection.execute(_SQL["quick"])
    connection.execute(_SQL["staging"])
    columns = {"series_id": series_id, "ts": copybinary.postgres_us(ts_us)}
    copybinary.send(connection, _SQL["copy"], copybinary.stream(_KEY, columns))
    bounds = {
        "first": Literal(from_us(int(ts_us.min()))),
        "last": Literal(from_us(int(ts_us.max()))),
    }
    return connection.execute(_SQL["flush"].format(**bounds)).rowcount


def reconcile(connection: Connection, since: datetime) -> int:
    """Catches up with readings that nobody noted, as far as they are of ``since`` or later; with
    all of them where the table is empty. The number of series whose newest reading is newer.
    """
    row = connection.execute(_SQL["any"]).fetchone()
    begin = Literal(since if row and row[0] else "-infinity")
    return connection.execute(_SQL["reconcile"].format(since=begin)).rowcount


def read(connection: Connection, keys: Sequence[str] | None = None) -> pd.DataFrame:
    """The newest reading of each series (of ``keys``, or of all): key, ts, value, quality.

    Up to 500 series are looked up among the readings; of more, a reading may be missing that came
    within the last second or two. A series without readings has no row.
    """
    wanted = None if keys is None else list(keys)
    if _few(connection, wanted):
        return frame(connection.execute(_SQL["descend"], {"keys": wanted}))
    found = copybinary.fetch(connection, _SQL["all"], _ROW)
    found = found.take(np.argsort(found["series_id"]))
    rows = connection.execute(_SQL["keys"], {"keys": wanted}).fetchall()
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    names = np.array([row[1] for row in rows], dtype=object)
    place = np.searchsorted(found["series_id"], ids)
    there = place < len(found)
    there[there] = found["series_id"][place[there]] == ids[there]
    found = found[place[there]]
    ts = copybinary.unix_us(found["ts"].astype(np.int64)).astype("datetime64[us]")
    return pd.DataFrame(
        {
            "key": names[there],
            "ts": pd.DatetimeIndex(ts.astype("datetime64[ns]")).tz_localize("UTC"),
            "value": found["value"].astype(np.float64),
            "quality": found["quality"].astype(np.int64),
        }
    )


def _few(connection: Connection, keys: Sequence[str] | None) -> bool:
    if keys is not None:
        return len(keys) <= _FEW
    row = connection.execute(_SQL["few"].format(most=Literal(_FEW))).fetchone()
    return bool(row and row[0])
