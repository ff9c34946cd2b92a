"""A plan for several courses of the day at once: decided now, made good later, with an eye on the
tail.

First stage, the same in all scenarios: the schedule of what is committed for the first hours
(batteries, loads, gensets), a day-ahead position of the exchange, or both. Second stage, in each
scenario on its own: curtailment, the exchange, and everything after the committed hours.

    min  (1 - w) E[cost] + w CVaR_level[cost]

Every scenario has the exchange tangents and network rows of the plan for the mean; then each is
checked on its own AC grid, and rows are added to it where a limit is broken. docs/
dispatch-uncertainty.md has the equations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from scipy import sparse

from core.errors import ConfigurationError
from core.findings import Finding, Severity
from grid import powerflow
from optimization import netloop
from optimization.devices import curtails
from optimization.extract import solution
from optimization.fleet import Fleet
from optimization.joint import Joint, Part
from optimization.keyfigures import count
from optimization.model import Model, build
from optimization.outlook import Outlook, realised
from optimization.planner import plan as plan_one
from optimization.problem import DispatchProblem
from optimization.result import Plan, Status
from optimization.risk import RiskMeasure, cvar
from optimization.scenarios import Scenarios
from optimization.session import Session
from optimization.solver import Solver
from optimization.terms import Position

MOST_ROUNDS = 4
ENOUGH_ROUNDS = 2
"""From here on clean AC checks are enough, however close the losses are met."""
_MOST_SETTLING = 10


@dataclass(frozen=True, eq=False)
class FirstStage:
    """What is decided before the scenario is known.

    hours: the first hours of the schedule of all resources but those that only curtail; None for
    the whole horizon, 0 for none of it. above_cny_per_mwh, below_cny_per_mwh: where given, an
    exchange (import less export) is committed for every step, and each MWh above or below it costs
    this; numbers or (time,). Raises ConfigurationError.
    """

    hours: float | None = None
    above_cny_per_mwh: np.ndarray | float | None = None
    below_cny_per_mwh: np.ndarray | float | None = None

    def __post_init__(self) -> None:
        if self.hours is not None and self.hours < 0:
            raise ConfigurationError("The committed hours must not be negative.")
        if (self.above_cny_per_mwh is None) != (self.below_cny_per_mwh is None):
            raise ConfigurationError("A position needs a price above and a price below it.")

    @property
    def has_position(self) -> bool:
        """Whether an exchange is committed."""
        return self.above_cny_per_mwh is not None

    def steps(self, problem: DispatchProblem) -> int:
        """The number of committed steps."""
        if self.hours is None:
            return problem.steps
        return min(problem.steps, int(np.ceil(self.hours / problem.dt_h - 1e-9)))


@dataclass(frozen=True, eq=False)
class StochasticPlan:
    """A plan for several scenarios.

    plan: the first stage, and for what is not committed the best for the expected course; None of
    its numbers where no optimum was found. cost_cny: of each scenario as the model has it, prices
    of broken limits and tie-breaks included, (scenario,). vss_cny: value of the stochastic
    solution, how much worse the plan for the mean does in these scenarios; evpi_cny: expected
    value of perfect information, how much better it would be to know the scenario beforehand; both
    in units of the measure, NaN where not asked for. position_mw: committed exchange, (time,).
    violations: limits broken on the AC grid, (scenario,), in the last round. p_mw: what each
    resource does in each scenario, (scenario, time, asset).
    """

    plan: Plan
    scenarios: Scenarios
    measure: RiskMeasure
    cost_cny: np.ndarray
    violations: np.ndarray
    p_mw: np.ndarray
    rounds: int
    solve_s: float
    vss_cny: float = float("nan")
    evpi_cny: float = float("nan")
    position_mw: np.ndarray | None = None
    notes: list[Finding] = field(default_factory=list)

    @property
    def expected_cny(self) -> float:
        """Expected cost."""
        return float(self.cost_cny @ self.scenarios.probability)

    @property
    def cvar_cny(self) -> float:
        """Mean of the dearest 1 - level of the cases."""
        return cvar(self.cost_cny, self.scenarios.probability, self.measure.level)

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "scenarios": len(self.scenarios),
            "level": self.measure.level,
            "weight": self.measure.weight,
            "scenario_cost_cny": self.cost_cny.tolist(),
            "probability": self.scenarios.probability.tolist(),
            "model_expected_cny": self.expected_cny,
            "model_cvar_cny": self.cvar_cny,
            "vss_cny": None if np.isnan(self.vss_cny) else self.vss_cny,
            "evpi_cny": None if np.isnan(self.evpi_cny) else self.evpi_cny,
            "scenario_violations": self.violations.tolist(),
            "rounds": self.rounds,
            "solve_s": round(self.solve_s, 3),
        }


def plan(
    problem: DispatchProblem,
    outlook: Outlook,
    scenarios: Scenarios,
    *,
    first_stage: FirstStage | None = None,
    measure: RiskMeasure | None = None,
    worth: bool = False,
    progress: Callable[[str], None] | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> StochasticPlan:
    """The plan of least (1 - w) E + w CVaR; see the module and StochasticPlan.

    problem: with the course the plan is shown for, usually the medians. worth: compute VSS and
    EVPI too, which takes two more solves. Raises ConfigurationError for scenarios that do not fit
    or a first stage on a problem that has a position already, PowerFlowError as planner.plan does.
    """
    stage, measure = first_stage or FirstStage(), measure or RiskMeasure()
    tell = progress or (lambda _sentence: None)
    if stage.has_position and problem.position is not None:
        raise ConfigurationError("The problem has a committed exchange already.")
    mean = realised(problem, outlook, scenarios.mean_mw)
    known = Session(mean)
    for_mean = plan_one(mean, session=known, progress=tell, timer=timer)
    if for_mean.status is not Status.OPTIMAL:
        return _failed(for_mean, scenarios, measure)
    models = [build(realised(problem, outlook, course)) for course in scenarios.power_mw]
    start = timer()
    tree = _Tree(models, scenarios.probability, stage, measure, known)
    status, rounds, broken = tree.refine(tell)
    if status is not Status.OPTIMAL:
        finding = Finding("plan", "status", (), f"The scenarios together ended as {status}.")
        failed = replace(for_mean, status=status, numbers=None, violations=[finding], reasons=[])
        return _failed(failed, scenarios, measure)
    found = tree.joint.costs()
    powers = np.array([s.power_mw()[:, : s.model.fleet.named] for s in tree.sessions])
    vss, evpi = _worth(tree, models, scenarios, stage, known) if worth else (np.nan, np.nan)
    solve_s = timer() - start
    return StochasticPlan(
        plan=_shown(problem, stage, tree, tell, timer),
        scenarios=scenarios,
        measure=measure,
        cost_cny=found,
        violations=broken,
        p_mw=powers,
        rounds=rounds,
        solve_s=solve_s,
        vss_cny=vss,
        evpi_cny=evpi,
        position_mw=tree.position_mw,
        notes=_notes(scenarios, broken),
    )


def _failed(why: Plan, scenarios: Scenarios, measure: RiskMeasure) -> StochasticPlan:
    none, nothing = np.full(len(scenarios), np.nan), np.zeros(len(scenarios), dtype=int)
    return StochasticPlan(why, scenarios, measure, none, nothing, np.zeros((0, 0, 0)), 0, 0.0)


class _Tree:
    """The scenarios in one solver, a session on each, with the rows of ``known``."""

    def __init__(
        self,
        models: Sequence[Model],
        probability: np.ndarray,
        stage: FirstStage,
        measure: RiskMeasure,
        known: Session,
    ) -> None:
        self.stage = stage
        self.shared = [_first_stage(m, stage.steps(m.problem)) for m in models]
        self.joint = Joint([m.program for m in models], probability, self.shared, measure)
        self.sessions = [
            _Scenario(m, part) for m, part in zip(models, self.joint.parts, strict=True)
        ]
        self.flows = [_uncontrolled(m) for m in models]
        for session, flow in zip(self.sessions, self.flows, strict=True):
            session.add_exchange(known.tangents, known.tangent_exact)
            session.add_limits(known.limits)
            netloop.prepare(session, flow)
        self._position = self._add_position() if stage.has_position else None
        self._decided: tuple[np.ndarray, np.ndarray | None] | None = None

    def _add_position(self) -> np.ndarray:
        """exchange - above + below = position, the same position in all scenarios."""
        problem = self.sessions[0].model.problem
        steps, unit = problem.steps, problem.weights.money * problem.dt_h
        free = np.full(steps, np.inf)
        position = self.joint.solver.add_columns(-free, free, np.zeros(steps))
        prices = (self.stage.above_cny_per_mwh, self.stage.below_cny_per_mwh)
        for session, part in zip(self.sessions, self.joint.parts, strict=True):
            columns = [(at, sign) for at, sign in session.model.exchange.net]
            columns.append((part.adopt(position, np.zeros(steps)), -1.0))
            for price, sign in zip(prices, (-1.0, 1.0), strict=True):
                cost = unit * np.broadcast_to(np.asarray(price, dtype=float), steps)
                columns.append((part.add_columns(np.zeros(steps), free, cost), sign))
            every = np.arange(steps)
            matrix = sparse.csr_array(
                (
                    np.concatenate([np.full(steps, sign) for _, sign in columns]),
                    (np.tile(every, len(columns)), np.concatenate([at for at, _ in columns])),
                ),
                shape=(steps, part.width),
            )
            part.add_rows(matrix, np.zeros(steps), np.zeros(steps))
        return position

    def solve(self) -> Status:
        """Solve until no resource raises and lowers at once and none leaves its circle."""
        status = Status.ERROR
        for _ in range(_MOST_SETTLING):
            status = self.joint.run()
            if status is not Status.OPTIMAL:
                break
            changed = [s.settle() for s in self.sessions]
            if not any(changed):
                break
        return status

    def refine(self, tell: Callable[[str], None]) -> tuple[Status, int, np.ndarray]:
        """Solve, check each scenario on its AC grid, add what is broken; rounds, what remains."""
        broken = np.zeros(len(self.sessions), dtype=int)
        for number in range(1, MOST_ROUNDS + 1):
            status = self.solve()
            if status is not Status.OPTIMAL:
                return status, number, broken
            self._decided = (self.joint.parts[0].values[self.shared[0]], self._positioned())
            checks = [_Check(s) for s in self.sessions]
            broken = np.array([c.broken for c in checks])
            close = max(c.worth for c in checks) <= netloop.CLOSE_ENOUGH
            tell(
                f"Round {number} of {len(checks)} scenarios: {broken.sum()} limits exceeded on "
                "their AC grids."
            )
            clean = not broken.any() and (close or number >= ENOUGH_ROUNDS)
            if clean or number == MOST_ROUNDS:
                break
            for check in checks:
                check.refine()
        return status, number, broken

    @property
    def first_stage(self) -> np.ndarray:
        """Values of the shared columns, (shared,)."""
        assert self._decided is not None
        return self._decided[0]

    @property
    def position_mw(self) -> np.ndarray | None:
        """The committed exchange, (time,)."""
        return None if self._decided is None else self._decided[1]

    def _positioned(self) -> np.ndarray | None:
        return None if self._position is None else self.joint.solver.values[self._position]

    def fix(self, values: np.ndarray, position_mw: np.ndarray | None) -> None:
        """Hold the first stage at these values."""
        self.joint.parts[0].change_bounds(self.shared[0], values, values)
        if self._position is not None and position_mw is not None:
            self.joint.solver.change_bounds(self._position, position_mw, position_mw)


class _Scenario(Session):
    """A session on one part of a Joint, which gives and takes what a solver does."""

    def __init__(self, model: Model, part: Part) -> None:
        self.model = model
        self.solver = cast(Solver, part)
        self._forget_rows()

    def settle(self) -> bool:
        """Close what raises and lowers at once, cut circles; whether anything was changed."""
        closed, cut = self._close_simultaneous(), self._cut_circles()
        return closed or cut


class _Check:
    """The AC check of one scenario's solution."""

    def __init__(self, session: Session) -> None:
        problem, fleet = session.model.problem, session.model.fleet
        self._session, self._found = session, solution(session)
        self._flow = powerflow.run(
            problem.network, fleet.injections(self._found.p_mw, self._found.q_mvar)
        )
        self.broken = count(problem, self._flow)
        self._mismatch = netloop.exchange(self._flow) - self._found.exchange_mw
        self.worth = netloop.gap(self._session.model.problem, self._found, self._mismatch)

    def refine(self) -> None:
        """Bring the scenario's model closer to its grid, where it is not close yet."""
        if not self.broken and self.worth <= netloop.CLOSE_ENOUGH:
            return
        exact = netloop.negative_prices(self._session.model.problem)
        exact |= self._mismatch < -netloop.MISMATCH_MW
        netloop.refine(self._session, self._flow, self._found, self._mismatch, exact)


