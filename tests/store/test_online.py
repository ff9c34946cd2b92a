"""Who is online: the rule, and the rates that follow from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from core.series import Series, SeriesKind
from core.sites import Asset, AssetKind, Site
from store import online, series, sites
from store.database import Connection
from store.online import Rule

NOW = datetime(2026, 6, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("resolution", "minutes"), [(None, 15), (15, 45), (1, 3), (0.1, 1), (60 * 24, 3 * 60 * 24)]
)
def test_three_intervals_and_never_less_than_a_minute(
    resolution: float | None, minutes: float
) -> None:
    interval = None if resolution is None else resolution * MINUTE
    assert Rule().patience(interval) == minutes * MINUTE


@pytest.fixture
def city(connection: Connection) -> None:
    """Assets named by what they should be, with the age in minutes of the newest reading of each
    of their series: the first every quarter-hour, the second of instants.
    """
    ages: dict[str, tuple[float | None, float | None]] = {
        "on-by-intervals": (44, None),
        "on-by-instants": (600, 14),
        "on-ahead": (-5, None),
        "off-for-long": (46, 16),
        "off-just-now": (45, 15),
        "off-never": (None, None),
    }
    assets = [
        Asset(name, AssetKind.METER, name, name, district="East" if "by" in name else "West")
        for name in ages
    ]
    assets.append(Asset("air-1", AssetKind.AIR_STATION, "a", "a", district="East"))
    assets.append(Asset("wall", AssetKind.BUILDING, "b", "b", district="East"))
    sites.save(
        connection,
        Site("demo", "D", "D", "UTC", 0, 0, False, "", tuple(assets), (), (), ()),
    )
    for name, (interval, instant) in ages.items():
        own = [Series("demo", name, "p_mw", 15 * MINUTE), Series("demo", name, "vm_pu")]
        estimated = Series("demo", name, "p_mw", kind=SeriesKind.ESTIMATED)
        ids = list(series.register(connection, [*own, estimated]).values())
        for number, age in zip(ids, (interval, instant, 0), strict=True):
            if age is not None:
                connection.execute(
                    "INSERT INTO reading_latest VALUES (%s, %s, 1, 0)", (number, NOW - age * MINUTE)
                )
    series.register(connection, [Series("demo", "air-1", "pm2_5", 60 * MINUTE)])


def test_states(connection: Connection, city: None) -> None:
    table = online.states(connection, NOW).set_index("id")
    assert "wall" not in table.index  # it measures nothing
    meters = table.drop(index="air-1")
    assert {name: name.startswith("on") for name in meters.index} == meters.online.to_dict()
    assert table.loc["on-by-instants"].ts == NOW - 14 * MINUTE
    assert pd.isna(table.loc["off-never"].ts)
    assert not table.loc["air-1"].online


def test_rates(connection: Connection, city: None) -> None:
    rows = online.rates(connection, NOW).to_dict("records")
    assert rows == [
        {"kind": "air_station", "district": "East", "total": 1, "online": 0, "rate": 0.0},
        {"kind": "meter", "district": "East", "total": 2, "online": 2, "rate": 1.0},
        {"kind": "meter", "district": "West", "total": 4, "online": 1, "rate": 0.25},
    ]


def test_other_thresholds(connection: Connection, city: None) -> None:
    patient = online.rates(connection, NOW, Rule(intervals=4.0, instants=20 * MINUTE))
    assert patient.online.sum() == 5
    hasty = online.rates(connection, NOW, Rule(intervals=1.0, instants=MINUTE))
    assert hasty.online.sum() == 1


def test_nothing_is_described(connection: Connection) -> None:
    assert online.rates(connection, NOW).empty
    assert list(online.rates(connection, NOW).columns) == [
        "kind",
        "district",
        "total",
        "online",
        "rate",
    ]
    assert online.states(connection, NOW).empty
