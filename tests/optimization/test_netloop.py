"""Limits of the network: the first solve breaks them, the loop repairs it, or says it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower
import pytest

from grid.network import checked_tables, empty_net
from optimization.planner import plan
from optimization.result import Status


def planned(problem):
    told: list[str] = []
    return plan(problem, progress=told.append), told


def broken(sentence: str) -> int:
    return int(sentence.split(" to solve, ")[1].split(" limits")[0])


def test_a_voltage_the_first_solve_breaks_is_held_after_the_second(toy):
    """10 ohm to the source: 5 MW of export lifts 20 kV by about 12 %; allowed are 5 %."""
    day = toy(4)
    sun = np.array([0.0, 2.0, 5.0, 3.0])
    problem = day.problem(
        [day.plant(sun)], price=500.0, export=300.0, sgen=sun, ohm=10.0, vm_max_pu=1.05
    )
    found, told = planned(problem)
    assert broken(told[1]) > 0
    assert found.rounds > 1
    assert found.status is Status.OPTIMAL
    assert found.violations == []
    assert found.planned.violations == 0
    assert found.baseline.violations > 0
    # held, and not held back more than the limit asks for
    assert 1.05 - 1e-3 < found.planned.vm_max_pu <= 1.05 + 1e-4
    np.testing.assert_allclose(found.schedule.p_mw.values[:2, 0], sun[:2], atol=1e-6)
    (reason,) = found.reasons
    assert reason.binding == "network"


def test_a_battery_charges_to_keep_a_line_within_its_rating(toy):
    """A line of 0.1 kA at 20 kV carries 3.46 MVA; 5 MW of sun need a battery, not curtailment."""
    day = toy(4)
    sun = np.array([0.0, 5.0, 1.0, 0.0])
    battery = day.battery(
        p_max_mw=3.0, e_max_mwh=6.0, efficiency_charge=0.95, efficiency_discharge=0.95
    )
    problem = day.problem(
        [day.plant(sun), battery], price=500.0, export=400.0, sgen=sun, ohm=0.5, max_i_ka=0.1
    )
    found, told = planned(problem)
    assert broken(told[1]) > 0
    assert found.violations == []
    assert 99.0 < found.planned.max_line_loading_percent <= 100.1
    assert found.planned.curtailed_mwh == pytest.approx(0.0, abs=1e-6)
    assert found.schedule.p_mw.values[1, 1] > 1.4


@pytest.mark.parametrize("windings", ["mv", "lv"])
def test_three_windings_are_kept_within_their_rating(toy, windings):
    """25 MVA at 20 kV, 38 MVA at 10 kV: the sun behind one winding is held back to its rating."""
    day = toy(3)
    sun = np.array([0.0, 45.0, 20.0])
    net = empty_net()
    hv, *low = (
        pandapower.create_bus(net, kv, min_vm_pu=0.8, max_vm_pu=1.2) for kv in (110, 20, 10)
    )
    pandapower.create_ext_grid(net, hv)
    pandapower.create_transformer3w(net, hv, *low, "63/25/38 MVA 110/20/10 kV")
    at = low[0 if windings == "mv" else 1]
    pandapower.create_load(net, at, 0.0)
    for _ in range(2):
        pandapower.create_sgen(net, at, p_mw=0.0)
        pandapower.create_storage(net, at, p_mw=0.0, max_e_mwh=1.0)
    problem = day.problem([day.plant(sun)], price=500.0, export=300.0, sgen=sun)
    problem = replace(problem, network=checked_tables(net))
    found, told = planned(problem)
    assert broken(told[1]) > 0
    assert found.violations == []
    assert found.planned.violations == 0
    assert 99.5 < found.planned.max_trafo_loading_percent <= 100.1
    rated = 25.0 if windings == "mv" else 38.0
    assert found.schedule.p_mw.values[1, 0] == pytest.approx(rated, rel=0.1)


def test_an_undervoltage_is_held_by_discharging(toy):
    day = toy(3)
    battery = day.battery(soc=0.5, p_max_mw=3.0, e_max_mwh=6.0)
    problem = day.problem([battery], price=300.0, load=[1.0, 4.0, 1.0], ohm=10.0, vm_min_pu=0.93)
    found, _ = planned(problem)
    assert found.baseline.vm_min_pu < 0.92
    assert found.violations == []
    assert found.planned.vm_min_pu == pytest.approx(0.93, abs=2e-4)


def test_a_limit_nobody_can_hold_is_named(toy):
    """Load alone breaks the voltage and the battery is too small to help."""
    day = toy(2)
    battery = day.battery(soc=0.5, p_max_mw=0.1, e_max_mwh=0.2)
    problem = day.problem([battery], price=300.0, load=[1.0, 4.0], ohm=10.0, vm_min_pu=0.95)
    found, _ = planned(problem)
    assert found.status is Status.OPTIMAL
    (finding,) = found.violations
    assert (finding.component, finding.field, finding.ids) == ("bus", "vm_pu", (1,))
    assert "below the limit of 0.9500 pu" in finding.message
    assert "No schedule of the resources was found that holds it. It would take" in finding.message
    # it helps as much as it can all the same: what an hour of charging gives back
    assert found.schedule.p_mw.values[1, 0] == pytest.approx(-0.1 * 0.95**2, abs=1e-6)


def test_without_anything_to_steer_the_finding_remains(toy):
    day = toy(2)
    found, _ = planned(day.problem([], price=300.0, load=[1.0, 4.0], ohm=10.0, vm_min_pu=0.95))
    assert [f.component for f in found.violations] == ["bus"]


def test_losses_are_paid_for(toy):
    """Import of the linear model meets the AC grid: losses of 4 MW over 2 ohm are 0.08 MW."""
    day = toy(4)
    battery = day.battery(soc=0.5, p_max_mw=2.0, e_max_mwh=4.0)
    problem = day.problem([battery], price=[200.0, 300.0, 250.0, 900.0], load=4.0, ohm=2.0)
    found, _ = planned(problem)
    ac = found.ac
    drawn = 4.0 + found.schedule.p_mw.values[:, 0]
    np.testing.assert_allclose(found.schedule.import_mw, drawn + ac.losses_mw, atol=1e-6)
    # one more MWh costs its losses too: the price at the bus exceeds that of the tariff
    assert found.planned.losses_mwh > 0.1
