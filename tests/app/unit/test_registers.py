"""Registers of meters become energies of intervals, late readings included."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app.registers import Registers
from app.wiring import City, StoreSink
from core.clock import CityClock
from core.readings import Quality, batch
from core.series import Series
from core.sites import Asset, AssetKind, DeviceProfile, ProfileTag, Registration, Site, Tag
from ingest.registration import Registrar
from store import corrections, readings, series, sites, writing
from store.database import Database

START = datetime(2026, 6, 22, tzinfo=UTC)
NOW = START + timedelta(hours=12)
PROFILE = DeviceProfile(
    "heat meter",
    "senml",
    "water-*",
    AssetKind.WATER_DISTRICT,
    (ProfileTag("v", "volume_register_m3", "m3"),),
    register=True,
    parameters={"register_modulus": 1_000.0},
)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.fixture
def town(database: Database, site: Site) -> City:
    """A mill with five digits of kWh, a PV plant that exports and imports, and a meter that
    brings its own energies.
    """
    assets = (
        Asset("mill", AssetKind.METER, "Mill", "", parameters={"register_digits": 5}),
        Asset("sun", AssetKind.PV, "Sun", ""),
        Asset("own", AssetKind.METER, "Own", ""),
    )
    names = {
        "mill": ("e_import_register_mwh",),
        "sun": ("e_import_register_mwh", "e_export_register_mwh"),
        "own": ("e_import_register_mwh", "e_mwh"),
    }
    known = tuple(Series("tiny", a, v, owner=a) for a, vs in names.items() for v in vs)
    tags = tuple(Tag(f"dev-{s.asset}", s.variable, "kWh", s.key) for s in known)
    described = replace(
        site, assets=assets, series=known, tags=tags, enterprises=(), profiles=(PROFILE,)
    )
    with database.connection() as connection:
        sites.save(connection, described)
        series.register(connection, known)
    return City(database, described, CityClock(NOW, NOW, 1.0))


def write(city: City, key: str, rows: dict[float, float]) -> None:
    with city.database.connection() as connection:
        number = series.ids(connection)[key]
        writing.write(connection, batch((number, at(m), v, 0) for m, v in rows.items()))


def stored(city: City, key: str) -> dict[float, tuple[float, Quality]]:
    """Minute, energy and flags of every interval."""
    with city.database.connection() as connection:
        if key not in series.ids(connection):
            return {}
        rows = connection.execute(
            "SELECT ts, value, quality FROM reading "
            "WHERE series_id = (SELECT id FROM series WHERE key = %s) ORDER BY ts",
            [key],
        ).fetchall()
    return {
        (ts - START).total_seconds() / 60: (round(value, 9), Quality(quality))
        for ts, value, quality in rows
    }


def test_a_register_becomes_energies_with_its_owner_and_resolution(town: City) -> None:
    write(town, "tiny/mill/e_import_register_mwh", {0: 99.0, 15: 99.5, 30: 0.25, 40: 0.75})
    assert Registers(town).derive(NOW) == (2, 0)
    good = Quality.GOOD
    assert stored(town, "tiny/mill/e_mwh") == {0: (0.5, good), 15: (0.75, good)}  # rolled over
    with town.database.connection() as connection:
        made = connection.execute(
            "SELECT owner, resolution FROM series WHERE key = 'tiny/mill/e_mwh'"
        ).fetchall()
    assert made == [("mill", timedelta(minutes=15))]
    assert Registers(town).derive(NOW) == (0, 0)
    write(town, "tiny/mill/e_import_register_mwh", {45: 1.25, 60: 2.25})
    assert Registers(town).derive(NOW) == (2, 0)
    assert stored(town, "tiny/mill/e_mwh")[45] == (1.0, good)


def test_a_plant_counts_what_it_exports(town: City) -> None:
    write(town, "tiny/sun/e_export_register_mwh", {0: 10.0, 15: 11.0, 30: 13.0})
    write(town, "tiny/sun/e_import_register_mwh", {0: 5.0, 15: 5.25})
    assert Registers(town).derive(NOW) == (1, 0)
    assert stored(town, "tiny/sun/e_mwh") == {0: (0.75, Quality.GOOD)}
    write(town, "tiny/sun/e_import_register_mwh", {30: 5.25})
    assert Registers(town).derive(NOW) == (1, 0)
    assert stored(town, "tiny/sun/e_mwh")[15] == (2.0, Quality.GOOD)


def test_a_late_reading_corrects_what_had_been_spread(town: City) -> None:
    key = "tiny/mill/e_import_register_mwh"
    write(town, key, {0: 1.0, 15: 2.0, 45: 4.0, 60: 5.0, 75: 6.0})
    assert Registers(town).derive(NOW) == (5, 0)
    spread = stored(town, "tiny/mill/e_mwh")
    assert [q for _, q in spread.values()] == [0, Quality.ESTIMATED, Quality.ESTIMATED, 0, 0]
    write(town, key, {30: 3.75})
    assert Registers(town).derive(NOW) == (0, 2)
    right = stored(town, "tiny/mill/e_mwh")
    assert right[15] == (1.75, Quality.CORRECTED)
    assert right[30] == (0.25, Quality.CORRECTED)
    assert sum(e for e, _ in right.values()) == pytest.approx(5.0)
    with town.database.connection() as connection:
        log = corrections.history(connection, "tiny/mill/e_mwh", START, NOW)
    assert log["by_whom"].unique().tolist() == ["registers"]
    assert log["old_value"].tolist() == [1.0, 1.0]
    assert Registers(town).derive(NOW) == (0, 0)


def test_who_brings_energies_is_left_alone(town: City) -> None:
    write(town, "tiny/own/e_import_register_mwh", {0: 1.0, 15: 2.0})
    assert Registers(town).derive(NOW) == (0, 0)
    assert stored(town, "tiny/own/e_mwh") == {}


def test_a_device_that_registered_itself_is_understood_by_its_profile(town: City) -> None:
    made = Registrar("tiny", (PROFILE,)).plan("senml", "water-7", ["v"])
    assert isinstance(made, Registration)
    StoreSink(town.database).register([made])
    write(town, "tiny/water-7/volume_register_m3", {0: 998.0, 15: 3.0})
    assert Registers(town).derive(NOW) == (1, 0)
    assert stored(town, "tiny/water-7/billed_m3") == {0: (5.0, Quality.GOOD)}


def test_parameters_of_no_use_leave_one_meter_out_only(
    town: City, caplog: pytest.LogCaptureFixture
) -> None:
    broken = replace(town.site.assets[0], parameters={"meter_exchanges": [{"at": "yesterday"}]})
    city = replace(town, site=replace(town.site, assets=(broken, *town.site.assets[1:])))
    for asset in ("mill", "sun"):
        write(city, f"tiny/{asset}/e_import_register_mwh", {0: 1.0, 15: 2.0})
    write(city, "tiny/sun/e_export_register_mwh", {0: 1.0, 15: 2.0})
    assert Registers(city).derive(NOW) == (1, 0)
    assert "mill" in [getattr(record, "asset", "") for record in caplog.records]
    assert np.isfinite(list(stored(city, "tiny/sun/e_mwh"))).all()


def test_hours_add_up_to_the_register(town: City) -> None:
    rng = np.random.default_rng(5)
    minutes = np.sort(rng.choice(np.arange(1, 700), size=60, replace=False)).tolist()
    total = 50.0 + np.cumsum(rng.uniform(0.0, 0.5, 62))
    rows = dict(zip([0, *minutes, 705], total.tolist(), strict=True))
    write(town, "tiny/mill/e_import_register_mwh", rows)
    Registers(town).derive(NOW)
    with town.database.connection() as connection:
        found = readings.read(connection, ["tiny/mill/e_mwh"], START, NOW, timedelta(hours=12))
    assert found.values[0, 0] == pytest.approx(total[-1] - 50.0 - (total[0] - 50.0))
