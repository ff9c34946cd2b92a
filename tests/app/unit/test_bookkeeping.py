"""The hourly books of a tiny city, each figure worked out by hand in its test.

Noon on 2026-06-25 in Asia/Shanghai is 04:00 UTC; an hour "at 02" below is 02:00 UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from app import keys
from app.bookkeeping import Bookkeeping
from app.wiring import City
from carbon import journal
from core.timeaxis import QUARTER_HOUR
from store import footprints, indices, ledger, readings

FIVE = timedelta(minutes=5)
Write = Callable[..., None]


def at(hour: float, day: int = 25) -> datetime:
    return datetime(2026, 6, day, tzinfo=UTC) + timedelta(hours=hour)


@pytest.fixture
def books(city: City) -> Bookkeeping:
    return Bookkeeping(city)


def everything(city: City) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all books, without the ids and times of their making."""
    tables = {
        "reading": "series_id, ts, value",
        "environment_index": "subject, kind, ts, value, detail::text",
        "footprint": "enterprise, ts, level, e_mwh, kgco2e, coverage",
        "ledger_entry": "sequence, hash",
    }
    with city.database.connection() as connection:
        return {
            table: connection.execute(
                f"SELECT {columns} FROM {table} ORDER BY {columns}"
            ).fetchall()
            for table, columns in tables.items()
        }


# --- totals ------------------------------------------------------------------------------------


def total(city: City, name: str, start: datetime, end: datetime) -> list[float]:
    key = keys.total("tiny", name)
    with city.database.connection() as connection:
        found = readings.read(connection, [key], start, end, QUARTER_HOUR)
    return [float(v) for v in found.to_numpy()[:, 0]]


def test_a_total_is_the_sum_where_every_meter_has_a_reading(
    city: City, books: Bookkeeping, write: Write
) -> None:
    write({"tiny/load-000/p_mw": 1.0, "tiny/load-001/p_mw": 0.25}, at(2), at(3), QUARTER_HOUR)
    write({"tiny/load-002/p_mw": 0.5}, at(2), at(2.5), QUARTER_HOUR)
    write({"tiny/pv-000/p_mw": 0.7}, at(2), at(3), QUARTER_HOUR)
    books.totals(at(3))
    assert total(city, "load-total", at(2), at(3)) == pytest.approx(
        [1.75, 1.75, np.nan, np.nan], nan_ok=True
    )
    assert total(city, "pv-total", at(2), at(3)) == [0.7] * 4
    assert np.isnan(total(city, "wind-total", at(2), at(3))).all()  # there is no wind park


def test_a_reading_that_comes_late_completes_its_total(
    city: City, books: Bookkeeping, write: Write
) -> None:
    write({f"tiny/load-00{i}/p_mw": 1.0 for i in (0, 1)}, at(2), at(3), QUARTER_HOUR)
    write({"tiny/load-002/p_mw": 1.0}, at(2.5), at(3), QUARTER_HOUR)
    books.totals(at(3))
    write({"tiny/load-002/p_mw": 1.0}, at(2), at(2.5), QUARTER_HOUR)
    books.totals(at(3))
    assert total(city, "load-total", at(2), at(3)) == [3.0] * 4


def test_the_interval_under_way_has_no_total_yet(
    city: City, books: Bookkeeping, write: Write
) -> None:
    write({f"tiny/load-00{i}/p_mw": 1.0 for i in range(3)}, at(2), at(3), QUARTER_HOUR)
    books.totals(at(2.6))
    assert total(city, "load-total", at(2), at(3)) == pytest.approx(
        [3.0, 3.0, np.nan, np.nan], nan_ok=True
    )


# --- air ---------------------------------------------------------------------------------------

CLEAN = {"pm2_5": 30.0, "pm10": 45.0, "so2": 60.0, "no2": 40.0, "o3": 120.0, "co": 1.0}
"""HJ 633-2026, hourly. PM2.5 30 of 0..35: 50*30/35 = 42.9, up to 43; PM10 45 of 0..50: 45;
SO2 60 of 0..150: 20; NO2 40 of 0..100: 20; O3 120 of 0..160: 37.5, up to 38; CO 1 of 0..5: 10.
"""
DIRTY = CLEAN | {"pm2_5": 90.0}
"""PM2.5 90 of 60..115: 100 + 50*30/55 = 127.3, up to 128."""


def air(station: str, values: dict[str, float]) -> dict[str, float]:
    return {f"tiny/{station}/{gas}": value for gas, value in values.items()}


