"""The city clock, so that all processes agree on it and a restart continues where it stopped."""

from __future__ import annotations

from datetime import datetime

from core.clock import CityClock
from core.timeaxis import utc
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("cityclock")


def save(connection: Connection, clock: CityClock) -> None:
    """Stores ``clock`` in place of the one before."""
    row = {
        "origin_wall": utc(clock.origin_wall),
        "origin_city": utc(clock.origin_city),
        "pace": clock.pace,
    }
    connection.execute(_SQL["save"], row)


def load(connection: Connection) -> CityClock | None:
    """The stored clock; None before the first ``save``."""
    row = connection.execute(_SQL["load"]).fetchone()
    return CityClock(*row) if row else None


def beat(connection: Connection, city_now: datetime) -> None:
    """Notes that the city's clocks show ``city_now``, to continue from after a restart."""
    connection.execute(_SQL["beat"], {"city_now": utc(city_now)})


def last_beat(connection: Connection) -> datetime | None:
    """City time of the last ``beat``; None without any."""
    row = connection.execute(_SQL["last_beat"]).fetchone()
    return row[0] if row else None
