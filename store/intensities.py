"""Carbon intensity of every bus by the hour, as tracing the power flow of readings gave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from psycopg.types.json import Jsonb

from core.errors import StoreError
from core.timeaxis import utc
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("intensities")


@dataclass(frozen=True, slots=True)
class Held:
    """What a battery holds: energy, and emissions for each MWh of it."""

    e_mwh: float
    kgco2e_per_mwh: float


@dataclass(frozen=True, eq=False, slots=True)
class BusIntensity:
    """The hour that begins at ``hour``.

    buses: identifiers, int; kgco2e_per_mwh: the mean over the steps of the hour, NaN where nothing
    passed; both (bus,). coverage: readings present / expected, 0..1. factor_id,
    import_kgco2e_per_mwh: what imports counted as. source_kgco2e, losses_kgco2e: emitted for the
    city's electricity in the hour, and what of it was lost on the grid. contents: by battery, when
    the hour ends. revision: how often the hour has been traced; 0 before it is stored.
    """

    hour: datetime
    buses: np.ndarray
    kgco2e_per_mwh: np.ndarray
    coverage: float
    factor_id: str
    import_kgco2e_per_mwh: float
    source_kgco2e: float
    losses_kgco2e: float
    contents: Mapping[str, Held]
    revision: int = 0

    def at(self, bus: int) -> float | None:
        """kgCO2e/MWh at a bus; None where nothing passed or the bus is unknown."""
        place = np.flatnonzero(self.buses == bus)
        value = float(self.kgco2e_per_mwh[place[0]]) if place.size else float("nan")
        return value if np.isfinite(value) else None


def save(connection: Connection, traced: BusIntensity) -> None:
    """Stores an hour; the same hour again replaces it as its next revision.

    Raises StoreError for arrays of different length.
    """
    if traced.buses.shape != traced.kgco2e_per_mwh.shape:
        raise StoreError("Each bus needs one intensity.")
    row: dict[str, Any] = {
        "ts": utc(traced.hour),
        "coverage": traced.coverage,
        "factor_id": traced.factor_id,
        "import_kgco2e_per_mwh": traced.import_kgco2e_per_mwh,
        "source_kgco2e": traced.source_kgco2e,
        "losses_kgco2e": traced.losses_kgco2e,
        "buses": traced.buses.tolist(),
        "kgco2e_per_mwh": traced.kgco2e_per_mwh.tolist(),
        "contents": Jsonb({a: [h.e_mwh, h.kgco2e_per_mwh] for a, h in traced.contents.items()}),
    }
    connection.execute(_SQL["save"], row)


def read(connection: Connection, start: datetime, end: datetime) -> list[BusIntensity]:
    """The hours in [start, end) that were traced, in order."""
    asked = {"start": utc(start), "end": utc(end)}
    return [_traced(row) for row in connection.execute(_SQL["read"], asked)]


def newest(connection: Connection) -> datetime | None:
    """The newest hour that was traced; None before the first."""
    row = connection.execute(_SQL["newest"]).fetchone()
    return row[0] if row else None


def forget(connection: Connection, *, before: datetime) -> int:
    """Removes hours before ``before``; footprints keep the factors they used."""
    return connection.execute(_SQL["forget"], {"before": utc(before)}).rowcount


def _traced(row: tuple[Any, ...]) -> BusIntensity:
    hour, revision, coverage, factor_id, imported, source, losses, buses, values, contents = row
    return BusIntensity(
        hour=hour,
        buses=np.array(buses, dtype=np.int64),
        kgco2e_per_mwh=np.array(values, dtype=np.float64),
        coverage=coverage,
        factor_id=factor_id,
        import_kgco2e_per_mwh=imported,
        source_kgco2e=source,
        losses_kgco2e=losses,
        contents={asset: Held(*held) for asset, held in contents.items()},
        revision=revision,
    )