def index_rows(city: City, kind: str) -> dict[tuple[str, datetime], dict[str, Any]]:
    with city.database.connection() as connection:
        found = indices.read(connection, kind, at(0, 1), at(0, 30))
    return {(r["subject"], r["ts"].to_pydatetime()): r for r in found.to_dict("records")}


def test_the_index_of_each_station_and_of_the_city(
    city: City, books: Bookkeeping, write: Write
) -> None:
    write(air("air-01", CLEAN), at(2), at(3), FIVE)
    write(air("air-02", DIRTY), at(2), at(3), FIVE)
    books.air(at(3) + timedelta(minutes=3))
    found = index_rows(city, "aqi")
    assert set(found) == {(s, at(2)) for s in ("tiny/air-01", "tiny/air-02", "city")}
    clean, dirty = found["tiny/air-01", at(2)], found["tiny/air-02", at(2)]
    assert clean["value"] == 45
    assert clean["detail"]["iaqi"] == {
        "pm2_5": 43, "pm10": 45, "so2": 20, "no2": 20, "o3": 38, "co": 10
    }  # fmt: skip
    assert clean["detail"]["primary"] == []  # none is named up to 50
    assert clean["detail"]["level"] == 1
    assert (dirty["value"], dirty["detail"]["primary"]) == (128, ["pm2_5"])
    assert dirty["detail"]["level"] == 3
    assert clean["standard"] == "HJ 633-2026"
    # The city is the index of the mean concentration, 60 µg/m3 -> 100; not of the indices, 86.5.
    whole = found["city", at(2)]
    assert (whole["value"], whole["detail"]["primary"]) == (100, ["pm2_5"])
    assert whole["detail"]["means"]["pm2_5"] == 60.0


def test_an_hour_needs_45_minutes_and_a_low_index_needs_every_pollutant(
    city: City, books: Bookkeeping, write: Write
) -> None:
    write(air("air-01", CLEAN), at(1), at(1) + 9 * FIVE, FIVE)  # 45 minutes
    write(air("air-01", CLEAN), at(2), at(2) + 8 * FIVE, FIVE)  # 40 minutes
    without_ozone = {k: v for k, v in CLEAN.items() if k != "o3"}
    write(air("air-02", without_ozone), at(1), at(2), FIVE)
    books.air(at(3))
    found = index_rows(city, "aqi")
    assert found["tiny/air-01", at(1)]["value"] == 45
    assert ("tiny/air-01", at(2)) not in found
    assert np.isnan(found["tiny/air-02", at(1)]["value"])  # "NA", yet its parts are told
    assert "o3" not in found["tiny/air-02", at(1)]["detail"]["iaqi"]


def test_late_readings_change_the_index(city: City, books: Bookkeeping, write: Write) -> None:
    write(air("air-01", CLEAN), at(0), at(2), FIVE)
    write(air("air-01", CLEAN), at(2), at(2) + 9 * FIVE, FIVE)
    books.air(at(3))
    assert index_rows(city, "aqi")["tiny/air-01", at(2)]["value"] == 45
    write(air("air-01", DIRTY), at(2) + 9 * FIVE, at(3), FIVE)
    write(air("air-01", CLEAN), at(3), at(4), FIVE)
    books.air(at(4))
    # 45 minutes of 30 and 15 of 90 µg/m3: 45 -> 50 + 50*10/25 = 70.
    assert index_rows(city, "aqi")["tiny/air-01", at(2)]["value"] == 70


def test_a_city_without_stations_has_no_index(with_site: Callable[..., City]) -> None:
    city = with_site(assets=())
    Bookkeeping(city).air(at(3))
    assert not index_rows(city, "aqi")


# --- water -------------------------------------------------------------------------------------


def test_the_leak_rate_is_what_came_in_and_was_not_sold(
    city: City, books: Bookkeeping, write: Write
) -> None:
    """24 hours at 10 m3/h are 240 m3; 96 quarter-hours of 2.0 m3 billed are 192 m3: 20 %."""
    district = {"tiny/dma-1/flow_m3_per_h": 10.0, "tiny/dma-1/billed_m3": 2.0}
    write(district, at(3, 24), at(3), QUARTER_HOUR)
    books.leaks(at(3))
    found = index_rows(city, "leak_rwl")
    row = found["tiny/dma-1", at(2)]
    assert row["value"] == pytest.approx(20.0)
    assert row["detail"]["supplied_m3"] == pytest.approx(240.0)
    assert row["detail"]["billed_m3"] == pytest.approx(192.0)
    assert row["detail"]["coverage"] == 1.0
    # From 90 % of the day on there is a rate: 87 of 96 quarter-hours, in whole hours 22 of 24.
    assert sorted(ts for _, ts in found) == [at(0), at(1), at(2)]
    # The night of the 25th: 02:00 to 04:00 in Shanghai is 18:00 to 20:00 UTC of the day before.
    nights = index_rows(city, "night_flow")
    assert {ts: row["value"] for (_, ts), row in nights.items()} == {at(16, 24): 10.0}