def _uncontrolled(model: Model) -> Any:
    fleet = model.fleet
    return powerflow.run(model.problem.network, fleet.injections(fleet.baseline_mw))


def _first_stage(model: Model, steps: int) -> np.ndarray:
    """Columns of the schedule that is committed, in one order for all scenarios, (shared,)."""
    fleet, devices = model.fleet, model.devices
    decided = np.zeros((model.problem.steps, fleet.size), dtype=bool)
    decided[:steps] = [a < fleet.named and not curtails(e) for a, e in enumerate(fleet.envelopes)]
    blocks = [devices.raised, devices.lowered, devices.on, devices.start]
    blocks += [devices.q_raised, devices.q_lowered, *[held for held, _ in model.reserves.values()]]
    return np.concatenate([at[decided & (at >= 0)] for at in blocks])


def _worth(
    tree: _Tree,
    models: Sequence[Model],
    scenarios: Scenarios,
    stage: FirstStage,
    known: Session,
) -> tuple[float, float]:
    """VSS and EVPI with the rows that all scenarios have now.

    Both are differences of the measure: fixed at the plan for the mean, and each scenario free.
    """
    measure, probability = tree.joint.measure, scenarios.probability
    ours = measure.of(tree.joint.costs(), probability)
    exchange = known.model.exchange
    at_mean = known.solver.values
    own = _first_stage(known.model, stage.steps(known.model.problem))
    net = at_mean[exchange.imported] - at_mean[exchange.exported]
    expected = RiskMeasure(weight=0.0)
    results = []
    for free in (False, True):
        if free:
            alone = replace(stage, hours=0.0, above_cny_per_mwh=None, below_cny_per_mwh=None)
            other = _Tree(models, probability, alone, expected, known)
        else:
            other = _Tree(models, probability, stage, expected, known)
            other.fix(at_mean[own], net)
        for new, old in zip(other.sessions, tree.sessions, strict=True):
            _take_over(new, old)
        status = other.solve()
        cost = other.joint.costs() if status is Status.OPTIMAL else np.full(len(models), np.nan)
        results.append(measure.of(cost, probability))
    return results[0] - ours, ours - results[1]


