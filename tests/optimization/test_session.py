"""Programs in blocks, the solver that stays alive, and horizons that move on."""

from __future__ import annotations

import time
from dataclasses import replace

import highspy
import numpy as np
import pytest
from scipy import sparse

from core.errors import ConfigurationError
from optimization.planner import plan
from optimization.program import Builder, joined, spread
from optimization.result import Status
from optimization.rolling import Rolling, following
from optimization.session import Session
from optimization.solver import Solver
from optimization.terms import Direction, FeederLimit, PeakCharge, Reserve


def _knapsack(budget: float):
    """max 3 x0 + 2 x1 over two things of size 2, within a budget."""
    builder = Builder()
    things = builder.columns(
        "things", np.array([True, False, True]), upper=1.0, cost=np.array([-3.0, 9.0, -2.0]),
        integer=True,
    )  # fmt: skip
    rows = builder.rows("budget", np.ones(1, bool), upper=budget)
    builder.entries(rows, things, 2.0)
    return builder.program()


def test_blocks_are_numbered_where_they_exist():
    program = _knapsack(3.0)
    assert program.shape == (1, 2)
    np.testing.assert_array_equal(program.columns["things"], [0, -1, 1])
    np.testing.assert_array_equal(
        spread(program.columns["things"], np.array([5.0, 6.0]), 0.0), [5.0, 0.0, 6.0]
    )
    builder = Builder()
    builder.columns("a", np.ones(1, bool))
    with pytest.raises(ConfigurationError, match="'a'"):
        builder.columns("a", np.ones(1, bool))


def test_integers_give_prices_of_the_program_that_holds_them():
    solver = Solver(_knapsack(3.0))
    assert solver.run() is Status.OPTIMAL
    np.testing.assert_allclose(solver.values, [1.0, 0.0])
    assert solver.objective == pytest.approx(-3.0)
    np.testing.assert_allclose(solver.duals(np.array([0])), [0.0])  # a little more buys nothing
    solver.change_sides(np.array([0]), np.array([-np.inf]), np.array([4.0]))
    assert solver.run() is Status.OPTIMAL
    np.testing.assert_allclose(solver.values, [1.0, 1.0])


def _choices(seed: int):
    """Half of twenty things under two budgets, and further budgets that may come later."""
    rng = np.random.default_rng(seed)
    things, budgets = 20, 2
    builder = Builder()
    x = builder.columns(
        "things", np.ones(things, bool), upper=1.0, cost=-rng.uniform(5, 15, things), integer=True
    )
    size = rng.uniform(5, 15, (budgets, things))
    rows = builder.rows("budgets", np.ones(budgets, bool), upper=size.sum(axis=1) / 2)
    builder.entries(rows[:, None], x[None, :], size)
    return builder.program(), rng.uniform(5, 15, (4, things))


@pytest.mark.parametrize("seed", range(4))
def test_what_a_search_has_proven_holds_on_under_further_rows(seed, monkeypatch):
    """A bound of the least cost stays one while a program is narrowed, and only then."""
    program, further = _choices(seed)
    solver = Solver(program)
    searches = []
    search = solver._search

    def counted() -> None:
        kinds = solver.highs.getLp().integrality_
        searches.append(any(kind == highspy.HighsVarType.kInteger for kind in kinds))
        search()

    monkeypatch.setattr(solver, "_search", counted)
    assert solver.run() is Status.OPTIMAL
    assert any(searches)
    kept = solver.values.copy()
    rows, sides = [], []
    for number, row in enumerate(further):
        searches.clear()
        loose = number % 2 == 0
        rows.append(row)
        sides.append(row @ kept + (1.0 if loose else -1.0))
        solver.add_rows(sparse.csr_array(row[None, :]), np.array([-np.inf]), np.array(sides[-1:]))
        assert solver.run() is Status.OPTIMAL
        if loose:  # what was found still fits, and nothing cheaper can have come
            assert not any(searches)
        anew = Solver(program)
        anew.add_rows(sparse.csr_array(np.array(rows)), np.full(len(rows), -np.inf),
                      np.array(sides))  # fmt: skip
        assert anew.run() is Status.OPTIMAL
        assert solver.objective == pytest.approx(anew.objective, rel=2.1e-4)
        kept = solver.values.copy()
    solver.change_costs(np.arange(program.shape[1]), program.cost * np.linspace(2.0, 1.0, 20))
    assert solver.run() is Status.OPTIMAL
    anew.change_costs(np.arange(program.shape[1]), program.cost * np.linspace(2.0, 1.0, 20))
    assert anew.run() is Status.OPTIMAL
    assert solver.objective == pytest.approx(anew.objective, rel=2.1e-4)


