"""What has to be read to make intervals out of registers (app/registers.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from psycopg.sql import Literal

from core.readings import READING_DTYPE, Quality
from core.timeaxis import utc
from store import copybinary, sqltext
from store.database import Connection

_SQL = sqltext.load("counters")
_ROW = (("series_id", ">i4"), ("ts", ">i8"), ("value", ">f8"), ("quality", ">i2"))


@dataclass(frozen=True, slots=True)
class Counter:
    """A measured series; profile: of the device that registered itself, else empty."""

    id: int
    site: str
    asset: str
    variable: str
    owner: str
    timezone: str
    simulated: bool
    profile: str


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a series goes, and its first estimate; None without one."""

    last: datetime
    first_estimate: datetime | None


def counters(connection: Connection, variables: Sequence[str]) -> list[Counter]:
    """The measured series of these variables, by asset."""
    rows = connection.execute(_SQL["series"], {"variables": list(variables)})
    return [Counter(*row) for row in rows]


def tagged(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Those of ``keys`` that a registered device brings itself."""
    return {row[0] for row in connection.execute(_SQL["tagged"], {"keys": list(keys)})}


def reached(connection: Connection, ids: Sequence[int], since: datetime) -> dict[int, Reached]:
    """Where each series stands, as far as it has readings from ``since`` on."""
    given = {"ids": list(ids), "since": utc(since), "estimated": int(Quality.ESTIMATED)}
    rows = connection.execute(_SQL["reached"], given)
    return {series_id: Reached(last, first) for series_id, last, first in rows}


def rows(connection: Connection, ids: Sequence[int], start: datetime, end: datetime) -> np.ndarray:
    """The readings of ``ids`` in [start, end) as they are stored, READING_DTYPE (n,), by series and
    time.
    """
    query = _SQL["rows"].format(
        ids=Literal(list(ids)), start=Literal(utc(start)), end=Literal(utc(end))
    )
    came = copybinary.fetch(connection, query, _ROW)
    found = np.empty(len(came), dtype=READING_DTYPE)
    for name in ("series_id", "value", "quality"):
        found[name] = came[name]
    found["ts_us"] = copybinary.unix_us(came["ts"].astype(np.int64))
    return found