def _take_over(new: Session, old: Session) -> None:
    """The rows that ``old`` has beyond those of ``new``."""
    new.drop_exchange(np.ones(new.model.problem.steps, dtype=bool))
    new.add_exchange(old.tangents, old.tangent_exact)
    more = np.arange(len(new.limits), len(old.limits))
    new.add_limits(old.limits.take(more))


def _shown(
    problem: DispatchProblem,
    stage: FirstStage,
    tree: _Tree,
    tell: Callable[[str], None],
    timer: Callable[[], float],
) -> Plan:
    """The plan for the course of ``problem`` with the first stage as it was decided."""
    if tree.position_mw is not None:
        assert stage.above_cny_per_mwh is not None
        assert stage.below_cny_per_mwh is not None
        position = Position(tree.position_mw, stage.above_cny_per_mwh, stage.below_cny_per_mwh)
        problem = replace(problem, position=position)
    session = Session(problem, Fleet(problem))
    own = _first_stage(session.model, stage.steps(problem))
    session.solver.change_bounds(own, tree.first_stage, tree.first_stage)
    return plan_one(problem, session=session, progress=tell, timer=timer)


def _notes(scenarios: Scenarios, broken: np.ndarray) -> list[Finding]:
    if not broken.any():
        return []
    share = float(scenarios.probability[broken > 0].sum())
    return [
        Finding(
            "plan",
            "scenarios",
            tuple(str(k) for k in np.flatnonzero(broken)),
            f"In scenarios that weigh {share:.0%} together {int(broken.sum())} limits stay "
            "exceeded on the AC grid.",
            Severity.WARNING,
        )
    ]