def test_programs_side_by_side_are_solved_together():
    both = joined({"small": _knapsack(1.0), "large": _knapsack(4.0)})
    solver = Solver(both)
    assert solver.run() is Status.OPTIMAL
    assert solver.objective == pytest.approx(-5.0)
    np.testing.assert_allclose(solver.values[both.columns["large/things"][[0, 2]]], [1.0, 1.0])


def test_the_time_limit_is_that_of_each_solve():
    """A session that plans all day uses up any limit in sum; no single solve comes near it."""
    size, limit_s = 120, 0.5
    rng = np.random.default_rng(5)
    builder = Builder()
    x = builder.columns("x", np.ones(size, bool), cost=rng.uniform(1.0, 2.0, size))
    rows = builder.rows("cover", np.ones(size, bool), lower=1.0)
    builder.entries(rows[:, None], x[None, :], rng.uniform(0.0, 1.0, (size, size)))
    program = builder.program()
    solver = Solver(program, time_limit_s=limit_s)
    start = time.perf_counter()
    while time.perf_counter() - start < 3 * limit_s:
        assert solver.run() is Status.OPTIMAL
        solver.load(program)


def test_rows_keep_their_handles_when_others_go():
    builder = Builder()
    builder.columns("x", np.ones(2, bool), cost=1.0)
    solver = Solver(builder.program())
    matrix = sparse.csr_array(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    rows = solver.add_rows(matrix, np.array([5.0, 3.0, 2.0]), np.full(3, np.inf))
    assert solver.run() is Status.OPTIMAL
    np.testing.assert_allclose(solver.values, [5.0, 2.0])
    solver.delete_rows(rows[:1])
    assert solver.run() is Status.OPTIMAL
    np.testing.assert_allclose(solver.values, [3.0, 2.0])
    np.testing.assert_allclose(solver.duals(rows[1:]), [1.0, 1.0])


# --- horizons that move on ---------------------------------------------------------------------

HOURS = 13
PRICE = np.array([300, 200, 250, 700, 900, 400, 350, 300, 500, 800, 600, 300, 250.0])
SUN = np.array([0, 0, 0.5, 2, 4, 5, 4.5, 3, 1, 0, 0, 0, 0.0])


def _part(toy, first: int, soc: float):
    """Twelve hours of a day from ``first`` on; sun that lifts the voltage, load, a battery."""
    span = slice(first, first + HOURS - 1)
    day = toy(HOURS - 1)
    battery = day.battery(soc=soc, p_max_mw=1.0, e_max_mwh=3.0, soc_end=0.5)
    problem = day.problem(
        [battery, day.plant(SUN[span])], price=PRICE[span], export=100.0, load=0.5, sgen=SUN[span],
        ohm=8.0, vm_max_pu=1.05,
    )  # fmt: skip
    shift = np.timedelta64(first, "h")
    injections = problem.injections.assign_coords(time=problem.times + shift)
    return replace(problem, times=problem.times + shift, injections=injections)


def test_a_replan_is_the_plan_from_scratch_found_faster(toy):
    """One hour later, with the battery measured a little off: the same optimum, fewer rounds."""
    rolling = Rolling(change_cny_per_mwh=0.0)
    first = rolling.plan(_part(toy, 0, 0.4))
    assert first.violations == []
    assert first.rounds > 1  # the voltage had to be found out
    soc = float(first.schedule.soc[0, 0]) + 0.01
    later = _part(toy, 1, soc)
    again, fresh = rolling.plan(later), plan(later)
    assert again.violations == []
    assert again.planned.total_cny == pytest.approx(fresh.planned.total_cny, rel=1e-4)
    assert again.rounds < fresh.rounds


def test_a_replan_that_is_asked_for_more_is_the_plan_from_scratch(toy):
    """Calls, reserve and a peak charge come and go between plans that follow each other."""
    rolling = Rolling(change_cny_per_mwh=0.0)
    rolling.plan(_part(toy, 0, 0.4))
    later = _part(toy, 1, 0.4)
    asked = replace(
        later,
        peak=PeakCharge(500.0),
        calls=(FeederLimit("evening", later.times[2], later.times[4], 0.5, 900.0),),
        reserves=(Reserve("up", Direction.UP, np.full(later.steps, 0.1), 1.0, 5.0, 50.0),),
    )
    for problem in (asked, later):
        again, fresh = rolling.plan(problem), plan(problem)
        # The exchange is met to 0.01 MW, here at 900 CNY/MWh.
        assert again.planned.total_cny == pytest.approx(fresh.planned.total_cny, abs=5.0)


def test_a_day_can_be_planned_again_down_to_its_last_step(toy):
    """What a plan has once, such as the peak, is not taken for the one step that is left."""
    rolling = Rolling(change_cny_per_mwh=0.0)
    for steps in (2, 1):
        day = toy(steps)
        problem = day.problem([day.battery(soc=0.5)], price=300.0, load=1.0, peak=PeakCharge(50.0))
        times = problem.times + np.timedelta64(2 - steps, "h")
        injections = problem.injections.assign_coords(time=times)
        found = rolling.plan(replace(problem, times=times, injections=injections))
        assert found.status is Status.OPTIMAL


def test_what_is_committed_stays(toy):
    rolling = Rolling(change_cny_per_mwh=1.0, held_steps=2)
    first = rolling.plan(_part(toy, 0, 0.4))
    soc = float(first.schedule.soc[0, 0])
    second = rolling.plan(_part(toy, 1, soc))
    np.testing.assert_allclose(
        second.schedule.p_mw.values[:2, 0], first.schedule.p_mw.values[1:3, 0], atol=1e-6
    )


def test_a_horizon_before_the_one_held_is_planned_anew(toy):
    rolling = Rolling(change_cny_per_mwh=0.0)
    rolling.plan(_part(toy, 1, 0.4))
    back = rolling.plan(_part(toy, 0, 0.4))
    assert back.status is Status.OPTIMAL
    with pytest.raises(ConfigurationError, match="move on"):
        Session(_part(toy, 1, 0.4)).roll(_part(toy, 0, 0.4))


def test_the_same_horizon_again_takes_no_iteration(toy):
    """The basis that is carried over is the optimal one."""
    problem = _part(toy, 0, 0.4)
    session = Session(problem)
    found = plan(problem, session=session)
    session.roll(problem)
    status, _ = session.solve(time.perf_counter)
    assert status is Status.OPTIMAL
    assert session.solver.iterations == 0
    assert session.power_mw()[:, 0] == pytest.approx(found.schedule.p_mw.values[:, 0], abs=1e-4)


def test_the_plan_before_counts_only_where_it_covers_the_horizon(toy):
    before = plan(_part(toy, 0, 0.4)).schedule
    change = following(_part(toy, 1, 0.4), before, 5.0, change_h=3.0).change
    assert change is not None
    np.testing.assert_allclose(change.p_mw[:3], before.p_mw.values[1:4])
    assert np.isnan(change.p_mw[3:]).all()
