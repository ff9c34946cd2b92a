"""The catalogue: assets follow the description, its version rises with every change, and whatever
is asked of it is found.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core.errors import StoreError
from core.readings import Quality, batch
from core.series import Series, SeriesKind
from core.sites import Asset, AssetKind, Site
from store import catalogue, series, sites, writing
from store.database import Connection

STEP = timedelta(minutes=15)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
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


NOW = datetime(2026, 6, 22, 12, tzinfo=UTC)
FLAGGED = Quality.OUT_OF_RANGE | Quality.LATE


class TestSearch:
    @pytest.fixture(autouse=True)
    def city(self, connection: Connection) -> None:
        """A mill's meter with two series, two air stations, and a total that nobody measures."""
        more = Asset(
            "air-2", AssetKind.AIR_STATION, "Port 50%", "港口", 31.3, 121.6, district="Port"
        )
        sites.save(connection, replace(SITE, assets=(*ASSETS, more)))
        ids = series.register(
            connection,
            [
                Series("demo", "meter-1", "p_mw", STEP, owner="mill", timezone="Asia/Shanghai"),
                Series("demo", "meter-1", "vm_pu", owner="mill"),
                Series("demo", "air-1", "pm2_5", HOUR),
                Series("demo", "air-2", "pm2_5", HOUR, simulated=True),
                Series("demo", "load-total", "p_mw", kind=SeriesKind.ESTIMATED),
            ],
        )
        power, voltage, market = list(ids.values())[:3]
        rows = [
            *((power, NOW - k * STEP, 1.0, FLAGGED if k % 4 == 1 else 0) for k in range(1, 41)),
            *((market, NOW - k * HOUR, 7.0, 0) for k in (3, 2)),
            (voltage, NOW - 3 * DAY, 1.01, Quality.FLAT_LINE),
        ]
        writing.write(connection, batch(rows))
        connection.execute(
            "INSERT INTO reading_latest"
            " SELECT DISTINCT ON (series_id) series_id, ts, value, quality"
            " FROM reading ORDER BY series_id, ts DESC"
        )

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ({}, ["air-1", "air-2", "load-total", "meter-1/p", "meter-1/v"]),
            ({"text": "MILL"}, ["meter-1/p", "meter-1/v"]),
            ({"text": "纺织"}, ["meter-1/p", "meter-1/v"]),
            ({"text": "mill vm_pu"}, ["meter-1/v"]),
            ({"text": "old town"}, ["air-1"]),
            ({"text": "load-total"}, ["load-total"]),
            ({"text": "50%"}, ["air-2"]),
            ({"text": "5_%"}, []),
            ({"text": "' OR true --"}, []),
            ({"keys": ["demo/air-1/pm2_5", "demo/nothing/p_mw"]}, ["air-1"]),
            ({"kinds": ["air_station"]}, ["air-1", "air-2"]),
            ({"kinds": ["air_station"], "districts": ["Port", "Riverside"]}, ["air-2"]),
            ({"owners": ["mill"]}, ["meter-1/p", "meter-1/v"]),
            ({"variables": ["pm2_5", "vm_pu"]}, ["air-1", "air-2", "meter-1/v"]),
            ({"box": (31.15, 121.0, 31.25, 122.0)}, ["air-1"]),
            ({"site": "demo", "text": "port"}, ["air-2"]),
            ({"site": "elsewhere"}, []),
            ({"quality": Quality.GOOD}, ["air-1"]),
            ({"quality": Quality.LATE}, ["meter-1/p"]),
            ({"quality": Quality.LATE | Quality.FLAT_LINE}, ["meter-1/p", "meter-1/v"]),
            ({"fresher_than": HOUR, "now": NOW}, ["meter-1/p"]),
            ({"fresher_than": DAY, "now": NOW}, ["air-1", "meter-1/p"]),
            ({"staler_than": HOUR, "now": NOW}, ["air-1", "air-2", "load-total", "meter-1/v"]),
            ({"fresher_than": 3 * HOUR, "staler_than": HOUR, "now": NOW}, ["air-1"]),
        ],
    )
    def test_what_fits_everything_that_is_given(
        self, connection: Connection, asked: dict[str, object], found: list[str]
    ) -> None:
        table = catalogue.search(connection, **asked)  # type: ignore[arg-type]
        short = [
            f"{row.asset}/{row.variable[0]}" if row.asset == "meter-1" else row.asset
            for row in table.itertuples()
        ]
        assert short == found

    def test_pages(self, connection: Connection) -> None:
        every = catalogue.search(connection)["key"].tolist()
        pages: list[str] = []
        while page := catalogue.search(connection, limit=2, after=pages[-1] if pages else "")[
            "key"
        ].tolist():
            pages += page
        assert pages == every == sorted(every)

    def test_what_is_told_of_a_series(self, connection: Connection) -> None:
        table = catalogue.search(connection, now=NOW).set_index("key")
        row = table.loc["demo/meter-1/p_mw"]
        assert row[["unit", "name_zh", "kind", "district", "owner"]].tolist() == [
            "MW",
            "纺织厂",
            "meter",
            "Riverside",
            "mill",
        ]
        assert (row.lat, row.lon, row.timezone) == (31.1, 121.4, "Asia/Shanghai")
        assert (row.resolution, row.age, row.quality) == (STEP, STEP, FLAGGED)
        assert row.flagged == pytest.approx(0.25)
        assert table.loc["demo/air-1/pm2_5"].flagged == 0.0
        assert table.loc["demo/air-2/pm2_5"].simulated
        nothing = table.loc["demo/load-total/p_mw@estimated"]
        assert nothing.series_kind == "estimated"
        assert nothing[["name_en", "kind", "ts", "value", "age", "flagged"]].isna().all()
        assert np.isnan(table.loc["demo/meter-1/vm_pu"].flagged)  # nothing came that day

    def test_without_a_clock_nothing_has_an_age(self, connection: Connection) -> None:
        assert catalogue.search(connection)[["age", "flagged"]].isna().all(axis=None)
        with pytest.raises(StoreError, match="age of a reading"):
            catalogue.search(connection, fresher_than=HOUR)

    def test_nothing_found(self, connection: Connection) -> None:
        table = catalogue.search(connection, text="nowhere", now=NOW)
        assert table.empty
        assert {"key", "age", "flagged", "ts"} <= set(table.columns)
