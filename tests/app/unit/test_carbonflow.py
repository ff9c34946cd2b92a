"""Intensities by bus from readings, and the footprints they give, worked out by hand.

The tiny city: upstream - line - one bus with three loads, PV and a battery of 2 MWh. Imports count
by the factor of 内蒙古, 0.6479 kg/kWh. An hour "at 02" is 02:00 UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from app.bookkeeping import Bookkeeping
from app.carbonflow import CarbonFlow
from app.wiring import City
from carbon import journal
from core.timeaxis import QUARTER_HOUR
from store import footprints, intensities, ledger

Write = Callable[..., None]
GRID = 647.9


def at(hour: float) -> datetime:
    return datetime(2026, 6, 25, tzinfo=UTC) + timedelta(hours=hour)


def power(a: float, b: float, c: float, pv: float, battery: float = 0.0) -> dict[str, float]:
    return {
        "tiny/load-000/p_mw": a,
        "tiny/load-001/p_mw": b,
        "tiny/load-002/p_mw": c,
        "tiny/pv-000/p_mw": pv,
        "tiny/battery-000/p_mw": battery,
    }


def stated(city: City, enterprise: str, level: str, hour: float) -> tuple[str, Decimal, Decimal]:
    """Method, factor in kg/kWh and kg of an hour."""
    with city.database.connection() as connection:
        rows = footprints.read(
            connection, at(hour), at(hour + 1), enterprises=[enterprise], level=level
        )
    (row,) = rows.to_dict("records")
    return row["method"], row["factor_value"], row["kgco2e"]


def bus_one(city: City, hour: float) -> float | None:
    with city.database.connection() as connection:
        (found,) = intensities.read(connection, at(hour), at(hour + 1))
    return found.at(1)


def test_the_sun_beside_the_meters_lowers_their_footprint(city: City, write: Write) -> None:
    """2.5 MW used, 1 MW of sun at the bus: 1.5 of 2.5 MW come from upstream, 0.38874 kg/kWh. The
    2 MWh of ent-a and the 0.5 of ent-b together are the 1.5 MWh imported, losses apart."""
    write(power(1.2, 0.8, 0.5, 1.0), at(2), at(3), QUARTER_HOUR)
    Bookkeeping(city).hourly(at(3))
    factor = Decimal("0.388740")
    assert stated(city, "ent-a", "bus", 2) == ("traced", factor, 2000 * factor)
    assert stated(city, "ent-b", "bus", 2) == ("traced", factor, 500 * factor)
    assert 2500 * factor == Decimal("1.5") * Decimal("647.9")
    assert stated(city, "ent-a", "province", 2)[::2] == ("regional", Decimal("1295.8"))
    with city.database.connection() as connection:
        (entry,) = (
            s.entry
            for s in ledger.entries(connection, "ent-a")
            if s.entry.detail["level"] == "bus" and s.entry.valid_from == at(2)
        )
        assert journal.verify(ledger.chain(connection)) == []
        (hour,) = intensities.read(connection, at(2), at(3))
    assert entry.memo == "2 MWh x 0.38874 kgCO2/kWh"
    assert entry.detail["factor_method"] == "traced"
    assert entry.detail["traced_share"] == "1"
    assert hour.source_kgco2e == pytest.approx(GRID * 1.5 + hour.losses_kgco2e)
    assert 0 < hour.losses_kgco2e < 10


def test_an_hour_without_enough_readings_counts_by_the_province_and_is_stated_anew_later(
    city: City, write: Write
) -> None:
    """The plant is silent: 4 of 5 meters are no power flow. It reports two hours later; only what
    the ledger says by the bus changes."""
    without = power(1.2, 0.8, 0.5, 1.0)
    sun = {"tiny/pv-000/p_mw": without.pop("tiny/pv-000/p_mw")}
    write(without, at(2), at(3), QUARTER_HOUR)
    books = Bookkeeping(city)
    books.hourly(at(3))
    assert stated(city, "ent-a", "bus", 2) == ("regional", Decimal("0.6479"), Decimal("1295.8"))
    write(sun, at(2), at(3), QUARTER_HOUR)
    books.hourly(at(5))
    assert stated(city, "ent-a", "bus", 2) == ("traced", Decimal("0.38874"), Decimal("777.48"))
    books.hourly(at(5))  # nothing more to say
    with city.database.connection() as connection:
        posted = [s for s in ledger.entries(connection, "ent-a") if s.entry.valid_from == at(2)]
        assert len(posted) == 2 + 3  # nation and province; by the bus posted, reversed, restated
        balance = ledger.balances(connection)
        assert journal.verify(ledger.chain(connection)) == []
    assert balance["ent-a", "scope2.location.bus", "kgCO2"] == Decimal("777.48")


def test_a_late_reading_of_an_enterprise_traces_and_states_the_hour_anew(
    city: City, write: Write
) -> None:
    """19 of 20 readings are a power flow; the missing one of load 2 stands as 0, then it comes."""
    write(power(1.2, 0.8, 0.5, 1.0), at(2), at(2.75), QUARTER_HOUR)
    write(power(1.2, 0.8, np.nan, 1.0), at(2.75), at(3), QUARTER_HOUR)
    books = Bookkeeping(city)
    books.hourly(at(3))
    three, last = GRID * 1.5 / 2.5, GRID * 1.0 / 2.0
    assert bus_one(city, 2) == pytest.approx((3 * three + last) / 4)
    write({"tiny/load-002/p_mw": 0.5}, at(2.75), at(3), QUARTER_HOUR)
    books.hourly(at(4))
    assert bus_one(city, 2) == pytest.approx(three)
    assert stated(city, "ent-a", "bus", 2)[2] == Decimal("777.48")
    assert stated(city, "ent-b", "bus", 2)[2] == Decimal("194.37")


def test_a_battery_gives_back_the_noon_it_was_charged_with(city: City, write: Write) -> None:
    """It holds 1 MWh of the grid's mixture and takes 0.5 MWh of sun, of which 95 % arrive; what
    it gives in the next hour carries (647.9 / 1.475) / 0.95 kg/MWh."""
    write({"tiny/battery-000/soc": 0.5}, at(1), at(2), QUARTER_HOUR)
    write(power(0.3, 0.2, 0.0, 1.0, 0.5), at(2), at(3), QUARTER_HOUR)
    soc = 0.5 + 0.475 / 2 * np.array([0.25, 0.5, 0.75, 1])
    write({"tiny/battery-000/soc": soc}, at(2), at(3), QUARTER_HOUR)
    write(power(0.3, 0.2, 0.0, 0.0, -0.5), at(3), at(4), QUARTER_HOUR)
    CarbonFlow(city).hourly(at(4))
    assert bus_one(city, 2) == pytest.approx(0.0, abs=1e-3)
    assert bus_one(city, 3) == pytest.approx(GRID / 1.475 / 0.95, rel=1e-3)


def test_plants_carry_what_the_city_says_of_them(
    with_site: Callable[..., City], city: City, write: Write
) -> None:
    """Life-cycle 40 kg/MWh for PV, because the description of this city says so."""
    said = {**city.site.parameters, "source_kgco2e_per_mwh": {"pv": 40.0}}
    described = with_site(parameters=said)
    write(power(0.3, 0.2, 0.0, 1.0), at(2), at(3), QUARTER_HOUR)
    CarbonFlow(described).hourly(at(3))
    assert bus_one(described, 2) == pytest.approx(40.0)


def test_a_city_without_a_network_or_with_a_broken_one_keeps_its_books(
    with_site: Callable[..., City], city: City, write: Write
) -> None:
    write(power(1.2, 0.8, 0.5, 1.0), at(2), at(3), QUARTER_HOUR)
    for text in ("", "{}", city.site.network_json.replace("ext_grid", "xt_grid")):
        without = with_site(network_json=text)
        assert CarbonFlow(without).hourly(at(3)) == []
        Bookkeeping(without).hourly(at(3))
        assert stated(without, "ent-a", "bus", 2)[0] == "regional"


def test_what_the_network_cannot_carry_has_no_intensity(
    with_site: Callable[..., City], city: City, write: Write
) -> None:
    """A meter that reports 10 GW: no power flow, no intensity, and the books go on."""
    write(power(10_000.0, 0.8, 0.5, 1.0), at(2), at(3), QUARTER_HOUR)
    Bookkeeping(city).hourly(at(3))
    assert stated(city, "ent-b", "bus", 2)[0] == "regional"
    unknown = replace(city.site.assets[3], parameters={"fuel": "peat"})
    assets = (*city.site.assets[:3], unknown, *city.site.assets[4:])
    write(power(1.2, 0.8, 0.5, 1.0), at(3), at(4), QUARTER_HOUR)
    assert CarbonFlow(with_site(assets=assets)).hourly(at(4)) == []
