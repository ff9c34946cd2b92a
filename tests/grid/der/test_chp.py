"""Combined heat and power: heat in step with power, and never more than tank and demand take."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ConfigurationError
from core.sites import AssetKind

CHP = {
    "p_max_mw": 1.0,
    "p_min_mw": 0.5,
    "fuel": "natural_gas",
    "fuel_cny_per_mwh": 350.0,
    "efficiency": 0.4,
    "efficiency_heat": 0.5,
    "tank_mwh": 4.0,
}
HOURS = np.arange(24)
PRICE = np.where((HOURS >= 17) & (HOURS < 22), 1500.0, 400.0)


def chp(make, parameters=None, heat_mw=0.5, soc=0.5, **given_):
    merged = {**CHP, **(parameters or {})}
    return make(AssetKind.CHP, merged, heat_mw=heat_mw, states={"soc": soc}, **given_)


def test_its_heat_follows_its_power(make):
    account = chp(make).account
    assert account.carrier == "heat"
    assert account.gain_up == pytest.approx(1.25)
    assert account.inflow_mwh == pytest.approx(-0.5)


def test_it_runs_when_power_is_dear_and_the_tank_serves_the_rest(make, cheapest):
    made = chp(make, {"start_cny": 100.0, "min_up_h": 2})
    plan = cheapest(made, 1.0, PRICE)
    assert plan.p_mw[17:22] == pytest.approx(1.0)
    assert plan.content.min() >= -1e-6
    assert plan.content.max() <= 4.0 + 1e-6
    # Heat made = demand + what was thrown away + what the tank holds more than before.
    spilt = plan.spill.sum()
    assert 1.25 * plan.p_mw.sum() == pytest.approx(12.0 + spilt + plan.content[-1] - 2.0)
    running = plan.p_mw[plan.on > 0.5]
    assert running.min() >= 0.5 - 1e-6


def test_the_tank_never_overflows_and_throwing_away_has_its_price(make, cheapest):
    """All day dear: it runs all the time, and heat beyond demand and tank is thrown away."""
    dear = np.full(24, 1500.0)
    free = cheapest(chp(make), 1.0, dear)
    assert free.p_mw == pytest.approx(1.0)
    assert free.spill.sum() == pytest.approx(24 * (1.25 - 0.5) - (free.content[-1] - 2.0))
    assert free.content.max() <= 4.0 + 1e-6
    kept = cheapest(chp(make, {"spill_cny_per_mwh": 5000.0}), 1.0, dear)
    assert kept.spill.sum() == pytest.approx(0.0, abs=1e-6)
    assert kept.p_mw.sum() < 14.0


def test_heat_it_cannot_make_is_a_conflict_or_another_boilers(make):
    (finding,) = chp(make, heat_mw=2.0).conflicts(1.0)
    assert (finding.component, finding.ids) == ("chp", ("one",))
    assert chp(make, {"backup_boiler": 1}, heat_mw=2.0).conflicts(1.0) == []


def test_without_a_tank_it_is_heat_against_a_boilers_price(make, cheapest):
    """1 MWh of electricity costs 875 and saves 0.5 MWh of heat at 600: worth it above 575."""
    parameters = {"tank_mwh": 0, "backup_heat_cny_per_mwh": 600.0, "p_min_mw": 0.4}
    made = chp(make, parameters)
    price = np.array([100.0, 120.0, 300.0, 900.0])
    made = chp(make, parameters, steps=4)
    plan = cheapest(made, 1.0, price)
    # Up to 0.4 MW all heat is used: 875 - 1.25 * 600 = 125 CNY/MWh. Beyond, none.
    assert plan.p_mw == pytest.approx([0.0, 0.0, 0.4, 1.0])
    assert plan.spill == pytest.approx([0.0, 0.0, 0.0, 0.75])


def test_fuel_and_emissions_stand_with_the_electricity(make):
    made = chp(make)
    assert made.up_cny_per_mwh == pytest.approx(350 / 0.4)
    assert made.up_kgco2e_per_mwh == pytest.approx(56.1 * 3.6 / 0.4)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"efficiency_heat": None}, "one lacks the number efficiency_heat"),
        ({"efficiency_heat": 0.8}, "efficiency and efficiency_heat of one make 1.2 together"),
        ({"backup_heat_cny_per_mwh": 1.0}, "one has tank_mwh and backup_heat_cny_per_mwh"),
        ({"spill_cny_per_mwh": -1}, "spill_cny_per_mwh of one is -1"),
        ({"soc_end": 2}, "soc_end of one is 2"),
    ],
)
def test_what_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        chp(make, parameters)


def test_a_plant_without_a_heat_demand_says_what_it_needs(make):
    with pytest.raises(ConfigurationError, match="one needs heat_mw for each of 24 steps"):
        make(AssetKind.CHP, CHP)
