"""Hourly footprints of enterprises, exact decimals.

An hour is stated once for each level of grid mix (carbon/footprint.py). The levels state the same
emission, so nothing here adds one to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from carbon.footprint import HourlyFootprint
from core.errors import StoreError
from core.timeaxis import utc
from store import sqltext
from store.database import Connection
from store.frames import frame

_SQL = sqltext.load("footprints")


def save(connection: Connection, footprints: Iterable[HourlyFootprint]) -> None:
    """Stores footprints; one of the same enterprise, hour and level replaces the earlier one.

    Raises StoreError for amounts that are not finite.
    """
    rows = [_row(footprint) for footprint in footprints]
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["save"], rows)


def _row(footprint: HourlyFootprint) -> dict[str, Any]:
    if not (footprint.e_mwh.is_finite() and footprint.kgco2.is_finite()):
        raise StoreError(f"A footprint of {footprint.enterprise!r} is not finite.")
    return {
        "enterprise": footprint.enterprise,
        "ts": utc(footprint.hour),
        "level": footprint.level.value,
        "e_mwh": footprint.e_mwh,
        "kgco2e": footprint.kgco2,
        "factor_id": footprint.factor_id,
        "coverage": footprint.coverage,
        "estimated": footprint.estimated,
        "method": footprint.method.value,
        "factor_value": footprint.factor_value,
        "traced_share": footprint.traced.share if footprint.traced else 0,
        "traced_revision": footprint.traced.revision if footprint.traced else 0,
    }


def read(
    connection: Connection,
    start: datetime,
    end: datetime,
    *,
    enterprises: Sequence[str] | None = None,
    level: str | None = None,
) -> pd.DataFrame:
    """Footprints in [start, end): enterprise, ts, level, e_mwh, kgco2e, factor_id, coverage,
    estimated, method, factor_value (kgCO2/kWh; None in rows older than it) and traced_share.
    The amounts are Decimal. None means all.
    """
    asked = _asked(start, end, enterprises) | {"level": level}
    return frame(connection.execute(_SQL["read"], asked))


def booked(
    connection: Connection,
    start: datetime,
    end: datetime,
    *,
    enterprises: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The one footprint of each enterprise and hour that counts, columns as in ``read``.

    By the bus; by the province's factor where an hour was stated before buses were traced.
    """
    return frame(connection.execute(_SQL["booked"], _asked(start, end, enterprises)))


def retraced(
    connection: Connection, enterprise: str, start: datetime, end: datetime
) -> list[datetime]:
    """Hours in [start, end) whose intensities were traced after the footprint was stated."""
    asked = {"enterprise": enterprise, "start": utc(start), "end": utc(end)}
    return [row[0] for row in connection.execute(_SQL["retraced"], asked)]


def last_hour(connection: Connection, enterprise: str) -> datetime | None:
    """The newest hour that has a footprint; None without any."""
    row = connection.execute(_SQL["last_hour"], {"enterprise": enterprise}).fetchone()
    return row[0] if row else None


def totals(
    connection: Connection,
    start: datetime,
    end: datetime,
    *,
    enterprises: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Sums over [start, end) by enterprise and level: e_mwh and kgco2e (Decimal)."""
    return frame(connection.execute(_SQL["totals"], _asked(start, end, enterprises)))


def _asked(start: datetime, end: datetime, enterprises: Sequence[str] | None) -> dict[str, Any]:
    return {
        "start": utc(start),
        "end": utc(end),
        "enterprises": None if enterprises is None else list(enterprises),
    }