def test_a_gap_in_one_meter_is_no_leak(city: City, books: Bookkeeping, write: Write) -> None:
    """An hour without billed use: the inflow of that hour does not count either."""
    write({"tiny/dma-1/flow_m3_per_h": 10.0}, at(3, 24), at(3), QUARTER_HOUR)
    write({"tiny/dma-1/billed_m3": 2.0}, at(3, 24), at(10, 24), QUARTER_HOUR)
    write({"tiny/dma-1/billed_m3": 2.0}, at(11, 24), at(3), QUARTER_HOUR)
    books.leaks(at(3))
    row = index_rows(city, "leak_rwl")["tiny/dma-1", at(2)]
    assert row["value"] == pytest.approx(20.0)
    assert row["detail"]["supplied_m3"] == pytest.approx(230.0)


# --- carbon ------------------------------------------------------------------------------------


def power(values: dict[int, float]) -> dict[str, float]:
    return {f"tiny/load-00{i}/p_mw": p_mw for i, p_mw in values.items()}


def footprint_rows(city: City) -> dict[tuple[str, str, datetime], tuple[Decimal, Decimal, Decimal]]:
    with city.database.connection() as connection:
        found = footprints.read(connection, at(0, 1), at(0, 30))
    return {
        (r["enterprise"], r["level"], r["ts"].to_pydatetime()): (
            r["e_mwh"],
            r["kgco2e"],
            r["coverage"],
        )
        for r in found.to_dict("records")
    }


def balances(city: City) -> dict[tuple[str, str], Decimal]:
    """What the ledger says each enterprise answers for, by level."""
    with city.database.connection() as connection:
        found = ledger.balances(connection)
    return {
        (owner, account.rpartition(".")[2]): amount
        for (owner, account, _), amount in found.items()
        if account.startswith("scope2.")
    }


def findings(city: City) -> list[Any]:
    with city.database.connection() as connection:
        return journal.verify(ledger.chain(connection))


def test_an_hour_of_an_enterprise_by_national_and_provincial_factor(
    city: City, books: Bookkeeping, write: Write
) -> None:
    """ent-a (内蒙古): 1.2 + 0.8 MW for an hour are 2 MWh; 0.6479 kg/kWh there, 0.5306 in China.
    ent-b (江苏): 0.5 MWh; 0.5827 kg/kWh."""
    write(power({0: 1.2, 1: 0.8, 2: 0.5}), at(2), at(3), QUARTER_HOUR)
    books.footprints(at(3))
    found = footprint_rows(city)
    whole = Decimal(1)
    assert found["ent-a", "province", at(2)] == (Decimal("2"), Decimal("1295.8"), whole)
    assert found["ent-a", "national", at(2)] == (Decimal("2"), Decimal("1061.2"), whole)
    assert found["ent-b", "province", at(2)] == (Decimal("0.5"), Decimal("291.35"), whole)
    assert found["ent-b", "national", at(2)] == (Decimal("0.5"), Decimal("265.3"), whole)
    assert balances(city) == {
        ("ent-a", "province"): Decimal("1295.8"),
        ("ent-a", "bus"): Decimal("1295.8"),  # no power flow was traced: the province's stands in
        ("ent-a", "national"): Decimal("1061.2"),
        ("ent-b", "province"): Decimal("291.35"),
        ("ent-b", "bus"): Decimal("291.35"),
        ("ent-b", "national"): Decimal("265.3"),
    }
    assert findings(city) == []


