"""The entry point: a problem in, a plan out, checked on the AC grid."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from core.findings import Finding, Severity
from grid import powerflow
from grid.envelope import AT_ONCE, conflicts
from optimization import netloop
from optimization.activation import activations, held_back, undeliverable
from optimization.conduct import Conduct, conduct
from optimization.diagnose import left_open, relaxed
from optimization.explain import reasons
from optimization.extract import Solution, schedule
from optimization.fleet import Fleet
from optimization.grounds import grounds
from optimization.keyfigures import key_figures
from optimization.problem import DispatchProblem
from optimization.result import KeyFigures, Numbers, Plan, Status
from optimization.session import Session
from optimization.unheld import unheld


def plan(
    problem: DispatchProblem,
    *,
    session: Session | None = None,
    progress: Callable[[str], None] | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> Plan:
    """The cheapest schedule that keeps every limit, compared with the uncontrolled day.

    session: one that holds this problem already, as rolling has it; None makes one. progress:
    called with a sentence after each stage. timer: seconds, for build_s and solve_s only. Where
    resources cannot keep their own limits, the fewest that must give are opened, as far as needed:
    the plan is RELAXED and Plan.given says which. Raises PowerFlowError when even the
    uncontrolled day has no power flow, NetworkError when the network cannot be calculated.
    """
    tell = progress or _silent
    fleet = Fleet(problem) if session is None else session.model.fleet
    uncontrolled = powerflow.run(problem.network, fleet.injections(fleet.baseline_mw))
    baseline = key_figures(fleet, uncontrolled, conduct(fleet, fleet.baseline_mw))
    tell(f"Uncontrolled day: {baseline.violations} limits exceeded on the AC grid.")
    unkeepable = conflicts(problem.envelopes, problem.dt_h)
    impossible = Plan(Status.INFEASIBLE, baseline, uncontrolled, unkeepable, 0, 0.0, 0.0)
    if unkeepable:
        return _relaxed(problem, impossible, tell, timer)
    start = timer()
    if session is None:
        session = Session(problem, fleet)
    netloop.prepare(session, uncontrolled)
    build_s = timer() - start
    outcome = netloop.run(session, timer=timer, progress=tell)
    if (
        outcome.optimum is None
        or outcome.solution is None
        or outcome.flow is None
        or outcome.figures is None
    ):
        failed = replace(
            impossible,
            status=outcome.status,
            violations=list(outcome.notes) or [_failed(outcome.status)],
            rounds=outcome.rounds,
            build_s=build_s,
            solve_s=outcome.solve_s,
        )
        if outcome.status is Status.INFEASIBLE:
            return _relaxed(problem, failed, tell, timer)
        return failed
    numbers = Numbers(
        schedule=schedule(session, outcome.solution, outcome.flow),
        ac=outcome.flow,
        planned=outcome.figures,
        grounds=grounds(outcome.optimum),
    )
    called = outcome.called
    if called is None:
        called = activations(fleet, outcome.flow, outcome.solution)
    reserve = [*undeliverable(fleet, called), *held_back(outcome.optimum)]
    return Plan(
        status=Status.OPTIMAL,
        baseline=baseline,
        baseline_ac=uncontrolled,
        violations=unheld(fleet, outcome.flow),
        rounds=outcome.rounds,
        build_s=build_s,
        solve_s=outcome.solve_s,
        numbers=numbers,
        reasons=reasons(numbers.grounds),
        notes=[
            *_crossed(problem),
            *_drained(problem, baseline),
            *_pooled(problem),
            *(replace(g.finding(), severity=Severity.WARNING) for g in reserve),
        ],
        given=[*left_open(fleet, outcome.flow, _conduct(fleet, outcome.solution)), *reserve],
    )


def _relaxed(
    problem: DispatchProblem,
    impossible: Plan,
    tell: Callable[[str], None],
    timer: Callable[[], float],
) -> Plan:
    """The plan with the fewest limits opened; ``impossible`` where that is not what is missing."""
    start = timer()
    opened, given = relaxed(problem)
    tell(f"{len(given)} limits must give, found in {timer() - start:.1f} s.")
    if not given:
        return impossible
    found = plan(opened, progress=tell, timer=timer)
    if found.status is not Status.OPTIMAL:
        return replace(impossible, given=given)
    return replace(
        found,
        status=Status.RELAXED,
        violations=[*[g.finding() for g in given], *found.violations],
        given=[*given, *found.given],
    )


def _conduct(fleet: Fleet, found: Solution) -> Conduct:
    return conduct(fleet, found.p_mw, on=found.on, spilled_mwh=found.spilled_mwh)


def _crossed(problem: DispatchProblem) -> list[Finding]:
    crossed = np.flatnonzero(problem.export_total_cny_per_mwh > problem.import_total_cny_per_mwh)
    if not len(crossed):
        return []
    return [
        Finding(
            "tariff",
            "export_cny_per_mwh",
            tuple(str(problem.times[t])[:16] for t in crossed),
            "Exporting pays more than importing costs; the plan keeps the direction of exchange "
            "it found there.",
            Severity.INFO,
        )
    ]


def _drained(problem: DispatchProblem, baseline: KeyFigures) -> list[Finding]:
    """The uncontrolled day may live on energy stored before it; the plan may not."""
    capacity = sum(e.account.capacity_mwh for e in problem.envelopes if e.account is not None)
    if capacity <= 0 or baseline.stored_change_mwh > -0.05 * capacity:
        return []
    return [
        Finding(
            "storage",
            "stored_change_mwh",
            (),
            f"The uncontrolled day takes {-baseline.stored_change_mwh:.1f} MWh out of the "
            "batteries without giving them back, so the plan's savings look smaller.",
            Severity.INFO,
        )
    ]


def _pooled(problem: DispatchProblem) -> list[Finding]:
    """Chargers whose vehicles are planned as one sum where several stand there at once."""
    several = tuple(e.asset for e in problem.envelopes if e.settings.get(AT_ONCE, 1) > 1)
    if not several:
        return []
    return [
        Finding(
            "ev_charger",
            "stays",
            several,
            "Several vehicles stand there at once and are planned as one sum, which may be more "
            "than those can share that still want some. Describe each connector as an asset of its "
            "own for an exact plan.",
            Severity.INFO,
        )
    ]


def _failed(status: Status) -> Finding:
    return Finding("plan", "status", (), f"The solver ended as {status} without a schedule.")


def _silent(_sentence: str) -> None:
    return None
