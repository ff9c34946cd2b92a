"""The carbon desk: hourly footprints per enterprise and the ledger that proves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from carbon import factorset, footprint, journal
from core.accounts import Account, Permission
from core.errors import ConfigurationError
from dashboards.facts import CityFacts
from dashboards.queries.period import Period
from store import footprints, ledger
from store.database import Connection

LEDGER_ROWS = 200
BOOKED = footprint.Level.PROVINCE.value
"""Both levels state the same emission: the pages show one and never add them."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A stored entry and whether its hash fits its content."""

    stored: journal.StoredEntry
    intact: bool


@dataclass(frozen=True, slots=True)
class CarbonView:
    """What one account sees of the city's carbon.

    rows: columns enterprise, ts, e_mwh, kgco2e, factor_id over the period. entries: newest first.
    """

    enterprises: tuple[str, ...]
    rows: pd.DataFrame
    entries: tuple[LedgerRow, ...]


def visible_enterprises(account: Account, facts: CityFacts) -> tuple[str, ...]:
    """The enterprises whose footprints ``account`` may see: all, or its own."""
    if account.may(Permission.CARBON_READ_ALL):
        return tuple(facts.enterprises)
    return (account.owner,) if account.owner in facts.enterprises else ()


def gather(
    connection: Connection, enterprises: Sequence[str], selected: str, period: Period
) -> CarbonView:
    """Footprints of ``enterprises`` over ``period``; ledger entries of ``selected``, or of all."""
    rows = footprints.read(
        connection, period.start, period.end, enterprises=enterprises, level=BOOKED
    )
    owners = [selected] if selected else list(enterprises)
    entries = [
        LedgerRow(stored, intact(stored))
        for owner in owners
        for stored in ledger.entries(connection, owner=owner, limit=LEDGER_ROWS)
    ]
    entries.sort(key=lambda row: row.stored.sequence, reverse=True)
    return CarbonView(tuple(enterprises), rows, tuple(entries[:LEDGER_ROWS]))


def intact(stored: journal.StoredEntry) -> bool:
    """Whether the hash of a stored entry fits its content and its predecessor's hash."""
    content = journal.record(stored.sequence, stored.recorded_at, stored.entry)
    return journal.chain_hash(stored.previous, content) == stored.hash


def today_kgco2e(connection: Connection, period: Period) -> Decimal | None:
    """The emissions of all enterprises over ``period``, None where nothing is computed yet."""
    rows = footprints.read(connection, period.start, period.end, level=BOOKED)
    return sum(rows["kgco2e"], Decimal(0)) if len(rows) else None


@dataclass(frozen=True, slots=True)
class Factors:
    """The grid factors a footprint can be told by, kgCO2/kWh with their edition."""

    provincial: factorset.Factor | None
    national: factorset.Factor | None


def factors(province: str, period: Period) -> Factors:
    """The factor of a province and the nation's at ``period``'s now; None where none is known."""
    known = factorset.load()
    try:
        national = known.national(period.now).factor
        own = known.grid_factor(province, period.now)
    except ConfigurationError:
        return Factors(None, None)
    return Factors(None if own.national_instead else own.factor, national)
