"""Marginal emissions of a plan against plans with one more kWh at a bus."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from core.errors import NotOptimalError
from grid import powerflow
from optimization import netloop
from optimization.marginal import emissions_of_columns, marginal_kgco2e, marginal_kgco2e_per_mwh
from optimization.result import Status
from optimization.session import Session

KWH = 1e-3
DIRTY = np.array([400.0, 900.0, 700.0, 500.0])


def solved(problem) -> Session:
    """The plan at the tangents of the uncontrolled day, which a later one can share."""
    session = Session(problem)
    fleet = session.model.fleet
    flow = powerflow.run(problem.network, fleet.injections(fleet.baseline_mw))
    netloop.prepare(session, flow)
    assert session.solve(time.perf_counter)[0] is Status.OPTIMAL
    return session


def emissions(session: Session) -> float:
    values = session.solver.values
    return float(emissions_of_columns(session.model, len(values)) @ values)


def with_more(session: Session, step: int, p_mw: float) -> Session:
    """The same model with so much more load in one step, solved again; tangents stay."""
    problem = session.model.problem
    injections = problem.injections.copy(deep=True)
    injections["load_p_mw"][step] += p_mw
    other = Session(replace(problem, injections=injections))
    other.add_exchange(session.tangents, session.tangent_exact)
    if len(session.limits):
        other.add_limits(session.limits)
    other.set_prices(np.zeros(problem.steps))
    assert other.solve(time.perf_counter)[0] is Status.OPTIMAL
    return other


def assert_like_differences(session: Session) -> np.ndarray:
    """Half a kWh more and half a kWh less at the load's bus, in every step; to 1e-4."""
    problem = session.model.problem
    found = marginal_kgco2e_per_mwh(session).values[:, 1]
    per_mw = [
        emissions(with_more(session, t, KWH / 2)) - emissions(with_more(session, t, -KWH / 2))
        for t in range(problem.steps)
    ]
    differences = np.array(per_mw) / KWH / problem.dt_h
    np.testing.assert_allclose(found, differences, rtol=1e-4, atol=1e-6)
    return found


def test_without_flexibility_it_is_the_import_and_its_marginal_losses(toy):
    day = toy(4)
    session = solved(day.problem([], price=500.0, load=[2.0, 3.0, 5.0, 1.0], ohm=1.0, kgco2e=DIRTY))
    found = assert_like_differences(session)
    assert (found > DIRTY * 1.005).all()
    assert (found < DIRTY * 1.06).all()
    assert marginal_kgco2e_per_mwh(session).values[:, 0] == pytest.approx(DIRTY)  # no line


def test_at_a_binding_import_limit_it_is_the_hour_in_which_the_battery_charges(toy):
    """Step 2 needs 5 of 4 MW: the battery answers, charged where it is cheapest, at step 0. One
    more MWh there takes 1 / (0.9 x 0.9) MWh of step 0, though step 2 itself is dirtier."""
    day = toy(4)
    battery = day.battery(
        p_max_mw=2.0, e_max_mwh=4.0, efficiency_charge=0.9, efficiency_discharge=0.9,
        cycle_cost_cny_per_mwh=900.0,
    )  # fmt: skip
    problem = day.problem(
        [battery], price=[400.0, 500.0, 600.0, 500.0], load=[1.0, 1.0, 5.0, 1.0], kgco2e=DIRTY,
        import_limit_mw=4.0,
    )  # fmt: skip
    found = assert_like_differences(solved(problem))
    assert found[2] == pytest.approx(400.0 / 0.81, rel=1e-3)
    assert found[[0, 1, 3]] == pytest.approx(DIRTY[[0, 1, 3]], rel=1e-3)


def test_where_the_network_holds_the_sun_back_more_use_emits_nothing(toy):
    """A voltage limit curtails at step 2: what is used there lets more sun in."""
    day = toy(4)
    sun = np.array([0.0, 2.0, 5.0, 3.0])
    problem = day.problem(
        [day.plant(sun)], price=500.0, export=300.0, sgen=sun, load=0.5, ohm=10.0, vm_max_pu=1.05,
        kgco2e=DIRTY,
    )  # fmt: skip
    session = solved(problem)
    netloop.run(session, timer=time.perf_counter, progress=lambda _: None)
    assert len(session.limits) > 0
    found = marginal_kgco2e_per_mwh(session).values[:, 1]
    assert found[2] == pytest.approx(0.0, abs=1e-6)
    assert found[0] > 400.0


def test_a_plan_that_has_no_basis_has_no_marginal_emissions(toy):
    session = Session(toy(2).problem([], price=500.0, load=1.0))
    with pytest.raises(NotOptimalError, match="no basis"):
        marginal_kgco2e_per_mwh(session)  # not solved yet
    session = solved(toy(2).problem([], price=500.0, load=1.0))
    session.set_prices(np.zeros(2))
    with pytest.raises(NotOptimalError, match="no basis"):
        marginal_kgco2e_per_mwh(session)  # edited since


def test_duals_times_effects():
    duals, effects = np.array([400.0, 0.0, -20.0]), np.array([[1.0, 1.02], [5.0, 5.0], [0.0, 2.0]])
    np.testing.assert_allclose(marginal_kgco2e(duals, effects), [400.0, 368.0])
