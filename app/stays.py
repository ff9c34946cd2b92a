"""Vehicles that are at their chargers now, as the types of chargers want to know them."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from core.timeaxis import utc
from grid.der import Stay
from store import charging
from store.database import Connection

UNSERVED_CNY_PER_MWH = 5_000.0
"""Price of energy missing at departure where the charger names none: far above any tariff, so that
a car that asks for more than it can get is served as well as may be and stops no plan."""


def known(connection: Connection, start: datetime) -> dict[str, tuple[Stay, ...]]:
    """Of each asset with vehicles whose needs are known: their stays, the earliest first.

    A session that names no departure after ``start`` (aware UTC) or no energy is left out: its
    charger is planned by its expected demand.
    """
    table = charging.open_sessions(connection)
    found: dict[str, list[Stay]] = {}
    for row in table.to_dict("records"):
        departure, needed = row["expected_departure"], row["requested_mwh"]
        arrival = row["started_at"] if pd.notna(row["started_at"]) else row["first_at"]
        if pd.isna(departure) or pd.isna(needed) or not needed > 0:
            continue
        if departure <= utc(start) or departure <= arrival:
            continue
        charged, most = row["energy_mwh"], row["max_p_mw"]
        found.setdefault(str(row["asset"]), []).append(
            Stay(
                arrival=arrival,
                departure=departure,
                needed_mwh=float(needed),
                charged_mwh=0.0 if pd.isna(charged) else min(float(charged), float(needed)),
                max_p_mw=None if pd.isna(most) or not most > 0 else float(most),
            )
        )
    return {asset: tuple(sorted(stays, key=lambda s: s.arrival)) for asset, stays in found.items()}
