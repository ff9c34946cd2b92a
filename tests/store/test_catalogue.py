"""The catalogue: assets follow the description, its version rises with every change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from core.series import Series
from core.sites import Asset, AssetKind, Site
from store import catalogue, series, sites
from store.database import Connection

STEP = timedelta(minutes=15)
ASSETS = (
    Asset("meter-1", AssetKind.METER, "Mill", "纺织厂", 31.1, 121.4, "mill", district="Riverside"),
    Asset("air-1", AssetKind.AIR_STATION, "Market", "市场站", 31.2, 121.5, district="Old Town"),
)
SITE = Site(
    id="demo",
    name_en="Demo",
    name_zh="示范城",
    timezone="Asia/Shanghai",
    lat=31.0,
    lon=121.0,
    simulated=False,
    network_json="",
    assets=ASSETS,
    enterprises=(),
    series=(),
    tags=(),
)


def stands(connection: Connection) -> dict[str, tuple[str, str]]:
    rows = connection.execute("SELECT id, name_en, device FROM asset").fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


class TestAssets:
    def test_follow_the_description(self, connection: Connection) -> None:
        sites.save(connection, SITE)
        assert stands(connection) == {"meter-1": ("Mill", ""), "air-1": ("Market", "")}
        sites.save(connection, replace(SITE, assets=(replace(ASSETS[0], name_en="Old Mill"),)))
        assert stands(connection) == {"meter-1": ("Old Mill", "")}
        sites.save(connection, replace(SITE, assets=()))
        assert stands(connection) == {}

    def test_devices_that_registered_themselves_stay(self, connection: Connection) -> None:
        connection.execute(
            "INSERT INTO asset (id, site, kind, name_en, name_zh, district, owner, device)"
            " VALUES ('meter-1', 'demo', 'meter', 'm', 'm', '', '', 'dev-1'),"
            " ('meter-2', 'demo', 'meter', 'm', 'm', '', '', 'dev-2')"
        )
        sites.save(connection, SITE)
        found = stands(connection)
        assert found["meter-2"] == ("m", "dev-2")
        assert found["meter-1"] == ("Mill", "dev-1")  # described by now, its device is the same


class TestVersion:
    @pytest.fixture
    def meter(self) -> Series:
        return Series("demo", "meter-1", "p_mw", STEP)

    def test_every_change_raises_it(self, connection: Connection, meter: Series) -> None:
        seen = [catalogue.version(connection)]
        for change in (
            lambda: sites.save(connection, SITE),
            lambda: series.register(connection, [meter]),
            lambda: series.register(connection, [replace(meter, owner="mill")]),
            lambda: series.register(connection, [meter, replace(meter, asset="meter-2")]),
        ):
            change()
            seen.append(catalogue.version(connection))
        assert seen == sorted(set(seen))

    def test_what_changes_nothing_leaves_it(self, connection: Connection, meter: Series) -> None:
        series.register(connection, [meter])
        before = catalogue.version(connection)
        series.register(connection, [meter])
        series.register(connection, [])
        assert catalogue.version(connection) == before

    def test_a_restart_uses_up_no_numbers(self, connection: Connection, meter: Series) -> None:
        """Ids are int4: a million series registered at every start would be through by autumn."""
        (first,) = series.register(connection, [meter]).values()
        for _ in range(5):
            series.register(connection, [meter])
        ids = series.register(connection, [replace(meter, asset="meter-2")])
        assert list(ids.values()) == [first + 1]
