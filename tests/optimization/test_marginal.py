"""Marginal emissions and prices of buses: by hand, and against plans made again."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from core.sites import AssetKind
from grid import powerflow
from grid.envelope import Commitment, Envelope
from optimization import marginal, netloop
from optimization.model import emission_costs
from optimization.optimum import optimum
from optimization.result import Status
from optimization.session import Session


def solved(problem, tangents_of=None):
    """A session that holds a plan of ``problem``; with the rows of another one, if given."""
    session = Session(problem, mip_gap=0.0)
    if tangents_of is None:
        fleet = session.model.fleet
        netloop.prepare(
            session, powerflow.run(problem.network, fleet.injections(fleet.baseline_mw))
        )
        netloop.run(session, timer=time.perf_counter, progress=lambda _: None)
    else:
        session.set_prices(np.zeros(problem.steps))
        session.add_exchange(tangents_of.tangents, tangents_of.tangent_exact)
        session.add_limits(tangents_of.limits)
    status, _ = session.solve(time.perf_counter)
    assert status is Status.OPTIMAL
    return session


def emitted(session) -> float:
    costs = emission_costs(session.model)
    return float(costs @ session.solver.values[: len(costs)])


def engine(steps, p_mw=1.0, fuel=400.0, kg=700.0, **commitment):
    full = np.ones(steps)
    return Envelope(
        "engine", AssetKind.GENERATOR, "sgen", 1, 0 * full, p_mw * full, 0 * full,
        up_cny_per_mwh=fuel, up_kgco2e_per_mwh=kg,
        commitment=Commitment(**commitment) if commitment else None,
    )  # fmt: skip


def test_by_hand_whoever_answers_emits(toy):
    """Step 0 imports at 500 kg/MWh; at step 1 import is dear and the engine answers at 700."""
    day = toy(2)
    problem = day.problem([engine(2, 3.0)], price=[300.0, 500.0], load=2.0, kgco2e=500.0)
    found = marginal.marginal_kgco2e(optimum(solved(problem)))
    np.testing.assert_allclose(found[:, 1], [500.0, 700.0], rtol=1e-4)


def test_by_hand_a_battery_moves_the_answer_to_another_hour(toy):
    """Full at its dear hour and not empty afterwards: one more MWh then is bought before."""
    day = toy(3)
    battery = day.battery(e_max_mwh=3.0, p_max_mw=3.0, efficiency_charge=0.8,
                          efficiency_discharge=1.0)  # fmt: skip
    problem = day.problem(
        [battery], price=[100.0, 900.0, 950.0], load=[1.0, 1.0, 1.2], kgco2e=[200.0, 900.0, 900.0]
    )
    found = marginal.marginal_kgco2e(optimum(solved(problem)))
    np.testing.assert_allclose(found[:, 1], [200.0, 250.0, 250.0], rtol=1e-3)


def test_with_integers_held_the_running_engine_answers(toy):
    day = toy(2)
    unit = engine(2, 3.0, p_on_min_mw=0.5, start_cny=50.0, running_kgco2e_per_h=30.0)
    problem = day.problem([unit], price=[300.0, 900.0], load=2.0, kgco2e=500.0)
    found = marginal.marginal_kgco2e(optimum(solved(problem)))
    np.testing.assert_allclose(found[:, 1], [500.0, 700.0], rtol=1e-4)


@pytest.mark.parametrize(("seed", "network_binds"), [(0, True), (1, False), (3, True)])
def test_marginals_are_the_differences_of_plans_made_again(toy, seed, network_binds):
    """A quarter of a percent more load in one step: cost and emissions change as foretold.

    Random prices and intensities, losses, a battery, an engine, sun and a loaded line; the rows
    of the operating point stay the same, as they do in the sum that is tested.
    """
    rng = np.random.default_rng(seed)
    steps = 6
    day = toy(steps)
    battery = day.battery(
        soc=0.4, efficiency_charge=0.93, efficiency_discharge=0.92, cycle_cost_cny_per_mwh=15.0
    )
    sun = rng.uniform(0, 5, steps)
    units = [battery, day.plant(sun), engine(steps, 0.8, float(rng.uniform(300, 900)), 650.0)]
    load = rng.uniform(0.5, 4, steps)
    values = {
        "price": rng.uniform(200, 1200, steps), "export": 150.0, "sgen": sun, "ohm": 1.5,
        "max_i_ka": 0.06, "kgco2e": rng.uniform(100, 900, steps),
    }  # fmt: skip
    base = solved(day.problem(units, load=load, **values))
    found = optimum(base)
    kg, cny = marginal.marginal_kgco2e(found), marginal.marginal_cny(found)
    np.testing.assert_allclose(
        marginal.of_resources(found, cny),
        netloop.solution(base).local_cny_per_mwh[:, : len(units)],
        rtol=1e-6, atol=1e-6,
    )  # fmt: skip
    assert bool(np.any(np.abs(found.limit_duals) > 1.0)) == network_binds
    checked = 0
    for t in range(steps):
        slopes = []
        for more in (-0.002, 0.002):
            moved = replace(base.model.problem, injections=_more(base.model.problem, t, more))
            again = solved(moved, base)
            slopes.append(
                (
                    (emitted(again) - emitted(base)) / more,
                    (again.solver.objective - base.solver.objective) / more,
                )
            )
        if abs(slopes[0][1] - slopes[1][1]) > 1e-3:  # the basis changes: no derivative here
            continue
        checked += 1
        assert kg[t, 1] == pytest.approx(slopes[1][0], rel=1e-4, abs=0.05)
        assert cny[t, 1] == pytest.approx(slopes[1][1], rel=1e-4, abs=0.05)
    assert checked >= 4


def _more(problem, t, more_mw):
    given = problem.injections.copy(deep=True)
    given["load_p_mw"][t, 0] += more_mw
    return given
