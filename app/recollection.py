"""What an HJ 212 station is asked for when it comes back: what the store misses of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ingest.hj212_host import Period, periods
from store import gaps
from store.database import Database

HORIZON = timedelta(days=7)
"""Older gaps are left to ``verdigrid ingest hj212-request``."""
MOST = 20
"""Periods at one return; the next return asks for the rest."""


def missing_periods(
    database: Database, now: Callable[[], datetime]
) -> Callable[[str], Sequence[Period]]:
    """A function that tells the missing periods of a station by its MN, newest first.

    now: city time. The function raises StoreError.
    """

    def missing(mn: str) -> Sequence[Period]:
        end = now()
        with database.connection() as connection:
            found = gaps.of_device(connection, mn, end - HORIZON, end)
        return periods(found)[:MOST]

    return missing
