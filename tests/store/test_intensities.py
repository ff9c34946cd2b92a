"""Intensities by bus: an hour is replaced as its next revision; footprints that lag are found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from carbon import factorset
from carbon.footprint import HourlyEnergy, Traced, by_bus, footprints
from core.errors import StoreError
from store import footprints as footprint_store
from store import intensities
from store.database import Connection
from store.intensities import BusIntensity, Held

HOUR = timedelta(hours=1)
NOW = datetime(2026, 6, 22, 4, tzinfo=UTC)


def traced(hour: datetime = NOW, value: float = 388.74) -> BusIntensity:
    return BusIntensity(
        hour=hour,
        buses=np.array([3, 7, 8]),
        kgco2e_per_mwh=np.array([value, np.nan, 600.0]),
        coverage=0.95,
        factor_id="mee_2023.electricity_location.shandong",
        import_kgco2e_per_mwh=641.0,
        source_kgco2e=1500.0,
        losses_kgco2e=12.5,
        contents={"battery-000": Held(1.25, 410.5)},
    )


def test_what_is_read_is_what_was_saved(connection: Connection) -> None:
    intensities.save(connection, traced(NOW + HOUR))
    intensities.save(connection, traced())
    first, second = intensities.read(connection, NOW, NOW + 2 * HOUR)
    assert (first.hour, second.hour) == (NOW, NOW + HOUR)
    assert (first.at(3), first.at(7), first.at(8), first.at(9)) == (388.74, None, 600.0, None)
    assert first.contents == {"battery-000": Held(1.25, 410.5)}
    assert (first.coverage, first.losses_kgco2e, first.revision) == (0.95, 12.5, 1)
    assert intensities.newest(connection) == NOW + HOUR
    intensities.save(connection, traced(value=400.0))
    (again,) = intensities.read(connection, NOW, NOW + HOUR)
    assert (again.at(3), again.revision) == (400.0, 2)
    assert intensities.forget(connection, before=NOW + HOUR) == 1
    assert intensities.newest(connection) == NOW + HOUR


def test_arrays_that_do_not_fit_are_refused(connection: Connection) -> None:
    with pytest.raises(StoreError, match="one intensity"):
        intensities.save(connection, replace(traced(), buses=np.array([1])))


def test_footprints_of_an_earlier_revision_are_found(connection: Connection) -> None:
    energy = [HourlyEnergy(NOW + i * HOUR, Decimal(2), Decimal(1)) for i in range(2)]
    factor = {NOW: Traced(Decimal("0.38874"), Decimal(1), 1)}
    known = factorset.load()
    made = footprints("mill", "山东", energy, known) + by_bus("mill", "山东", energy, known, factor)
    footprint_store.save(connection, made)
    intensities.save(connection, traced())
    window = (NOW, NOW + 2 * HOUR)
    assert footprint_store.retraced(connection, "mill", *window) == []
    intensities.save(connection, traced())  # a second revision
    intensities.save(connection, traced(NOW + HOUR))  # an hour that counted by the province
    assert footprint_store.retraced(connection, "mill", *window) == [NOW, NOW + HOUR]
    assert footprint_store.retraced(connection, "works", *window) == []


def test_each_hour_is_booked_once_by_the_bus_or_as_it_was_before(connection: Connection) -> None:
    energy = [HourlyEnergy(NOW + i * HOUR, Decimal(2), Decimal(1)) for i in range(2)]
    known = factorset.load()
    footprint_store.save(connection, footprints("mill", "山东", energy, known))
    factor = {NOW: Traced(Decimal("0.38874"), Decimal("0.75"), 1)}
    footprint_store.save(connection, by_bus("mill", "山东", energy[:1], known, factor))
    rows = footprint_store.booked(connection, NOW, NOW + 2 * HOUR)
    assert rows["level"].tolist() == ["bus", "province"]
    assert rows["method"].tolist() == ["mixed", "regional"]
    assert rows["factor_value"].iloc[0] == Decimal("0.38874")
    assert rows["traced_share"].iloc[0] == Decimal("0.75")
    assert rows["kgco2e"].iloc[0] == Decimal("777.48")
