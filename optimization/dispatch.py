"""The dispatch model in Pyomo: resources with power and energy bounds, one exchange, a tariff.

    min  dt * sum_t [ buy_t * import_t - sell_t * export_t + penalty * (over_import + over_export)
                      + wear * discharge + cost * curtailed + tie-breaks ]
    s.t. import_t - export_t >= y0_t + sum_a E_ta * (p_ta - p0_ta)     exchange, AC tangents
         content_t = content_{t-1} + dt * (eta_c * charge_t - discharge_t / eta_d)
         y0 + sum_a E_a * (p_a - p0_a) <= limit + slack                network rows, added lazily

The exchange rows carry the marginal losses of the operating points, so import and export are
those of the AC power flow closely. Limits of the exchange and of the network are soft
at a price that nothing in the tariff reaches: a limit that cannot be held becomes a finding
instead of an infeasible model. What remains hard are bounds of single resources, which
Envelope.conflicts decides exactly beforehand.

A resource both charging and discharging would waste energy; with positive prices this never
pays, and a tiny cost on both decides ties. Where negative prices make it pay, optimization/netloop
closes the smaller of the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyomo.environ as pyo
from pyomo.core.expr.numeric_expr import LinearExpression

from optimization.fleet import Fleet
from optimization.problem import DispatchProblem

TIE_BREAK_CNY_PER_MWH = 1e-3
"""Charged on each MWh moved, rising to twice that over the horizon: free energy goes in early."""
PENALTY_FACTOR = 50.0
"""Price of breaking a limit, in units of the highest price of the tariff."""


@dataclass(frozen=True, eq=False)
class Step:
    """The free variables of one step: whose they are, and +1 or -1 in that resource's power."""

    variables: list
    assets: np.ndarray
    signs: np.ndarray


