"""Pump stations: the reservoir serves its demand, and pumps run when power is cheap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.sites import AssetKind
from grid.der.pump_station import volume_m3

STATION = {
    "p_max_mw": 0.2,
    "specific_energy_kwh_per_m3": 0.4,
    "volume_min_m3": 500,
    "volume_max_m3": 3000,
}
PRICE = np.where(np.arange(24) < 7, 200.0, 800.0)


def station(make, parameters=None, flow=200.0, volume=1500.0, **given_):
    merged = {**STATION, **(parameters or {})}
    states = given_.pop("states", {"volume_m3": volume})
    return make(AssetKind.PUMP_STATION, merged, flow_m3_per_h=flow, states=states, **given_)


def test_the_water_balance_holds_and_pumps_run_at_night(make, cheapest):
    """0.2 MW at 0.4 kWh/m3 lift 500 m3/h; 200 m3/h leave."""
    made = station(make)
    plan = cheapest(made, 1.0, PRICE)
    volume = volume_m3(made, plan.content)
    lifted = plan.p_mw / 0.0004
    np.testing.assert_allclose(np.diff(volume, prepend=1500.0), lifted - 200.0, atol=1e-5)
    assert volume.min() >= 500 - 1e-5
    assert volume.max() <= 3000 + 1e-5
    assert volume[-1] == pytest.approx(1500.0)
    assert volume[6] == pytest.approx(3000.0)


def test_energy_of_a_head_is_that_of_physics(make):
    """rho g h / eta: 1000 * 9.80665 * 50 / 0.7 J/m3 = 0.19458 kWh/m3."""
    parameters = {"specific_energy_kwh_per_m3": None, "head_m": 50, "pump_efficiency": 0.7}
    made = station(make, parameters)
    assert made.account.initial_mwh / 1500 == pytest.approx(0.19458e-3, rel=1e-4)


def test_a_tank_can_be_told_by_its_levels(make):
    by_level = {
        "volume_min_m3": None,
        "area_m2": 500,
        "level_min_m": 1,
        "level_max_m": 6,
    }
    by_level = {**STATION, **by_level}
    del by_level["volume_max_m3"]
    made = make(AssetKind.PUMP_STATION, by_level, flow_m3_per_h=200.0, states={"level_m": 3.0})
    np.testing.assert_allclose(made.account.max_mwh, station(make).account.max_mwh)
    assert made.account.initial_mwh == pytest.approx(station(make).account.initial_mwh)


def test_pumps_of_fixed_speed_are_on_or_off_and_not_started_too_often(make, cheapest):
    fixed = {"p_min_mw": 0.2, "starts_max_per_day": 4, "volume_end_m3": 1400}
    made = station(make, fixed, steps=12, dt_h=1.0)
    assert made.commitment.starts_max == 2
    plan = cheapest(made, 1.0, PRICE[:12])
    assert set(np.round(plan.p_mw, 6)) == {0.0, 0.2}
    assert np.sum(np.diff(plan.p_mw, prepend=0.0) > 0.1) <= 2


def test_a_demand_that_pumps_cannot_follow_is_a_conflict_or_has_a_price(make, cheapest):
    (finding,) = station(make, flow=700.0).conflicts(1.0)
    assert (finding.component, finding.ids) == ("pump_station", ("one",))
    soft = station(make, {"shortage_cny_per_m3_h": 2.0}, flow=550.0)
    assert soft.conflicts(1.0) == []
    assert soft.soft_kind == "reservoir level"
    plan = cheapest(soft, 1.0, np.full(24, 300.0))
    volume = volume_m3(soft, plan.content)
    assert plan.p_mw == pytest.approx(0.2)
    below = np.maximum(np.append(np.full(23, 500.0), 1500.0) - volume, 0)
    assert plan.cost == pytest.approx(24 * 0.2 * 300 + 2.0 * below.sum())


def test_water_is_lost_only_at_its_price(make, cheapest):
    """A full tank, pumps that must run: what does not fit overflows."""
    must = {"p_min_mw": 0.2, "overflow_cny_per_m3": 3.0, "min_up_h": 4}
    states = {"volume_m3": 2900.0, "p_mw": 0.2, "time_in_state_h": 0.0}
    made = station(make, must, states=states)
    plan = cheapest(made, 1.0, PRICE)
    assert plan.spill.sum() / 0.0004 >= 4 * 300 - 100 - 1e-6
    assert volume_m3(made, plan.content).max() <= 3000 + 1e-5


@given(
    flow=st.lists(st.floats(0, 500), min_size=24, max_size=24),
    volume=st.floats(0, 5000),
    low=st.floats(0, 3000),
)
def test_pumping_what_leaves_is_always_allowed(make, flow, volume, low):
    """Whatever the gauge says at the beginning, also outside the bounds: no conflict."""
    made = station(make, {"volume_min_m3": low}, np.array(flow), volume)
    assert made.conflicts(1.0) == []
    assert made.account.initial_mwh == pytest.approx(volume * 0.0004)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"volume_min_m3": 4000}, "volume_min_m3 of one is 4000, above volume_max_m3"),
        ({"volume_end_m3": 4000}, "volume_end_m3 of one is 4000, above volume_max_m3"),
        ({"specific_energy_kwh_per_m3": 0}, "specific_energy_kwh_per_m3 of one is 0"),
        ({"specific_energy_kwh_per_m3": None}, "lacks the number specific_energy_kwh_per_m3"),
        ({"head_m": 30, "pump_efficiency": 0}, "pump_efficiency of one is 0, not above 0"),
        ({"volume_max_m3": None}, "one lacks the number volume_max_m3"),
        ({"p_min_mw": 0.3}, "p_min_mw of one is 0.3, above p_max_mw"),
    ],
)
def test_what_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        station(make, parameters)
