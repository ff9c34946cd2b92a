"""Reserve that is held can be delivered: every plan once more with all of it called, on AC."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower
import pytest
import xarray as xr

from grid import powerflow
from grid.limits import violations
from grid.network import read
from optimization.fleet import Fleet
from optimization.planner import plan
from optimization.rolling import Rolling
from optimization.terms import Direction, Reserve

CARRIED_MW = np.sqrt(3) * 20.0 * 0.1
"""By a line of 0.1 kA at 20 kV."""
IDLE = {"soc_end": 0.0, "cycle_cost_cny_per_mwh": 400.0}
"""A battery that may end empty and is too dear to use for energy."""


def called(problem, found, direction: Direction) -> xr.Dataset:
    """The power flow of a plan with all reserve of a direction delivered: the second judge."""
    fleet = Fleet(problem)
    held = sum(
        found.schedule[f"reserve_{r.name}_mw"].values
        for r in problem.reserves
        if r.direction is direction
    )
    p_mw = found.schedule.p_mw.values + direction.sign * fleet.fed_sign * held
    return powerflow.run(problem.network, fleet.injections(p_mw, found.schedule.q_mvar.values))


def held(found, name: str) -> np.ndarray:
    return found.schedule[f"reserve_{name}_mw"].values.sum(axis=1)


def up(steps: int, mw: float, **prices) -> Reserve:
    return Reserve("fast", Direction.UP, np.full(steps, mw), 0.5, price_cny_per_mw_h=10.0, **prices)


def sunny(day, **limits):
    """2 MW of sun behind a line that carries 3.46; in the second step 3 MW are drawn instead.

    Selling the sun is worth more than storing it.
    """
    battery = day.battery(soc=0.9, p_max_mw=3.0, e_max_mwh=30.0, **IDLE)
    return day.problem(
        [battery], price=300.0, export=290.0, load=[0.0, 3.0], sgen=np.array([2.0, 0.0]), ohm=0.5,
        **limits,
    )  # fmt: skip


def test_a_feeder_limits_the_reserve_behind_it(toy):
    """3 MW are asked: the line carries 3.46 less the sun in the first step, all in the second."""
    problem = replace(sunny(toy(2), max_i_ka=0.1), reserves=(up(2, 3.0),))
    found = plan(problem)
    assert found.violations == []
    flow = called(problem, found, Direction.UP)
    assert violations(problem.network, flow) == []
    loading = flow["line_loading_percent"].values[:, 0]
    assert loading[0] == pytest.approx(100.0, abs=0.2)
    p, kept = found.schedule.p_mw.values[:, 0], held(found, "fast")
    assert kept[0] == pytest.approx(CARRIED_MW - 2.0 + p[0], abs=0.1)
    assert kept[1] == pytest.approx(3.0, abs=1e-6)
    (given,) = [g for g in found.given if g.limit.startswith("reserve")]
    assert (given.component, given.subject, given.limit) == ("line", "0", "reserve_held")
    assert (given.start, given.end) == (problem.times[0], problem.times[1])
    assert given.amount == pytest.approx(3.0 - kept[0], abs=1e-6)
    assert "fast is not held" in given.text_en
    assert "fast 未能保留" in given.text_zh
    assert any(note.field == "reserve_held" for note in found.notes)


def test_where_reserve_is_dear_the_battery_makes_room_for_it(toy):
    """At 500 CNY for each MW that is missing, storing the sun is cheaper than selling it."""
    problem = sunny(toy(2), max_i_ka=0.1)
    cheap = plan(replace(problem, reserves=(up(2, 3.0),)))
    problem = replace(problem, reserves=(up(2, 3.0, breach_cny_per_mw_h=500.0),))
    found = plan(problem)
    assert held(found, "fast")[0] > held(cheap, "fast")[0] + 0.5
    assert found.schedule.p_mw.values[0, 0] > cheap.schedule.p_mw.values[0, 0] + 0.5
    assert violations(problem.network, called(problem, found, Direction.UP)) == []
    assert any("with all up reserve called" in reason.text_en for reason in found.reasons)


def test_reserve_moves_to_a_feeder_that_carries_it(toy):
    """Two feeders, the first full of sun: what it cannot carry stands behind the second."""
    day = toy(2)
    net = pandapower.create_empty_network()
    source = pandapower.create_bus(net, 20.0, min_vm_pu=0.9, max_vm_pu=1.1)
    pandapower.create_ext_grid(net, source)
    for max_i_ka in (0.1, 1.0):
        bus = pandapower.create_bus(net, 20.0, min_vm_pu=0.9, max_vm_pu=1.1)
        pandapower.create_line_from_parameters(
            net, source, bus, 1.0, r_ohm_per_km=0.2, x_ohm_per_km=0.2, c_nf_per_km=0.0,
            max_i_ka=max_i_ka,
        )  # fmt: skip
        pandapower.create_sgen(net, bus, p_mw=0.0)
        pandapower.create_storage(net, bus, p_mw=0.0, max_e_mwh=1.0)
    pandapower.create_load(net, source, p_mw=0.0)
    batteries = [
        day.battery(i, soc=0.9, p_max_mw=size, e_max_mwh=30.0, **IDLE)
        for i, size in enumerate((3.0, 2.0))
    ]
    problem = day.problem(batteries, price=300.0, export=290.0, sgen=3.0)
    problem = replace(problem, network=read(pandapower.to_json(net)), reserves=(up(2, 2.4),))
    found = plan(problem)
    np.testing.assert_allclose(held(found, "fast"), 2.4, atol=1e-6)
    assert violations(problem.network, called(problem, found, Direction.UP)) == []
    assert not [g for g in found.given if g.limit.startswith("reserve")]


def test_down_reserve_keeps_the_voltage_and_the_import_limit(toy):
    """Charging lowers the voltage behind 10 ohm; without that line the import limit binds."""
    day = toy(2)
    down = Reserve("slow", Direction.DOWN, np.full(2, 3.0), 0.5, price_cny_per_mw_h=10.0)
    battery = day.battery(soc=0.5, p_max_mw=3.0, e_max_mwh=30.0)
    weak = day.problem([battery], price=300.0, load=[0.5, 1.0], ohm=10.0, vm_min_pu=0.95)
    weak = replace(weak, reserves=(down,))
    found = plan(weak)
    flow = called(weak, found, Direction.DOWN)
    assert (held(found, "slow") < 2.0).all()
    np.testing.assert_allclose(flow["vm_pu"].values[:, 1], 0.95, atol=1e-4)
    stiff = day.problem([battery], price=300.0, load=[0.5, 1.0], ohm=0.01, import_limit_mw=2.0)
    stiff = replace(stiff, reserves=(down,))
    found = plan(stiff)
    flow = called(stiff, found, Direction.DOWN)
    np.testing.assert_allclose(flow["import_mw"].values, 2.0, atol=0.01)
    (given,) = [g for g in found.given if g.limit == "reserve_held"]
    assert (given.component, "import of the substation" in given.text_en) == ("substation", True)


def test_a_limit_that_the_plan_cannot_hold_gets_no_worse(toy):
    """The load alone breaks the voltage in the second step: nobody may draw more there."""
    day = toy(2)
    down = Reserve("slow", Direction.DOWN, np.full(2, 0.5), 0.5, price_cny_per_mw_h=10.0)
    battery = day.battery(soc=0.5, p_max_mw=0.1, e_max_mwh=2.0, **IDLE)
    problem = day.problem([battery], price=300.0, load=[1.0, 4.0], ohm=10.0, vm_min_pu=0.95)
    found = plan(replace(problem, reserves=(down,)))
    assert [f.component for f in found.violations] == ["bus"]
    assert held(found, "slow")[0] > 0.09
    assert held(found, "slow")[1] < 0.01
    assert not [g for g in found.given if g.limit == "reserve"]


def test_a_collapse_under_activation_is_prevented(toy):
    """12 MW more drawn behind 10 + 10j ohm have no power flow at all."""
    day = toy(1)
    down = Reserve("slow", Direction.DOWN, np.full(1, 12.0), 0.5, price_cny_per_mw_h=10.0)
    battery = day.battery(soc=0.5, p_max_mw=15.0, e_max_mwh=90.0)
    problem = day.problem([battery], price=300.0, load=0.5, ohm=10.0, vm_min_pu=0.9)
    problem = replace(problem, reserves=(down,))
    found = plan(problem)
    flow = called(problem, found, Direction.DOWN)
    assert flow["vm_pu"].values[0, 1] == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("reserves", [0, 1, 2])
def test_where_nothing_is_violated_it_costs_one_batch_of_power_flows(toy, monkeypatch, reserves):
    day = toy(2)
    batches: list[int] = []
    solve = powerflow.solved_where_possible

    def counted(network, drawn_mva):
        batches.append(len(drawn_mva))
        return solve(network, drawn_mva)

    monkeypatch.setattr(powerflow, "solved_where_possible", counted)
    products = (up(2, 0.3), Reserve("slow", Direction.DOWN, np.full(2, 0.2), 0.5, 10.0))
    problem = day.problem([day.battery(soc=0.5)], price=300.0, load=2.0)
    found = plan(replace(problem, reserves=products[:reserves]))
    assert found.given == []
    assert batches == ([2 * reserves] if reserves else [])


def test_a_re_plan_keeps_the_rows(toy):
    """The second plan is deliverable in its first round: its rows came with the horizon."""
    rolling = Rolling()
    first = replace(sunny(toy(2), max_i_ka=0.1), reserves=(up(2, 3.0),))
    found = rolling.plan(first)
    later = rolling.plan(first)
    assert found.rounds > 1
    assert later.rounds == 1
    assert violations(first.network, called(first, later, Direction.UP)) == []
    np.testing.assert_allclose(held(later, "fast"), held(found, "fast"), atol=0.01)
