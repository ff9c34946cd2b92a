"""Solve, check every step on the AC grid, add what is violated, solve again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from core.errors import PowerFlowError
from core.findings import Finding, Severity
from grid import powerflow
from grid.sensitivity import Quantity, gradients
from optimization.dispatch import Dispatch, build
from optimization.extract import Solution, solution
from optimization.fleet import Fleet
from optimization.keyfigures import count, key_figures
from optimization.netrows import add_violated
from optimization.problem import DispatchProblem
from optimization.result import Status
from optimization.solve import Solver

MAX_ROUNDS = 12
CLOSE_ENOUGH = 0.0025
"""Share of the money turned over that losses missed by the linear model may be worth."""
ENOUGH_ROUNDS = 5
"""From here on a clean AC check is enough, however close the losses are met."""
_MISMATCH_MW = 0.01
"""Where the exchange is met to this, no further tangent is added."""
_SIMULTANEOUS_MW = 1e-6


@dataclass(frozen=True, eq=False)
class Outcome:
    """How the loop ended; solution and flow are None when it did not reach an optimum."""

    status: Status
    dispatch: Dispatch
    rounds: int
    build_s: float
    solve_s: float
    solution: Solution | None = None
    flow: xr.Dataset | None = None
    row_prices: np.ndarray | None = None
    notes: tuple[Finding, ...] = ()


def run(
    problem: DispatchProblem,
    fleet: Fleet,
    baseline: xr.Dataset,
    *,
    timer: Callable[[], float],
    progress: Callable[[str], None],
) -> Outcome:
    """Plan and check until every limit holds, or nothing improves any more."""
    start = timer()
    dispatch = build(problem, fleet)
    exact = _negative_prices(problem)
    _add_exchange(dispatch, fleet, baseline, fleet.baseline_mw, np.arange(problem.steps), exact)
    solver = Solver(dispatch)
    build_s, solve_s = timer() - start, 0.0
    best: Outcome | None = None
    before: np.ndarray | None = None
    for number in range(1, MAX_ROUNDS + 1):
        status, seconds = _solve_exclusive(dispatch, solver, timer)
        solve_s += seconds
        if status is not Status.OPTIMAL:
            return best or Outcome(status, dispatch, number, build_s, solve_s)
        found = solution(dispatch, solver)
        try:
            flow = powerflow.run(problem.network, fleet.injections(found.p_mw))
        except PowerFlowError as error:
            note = Finding("plan", "power_flow", (), str(error))
            return best or Outcome(Status.ERROR, dispatch, number, build_s, solve_s, notes=(note,))
        here = Outcome(
            status,
            dispatch,
            number,
            build_s,
            solve_s,
            found,
            flow,
            solver.duals(list(dispatch.model.network.values())),
        )
        best = here if best is None or _better(problem, here, best) else best
        broken = count(problem, flow)
        mismatch = exchange(flow) - found.exchange_mw
        gap = _gap(found, mismatch)
        progress(
            f"Round {number}: {seconds:.1f} s to solve, {broken} limits exceeded on the AC grid, "
            f"losses missed are worth {gap:.2%} of the bill."
        )
        settled = before is not None and bool(np.abs(found.p_mw - before).max(initial=0.0) < 1e-5)
        if settled or (not broken and (gap <= CLOSE_ENOUGH or number >= ENOUGH_ROUNDS)):
            break
        before = found.p_mw
        # Where energy is worth nothing, an inequality lets the model throw it away: too little
        # seems to be exported there. The row becomes an equation.
        exact |= mismatch < -_MISMATCH_MW
        _refine(dispatch, solver, fleet, flow, found.p_mw, mismatch, exact)
    assert best is not None
    return Outcome(**{**best.__dict__, "rounds": number, "solve_s": solve_s, "notes": ()})


def _refine(
    dispatch: Dispatch,
    solver: Solver,
    fleet: Fleet,
    flow: xr.Dataset,
    p_mw: np.ndarray,
    mismatch: np.ndarray,
    exact: np.ndarray,
) -> None:
    """Bring the model closer to the AC grid around the last plan."""
    first = dispatch.rows
    add_violated(dispatch, fleet, flow, p_mw)
    solver.add_rows(first)
    steps = np.flatnonzero((np.abs(mismatch) > _MISMATCH_MW) | exact)
    old = [row for row, (t, _) in dispatch.exchange_rows.items() if exact[t]]
    solver.drop([dispatch.model.exchange[row] for row in old])
    for row in old:
        dispatch.drop_exchange(row)
    new = _add_exchange(dispatch, fleet, flow, p_mw, steps, exact)
    solver.add([dispatch.model.exchange[row] for row in new])
    solver.refresh()


def _gap(found: Solution, mismatch: np.ndarray) -> float:
    """What the mismatch of the exchange is worth, as a share of the money turned over."""
    price = np.maximum(np.abs(found.price_cny_per_mwh), 1.0)
    turnover = float((price * np.abs(found.exchange_mw)).sum())
    return float((price * np.abs(mismatch)).sum()) / max(turnover, 1.0)


def _add_exchange(
    dispatch: Dispatch,
    fleet: Fleet,
    flow: xr.Dataset,
    p_mw: np.ndarray,
    steps: np.ndarray,
    exact: np.ndarray,
) -> list[int]:
    """Exchange rows of ``steps`` and all prices, around the operating point ``flow``."""
    value = exchange(flow)
    dispatch.set_prices(*prices(dispatch.problem, value))
    effect = fleet.effect(gradients(dispatch.problem.network, flow, Quantity.EXCHANGE, steps))
    return [
        dispatch.add_exchange(int(t), float(value[t]), effect[i], p_mw[t], exact=bool(exact[t]))
        for i, t in enumerate(steps)
    ]


def _negative_prices(problem: DispatchProblem) -> np.ndarray:
    """Steps at which throwing energy away would pay, (time,)."""
    negative: np.ndarray = np.minimum(problem.import_total_cny_per_mwh, problem.export_cny_per_mwh)
    return negative < 0


def exchange(flow: xr.Dataset) -> np.ndarray:
    """Import minus export of a power flow, (time,)."""
    difference: np.ndarray = flow["import_mw"].values - flow["export_mw"].values
    return difference


def prices(problem: DispatchProblem, exchange_mw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prices of import and export for the linear model, (time,).

    Where exporting pays more than importing costs, a linear model would do both at once without
    end. There the price of the side the operating point stands on counts for both directions.
    """
    buy, sell = problem.import_total_cny_per_mwh, problem.export_cny_per_mwh
    crossed = sell > buy
    one = np.where(exchange_mw >= 0, buy, sell)
    return np.where(crossed, one, buy), np.where(crossed, one, sell)