def test_readings_that_come_late_are_booked_by_reversal(
    city: City, books: Bookkeeping, write: Write
) -> None:
    """First half an hour of 2 MW, 1 MWh; an hour later the other half is there as well: 2 MWh."""
    write(power({0: 2.0, 1: 0.0, 2: 0.0}), at(2), at(2.5), QUARTER_HOUR)
    books.footprints(at(3))
    assert footprint_rows(city)["ent-a", "province", at(2)] == (
        Decimal("1"),
        Decimal("647.9"),
        Decimal("0.5"),
    )
    books.footprints(at(4))  # nothing new has come: nothing is posted
    with city.database.connection() as connection:
        assert len(ledger.entries(connection, "ent-a")) == 3
    write(power({0: 2.0, 1: 0.0, 2: 0.0}), at(2.5), at(2.75), QUARTER_HOUR)
    books.footprints(at(4))
    write(power({0: 2.0, 1: 0.0, 2: 0.0}), at(2.75), at(3), QUARTER_HOUR)
    books.footprints(at(5))
    assert footprint_rows(city)["ent-a", "province", at(2)] == (
        Decimal("2"),
        Decimal("1295.8"),
        Decimal("1"),
    )
    assert balances(city)["ent-a", "province"] == Decimal("1295.8")
    assert balances(city)["ent-a", "national"] == Decimal("1061.2")
    with (
        city.database.connection() as connection
    ):  # per level: posted, and twice reversed and restated
        assert len(ledger.entries(connection, "ent-a")) == 3 * 5
    assert findings(city) == []


def test_an_hour_whose_readings_all_come_late_is_booked_then(
    city: City, books: Bookkeeping, write: Write
) -> None:
    """A receiver that was away for six hours: the broker kept everything, the books follow."""
    write(power({0: 1.0, 1: 1.0, 2: 1.0}), at(-6), at(-5), QUARTER_HOUR)
    for hour in range(-5, 2):
        books.footprints(at(hour))
    assert balances(city)["ent-a", "national"] == Decimal("1061.2")
    write(power({0: 1.0, 1: 1.0, 2: 1.0}), at(-5), at(2), QUARTER_HOUR)
    books.footprints(at(2))
    assert balances(city)["ent-a", "national"] == 8 * Decimal("1061.2")
    assert findings(city) == []


def test_an_enterprise_without_a_meter_has_nothing_to_book(
    with_site: Callable[..., City], city: City
) -> None:
    alone = with_site(enterprises=(replace(city.site.enterprises[0], assets=()),))
    Bookkeeping(alone).footprints(at(3))
    assert balances(alone) == {}


# --- all of them -------------------------------------------------------------------------------


def test_doing_the_books_twice_changes_nothing(
    city: City, books: Bookkeeping, write: Write
) -> None:
    write(power({0: 1.2, 1: 0.8, 2: 0.5}) | {"tiny/pv-000/p_mw": 0.3}, at(-26), at(3), QUARTER_HOUR)
    write(air("air-01", CLEAN) | air("air-02", DIRTY), at(-3), at(3), FIVE)
    district = {"tiny/dma-1/flow_m3_per_h": 10.0, "tiny/dma-1/billed_m3": 2.0}
    write(district, at(-26), at(3), QUARTER_HOUR)
    seen = []
    for books_of in (books, books, Bookkeeping(city)):  # again, and after a restart
        books_of.totals(at(3))
        books_of.hourly(at(3))
        seen.append(everything(city))
    assert all(seen[0].values())
    assert seen[0] == seen[1] == seen[2]
    assert findings(city) == []


def test_hour_by_hour_gives_what_one_run_over_the_day_gives(
    city: City, books: Bookkeeping, write: Write
) -> None:
    """A pause of the system is made up for: the last run looks back over all of it."""
    write(power({0: 1.2, 1: 0.8, 2: 0.5}), at(-3), at(3), QUARTER_HOUR)
    write(air("air-01", CLEAN) | air("air-02", DIRTY), at(-3), at(3), FIVE)
    for hour in range(-2, 4):
        books.air(at(hour))
        books.footprints(at(hour))
    step_by_step = (index_rows(city, "aqi").keys(), balances(city))
    with city.database.connection() as connection:
        connection.execute("TRUNCATE environment_index")
    books.air(at(3))
    assert index_rows(city, "aqi").keys() == step_by_step[0]
    # 2 MWh an hour for 6 hours, exact to the last digit.
    assert step_by_step[1]["ent-a", "national"] == 6 * Decimal("1061.2")


def test_an_empty_city_makes_no_books(city: City, books: Bookkeeping) -> None:
    books.totals(at(3))
    books.hourly(at(3))
    assert index_rows(city, "aqi") == index_rows(city, "leak_rwl") == {}
    assert balances(city) == {}
    with city.database.connection() as connection:
        assert footprints.last_hour(connection, "ent-a") == at(2)
    assert findings(city) == []
