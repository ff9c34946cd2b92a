"""Footprints that changed after they were booked: readings that came late are no reason to lie.

The ledger is never edited: what it states of an hour is reversed and stated anew.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from carbon.footprint import HourlyFootprint, correction, hourly_entry
from carbon.journal import Entry
from core.timeaxis import HOUR
from store import footprints, ledger
from store.database import Connection


def incomplete(
    connection: Connection, enterprise: str, start: datetime, end: datetime
) -> dict[datetime, Decimal]:
    """Hours in [start, end) that were booked with readings missing, and the share they had."""
    if start >= end:
        return {}
    booked = footprints.read(connection, start, end, enterprises=[enterprise])
    return {
        hour.to_pydatetime(): coverage
        for hour, coverage in zip(booked["ts"], booked["coverage"], strict=True)
        if coverage < 1
    }


def entries(connection: Connection, row: HourlyFootprint) -> list[Entry]:
    """What has to be posted so that the ledger states ``row`` and nothing else of its hour."""
    posted = ledger.entries(connection, row.enterprise, row.hour, row.hour + HOUR)
    stated = [s for s in posted if s.entry.detail.get("level") == row.level]
    taken_back = {s.entry.reverses for s in posted}
    standing = next((s for s in stated if s.hash.hex() not in taken_back), None)
    if standing is not None:
        return correction(standing, row, revision=len(stated))
    entry = hourly_entry(row, revision=len(stated))
    return [] if entry is None else [entry]