@dataclass(eq=False)
class Dispatch:
    """A built model. The index arrays map (time, asset) to variables, -1 where there is none."""

    problem: DispatchProblem
    fleet: Fleet
    model: pyo.ConcreteModel
    power_at: np.ndarray
    charge_at: np.ndarray
    discharge_at: np.ndarray
    content_at: np.ndarray
    fixed_mw: np.ndarray
    steps: list[Step]
    penalty_cny_per_mwh: float
    exchanges: int = 0
    exchange_rows: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict)
    row_steps: list[int] = field(default_factory=list)
    row_effects: list[np.ndarray] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of network rows so far."""
        return len(self.row_steps)

    def price_slack(self) -> None:
        """Put the slack of every network row into the objective."""
        slack = list(self.model.slack.values())
        price = self.penalty_cny_per_mwh * self.problem.dt_h
        self.model.objective.set_value(
            self.model.cost
            + LinearExpression(constant=0.0, linear_coefs=[price] * len(slack), linear_vars=slack)
        )

    def set_prices(self, buy_cny_per_mwh: np.ndarray, sell_cny_per_mwh: np.ndarray) -> None:
        """Prices of imported and exported energy, (time,); buy must not lie below sell."""
        for t in range(self.problem.steps):
            self.model.buy[t] = float(buy_cny_per_mwh[t] * self.problem.dt_h)
            self.model.sell[t] = float(sell_cny_per_mwh[t] * self.problem.dt_h)

    def add_exchange(
        self, t: int, exchange_mw: float, effect: np.ndarray, at_mw: np.ndarray, *, exact: bool
    ) -> int:
        """A row for the exchange of step ``t`` around an operating point; returns its number.

        exchange_mw: import minus export there; effect: its change per MW of each resource; at_mw:
        the resources' power there; each (asset,). Losses are convex, so a tangent bounds the
        exchange from below and tangents at several points together come close to it. That only
        holds while energy has a price; ``exact`` makes the row an equation instead.
        """
        step, row = self.steps[t], self.exchanges
        constant = exchange_mw + float(effect @ (self.fixed_mw[t] - at_mw))
        body = LinearExpression(
            constant=0.0,
            linear_coefs=[1.0, -1.0, *(-effect[step.assets] * step.signs).tolist()],
            linear_vars=[self.model.imported[t], self.model.exported[t], *step.variables],
        )
        self.model.exchange[row] = (constant, body, constant if exact else None)
        self.exchange_rows[row] = (t, effect)
        self.exchanges += 1
        return row

    def drop_exchange(self, row: int) -> None:
        """Forget an exchange row, which the solver must not hold any more."""
        del self.model.exchange[row]
        del self.exchange_rows[row]

    def add_row(
        self, t: int, value: float, effect: np.ndarray, at_mw: np.ndarray, limit: float, side: int
    ) -> bool:
        """Demand that a quantity of step ``t`` stays on the right side of ``limit``.

        value: the quantity at the operating point; effect: its change per MW of each resource;
        side: +1 for an upper limit, -1 for a lower one. The row is scaled to MW of the resource
        with most effect, so that its slack is energy too. Returns False, adding nothing, when no
        free resource has any effect.
        """
        step = self.steps[t]
        coefficients = side * effect[step.assets] * step.signs
        largest = float(np.abs(coefficients).max(initial=0.0))
        if largest < 1e-9:
            return False
        constant = side * (value + float(effect @ (self.fixed_mw[t] - at_mw)) - limit) / largest
        keep = np.abs(coefficients) > 1e-4 * largest
        variables = [v for v, kept in zip(step.variables, keep, strict=True) if kept]
        row = self.rows
        slack = self.model.slack.add(row)
        self.model.network[row] = (
            None,
            LinearExpression(
                constant=0.0,
                linear_coefs=[-1.0, *(coefficients[keep] / largest).tolist()],
                linear_vars=[slack, *variables],
            ),
            -constant,
        )
        self.row_steps.append(t)
        self.row_effects.append(side * effect / largest)
        return True


def build(problem: DispatchProblem, fleet: Fleet) -> Dispatch:
    """The model of ``problem`` without exchange and network rows; see Dispatch."""
    model = pyo.ConcreteModel(name="dispatch")
    account = np.array([e.energy is not None for e in problem.envelopes], dtype=bool)
    low, high = fleet.p_min_mw, fleet.p_max_mw
    free = high - low > 1e-12
    power_at = _number(free & ~account)
    charge_at = _number(free & account & (high > 0))
    discharge_at = _number(free & account & (low < 0))
    content_at = _number(np.broadcast_to(account, low.shape))
    fixed = np.where(free, 0.0, low)
    penalty = PENALTY_FACTOR * max(
        1.0,
        float(np.abs(problem.import_total_cny_per_mwh).max()),
        float(np.abs(problem.export_cny_per_mwh).max()),
    )
    model.power = _variables(power_at, low, high)
    model.charge = _variables(charge_at, np.maximum(low, 0.0), high)
    model.discharge = _variables(discharge_at, np.maximum(-high, 0.0), -low)
    model.content = _variables(content_at, *_content_bounds(problem, low.shape))
    times = range(problem.steps)
    model.imported = pyo.Var(times, bounds=(0, None))
    model.exported = pyo.Var(times, bounds=(0, None))
    model.over_import = pyo.Var(times, bounds=(0, None))
    model.over_export = pyo.Var(times, bounds=(0, None))
    model.slack = pyo.Var(pyo.Any, dense=False, bounds=(0, None))
    steps = _steps(model, power_at, charge_at, discharge_at)
    model.exchange = pyo.Constraint(pyo.Any)
    model.network = pyo.Constraint(pyo.Any)
    _add_limits(model, problem)
    _add_energy(model, problem, charge_at, discharge_at, content_at, fixed)
    dispatch = Dispatch(
        problem,
        fleet,
        model,
        power_at,
        charge_at,
        discharge_at,
        content_at,
        fixed,
        steps,
        penalty,
    )
    _add_objective(dispatch)
    return dispatch


def _number(mask: np.ndarray) -> np.ndarray:
    """Consecutive numbers where ``mask`` holds, -1 elsewhere."""
    index = np.full(mask.shape, -1, dtype=np.int64)
    index[mask] = np.arange(int(mask.sum()))
    return index


def _variables(index: np.ndarray, low: np.ndarray, high: np.ndarray) -> pyo.Var:
    at = index >= 0
    bounds = list(zip(low[at].tolist(), high[at].tolist(), strict=True))
    return pyo.Var(range(len(bounds)), bounds=lambda _model, i: bounds[i])


def _content_bounds(
    problem: DispatchProblem, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.zeros(shape), np.zeros(shape)
    for a, envelope in enumerate(problem.envelopes):
        if envelope.energy is not None:
            low[:, a], high[:, a] = envelope.energy.min_mwh, envelope.energy.max_mwh
    # Bounds that cross by rounding only; real conflicts were reported before.
    return np.minimum(low, high), high


def _steps(
    model: pyo.ConcreteModel,
    power_at: np.ndarray,
    charge_at: np.ndarray,
    discharge_at: np.ndarray,
) -> list[Step]:
    steps = []
    for t in range(len(power_at)):
        variables: list = []
        assets, signs = [], []
        for component, index, sign in (
            (model.power, power_at[t], 1.0),
            (model.charge, charge_at[t], 1.0),
            (model.discharge, discharge_at[t], -1.0),
        ):
            held = np.flatnonzero(index >= 0)
            variables += [component[i] for i in index[held].tolist()]
            assets.append(held)
            signs.append(np.full(len(held), sign))
        steps.append(Step(variables, np.concatenate(assets), np.concatenate(signs)))
    return steps


def _add_limits(model: pyo.ConcreteModel, problem: DispatchProblem) -> None:
    """Soft limits of the exchange; none where the limit is infinite."""
    model.import_limit = pyo.Constraint(pyo.Any)
    model.export_limit = pyo.Constraint(pyo.Any)
    for t in range(problem.steps):
        if np.isfinite(problem.import_limit_mw):
            model.import_limit[t] = (
                model.imported[t] - model.over_import[t] <= problem.import_limit_mw
            )
        if np.isfinite(problem.export_limit_mw):
            model.export_limit[t] = (
                model.exported[t] - model.over_export[t] <= problem.export_limit_mw
            )


def _add_energy(
    model: pyo.ConcreteModel,
    problem: DispatchProblem,
    charge_at: np.ndarray,
    discharge_at: np.ndarray,
    content_at: np.ndarray,
    fixed: np.ndarray,
) -> None:
    """content_t - content_{t-1} - dt eta_c charge_t + dt / eta_d discharge_t = what is fixed."""
    model.energy = pyo.Constraint(range(int(content_at.max(initial=-1)) + 1))
    dt_h = problem.dt_h
    for a, envelope in enumerate(problem.envelopes):
        account = envelope.energy
        if account is None:
            continue
        gain = -dt_h * account.efficiency_charge
        drain = dt_h / account.efficiency_discharge
        for t in range(problem.steps):
            here = int(content_at[t, a])
            coefficients, variables = [1.0], [model.content[here]]
            right = dt_h * account.efficiency_charge * max(fixed[t, a], 0.0)
            right -= dt_h / account.efficiency_discharge * max(-fixed[t, a], 0.0)
            if t:
                coefficients.append(-1.0)
                variables.append(model.content[int(content_at[t - 1, a])])
            else:
                right += account.initial_mwh
            if charge_at[t, a] >= 0:
                coefficients.append(gain)
                variables.append(model.charge[int(charge_at[t, a])])
            if discharge_at[t, a] >= 0:
                coefficients.append(drain)
                variables.append(model.discharge[int(discharge_at[t, a])])
            body = LinearExpression(constant=0.0, linear_coefs=coefficients, linear_vars=variables)
            model.energy[here] = (float(right), body, float(right))


def _add_objective(dispatch: Dispatch) -> None:
    problem, model = dispatch.problem, dispatch.model
    dt_h, steps = problem.dt_h, problem.steps
    times = range(steps)
    model.buy = pyo.Param(times, mutable=True, initialize=0.0)
    model.sell = pyo.Param(times, mutable=True, initialize=0.0)
    money = sum(model.buy[t] * model.imported[t] - model.sell[t] * model.exported[t] for t in times)
    over = dispatch.penalty_cny_per_mwh * dt_h
    coefficients: list[float] = [over] * (2 * steps)
    variables: list = [*model.over_import.values(), *model.over_export.values()]
    ramp = TIE_BREAK_CNY_PER_MWH * (1.0 + np.arange(steps) / steps)
    cost = np.array([e.cost_cny_per_mwh for e in problem.envelopes])
    for component, index, price in (
        (model.power, dispatch.power_at, np.broadcast_to(-cost, dispatch.power_at.shape)),
        (
            model.charge,
            dispatch.charge_at,
            np.broadcast_to(ramp[:, None], dispatch.charge_at.shape),
        ),
        (model.discharge, dispatch.discharge_at, ramp[:, None] + cost),
    ):
        at = index >= 0
        coefficients += (dt_h * price[at]).tolist()
        variables += [component[i] for i in index[at].tolist()]
    model.cost = pyo.Expression(
        expr=money
        + LinearExpression(constant=0.0, linear_coefs=coefficients, linear_vars=variables)
    )
    model.objective = pyo.Objective(expr=model.cost)