def _solve_exclusive(
    dispatch: Dispatch, solver: Solver, timer: Callable[[], float]
) -> tuple[Status, float]:
    """Solve; where a resource charges and discharges at once, close the smaller and repeat."""
    total = 0.0
    for _ in range(10):
        status, seconds = solver.run(timer)
        total += seconds
        if status is not Status.OPTIMAL:
            return status, total
        closed = _close_simultaneous(dispatch, solver)
        if not closed:
            break
        solver.refresh(closed)
    return status, total


def _close_simultaneous(dispatch: Dispatch, solver: Solver) -> list:
    model = dispatch.model
    charge, discharge = solver.values(model.charge), solver.values(model.discharge)
    both = np.argwhere((dispatch.charge_at >= 0) & (dispatch.discharge_at >= 0))
    closed = []
    for t, a in both:
        c, d = int(dispatch.charge_at[t, a]), int(dispatch.discharge_at[t, a])
        if min(charge[c], discharge[d]) > _SIMULTANEOUS_MW:
            variable = model.charge[c] if charge[c] < discharge[d] else model.discharge[d]
            variable.setub(0.0)
            closed.append(variable)
    return closed


def _better(problem: DispatchProblem, one: Outcome, other: Outcome) -> bool:
    """Fewer violations first, then lower cost on the AC grid."""

    def rank(outcome: Outcome) -> tuple[int, float]:
        assert outcome.flow is not None
        assert outcome.solution is not None
        figures = key_figures(problem, outcome.flow, outcome.solution.p_mw)
        return figures.violations, figures.total_cny

    return rank(one) < rank(other)


def unheld(findings: list[Finding]) -> list[Finding]:
    """The findings of a plan that could not hold a limit, saying so."""
    return [
        Finding(
            f.component,
            f.field,
            f.ids,
            f"{f.message} No schedule of the resources was found that holds it.",
            Severity.ERROR,
        )
        for f in findings
    ]
