"""What resources do that nobody plans: they keep what they hold; an engine nobody needs rests."""

from __future__ import annotations

import numpy as np
import pytest

from core.sites import AssetKind
from grid.uncontrolled import by_itself

ROOM = {"p_max_mw": 0.1, "ua_mw_per_k": 0.01, "time_constant_h": 40.0, "cop": 3.0}
TANK = {"p_max_mw": 1.0, "efficiency": 1.0, "tank_mwh": 2.0}
ENGINE = {
    "p_max_mw": 1.0, "p_min_mw": 0.4, "efficiency": 0.4, "efficiency_heat": 0.4,
    "fuel": "natural_gas", "fuel_cny_per_mwh": 300.0, "backup_heat_cny_per_mwh": 600.0,
}  # fmt: skip


def test_a_room_is_held_where_it_is(make):
    """At 10 K above the air it takes UA dT / COP."""
    made = make(AssetKind.HEAT_PUMP, ROOM, temp_air=12.0, states={"temp_indoor": 22.0})
    np.testing.assert_allclose(by_itself(made, 1.0), 0.01 * 10 / 3.0)


def test_a_cold_room_is_warmed_as_fast_as_power_allows_and_then_held(make):
    made = make(AssetKind.HEAT_PUMP, ROOM, temp_air=12.0, states={"temp_indoor": 19.0})
    power = by_itself(made, 1.0)
    assert power[0] == 0.1
    np.testing.assert_allclose(power[-4:], 0.01 * 8 / 3.0)  # the band begins at 20 degC


def test_a_tank_is_filled_as_it_is_emptied(make):
    demand = np.where(np.arange(24) < 12, 0.2, 1.5)
    power = by_itself(make(AssetKind.ELECTRIC_BOILER, TANK, heat_mw=demand), 1.0)
    np.testing.assert_allclose(power, np.minimum(demand, 1.0))


def test_an_engine_follows_the_heat_and_runs_no_lower_than_it_can(make):
    demand = np.repeat([0.1, 0.3, 0.7, 2.0], 6)
    power = by_itself(make(AssetKind.CHP, ENGINE, heat_mw=demand), 1.0)
    np.testing.assert_allclose(power, np.repeat([0.0, 0.4, 0.7, 1.0], 6))


def test_what_has_no_store_stays_as_it_is(make):
    genset = {name: value for name, value in ENGINE.items() if "heat" not in name}
    assert not by_itself(make(AssetKind.GENSET, genset), 1.0).any()
    lamps = make(AssetKind.STREET_LIGHTING, p_mw=0.2)
    assert by_itself(lamps, 1.0) == pytest.approx(0.2)
