"""Hourly footprints: numbers worked out by hand, gaps told, and entries that balance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from carbon.factorset import Choice, Factor, FactorSet, load
from carbon.footprint import (
    HourlyEnergy,
    HourlyFootprint,
    Level,
    Method,
    Traced,
    by_bus,
    correction,
    footprint,
    footprints,
    hourly_energy,
    hourly_entry,
    idempotency_key,
    kgco2,
    table,
    traced_factor,
)
from carbon.journal import Entry, Head, balances, check, seal, verify
from core.errors import TimeError
from core.timeaxis import QUARTER_HOUR, steps

HOUR = datetime(2023, 6, 22, 4, tzinfo=UTC)
FULL = Decimal(1)


@pytest.fixture(scope="module")
def factors() -> FactorSet:
    return load()


def meters(values: list[list[float]], start: datetime = HOUR) -> xr.DataArray:
    array = np.array(values, dtype=float)
    axis = steps(start, start + len(values) * QUARTER_HOUR, QUARTER_HOUR)
    return xr.DataArray(array, dims=("time", "asset"), coords={"time": axis})


def energy_of(p_mw: xr.DataArray, hours: int = 1, *, estimate: bool = False) -> list[HourlyEnergy]:
    return hourly_energy(
        p_mw,
        start=HOUR,
        end=HOUR + timedelta(hours=hours),
        resolution=QUARTER_HOUR,
        estimate=estimate,
    )


def entry_of(row: HourlyFootprint, revision: int = 0) -> Entry:
    entry = hourly_entry(row, revision=revision)
    assert entry is not None
    return entry


def test_a_footprint_worked_out_by_hand(factors: FactorSet):
    # Two meters: (0.4 + 0.6 + 0.8 + 0.2)/4 = 0.5 MWh and 4 x 0.1/4 = 0.1 MWh, together 0.6 MWh.
    # Nation 2023: 600 kWh x 0.5306 = 318.36 kg; Beijing 2023: 600 kWh x 0.5554 = 333.24 kg.
    (energy,) = energy_of(meters([[0.4, 0.1], [0.6, 0.1], [0.8, 0.1], [0.2, 0.1]]))
    assert energy == HourlyEnergy(HOUR, Decimal("0.6"), FULL)
    national, local = footprints("mill", "北京市", [energy], factors)
    assert (national.level, national.kgco2) == (Level.NATIONAL, Decimal("318.36"))
    assert (local.level, local.kgco2) == (Level.PROVINCE, Decimal("333.24"))
    assert national.findings == local.findings == ()


def test_vector_of_hl_bca():
    # W16: 128 kWh in California 2019 at 0.19359146878269065 t/MWh is 24.7797 kg, printed 25.
    mass = kgco2(Decimal("0.128"), Decimal("0.19359146878269065"))
    assert round(mass, 4) == Decimal("24.7797")
    assert round(mass) == 25


def test_binary_fractions_leave_no_trace():
    # 0.1 and 0.3 MW have no exact binary form; the energy is exact all the same.
    (energy,) = energy_of(meters([[0.1], [0.2], [0.3], [0.1 + 0.2]]))
    assert energy.e_mwh == Decimal("0.225")


def test_energy_is_rounded_to_a_millionth_mwh_half_to_even():
    # 2 W for one quarter-hour is 0.5 Wh -> 0, 6 W is 1.5 Wh -> 2 Wh.
    assert energy_of(meters([[2e-6], [0], [0], [0]]))[0].e_mwh == 0
    assert energy_of(meters([[6e-6], [0], [0], [0]]))[0].e_mwh == Decimal("0.000002")


def test_gaps_are_told_and_never_scaled(factors: FactorSet):
    p_mw = meters([[0.4], [np.nan], [0.4], [0.4]])
    (energy,) = energy_of(p_mw)
    assert energy == HourlyEnergy(HOUR, Decimal("0.3"), Decimal("0.75"), estimated=False)
    row = footprints("mill", "北京", [energy], factors)[0]
    assert "75 % of the readings" in row.findings[0].message
    assert "nothing was filled in" in row.findings[0].message


def test_filled_gaps_are_marked_as_estimated(factors: FactorSet):
    p_mw = meters([[0.4, 1.0], [np.nan, 1.0], [0.4, 1.0], [0.4, 1.0]])
    (energy,) = energy_of(p_mw, estimate=True)
    assert energy == HourlyEnergy(HOUR, Decimal("1.4"), Decimal("0.875"), estimated=True)
    row = footprints("mill", "北京", [energy], factors)[0]
    assert "gaps were filled" in row.findings[0].message
    assert entry_of(row).detail["estimated"] == "true"


def test_hours_and_meters_without_any_reading_stay_missing():
    silent = meters([[0.4, np.nan]] * 4)
    (energy,) = energy_of(silent, estimate=True)
    assert energy == HourlyEnergy(HOUR, Decimal("0.4"), Decimal("0.5"), estimated=False)
    first, second = energy_of(silent, hours=2)
    assert first.coverage == Decimal("0.5")
    assert second == HourlyEnergy(HOUR + timedelta(hours=1), Decimal(0), Decimal(0))


def test_coverage_is_1_only_when_nothing_is_missing():
    minutes = timedelta(minutes=1)
    values = np.ones((60, 300))
    values[0, 0] = np.nan
    p_mw = xr.DataArray(
        values,
        dims=("time", "asset"),
        coords={"time": steps(HOUR, HOUR + timedelta(hours=1), minutes)},
    )
    (energy,) = hourly_energy(p_mw, start=HOUR, end=HOUR + timedelta(hours=1), resolution=minutes)
    assert energy.coverage < 1


def test_energy_given_to_the_grid_is_no_negative_purchase(factors: FactorSet):
    (energy,) = energy_of(meters([[-0.4]] * 4))
    assert energy.e_mwh == Decimal("-0.4")
    row = footprints("mill", "北京", [energy], factors)[0]
    assert (row.e_mwh, row.kgco2) == (0, 0)
    assert "counts as 0" in row.findings[0].message
    assert hourly_entry(row) is None


@given(
    st.lists(
        st.lists(st.floats(0, 50) | st.just(float("nan")), min_size=3, max_size=3),
        min_size=4,
        max_size=12,
    ).filter(lambda rows: len(rows) % 4 == 0)
)
def test_energy_agrees_with_the_plain_sum_and_does_not_depend_on_meter_order(rows: list):
    p_mw = meters(rows)
    hours = len(rows) // 4
    energies = energy_of(p_mw, hours)
    plain = np.nansum(np.array(rows).reshape(hours, 12), axis=1) / 4
    # 12 readings, each rounded to 1 W for a quarter-hour, and one last rounding.
    np.testing.assert_allclose([float(e.e_mwh) for e in energies], plain, atol=2.1e-6)
    assert energy_of(p_mw.isel(asset=[2, 0, 1]), hours) == energies


def test_a_single_meter_needs_no_second_dimension():
    p_mw = meters([[0.4]] * 4)
    assert energy_of(p_mw[:, 0]) == energy_of(p_mw)


def test_times_that_do_not_fit_are_refused():
    p_mw = meters([[0.4]] * 4)
    hour = timedelta(hours=1)
    with pytest.raises(TimeError):
        hourly_energy(p_mw, start=HOUR, end=HOUR + hour, resolution=timedelta(minutes=25))
    half = HOUR + timedelta(minutes=30)
    with pytest.raises(TimeError):
        hourly_energy(p_mw, start=half, end=half + hour, resolution=QUARTER_HOUR)
    with pytest.raises(TimeError, match="same time"):
        energy_of(xr.concat([p_mw, p_mw], dim="time"))


def test_the_entry_balances_and_names_what_it_was_made_of(factors: FactorSet):
    row = footprints("mill", "北京", [HourlyEnergy(HOUR, Decimal("0.6"), FULL)], factors)[1]
    entry = entry_of(row)
    assert check(entry) == []
    assert balances([entry]) == {
        ("mill", "scope2.location.province", "kgCO2"): Decimal("333.24"),
        ("mill", "atmosphere.location.province", "kgCO2"): Decimal("-333.24"),
    }
    assert entry.detail["factor_id"] == "mee_2023.electricity_location.beijing"
    assert entry.detail["factor_value"] == "0.5554"
    assert (entry.valid_from, entry.valid_to) == (HOUR, HOUR + timedelta(hours=1))
    # Everything that is needed to compute the amount again stands in the entry.
    again = kgco2(Decimal(entry.detail["e_mwh"]), Decimal(entry.detail["factor_value"]))
    assert again == entry.postings[0].amount


def test_the_key_tells_hours_levels_factors_and_revisions_apart(factors: FactorSet):
    energies = [HourlyEnergy(HOUR + timedelta(hours=h), Decimal("0.6"), FULL) for h in range(48)]
    # In Xizang both levels use the same factor, and still are two statements.
    rows = footprints("mill", "西藏", energies, factors)
    assert len({idempotency_key(row) for row in rows}) == len(rows) == 96
    assert idempotency_key(rows[0]) == idempotency_key(replace(rows[0], kgco2=Decimal(1)))
    assert idempotency_key(rows[0], 1) != idempotency_key(rows[0])


def test_late_readings_are_booked_by_reversal_and_a_new_entry(factors: FactorSet):
    first = footprints(
        "mill", "北京", [HourlyEnergy(HOUR, Decimal("0.3"), Decimal("0.75"))], factors
    )
    late = footprints("mill", "北京", [HourlyEnergy(HOUR, Decimal("0.4"), FULL)], factors)
    stored = [seal(Head(), entry_of(first[0]), HOUR + timedelta(hours=2))]
    for entry in correction(stored[0], late[0], revision=1):
        stored.append(seal(stored[-1].head, entry, HOUR + timedelta(hours=3)))
    assert verify(stored) == []
    held = balances(s.entry for s in stored)
    assert held["mill", "scope2.location.national", "kgCO2"] == late[0].kgco2
    assert len({s.entry.idempotency_key for s in stored}) == 3


def test_a_correction_to_nothing_is_the_reversal_alone(factors: FactorSet):
    row = footprints("mill", "北京", [HourlyEnergy(HOUR, Decimal("0.3"), FULL)], factors)[0]
    nothing = footprints("mill", "北京", [HourlyEnergy(HOUR, Decimal(0), FULL)], factors)[0]
    stored = seal(Head(), entry_of(row), HOUR)
    assert len(correction(stored, nothing, revision=1)) == 1


@given(
    st.integers(0, 10**12).map(lambda i: Decimal(i).scaleb(-6)),
    st.integers(1, 20_000).map(lambda i: Decimal(i).scaleb(-4)),
)
def test_the_product_is_exact(e_mwh: Decimal, value: Decimal):
    factor = Factor(
        "f", "electricity_location", "全国", "China", "national", value, "kgCO2/kWh", "average",
        date(2023, 1, 1), date(2024, 1, 1), "a notice", "2023",
    )  # fmt: skip
    choice = Choice(factor, carried_forward=False, national_instead=False, findings=())
    row = footprint("mill", Level.NATIONAL, HourlyEnergy(HOUR, e_mwh, FULL), choice)
    watt_hours, ten_thousandths = int(e_mwh.scaleb(6)), int(value.scaleb(4))
    assert row.kgco2 * 10**7 == watt_hours * ten_thousandths


def test_the_table_shows_both_levels_over_time(factors: FactorSet):
    energies = [HourlyEnergy(HOUR + timedelta(hours=h), Decimal(h + 1), FULL) for h in (1, 0)]
    shown = table(footprints("mill", "北京", energies, factors))
    assert dict(shown.sizes) == {"time": 2, "level": 2}
    assert shown.kgco2.attrs["units"] == "kgCO2"
    np.testing.assert_allclose(shown.kgco2.sel(level="national"), [530.6, 1061.2])
    assert table([]).sizes["time"] == 0


# --- by the bus -----------------------------------------------------------------------------


def test_the_mean_over_meters_is_weighted_by_what_they_buy(factors: FactorSet):
    """1 MWh at 0.2, 3 MWh at 0.4 kg/kWh; 2 MWh fed in buy nothing: (0.2 + 1.2) / 4 = 0.35."""
    regional = factors.grid_factor("北京", HOUR)
    meters = [(Decimal(1), Decimal("0.2")), (Decimal(3), Decimal("0.4")), (Decimal(-2), Decimal(9))]
    assert traced_factor(meters, regional, 3) == Traced(Decimal("0.35"), FULL, 3)


def test_meters_without_a_traced_bus_count_by_the_region_and_are_told(factors: FactorSet):
    """1 MWh at 0.2, 2 MWh by Beijing's 0.5554: 1.3108 / 3, a third traced."""
    regional = factors.grid_factor("北京", HOUR)
    found = traced_factor([(Decimal(1), Decimal("0.2")), (Decimal(2), None)], regional, 1)
    assert found == Traced(Decimal("0.436933"), Decimal("0.3333"), 1)
    (row,) = by_bus("mill", "北京", [HourlyEnergy(HOUR, Decimal(3), FULL)], factors, {HOUR: found})
    assert (row.level, row.method, row.kgco2) == (Level.BUS, Method.MIXED, Decimal("1310.799"))
    nothing = Traced(Decimal("0.5554"), Decimal(0), 1)
    assert traced_factor([(Decimal(2), None)], regional, 1) == nothing
    assert traced_factor([(Decimal(0), Decimal("0.2"))], regional, 1) == nothing
    assert traced_factor([], regional, 1) == nothing
    (row,) = by_bus(
        "mill", "北京", [HourlyEnergy(HOUR, Decimal(2), FULL)], factors, {HOUR: nothing}
    )
    assert (row.method, row.kgco2) == (Method.REGIONAL, Decimal("1110.8"))
    assert "traced_share" not in entry_of(row).detail


def test_an_entry_by_the_bus_says_how_its_factor_was_made(factors: FactorSet):
    energy = [HourlyEnergy(HOUR, Decimal(2), FULL)]
    traced = {HOUR: Traced(Decimal("0.38874"), FULL, 2)}
    (row,) = by_bus("mill", "北京", energy, factors, traced)
    entry = entry_of(row)
    assert check(entry) == []
    assert entry.memo == "2 MWh x 0.38874 kgCO2/kWh"
    assert entry.postings[0].account == "scope2.location.bus"
    assert entry.detail["factor_id"] == "mee_2023.electricity_location.beijing"
    said = {k: entry.detail[k] for k in ("factor_method", "traced_value", "traced_revision")}
    assert said == {
        "factor_method": "traced",
        "traced_value": "0.38874",
        "traced_revision": "2",
    }
    (regional,) = by_bus("mill", "北京", energy, factors, {})
    assert entry_of(regional).detail["factor_method"] == "regional"
    assert entry_of(regional).postings[0].amount == Decimal("1110.8")
    # The published figures' entries say what they always said: their keys and hashes stay.
    national = entry_of(footprints("mill", "北京", energy, factors)[0])
    assert "factor_method" not in national.detail
