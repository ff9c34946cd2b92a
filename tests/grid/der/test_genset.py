"""Gensets: started when it pays, for as long as they must run, with what they burn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from core.errors import ConfigurationError
from core.sites import AssetKind

GENSET = {
    "p_max_mw": 2.0,
    "p_min_mw": 0.8,
    "fuel": "diesel",
    "fuel_cny_per_mwh": 240.0,
    "efficiency": 0.4,
}
HOURS = np.arange(24)


def genset(make, parameters=None, states=None, **given_):
    kind = AssetKind.GENSET
    return make(kind, {**GENSET, **(parameters or {})}, states=states, **given_)


def runs_of(on):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def test_it_runs_where_power_costs_more_than_its_fuel(make, cheapest):
    """240 CNY/MWh at 40 %: 600 CNY/MWh of electricity."""
    price = np.where(HOURS >= 12, 601.0, 599.0)
    plan = cheapest(genset(make), 1.0, price)
    assert plan.p_mw == pytest.approx(np.where(HOURS >= 12, 2.0, 0.0))
    assert plan.cost == pytest.approx(-12 * 2.0)


def test_what_it_burns_at_no_load_is_paid_by_the_hour(make):
    """At full power the fuel is p / efficiency whatever part of it is no-load: 5 MW."""
    made = genset(make, {"no_load_fuel_mw": 1.0, "maintenance_cny_per_mwh": 30.0})
    assert made.up_cny_per_mwh[0] == pytest.approx(240 * (5 - 1) / 2 + 30)
    assert made.commitment.running_cny_per_h == pytest.approx(240.0)
    full = made.up_cny_per_mwh[0] * 2 + made.commitment.running_cny_per_h
    assert full == pytest.approx(5 * 240 + 2 * 30)


def test_it_emits_what_its_fuel_holds(make):
    """IPCC 2006: 74.1 t CO2/TJ of diesel are 0.2668 t/MWh of fuel, at 40 % 0.6669 t/MWh."""
    assert genset(make).up_kgco2e_per_mwh == pytest.approx(666.9, abs=0.05)
    gas = genset(make, {"fuel": "natural_gas"})
    assert gas.up_kgco2e_per_mwh == pytest.approx(56.1 * 3.6 / 0.4)
    own = genset(make, {"fuel": None, "fuel_kgco2e_per_mwh": 250.0, "no_load_fuel_mw": 1.0})
    assert own.up_kgco2e_per_mwh == pytest.approx(250 * 2.0)
    assert own.commitment.running_kgco2e_per_h == pytest.approx(250.0)
    assert genset(make, {"fuel": "biogas"}).up_kgco2e_per_mwh == 0.0


def test_it_stays_on_and_off_as_long_as_it_must(make, cheapest):
    price = np.where(np.isin(HOURS, (5, 9, 20)), 2000.0, 100.0)
    made = genset(make, {"min_up_h": 3, "min_down_h": 4})
    plan = cheapest(made, 1.0, price)
    found = runs_of(plan.on > 0.5)
    assert len(found) >= 2
    assert all(end - start >= 3 or end == 24 for start, end in found)
    assert all(b[0] - a[1] >= 4 for a, b in pairwise(found))
    running = plan.on > 0.5
    assert plan.p_mw[running].min() >= 0.8 - 1e-6
    assert not plan.p_mw[~running].any()


def test_a_start_has_its_price_and_its_number(make, cheapest):
    price = np.where(HOURS % 6 == 0, 1000.0, 100.0)
    free = cheapest(genset(make), 1.0, price)
    assert len(runs_of(free.on > 0.5)) == 4
    dear = genset(make, {"start_cny": 801.0})  # 2 MW for an hour earn 800
    assert not cheapest(dear, 1.0, price).p_mw.any()
    once = genset(make, {"starts_max_per_day": 1})
    assert len(runs_of(cheapest(once, 1.0, price).on > 0.5)) <= 1
    assert genset(make, {"starts_max_per_day": 1}, steps=36).commitment.starts_max == 2


@pytest.mark.parametrize(("done", "left"), [(None, 2), (0.0, 3), (2.0, 1), (5.0, 0)])
def test_starts_of_this_day_are_counted(make, done, left):
    """Two a day, from noon to noon: three from midnight on, less what was started."""
    states = {} if done is None else {"starts_today": done}
    noon = np.datetime64("2026-06-21T04:00", "ns")
    made = genset(make, {"starts_max_per_day": 2}, states, start=noon)
    assert made.commitment.starts_max == left


def test_it_goes_on_from_what_it_did_before(make, cheapest):
    """On for an hour of three: it must run two more, although power is cheap."""
    states = {"p_mw": 1.0, "time_in_state_h": 1.0}
    made = genset(make, {"min_up_h": 3}, states)
    assert (made.commitment.on, made.commitment.since_h) == (True, 1.0)
    plan = cheapest(made, 1.0, np.full(24, 100.0))
    assert runs_of(plan.on > 0.5) == [(0, 2)]
    assert plan.p_mw[:2] == pytest.approx(0.8)
    unknown = genset(make, {"min_up_h": 3}).commitment
    assert (unknown.on, unknown.since_h) == (False, float("inf"))
    # On for nobody knows how long: it may stop, and need not, also where it may not run for ever.
    running = genset(make, {"min_up_h": 3, "max_up_h": 8}, {"p_mw": 1.0}).commitment
    assert (running.on, running.since_h) == (True, 3.0)


def test_it_rises_and_falls_no_faster_than_it_can(make, cheapest):
    parameters = {"ramp_up_mw_per_h": 0.4, "ramp_down_mw_per_h": 0.6}
    price = np.where((HOURS >= 8) & (HOURS < 16), 1500.0, 100.0)
    made = genset(make, parameters, {"p_mw": 0.0})
    plan = cheapest(made, 1.0, price)
    steps = np.diff(plan.p_mw, prepend=0.0)
    starting = np.diff((plan.on > 0.5).astype(int), prepend=0) == 1
    assert steps[~starting].max() <= 0.4 + 1e-6
    assert steps[starting].max() <= 0.8 + 1e-6  # into its least load in one step
    assert steps.min() >= -0.8 - 1e-6
    assert plan.p_mw.max() == pytest.approx(2.0)
    only_one = genset(make, {"ramp_up_mw_per_h": 0.4}).ramp
    assert (only_one.down_mw_per_h, only_one.before_mw) == (0.4, None)


def test_its_machine_gives_reactive_power(make):
    assert genset(make).reactive is None
    made = genset(make, {"sn_mva": 2.5, "cos_phi_min": 0.8})
    assert made.reactive.q_max_mvar == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"p_min_mw": 2.5}, "p_min_mw of one is 2.5, above p_max_mw, which is 2"),
        ({"fuel": "coke"}, "fuel of one is 'coke'; known are natural_gas, lpg"),
        ({"fuel": None}, "one lacks its fuel, or the number fuel_kgco2e_per_mwh"),
        ({"fuel_cny_per_mwh": None}, "one lacks the number fuel_cny_per_mwh"),
        ({"efficiency": 1.4}, "efficiency of one is 1.4"),
        ({"no_load_fuel_mw": 5.0}, "no_load_fuel_mw of one is 5; at full power it burns 5 MW"),
        ({"min_up_h": 5, "max_up_h": 4}, "max_up_h of one lies below its min_up_h"),
        ({"start_cny": -1}, "start_cny of one is -1"),
        ({"ramp_up_mw_per_h": 0}, "ramp_up_mw_per_h of one is 0, not above 0"),
    ],
)
def test_what_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        genset(make, parameters)


def test_a_state_that_cannot_be_is_named(make):
    with pytest.raises(ConfigurationError, match="state time_in_state_h of one is -1"):
        genset(make, states={"time_in_state_h": -1.0})
