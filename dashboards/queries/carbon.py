"""The carbon desk: hourly footprints per enterprise and the ledger that proves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from carbon import factorset, journal
from carbon.footprint import Method
from core.accounts import Account, Permission
from core.errors import ConfigurationError
from dashboards.facts import CityFacts
from dashboards.queries.period import Period
from store import footprints, intensities, ledger
from store.database import Connection
from store.intensities import BusIntensity

LEDGER_ROWS = 200
KWH_PER_MWH = 1000.0


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A stored entry and whether its hash fits its content."""

    stored: journal.StoredEntry
    intact: bool


@dataclass(frozen=True, slots=True)
class CarbonView:
    """What one account sees of the city's carbon.

    rows: over the period, columns as in ``store.footprints.booked``: one an enterprise and hour.
    entries: newest first.
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
    rows = footprints.booked(connection, period.start, period.end, enterprises=enterprises)
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
    rows = footprints.booked(connection, period.start, period.end)
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


def by_hour(rows: pd.DataFrame) -> pd.DataFrame:
    """Intensities in kgCO2/MWh by hour (index ts, UTC): columns ``bus`` and ``regional``.

    rows: of ``CarbonView``. Means over the enterprises, weighted by their energy; NaN where none
    was used. ``regional`` is what the published factor of each would give, ``bus`` only holds
    hours of which a part was traced.
    """
    if not len(rows):
        return pd.DataFrame({"bus": [], "regional": []}, index=pd.DatetimeIndex([], tz="UTC"))
    known = factorset.load()
    published = {i: float(known.by_id(i).value) for i in set(rows["factor_id"])}
    e_mwh = rows["e_mwh"].astype(float)
    regional = e_mwh * rows["factor_id"].map(published) * KWH_PER_MWH
    table = pd.DataFrame(
        {
            "ts": rows["ts"],
            "e_mwh": e_mwh,
            "bus": rows["kgco2e"].astype(float),
            "regional": regional,
            "traced": rows["method"] != Method.REGIONAL.value,
        }
    )
    hours = table.groupby("ts").agg(
        {"e_mwh": "sum", "bus": "sum", "regional": "sum", "traced": "any"}
    )
    used = hours["e_mwh"].where(hours["e_mwh"] > 0)
    means = hours[["bus", "regional"]].div(used, axis=0)
    means["bus"] = means["bus"].where(hours["traced"])
    return means


def newest_intensity(connection: Connection, period: Period) -> BusIntensity | None:
    """The intensities by bus of the newest hour of ``period`` that was traced; None without."""
    found = intensities.read(connection, period.start, period.end)
    return found[-1] if found else None
