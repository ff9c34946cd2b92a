"""Footprints that changed after they were booked: readings that came late are no reason to lie.

The ledger is never edited: what it states of an hour is reversed and stated anew.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from carbon.footprint import HourlyFootprint, correction, hourly_entry
from carbon.journal import Entry, StoredEntry
from core.timeaxis import HOUR
from store import footprints, ledger
from store.database import Connection

STATE_ANEW = Decimal(-1)
"""Less than any share: the hour is stated anew whatever readings have come."""


def due(
    connection: Connection, enterprise: str, start: datetime, end: datetime
) -> dict[datetime, Decimal]:
    """Hours in [start, end) that may have to be stated anew, and the share of readings they had.

    Those that were booked with readings missing, and with ``STATE_ANEW`` those whose intensities
    by bus have been traced since.
    """
    if start >= end:
        return {}
    booked = footprints.read(connection, start, end, enterprises=[enterprise])
    incomplete = {
        hour.to_pydatetime(): coverage
        for hour, coverage in zip(booked["ts"], booked["coverage"], strict=True)
        if coverage < 1
    }
    retraced = footprints.retraced(connection, enterprise, start, end)
    return incomplete | dict.fromkeys(retraced, STATE_ANEW)


def entries(connection: Connection, row: HourlyFootprint) -> list[Entry]:
    """What has to be posted so that the ledger states ``row`` and nothing else of its hour.

    Nothing where it does so already.
    """
    posted = ledger.entries(connection, row.enterprise, row.hour, row.hour + HOUR)
    stated = [s for s in posted if s.entry.detail.get("level") == row.level]
    taken_back = {s.entry.reverses for s in posted}
    standing = next((s for s in stated if s.hash.hex() not in taken_back), None)
    if standing is not None and _states(standing, row):
        return []
    if standing is not None:
        return correction(standing, row, revision=len(stated))
    entry = hourly_entry(row, revision=len(stated))
    return [] if entry is None else [entry]


def _states(standing: StoredEntry, row: HourlyFootprint) -> bool:
    """Whether a posted entry says of its hour what ``row`` says."""
    wanted = hourly_entry(row)
    return wanted is not None and (wanted.postings, dict(wanted.detail)) == (
        standing.entry.postings,
        dict(standing.entry.detail),
    )
