"""Results of environmental rules over time: air quality indices, leak rates, night flows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd
from psycopg import Cursor
from psycopg.types.json import Jsonb

from core.timeaxis import utc
from store import sqltext
from store.database import Connection
from store.frames import frame

_SQL = sqltext.load("indices")


@dataclass(frozen=True, slots=True)
class IndexRow:
    """``value`` of ``kind`` (``aqi``, ``leak_rate``, ...) for ``subject`` from ``ts`` on.

    value: None where the rules give none (too few valid readings, say); never NaN.
    standard: the rule set it follows, such as ``hj633_2026``; empty without one.
    detail: how it came about (primary pollutant, sub-indices, ...); anything JSON can hold.
    """

    subject: str
    kind: str
    ts: datetime
    value: float | None
    standard: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


def save(connection: Connection, indices: Iterable[IndexRow]) -> None:
    """Stores results; one for the same subject, kind, standard and time replaces the earlier one,
    because late readings change it.
    """
    rows = [
        {
            "subject": i.subject,
            "kind": i.kind,
            "standard": i.standard,
            "ts": utc(i.ts),
            "value": None if i.value is None else float(i.value),
            "detail": Jsonb(i.detail),
        }
        for i in indices
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["save"], rows)


def read(
    connection: Connection,
    kind: str,
    start: datetime,
    end: datetime,
    *,
    subjects: Sequence[str] | None = None,
    standard: str | None = None,
) -> pd.DataFrame:
    """Results in [start, end) by time: subject, kind, standard, ts, value (NaN: none), detail."""
    asked = {
        "kind": kind,
        "start": utc(start),
        "end": utc(end),
        "subjects": None if subjects is None else list(subjects),
        "standard": standard,
    }
    return _frame(connection.execute(_SQL["read"], asked))


def last_hour(connection: Connection, kind: str, subject: str) -> datetime | None:
    """The time of the newest result of ``kind`` for ``subject``; None without any."""
    row = connection.execute(_SQL["last_hour"], {"kind": kind, "subject": subject}).fetchone()
    return row[0] if row else None


def latest(connection: Connection, kind: str, *, standard: str | None = None) -> pd.DataFrame:
    """The newest result of each subject (and standard), with the columns of ``read``."""
    return _frame(connection.execute(_SQL["latest"], {"kind": kind, "standard": standard}))


def _frame(cursor: Cursor[Any]) -> pd.DataFrame:
    table = frame(cursor)
    return table.assign(value=table["value"].astype(float))
