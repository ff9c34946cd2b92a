"""Charging sessions, made of the events that chargers tell, and the state of their connectors."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import reduce
from typing import Any

import pandas as pd
from psycopg import Cursor

from core.charging import ChargingEvent, ConnectorStatus, Needs, Register, Session, fold
from core.timeaxis import utc
from store import sqltext
from store.database import Connection
from store.frames import frame

_SQL = sqltext.load("charging")

Event = ChargingEvent | ConnectorStatus


def apply(connection: Connection, events: Iterable[Event]) -> None:
    """Stores what ``events`` say, in the caller's transaction.

    In whatever order and however often events come, the rows end up the same. Safe beside another
    writer: sessions are locked one after the other in one order.
    """
    sessions: dict[tuple[str, str], list[ChargingEvent]] = {}
    statuses: list[ConnectorStatus] = []
    for event in events:
        if isinstance(event, ConnectorStatus):
            statuses.append(event)
        else:
            sessions.setdefault((event.charger, event.transaction), []).append(event)
    for key in sorted(sessions):
        _apply_session(connection, sessions[key])
    _apply_statuses(connection, statuses)


def _apply_session(connection: Connection, events: list[ChargingEvent]) -> None:
    first = events[0]
    key = {"charger": first.charger, "transaction": first.transaction}
    connection.execute(_SQL["begin"], {**key, "ts": utc(first.ts)})
    row = connection.execute(_SQL["hold"], key).fetchone()
    assert row is not None
    connection.execute(_SQL["keep"], _row(reduce(fold, events, _session(*row))))


def _session(  # the columns of "hold", in their order
    charger: str,
    transaction: str,
    first_at: datetime,
    last_at: datetime,
    connector: int | None,
    started_at: datetime | None,
    ended_at: datetime | None,
    first_register_at: datetime | None,
    first_register_mwh: float | None,
    last_register_at: datetime | None,
    last_register_mwh: float | None,
    needs_at: datetime | None,
    *needs: Any,
) -> Session:
    return Session(
        charger,
        transaction,
        first_at,
        last_at,
        connector,
        started_at,
        ended_at,
        _register(first_register_at, first_register_mwh),
        _register(last_register_at, last_register_mwh),
        needs_at,
        Needs(*needs),
    )


def _register(ts: datetime | None, value_mwh: float | None) -> Register | None:
    return None if ts is None or value_mwh is None else (ts, value_mwh)


def _row(session: Session) -> dict[str, Any]:
    first, last = session.first_register, session.last_register
    return {
        "charger": session.charger,
        "transaction": session.transaction,
        "first_at": session.first_at,
        "last_at": session.last_at,
        "connector": session.connector,
        "started_at": session.started_at,
        "ended_at": session.ended_at,
        "first_register_at": first and first[0],
        "first_register_mwh": first and first[1],
        "last_register_at": last and last[0],
        "last_register_mwh": last and last[1],
        "needs_at": session.needs_at,
        "expected_departure": session.needs.departure,
        "requested_mwh": session.needs.energy_mwh,
        "max_p_mw": session.needs.max_p_mw,
    }


def _apply_statuses(connection: Connection, statuses: list[ConnectorStatus]) -> None:
    rows = [
        {
            "charger": s.charger,
            "connector": s.connector,
            "since": utc(s.ts),
            "status": s.status,
            "error": s.error,
        }
        for s in sorted(statuses, key=lambda s: (s.charger, s.connector))
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["keep_status"], rows)


def sessions(
    connection: Connection, start: datetime, end: datetime, asset: str | None = None
) -> pd.DataFrame:
    """Sessions of which anything was told in [start, end), the earliest first.

    Columns: asset (the charger's name where no asset has it), charger, connector, transaction,
    state (open; ended; overtaken: another began on the connector and the end was never told),
    started_at, ended_at, first_at and last_at of all that was told, energy_mwh so far,
    expected_departure, requested_mwh, max_p_mw.
    """
    wanted = {"start": utc(start), "end": utc(end), "asset": asset}
    return _table(connection.execute(_SQL["sessions"], wanted))


def open_sessions(connection: Connection) -> pd.DataFrame:
    """Sessions that go on, as ``sessions`` gives them."""
    return _table(connection.execute(_SQL["open_sessions"]))


def _table(cursor: Cursor[Any]) -> pd.DataFrame:
    table = frame(cursor)
    return table.assign(connector=table["connector"].astype("Int64"))  # else NaN makes floats


def statuses(connection: Connection) -> pd.DataFrame:
    """The state of every connector: charger, connector, since, status, error."""
    return frame(connection.execute(_SQL["statuses"]))
