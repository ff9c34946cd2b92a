"""When receivers of readings were listening: what is missing in another time was not the device's
fault (store/gaps.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.timeaxis import utc
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("beats")
PAUSE = timedelta(minutes=1)
"""Beats further apart than this leave a time without receiver between them."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A receiver was listening in [since, until], in city time."""

    receiver: str
    since: datetime
    until: datetime


def beat(
    connection: Connection, receiver: str, city_now: datetime, *, gap: timedelta = PAUSE
) -> None:
    """Notes that ``receiver`` listens at ``city_now``; to be called every few seconds.

    receiver: NAME of the protocol, or NAME and an instance behind a colon (``mqtt:2``).
    gap: how far apart beats may be, in city time: a city that runs 60 times faster needs 60 times
    the pause.
    """
    given = {"receiver": receiver, "now": utc(city_now), "gap": gap}
    if not connection.execute(_SQL["extend"], given).rowcount:
        connection.execute(_SQL["begin"], given)


def read(connection: Connection, start: datetime, end: datetime) -> list[Listening]:
    """Who was listening in some part of [start, end), by receiver and time."""
    rows = connection.execute(_SQL["read"], {"start": utc(start), "end": utc(end)}).fetchall()
    return [Listening(*row) for row in rows]


def first(connection: Connection) -> dict[str, datetime]:
    """The first beat of each receiver that ever was."""
    return dict(connection.execute(_SQL["first"]).fetchall())


def forget(connection: Connection, *, before: datetime) -> int:
    """Removes what ended before that time; how many rows went."""
    return connection.execute(_SQL["forget"], {"before": utc(before)}).rowcount
