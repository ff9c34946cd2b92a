"""Plans for several courses at once, against hand calculations and a second program."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from core.errors import ConfigurationError
from core.sites import AssetKind
from grid.envelope import Commitment, Envelope
from optimization.outlook import Outlook
from optimization.result import Status
from optimization.risk import RiskMeasure, cvar
from optimization.scenarios import Scenarios
from optimization.stochastic import FirstStage, plan

MEAN = RiskMeasure(weight=0.0)


def outlook(steps, table="load", upper=100.0):
    """Of load 0 or sgen 0; the courses themselves are given to the plan."""
    return Outlook(
        levels=np.array([0.1, 0.5, 0.9]),
        values=np.zeros((steps, 1, 3)),
        table=(table,),
        element=(0,),
        group=(table,),
        lower=np.zeros(1),
        upper=np.full(1, upper),
    )


def courses(power, probability=None):
    """Scenarios from (scenario, time) of one series."""
    power = np.asarray(power, dtype=float)
    count = len(power)
    return Scenarios(
        power[..., None], np.full(count, 1 / count) if probability is None else probability
    )


def test_cvar_is_the_mean_of_the_tail():
    cost, p = np.array([1.0, 2.0, 3.0, 10.0]), np.full(4, 0.25)
    assert cvar(cost, p, 0.75) == pytest.approx(10.0)
    assert cvar(cost, p, 0.5) == pytest.approx(6.5)
    assert cvar(cost, p, 0.0) == pytest.approx(4.0)
    # the tail of 0.4 takes all of the dearest and 0.15 of the next: (0.25 * 10 + 0.15 * 3) / 0.4
    assert cvar(cost, p, 0.6) == pytest.approx(2.95 / 0.4)
    # Rockafellar and Uryasev: the least over eta of eta + E[cost - eta]+ / (1 - level)
    at_eta = [eta + p @ np.maximum(cost - eta, 0.0) / 0.4 for eta in np.linspace(0, 10, 1001)]
    assert cvar(cost, p, 0.6) == pytest.approx(min(at_eta), abs=1e-9)


def test_a_position_is_that_of_the_newsvendor(toy):
    """A MWh above the position costs 30, one below it 10: the 0.75 quantile of the load, 4 MW.

    The mean, 3 MW, would cost 0.2 (30 (1 + 2) + 10 (1 + 2)) = 24, the position of 4 MW costs
    0.2 (30 * 1 + 10 (1 + 2 + 3)) = 18, and who knew the load would pay nothing.
    """
    problem = toy(1).problem([], price=500.0, export=400.0, load=3.0)
    found = plan(
        problem,
        outlook(1),
        courses([[1.0], [2.0], [3.0], [4.0], [5.0]]),
        first_stage=FirstStage(above_cny_per_mwh=30.0, below_cny_per_mwh=10.0),
        measure=MEAN,
        worth=True,
    )
    assert found.position_mw == pytest.approx([4.0], abs=1e-4)
    assert found.expected_cny == pytest.approx(500.0 * 3.0 + 18.0, abs=0.01)
    assert found.vss_cny == pytest.approx(6.0, abs=0.01)
    assert found.evpi_cny == pytest.approx(18.0, abs=0.01)
    # what is shown is the day of 3 MW under that position
    assert found.plan.planned.breach_cny == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_objective_is_that_of_the_deterministic_equivalent(toy, weight):
    """A battery planned for the day, PV and an import limit: the same program written out anew."""
    rng = np.random.default_rng(0)
    steps, count, level, eta_c, eta_d = 4, 5, 0.7, 0.9, 0.95
    load = np.array([1.0, 1.0, 2.0, 2.5])
    sun = np.clip(rng.normal([0.0, 3.0, 1.5, 0.5], [0.0, 1.2, 0.8, 0.3], (count, steps)), 0, None)
    p = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
    price, export = np.array([300.0, 250.0, 600.0, 900.0]), 150.0
    day = toy(steps)
    battery = day.battery(
        soc=0.5, efficiency_charge=eta_c, efficiency_discharge=eta_d, cycle_cost_cny_per_mwh=20.0
    )
    problem = day.problem(
        [day.plant(sun.mean(axis=0)), battery],
        price=price,
        export=export,
        load=load,
        sgen=sun.mean(axis=0),
    )
    measure = RiskMeasure(level, weight)
    found = plan(problem, outlook(steps, "sgen"), courses(sun, p), measure=measure, worth=True)
    assert found.plan.status is Status.OPTIMAL

    # charge, discharge, then import, export and used sun by scenario, eta, excess by scenario
    n = 2 * steps + 3 * steps * count + 1 + count
    charge, discharge = np.arange(steps), steps + np.arange(steps)

    def second(kind, k):
        return 2 * steps + (3 * k + kind) * steps + np.arange(steps)

    eta, excess = n - 1 - count, n - count + np.arange(count)
    costs = np.zeros((count, n))
    equal, right = np.zeros((steps * count, n)), np.zeros(steps * count)
    bounds = np.array([(0.0, np.inf)] * n)
    bounds[: 2 * steps, 1] = 1.0
    bounds[eta] = (-np.inf, np.inf)
    for k in range(count):
        costs[k, discharge] = 20.0
        costs[k, second(0, k)], costs[k, second(1, k)] = price, -export
        rows = k * steps + np.arange(steps)
        for at, sign in ((charge, -1), (discharge, 1), (second(0, k), 1), (second(1, k), -1),
                         (second(2, k), 1)):  # fmt: skip
            equal[rows, at] = sign
        right[rows] = load
        bounds[second(2, k), 1] = sun[k]
    content = np.zeros((steps, n))
    content[:, charge] = eta_c * np.tri(steps)
    content[:, discharge] = -np.tri(steps) / eta_d
    tail = costs.copy()
    tail[:, eta] = -1.0
    tail[np.arange(count), excess] = -1.0
    e_min, e_max, e_end = battery.account.min_mwh, battery.account.max_mwh, 1.0
    objective = (1 - weight) * p @ costs
    objective[eta], objective[excess] = weight, weight * p / (1 - level)
    judge = linprog(
        objective,
        np.vstack([content, -content, tail]),
        np.concatenate([e_max - e_end, e_end - e_min, np.zeros(count)]),
        equal,
        right,
        bounds,
    )
    assert judge.status == 0
    ours = measure.of(found.cost_cny, p)
    assert ours == pytest.approx(judge.fun, abs=0.05)
    assert found.vss_cny >= -0.05
    assert found.evpi_cny >= -0.05


def test_the_tail_is_bought_with_the_mean(toy):
    """A dear hour that may come or not: charging for it pays in the tail only."""
    day = toy(2)
    battery = day.battery(soc=0.0, efficiency_charge=0.6, efficiency_discharge=1.0)
    problem = day.problem(
        [battery], price=[300.0, 400.0], load=[1.0, 1.0], import_limit_mw=[5.0, 2.0]
    )
    load = courses([[1.0, 0.5], [1.0, 2.3]], np.array([0.95, 0.05]))
    results = {
        weight: plan(problem, outlook(2), load, measure=RiskMeasure(0.95, weight))
        for weight in (0.0, 1.0)
    }
    assert results[1.0].cvar_cny <= results[0.0].cvar_cny + 1e-6
    assert results[1.0].expected_cny >= results[0.0].expected_cny - 1e-6
    # 0.3 MWh in the second hour, bought at 0.6 of efficiency in the first
    np.testing.assert_allclose(results[1.0].p_mw[:, 0, 0], 0.5, atol=1e-3)


def test_only_the_committed_hours_are_the_same_in_all_scenarios(toy):
    """After the first hour the battery may follow the load that came."""
    day = toy(3)
    battery = day.battery(soc=0.5, p_max_mw=1.0, e_max_mwh=4.0)
    problem = day.problem([battery], price=[300.0, 500.0, 800.0], export=0.0, load=[1.0, 1.0, 1.0])
    load = courses([[1.0, 0.2, 0.9], [1.0, 0.9, 0.2]])
    one = plan(problem, outlook(3), load, first_stage=FirstStage(hours=1.0), measure=MEAN)
    np.testing.assert_allclose(one.p_mw[0, 0], one.p_mw[1, 0], atol=1e-9)
    assert np.abs(one.p_mw[0, 1:] - one.p_mw[1, 1:]).max() > 0.1
    whole = plan(problem, outlook(3), load, measure=MEAN)
    np.testing.assert_allclose(whole.p_mw[0], whole.p_mw[1], atol=1e-9)
    np.testing.assert_allclose(whole.plan.schedule.p_mw.values, whole.p_mw[0], atol=1e-7)
    assert one.expected_cny < whole.expected_cny  # what can wait is worth something
    free = plan(problem, outlook(3), load, first_stage=FirstStage(hours=0.0), measure=MEAN)
    assert free.expected_cny <= one.expected_cny + 1e-6


def test_every_scenario_is_checked_on_its_own_grid(toy):
    """The mean of the sun keeps the voltage, the bright course does not until rows are added."""
    day = toy(2)
    sun = np.array([[0.5, 1.0], [0.5, 4.5]])
    problem = day.problem(
        [day.plant(sun.mean(axis=0))],
        price=500.0,
        export=300.0,
        sgen=sun.mean(axis=0),
        ohm=8.0,
        vm_max_pu=1.06,
    )
    told: list[str] = []
    found = plan(problem, outlook(2, "sgen"), courses(sun), measure=MEAN, progress=told.append)
    rounds = [s for s in told if "scenarios:" in s]
    assert "2 scenarios: 1 limits" in rounds[0]
    assert found.rounds > 1
    assert found.violations.tolist() == [0, 0]
    assert found.p_mw[0, 1, 0] == pytest.approx(1.0, abs=1e-6)
    assert 2.5 < found.p_mw[1, 1, 0] < 4.4  # held back to what the voltage allows
    assert found.notes == []


def test_a_limit_that_no_scenario_can_hold_is_said(toy):
    problem = toy(1).problem([], price=300.0, load=1.0, ohm=8.0, vm_min_pu=0.95)
    found = plan(problem, outlook(1), courses([[1.0], [4.5]]), measure=MEAN)
    assert found.violations.tolist() == [0, 1]
    (note,) = found.notes
    assert note.ids == ("1",)
    assert "50%" in note.message


def test_a_genset_is_committed_once_for_all(toy):
    """Started for the load that may come: one state of on and off in all scenarios."""
    day = toy(2)
    genset = Envelope(
        asset="genset-0",
        kind=AssetKind.GENERATOR,
        element="sgen",
        element_index=0,
        base_mw=np.zeros(2),
        up_mw=np.full(2, 2.0),
        down_mw=np.zeros(2),
        up_cny_per_mwh=700.0,
        commitment=Commitment(p_on_min_mw=1.0, start_cny=100.0),
    )
    problem = day.problem([genset], price=[300.0, 300.0], load=[1.0, 3.0], import_limit_mw=2.5)
    load = courses([[1.0, 2.0], [1.0, 4.0]])
    found = plan(problem, outlook(2), load, measure=MEAN)
    assert found.plan.status is Status.OPTIMAL
    np.testing.assert_allclose(found.p_mw[0], found.p_mw[1], atol=1e-7)
    assert found.p_mw[0, 1, 0] == pytest.approx(1.5, abs=1e-3)
    assert found.p_mw[0, 0, 0] == pytest.approx(0.0, abs=1e-6)


def test_what_does_not_fit_is_refused_by_name(toy):
    problem = toy(2).problem([], price=300.0, load=1.0)
    with pytest.raises(ConfigurationError, match="other steps"):
        plan(problem, outlook(3), courses([[1.0, 1.0, 1.0]]))
    with pytest.raises(ConfigurationError, match="price above"):
        FirstStage(above_cny_per_mwh=1.0)
    with pytest.raises(ConfigurationError, match="level"):
        RiskMeasure(level=1.0)
