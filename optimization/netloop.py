"""Solve, check every step on the AC grid, add what is violated, solve again.

A plan that keeps its limits is calculated once more with its reserve called (activation); what
that violates is added, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from core.errors import PowerFlowError
from core.findings import Finding
from grid import powerflow
from grid.powerflow import values
from grid.sensitivity import Quantity
from optimization.activation import Activation, activations, add_undeliverable
from optimization.conduct import conduct
from optimization.extract import Solution, solution
from optimization.fleet import Fleet
from optimization.keyfigures import count, key_figures, weighted_total
from optimization.netrows import add_violated
from optimization.optimum import Optimum, optimum
from optimization.problem import DispatchProblem
from optimization.result import KeyFigures, Status
from optimization.session import Session
from optimization.tangents import tangents

MAX_ROUNDS = 12
CLOSE_ENOUGH = 0.0025
"""Share of the value of all energy supplied that losses missed by the linear model may be worth."""
ENOUGH_ROUNDS = 5
"""From here on a clean AC check is enough, however close the losses are met."""
MISMATCH_MW = 0.01
"""Where the exchange is met to this, no further tangent is added."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How the loop ended; solution, flow and figures are None when it did not reach an optimum.

    called: what happens when its reserve is called; None where that was not calculated.
    """

    status: Status
    session: Session
    rounds: int
    solve_s: float
    solution: Solution | None = None
    flow: xr.Dataset | None = None
    figures: KeyFigures | None = None
    rank: tuple[float, ...] = ()
    optimum: Optimum | None = None
    called: Sequence[Activation] | None = None
    notes: tuple[Finding, ...] = ()


def run(
    session: Session, *, timer: Callable[[], float], progress: Callable[[str], None]
) -> Outcome:
    """Plan and check until every limit holds, or nothing improves any more.

    session: with an exchange tangent at every step (see ``prepare``).
    """
    problem, fleet = session.model.problem, session.model.fleet
    exact = negative_prices(problem)
    solve_s = 0.0
    best: Outcome | None = None
    before: Solution | None = None
    added = 0
    for number in range(1, MAX_ROUNDS + 1):
        status, seconds = session.solve(timer)
        solve_s += seconds
        if status is not Status.OPTIMAL:
            return best or Outcome(status, session, number, solve_s)
        found = solution(session)
        try:
            flow = powerflow.run(problem.network, fleet.injections(found.p_mw, found.q_mvar))
        except PowerFlowError as error:
            note = Finding("plan", "power_flow", (), str(error))
            return best or Outcome(Status.ERROR, session, number, solve_s, notes=(note,))
        broken = count(problem, flow)
        mismatch = exchange(flow) - found.exchange_mw
        worth = gap(problem, found, mismatch)
        progress(
            f"Round {number}: {seconds:.1f} s to solve, {broken} limits exceeded on the AC grid, "
            f"losses missed are worth {worth:.2%} of the energy supplied."
        )
        settled = before is not None and _same(found, before)
        missed_call = missed_by_losses(problem, flow, mismatch)
        close = worth <= CLOSE_ENOUGH and not missed_call
        done = settled or (not broken and (close or number >= ENOUGH_ROUNDS))
        called = activations(fleet, flow, found) if done else None
        here = _outcome(session, number, found, flow, called)
        best = here if best is None or here.rank < best.rank else best
        missed = sum(one.count for one in called or ())
        if done and (not missed or (settled and added)):
            break
        added = add_undeliverable(session, called or ())
        if missed:
            progress(f"Reserve called in full would exceed {missed} limits on the AC grid.")
        before = found
        # Where energy is worth nothing, an inequality lets the model throw it away: too little
        # seems to be exported there. The row becomes an equation.
        exact |= mismatch < -MISMATCH_MW
        if missed_call:
            session.hold_calls_within(mismatch)
        refine(session, flow, found, mismatch, exact)
    assert best is not None
    return replace(best, rounds=number, solve_s=solve_s)


def missed_by_losses(problem: DispatchProblem, flow: xr.Dataset, mismatch: np.ndarray) -> bool:
    """Whether a call is missed on the AC grid only because the linear model saw too few losses.

    Between model and grid a few kilowatts are worth nothing; to whoever called they are a breach.
    mismatch: exchange on the grid less that of the model, (time,).
    """
    unseen = mismatch > MISMATCH_MW
    return any(
        bool((unseen & c.within(problem.times) & (exchange(flow) - c.limit_mw > MISMATCH_MW)).any())
        for c in problem.calls
    )


def _same(found: Solution, before: Solution) -> bool:
    """Whether two plans do and hold the same."""
    pairs = [(found.p_mw, before.p_mw)]
    pairs += [(mw, before.reserve_mw[name]) for name, mw in found.reserve_mw.items()]
    return all(bool(np.abs(a - b).max(initial=0.0) < 1e-5) for a, b in pairs)


def _outcome(
    session: Session,
    number: int,
    found: Solution,
    flow: xr.Dataset,
    called: Sequence[Activation] | None,
) -> Outcome:
    """Fewer violations rank first, then fewer with reserve called, then lower cost on AC."""
    fleet = session.model.fleet
    unknown = np.inf if session.model.problem.reserves else 0.0
    missed = unknown if called is None else float(sum(one.count for one in called))
    done = conduct(fleet, found.p_mw, on=found.on, spilled_mwh=found.spilled_mwh)
    figures = key_figures(fleet, flow, done, found.reserve_mw)
    rank = (figures.violations, missed, weighted_total(fleet, figures, done))
    return Outcome(
        Status.OPTIMAL, session, number, 0.0, found, flow, figures, rank, optimum(session), called
    )


def prepare(session: Session, flow: xr.Dataset) -> None:
    """Exchange tangents and prices around ``flow``, the uncontrolled day, where there are none."""
    problem, fleet = session.model.problem, session.model.fleet
    missing = np.setdiff1d(np.arange(problem.steps), session.tangents.steps)
    session.set_prices(exchange(flow))
    _add_exchange(
        session, flow, (fleet.baseline_mw, fleet.baseline_mvar), missing, negative_prices(problem)
    )


def refine(
    session: Session, flow: xr.Dataset, found: Solution, mismatch: np.ndarray, exact: np.ndarray
) -> None:
    """Bring the model closer to the AC grid around the last plan."""
    add_violated(session, flow, found)
    steps = np.flatnonzero((np.abs(mismatch) > MISMATCH_MW) | exact)
    session.drop_exchange(exact)
    session.set_prices(exchange(flow))
    _add_exchange(session, flow, (found.p_mw, found.q_mvar), steps, exact)


def gap(problem: DispatchProblem, found: Solution, mismatch: np.ndarray) -> float:
    """What the mismatch of the exchange is worth, as a share of all that is drawn or exported.

    Not of the bill: where own plants carry the load the bill is small, the losses are not.
    """
    price = np.maximum(np.abs(found.price_cny_per_mwh), 1.0)
    drawn = values(problem.network, problem.injections, "load", "p_mw").sum(axis=1)
    supplied = np.abs(drawn) + np.maximum(-found.exchange_mw, 0.0)
    return float((price * np.abs(mismatch)).sum()) / max(float((price * supplied).sum()), 1.0)


def _add_exchange(
    session: Session,
    flow: xr.Dataset,
    power: tuple[np.ndarray, np.ndarray],
    steps: np.ndarray,
    exact: np.ndarray,
) -> None:
    fleet: Fleet = session.model.fleet
    fed = fleet.fed(*power)
    session.add_exchange(tangents(fleet, flow, fed, Quantity.EXCHANGE, steps), exact[steps])


def negative_prices(problem: DispatchProblem) -> np.ndarray:
    """Steps at which throwing energy away would pay, (time,)."""
    negative: np.ndarray = np.minimum(
        problem.import_total_cny_per_mwh, problem.export_total_cny_per_mwh
    )
    return negative < 0


def exchange(flow: xr.Dataset) -> np.ndarray:
    """Import minus export of a power flow, (time,)."""
    difference: np.ndarray = flow["import_mw"].values - flow["export_mw"].values
    return difference
