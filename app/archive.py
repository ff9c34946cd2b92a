"""Keeps what is stored quick to read and no larger than wanted: roll-ups, the newest readings,
retention, packing.
"""

from __future__ import annotations

import logging
from datetime import datetime

from app.wiring import City
from core.timeaxis import DAY
from store import latest, retention, rollups

log = logging.getLogger(__name__)

LOOK_BACK = 2 * DAY
"""Newest readings that nobody noted are looked for this far back."""


class Archive:
    """Jobs over all readings of a city."""

    def __init__(self, city: City) -> None:
        self._city = city

    def rollups(self, now: datetime) -> None:
        """Roll up what has settled, and hours that late readings came to."""
        done = rollups.refresh(self._city.database, now)
        if done and done.hours:
            log.info("late readings rolled up", extra={"hours": done.hours})

    def newest(self, now: datetime) -> None:
        """Catch up with newest readings that their writers did not get to note."""
        with self._city.database.connection() as connection:
            latest.reconcile(connection, now - LOOK_BACK)

    def tidy(self, now: datetime) -> None:
        """Delete what is no longer kept, and pack what is old."""
        applied = retention.apply(self._city.database, now)
        packed = retention.pack(self._city.database, now)
        if packed or (applied and (applied.rows or applied.dropped)):
            facts = {"packed": len(packed), "deleted_rows": applied.rows if applied else 0}
            log.info("readings tidied up", extra=facts)
