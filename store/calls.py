"""Calls of demand response, as they were announced and withdrawn; all times are city times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.errors import NotWaitingError
from core.timeaxis import utc
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("calls")


@dataclass(frozen=True, slots=True)
class Call:
    """Within [start, end) import less export shall stay at or below limit_mw.

    breach_cny_per_mwh: what each MWh above it costs. withdrawn_at: None while it stands.
    """

    id: int
    name: str
    start: datetime
    end: datetime
    limit_mw: float
    breach_cny_per_mwh: float
    added_by: str
    added_at: datetime
    withdrawn_by: str = ""
    withdrawn_at: datetime | None = None


def add(
    connection: Connection,
    *,
    name: str,
    start: datetime,
    end: datetime,
    limit_mw: float,
    breach_cny_per_mwh: float,
    by: str,
    at: datetime,
) -> int:
    """Keeps a call that was announced at ``at``; its id."""
    row = {
        "name": name,
        "start": utc(start),
        "end": utc(end),
        "limit_mw": limit_mw,
        "breach_cny_per_mwh": breach_cny_per_mwh,
        "by": by,
        "at": utc(at),
    }
    inserted = connection.execute(_SQL["add"], row).fetchone()
    assert inserted is not None
    return int(inserted[0])


def withdraw(connection: Connection, call_id: int, by: str, at: datetime) -> None:
    """From ``at`` on no plan counts with it; NotWaitingError where no such call stands."""
    row = {"id": call_id, "by": by, "at": utc(at)}
    if not connection.execute(_SQL["withdraw"], row).rowcount:
        raise NotWaitingError(f"There is no call {call_id} that stands.")


def standing(
    connection: Connection, start: datetime, end: datetime, *, as_of: datetime
) -> list[Call]:
    """The calls that meet [start, end), announced and not withdrawn at ``as_of``, by start."""
    asked = {"start": utc(start), "end": utc(end), "as_of": utc(as_of)}
    return [Call(*row) for row in connection.execute(_SQL["standing"], asked)]


def recent(connection: Connection, limit: int = 50, since: datetime | None = None) -> list[Call]:
    """The calls that end after ``since`` (None: all), withdrawn ones too, the latest first."""
    asked = {"limit": limit, "since": None if since is None else utc(since)}
    return [Call(*row) for row in connection.execute(_SQL["recent"], asked)]
