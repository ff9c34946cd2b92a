"""Keeps the city's clock and its tables in order."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.plankinds import INTRADAY, WHAT_IF
from app.wiring import City, wall_now
from store import (
    beats,
    cityclock,
    forecasts,
    intensities,
    machines,
    quarantine,
    runs,
    setpoints,
    users,
)

KEEP_DETAIL = timedelta(days=2)
"""Forecasts of single assets are kept this long; the city's totals stay for replay and scores."""
KEEP_INTENSITIES = timedelta(days=4)
"""Carbon intensities by bus; longer than footprints are stated anew, which keep their factor."""
KEEP_RESOLVED = timedelta(days=30)
"""Messages that were replayed or dismissed; unresolved ones stay until somebody looks at them."""
KEEP_BEATS = timedelta(days=400)
"""When receivers listened: as long as anybody asks why a reading is missing."""

KEEP_REQUESTS = timedelta(days=7)
"""Reports of machines' requests: a machine that repeats one does so within hours."""


class Housekeeping:
    """Small jobs that nobody would miss until they stop."""

    def __init__(self, city: City) -> None:
        self._city = city

    def beat(self, now: datetime) -> None:
        """Note the city's time, so that a simulated city goes on from there after a pause."""
        with self._city.database.connection() as connection:
            cityclock.beat(connection, now)

    def prune(self, now: datetime) -> None:
        """Forget what nobody asks for any more: the detail of old forecasts and plans, messages
        that were mended, old beats of receivers and reports to machines, and sessions that have
        ended.
        """
        with self._city.database.connection() as connection:
            forecasts.prune(connection, before=now - KEEP_DETAIL, keep_kind="estimated")
            for kind in (INTRADAY, WHAT_IF):
                runs.prune_fields(connection, kind, before=now - KEEP_DETAIL)
            setpoints.forget(connection, before=now - KEEP_DETAIL)
            intensities.forget(connection, before=now - KEEP_INTENSITIES)
            quarantine.forget(connection, before=now - KEEP_RESOLVED)
            beats.forget(connection, before=now - KEEP_BEATS)
            machines.forget(connection, wall_now() - KEEP_REQUESTS)
            users.sweep(connection, wall_now())
