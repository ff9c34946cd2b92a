"""The dispatch model once more, in Pyomo, written from the equations: clear, slow, the judge.

Nothing plans with it. optimization/model is held to it by a test: the same optimum on any problem,
for given exchange tangents and network limits. It shares no code with the fast path but the
problem, the tangents and the numbers that both must agree on (prices, tie-break, sides of the
circle). Symbols and units are those of docs/dispatch.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.appsi.solvers.highs import Highs

from grid.envelope import Commitment, EnergyAccount, Envelope
from optimization.devices import SIDES, tie_break
from optimization.exchange import HELD_CNY_PER_MWH, TIE_CNY_PER_MWH
from optimization.fleet import Fleet
from optimization.limitrows import Limits
from optimization.model import penalty_cny_per_mwh
from optimization.problem import DispatchProblem
from optimization.session import prices
from optimization.tangents import Tangents
from optimization.terms import Direction, Reserve


def optimum_cny(
    problem: DispatchProblem,
    tangents: Tangents,
    exact: np.ndarray,
    exchange_mw: np.ndarray,
    limits: Limits | None = None,
) -> float:
    """The least cost of ``problem``, CNY.

    tangents, exact: of the exchange, as in Session.add_exchange. exchange_mw: of the operating
    point, (time,), which decides the price where exporting pays more than importing costs.
    limits: of the network. Raises RuntimeError of Pyomo when there is no optimum.
    """
    model = Reference(problem, exchange_mw)
    model.add_exchange(tangents, exact)
    if limits is not None:
        model.add_limits(limits)
    return model.solve()


class Reference:
    """The Pyomo model of a problem, built resource by resource and step by step."""

    def __init__(self, problem: DispatchProblem, exchange_mw: np.ndarray) -> None:
        self.problem = problem
        self.fleet = Fleet(problem)
        self.m = pyo.ConcreteModel()
        self.T = range(problem.steps)
        self.costs: list[Any] = []
        self.m.rows = pyo.ConstraintList()
        m, names = self.m, range(self.fleet.size)
        m.raised = pyo.Var(names, self.T, within=pyo.NonNegativeReals)
        m.lowered = pyo.Var(names, self.T, within=pyo.NonNegativeReals)
        m.q_raised = pyo.Var(names, self.T, within=pyo.NonNegativeReals, initialize=0)
        m.q_lowered = pyo.Var(names, self.T, within=pyo.NonNegativeReals, initialize=0)
        m.imported = pyo.Var(self.T, within=pyo.NonNegativeReals)
        m.exported = pyo.Var(self.T, within=pyo.NonNegativeReals)
        m.over_import = pyo.Var(self.T, within=pyo.NonNegativeReals)
        m.over_export = pyo.Var(self.T, within=pyo.NonNegativeReals)
        m.turned_out = pyo.VarList(domain=pyo.NonNegativeReals)
        m.content = pyo.Var(names, self.T)
        m.outside = pyo.Var(names, self.T, within=pyo.NonNegativeReals)
        m.on = pyo.Var(names, self.T, within=pyo.Binary)
        m.start = pyo.Var(names, self.T, within=pyo.Binary)
        for a, envelope in enumerate(self.fleet.envelopes):
            self._resource(a, envelope)
        self._exchange(exchange_mw)
        self._terms()

    def solve(self) -> float:
        """The optimum, CNY."""
        self.add_objective()
        solver = Highs()
        solver.highs_options = {"threads": 1, "mip_rel_gap": 0.0, "mip_abs_gap": 1e-7}
        solver.solve(self.m)
        return float(pyo.value(self.m.objective))

    def add_objective(self) -> None:
        """The sum of all costs; once everything has been added."""
        self.m.objective = pyo.Objective(expr=pyo.quicksum(self.costs))

    def demand(self, rows: Iterable[Any]) -> None:
        """Add constraints; ``True`` is none."""
        for row in rows:
            if row is not True:
                self.m.rows.add(row)

    # --- resources -----------------------------------------------------------------------------

    def p_mw(self, a: int, t: int) -> Any:
        """p = base + raised - lowered"""
        base = float(self.fleet.envelopes[a].base_mw[t])
        return base + self.m.raised[a, t] - self.m.lowered[a, t]

    def q_mvar(self, a: int, t: int) -> Any:
        """q = chosen, or as it was"""
        if self.fleet.envelopes[a].reactive is None:
            return float(self.fleet.baseline_mvar[t, a])
        return self.m.q_raised[a, t] - self.m.q_lowered[a, t]

    def _resource(self, a: int, e: Envelope) -> None:
        m, problem, weights = self.m, self.problem, self.problem.weights
        dt, carbon = problem.dt_h, weights.carbon * problem.carbon_cny_per_tco2e / 1000.0
        shed = a >= len(problem.envelopes)
        curtailed = e.element == "sgen" and e.account is None and e.commitment is None
        lowering = weights.discomfort if shed else weights.money
        lowering = weights.curtailment if curtailed and not shed else lowering
        tie = tie_break(problem.steps)
        up, down = np.asarray(e.up_cny_per_mwh), np.asarray(e.down_cny_per_mwh)
        for t in self.T:
            m.raised[a, t].setub(float(e.up_mw[t]))
            m.lowered[a, t].setub(float(e.down_mw[t]))
            small = float(tie[t]) if e.account is not None else 0.0
            price = weights.money * float(up[t]) + carbon * e.up_kgco2e_per_mwh + small
            self.costs.append(dt * price * m.raised[a, t])
            self.costs.append(dt * (lowering * float(down[t]) + small) * m.lowered[a, t])
            if e.exclusive:
                self._not_both(a, t, e)
        if e.account is not None:
            self._account(a, e.account)
            if e.account.depth:
                self._depth(a, e.account)
        if e.commitment is not None:
            self._commitment(a, e, e.commitment)
        if e.ramp is not None:
            self._ramp(a, e)
        if e.reactive is not None:
            self._reactive(a, e)

    def _not_both(self, a: int, t: int, e: Envelope) -> None:
        """Raising and lowering exclude each other, by a binary of its own."""
        if not (e.up_mw[t] > 0 and e.down_mw[t] > 0):
            return
        either = pyo.Var(within=pyo.Binary)
        self.m.add_component(f"either_{a}_{t}", either)
        self.demand(
            [
                self.m.raised[a, t] <= float(e.up_mw[t]) * either,
                self.m.lowered[a, t] <= float(e.down_mw[t]) * (1 - either),
            ]
        )

    def _account(self, a: int, x: EnergyAccount) -> None:
        m, weights, dt = self.m, self.problem.weights, self.problem.dt_h
        last = self.problem.steps - 1
        for t in self.T:
            before = m.content[a, t - 1] if t else x.initial_mwh
            spilled: Any = 0.0
            if x.spill_cny_per_mwh is not None:
                spilled = self._extra(f"spilled_{a}_{t}")
                self.costs.append(x.spill_cny_per_mwh * spilled)
            gained = dt * (
                float(x.gain_up[t]) * m.raised[a, t] - float(x.gain_down[t]) * m.lowered[a, t]
            )
            kept = float(x.keep[t]) * before + float(x.inflow_mwh[t])
            low, high = float(min(x.min_mwh[t], x.max_mwh[t])), float(x.max_mwh[t])
            soft = m.outside[a, t] if x.breach_cny_per_mwh is not None else 0.0
            self.demand(
                [
                    m.content[a, t] == kept + gained - spilled,
                    m.content[a, t] >= low - soft,
                    m.content[a, t] <= high + soft,
                ]
            )
            if x.breach_cny_per_mwh is not None:
                self.costs.append(weights.discomfort * x.breach_cny_per_mwh * dt * soft)
            if x.spill_cny_per_mwh is not None:
                setattr(m, f"is_spilled_{a}_{t}", pyo.Expression(expr=spilled))
        self.costs.append(-weights.money * x.end_cny_per_mwh * m.content[a, last])

    def _depth(self, a: int, x: EnergyAccount) -> None:
        m, dt = self.m, self.problem.dt_h
        size = [band.share * x.capacity_mwh for band in x.depth]
        start, left = [0.0] * len(size), x.initial_mwh
        for k in reversed(range(len(size))):  # the deepest band is filled first
            start[k] = min(left, size[k]) if k else left
            left -= start[k]
        content = pyo.Var(range(len(size)), self.T, within=pyo.NonNegativeReals)
        out = pyo.Var(range(len(size)), self.T, within=pyo.NonNegativeReals)
        m.add_component(f"band_{a}", content)
        m.add_component(f"out_{a}", out)
        for t in self.T:
            self.demand(
                [
                    sum(content[k, t] for k in range(len(size))) == m.content[a, t],
                    sum(out[k, t] for k in range(len(size))) == m.lowered[a, t],
                ]
            )
            spilled = getattr(m, f"is_spilled_{a}_{t}", 0.0)
            for k, band in enumerate(x.depth):
                before = content[k, t - 1] if t else start[k]
                least = float(x.keep[t]) * before - dt * float(x.gain_down[t]) * out[k, t]
                drain = min(float(x.inflow_mwh[t]), 0.0)
                self.demand([content[k, t] >= least - spilled + drain])
                if k:
                    self.demand([content[k, t] <= size[k]])
                money = self.problem.weights.money
                self.costs.append(money * dt * band.cny_per_mwh * out[k, t])

    def _commitment(self, a: int, e: Envelope, c: Commitment) -> None:
        """Every rule as it is said, without a thought to how tight it is."""
        m, weights, dt = self.m, self.problem.weights, self.problem.dt_h
        power, most = (m.lowered, e.down_mw) if c.lowers else (m.raised, e.up_mw)
        history = _steps(c.since_h, dt)
        carbon = weights.carbon * self.problem.carbon_cny_per_tco2e / 1000.0
        running = weights.money * c.running_cny_per_h + carbon * c.running_kgco2e_per_h

        def on(t: int) -> Any:
            """On at a step, also before the horizon, where it was otherwise before since_h."""
            if t >= 0:
                return m.on[a, t]
            return float(c.on) if -t <= history else float(not c.on)

        up, down = _steps(c.min_up_h, dt), _steps(c.min_down_h, dt)
        for t in self.T:
            self.costs.append(weights.money * c.start_cny * m.start[a, t])
            self.costs.append(dt * running * m.on[a, t])
            self.demand(
                [
                    power[a, t] <= float(most[t]) * m.on[a, t],
                    power[a, t] >= c.p_on_min_mw * m.on[a, t],
                    m.start[a, t] >= m.on[a, t] - on(t - 1),
                ]
            )
            for k in range(1, up):  # a start k steps ago keeps it on
                if t - k >= 0:
                    self.demand([m.on[a, t] >= on(t - k) - on(t - k - 1)])
            for k in range(1, down):
                if t - k >= 0:
                    self.demand([1 - m.on[a, t] >= on(t - k - 1) - on(t - k)])
            if np.isfinite(c.max_up_h):
                longest = int(c.max_up_h / dt + 1e-9)
                self.demand([sum(on(t - k) for k in range(longest + 1)) <= longest])
        rest = _steps(max((c.min_up_h if c.on else c.min_down_h) - c.since_h, 0.0), dt)
        for t in range(min(rest, self.problem.steps)):
            self.demand([m.on[a, t] == float(c.on)])
        if c.starts_max is not None:
            self.demand([sum(m.start[a, t] for t in self.T) <= c.starts_max])

    def _ramp(self, a: int, e: Envelope) -> None:
        assert e.ramp is not None
        m, dt, c = self.m, self.problem.dt_h, e.commitment
        rise, fall = e.ramp.up_mw_per_h * dt, e.ramp.down_mw_per_h * dt
        for t in self.T:
            if t == 0 and e.ramp.before_mw is None:
                continue
            change = self.p_mw(a, t) - (self.p_mw(a, t - 1) if t else e.ramp.before_mw)
            up: Any = rise
            down: Any = fall
            if c is not None:
                stop = m.start[a, t] - m.on[a, t] + (m.on[a, t - 1] if t else float(c.on))
                rising, falling = (stop, m.start[a, t]) if c.lowers else (m.start[a, t], stop)
                up = rise + max(c.p_on_min_mw - rise, 0.0) * rising
                down = fall + max(c.p_on_min_mw - fall, 0.0) * falling
            if np.isfinite(rise):
                self.demand([change <= up])
            if np.isfinite(fall):
                self.demand([-change <= down])

    def _reactive(self, a: int, e: Envelope) -> None:
        assert e.reactive is not None
        m, weights, dt = self.m, self.problem.weights, self.problem.dt_h
        most = min(e.reactive.q_max_mvar, e.reactive.sn_mva)
        for t in self.T:
            m.q_raised[a, t].setub(most)
            m.q_lowered[a, t].setub(most)
            price = weights.money * dt * e.reactive.cny_per_mvarh
            self.costs.append(price * (m.q_raised[a, t] + m.q_lowered[a, t]))
            for k in range(SIDES):
                cos, sin = np.cos(2 * np.pi * k / SIDES), np.sin(2 * np.pi * k / SIDES)
                nearest = min(cos * e.p_min_mw[t], cos * e.p_max_mw[t])
                side = float(cos) * self.p_mw(a, t) + float(sin) * self.q_mvar(a, t)
                self.demand([side <= max(e.reactive.sn_mva, float(nearest))])

    # --- exchange and network ------------------------------------------------------------------

    def _exchange(self, exchange_mw: np.ndarray) -> None:
        m, problem = self.m, self.problem
        buy, sell = prices(problem, exchange_mw)
        over = penalty_cny_per_mwh(self.fleet)
        for t in self.T:
            bill = self._bill(t, float(buy[t]), float(sell[t]))
            self.costs.append(problem.dt_h * (bill + over * (m.over_import[t] + m.over_export[t])))
            most, out = float(problem.limit_mw("import")[t]), float(problem.limit_mw("export")[t])
            if np.isfinite(most):
                self.demand([m.imported[t] <= most + m.over_import[t]])
            if np.isfinite(out):
                self.demand([m.exported[t] <= out + m.over_export[t]])

    def _bill(self, t: int, buy: float, sell: float) -> Any:
        """buy import - sell export, or the mean of it over all cases, less what is certain."""
        m, spread = self.m, self.problem.spread
        if spread is None:
            return buy * m.imported[t] - sell * m.exported[t]
        total: Any = TIE_CNY_PER_MWH * (m.imported[t] + m.exported[t])
        for share, offset in zip(spread.share, spread.offset_mw[t], strict=True):
            bought, sold = m.turned_out.add(), m.turned_out.add()
            self.demand([bought - sold == self.net(t) + float(offset)])
            total = total + float(share) * (buy * bought - sell * sold - sell * float(offset))
        return total

    def net(self, t: int) -> Any:
        """Import less export."""
        return self.m.imported[t] - self.m.exported[t]

    def _on_the_line(self, lines: Tangents, row: int) -> Any:
        """A tangent at the resources' power: each bus fed by all that stands there."""
        t = int(lines.steps[row])
        active, reactive = self.fleet.fed_at_rest
        value = float(
            lines.constant[row] + lines.per_mw[row] @ active[t] + lines.per_mvar[row] @ reactive[t]
        )
        expression: Any = value
        for a, e in enumerate(self.fleet.envelopes):
            bus, unit = self.fleet.bus_position[a], self.fleet.fed_per_unit[a]
            moved = self.m.raised[a, t] - self.m.lowered[a, t]
            expression = expression + float(lines.per_mw[row, bus] * unit) * moved
            if e.reactive is not None:
                chosen = self.m.q_raised[a, t] - self.m.q_lowered[a, t]
                expression = expression + float(lines.per_mvar[row, bus] * unit) * chosen
        return expression

    def add_exchange(self, lines: Tangents, exact: np.ndarray) -> None:
        """Import less export at or above each tangent; on it where ``exact`` (row,)."""
        for row in range(len(lines)):
            t, value = int(lines.steps[row]), self._on_the_line(lines, row)
            self.demand([self.net(t) == value if exact[row] else self.net(t) >= value])

    def add_limits(self, limits: Limits) -> None:
        """Each quantity on its side of the aim, or beyond it at a price per MW of its row."""
        price = penalty_cny_per_mwh(self.fleet) * self.problem.dt_h
        active, reactive = limits.tangents.effects(self.fleet)
        can_choose = [e.reactive is not None for e in self.fleet.envelopes]
        for row in range(len(limits)):
            t = int(limits.tangents.steps[row])
            moves = [
                abs(float(active[row, a])) if e.up_mw[t] + e.down_mw[t] > 0 else 0.0
                for a, e in enumerate(self.fleet.envelopes)
            ]
            moves += [
                abs(float(q)) for q, chosen in zip(reactive[row], can_choose, strict=True) if chosen
            ]
            scale = max(moves, default=0.0)
            if scale <= 1e-9:
                continue
            slack = self._extra(f"slack_{row}")
            value = self._on_the_line(limits.tangents, row)
            if limits.activated[row]:
                value = value + self._delivered(limits, row)
            side, aim = float(limits.side[row]), float(limits.aim[row])
            self.demand([side * (value - aim) / scale <= slack])
            self.costs.append(price * slack)

    def _delivered(self, limits: Limits, row: int) -> Any:
        """What all reserve of the row's direction adds: more fed in, or less, where it stands."""
        t, way = int(limits.tangents.steps[row]), int(limits.activated[row])
        per_mw, in_use = limits.tangents.per_mw[row], np.abs(self.fleet.fed_per_unit)
        added: Any = 0.0
        for reserve in self.problem.reserves:
            if (reserve.direction is Direction.UP) != (way > 0):
                continue
            held = getattr(self.m, f"held_{reserve.name}")
            for a in range(len(self.problem.envelopes)):
                slope = float(per_mw[self.fleet.bus_position[a]] * in_use[a])
                added = added + way * slope * held[a, t]
        return added

    # --- terms ---------------------------------------------------------------------------------

    def _terms(self) -> None:
        m, problem, weights, dt = self.m, self.problem, self.problem.weights, self.problem.dt_h
        if problem.peak is not None:
            spread = problem.spread
            shares = [1.0] if spread is None else spread.share.tolist()
            for k, share in enumerate(shares):
                peak = self._extra(f"peak_{k}")
                self.demand([peak >= problem.peak.peak_so_far_mw])
                for t in self.T:
                    more = 0.0 if spread is None else float(spread.offset_mw[t, k])
                    self.demand([peak >= self.net(t) + more])
                beyond = peak - problem.peak.peak_so_far_mw
                self.costs.append(share * weights.peak * problem.peak.cny_per_mw * beyond)
        if problem.peak_valley is not None:
            m.high, m.low, over = pyo.Var(), pyo.Var(), self._extra("over_peak_valley")
            self.demand(m.high >= self.net(t) for t in self.T)
            self.demand(m.low <= self.net(t) for t in self.T)
            self.demand([m.high - m.low <= problem.peak_valley.target_mw + over])
            self.costs.append(weights.peak * problem.peak_valley.breach_cny_per_mw * over)
        for call in problem.calls:
            for t in np.flatnonzero(call.within(problem.times)).tolist():
                over = self._extra(f"over_{call.name}_{t}")
                self.demand([self.net(t) <= call.limit_mw + over])
                self.costs.append(weights.money * dt * call.breach_cny_per_mwh * over)
        if problem.position is not None:
            above, below = (
                np.broadcast_to(np.asarray(price, dtype=float), (problem.steps,))
                for price in (
                    problem.position.above_cny_per_mwh,
                    problem.position.below_cny_per_mwh,
                )
            )
            for t in np.flatnonzero(np.isfinite(problem.position.committed_mw)).tolist():
                more, less = self._extra(f"above_{t}"), self._extra(f"below_{t}")
                promised = float(problem.position.committed_mw[t])
                self.demand([self.net(t) == promised + more - less])
                cost = float(above[t]) * more + float(below[t]) * less
                self.costs.append(weights.money * dt * cost)
        if problem.change is not None:
            self._change()
        for reserve in problem.reserves:
            self._held(reserve)
        for direction in Direction:
            self._room(direction)

    def _change(self) -> None:
        change, problem = self.problem.change, self.problem
        assert change is not None
        price = np.broadcast_to(np.asarray(change.cny_per_mwh, dtype=float), (problem.steps,))
        for a, e in enumerate(problem.envelopes):
            for t in self.T:
                before = float(change.p_mw[t, a])
                if not np.isfinite(before) or e.up_mw[t] + e.down_mw[t] <= 0:
                    continue
                before = min(max(before, float(e.p_min_mw[t])), float(e.p_max_mw[t]))
                held = change.held is not None and bool(change.held[t])
                more, less = self._extra(f"more_{a}_{t}"), self._extra(f"less_{a}_{t}")
                self.demand([self.p_mw(a, t) == before + more - less])
                unit = HELD_CNY_PER_MWH if held else float(price[t])
                self.costs.append(problem.dt_h * unit * (more + less))

    def _held(self, reserve: Reserve) -> None:
        m, problem = self.m, self.problem
        held = pyo.Var(range(len(problem.envelopes)), self.T, within=pyo.NonNegativeReals)
        m.add_component(f"held_{reserve.name}", held)
        unit = problem.weights.money * problem.dt_h
        for t in self.T:
            missing = self._extra(f"missing_{reserve.name}_{t}")
            needed = float(reserve.requirement_mw[t])
            given = sum(held[a, t] for a in range(len(problem.envelopes)))
            self.demand([missing <= needed, given + missing >= needed])
            self.costs.append(unit * reserve.breach_cny_per_mw_h * missing)
            self.costs.append(-unit * reserve.price_cny_per_mw_h * (needed - missing))
            for a, e in enumerate(problem.envelopes):
                asked = reserve.assets is None or e.asset in reserve.assets
                if not asked or not (e.up_mw.any() or e.down_mw.any()):
                    self.demand([held[a, t] <= 0])

    def _room(self, direction: Direction) -> None:
        """Power, state and energy leave room for all reserve of one direction together."""
        m, problem = self.m, self.problem
        products = [r for r in problem.reserves if r.direction is direction]
        if not products:
            return
        for a, e in enumerate(problem.envelopes):
            raises = (e.element == "sgen") == (direction is Direction.UP)
            for t in self.T:
                given = [getattr(m, f"held_{r.name}")[a, t] for r in products]
                total = sum(given)
                moved = m.raised[a, t] - m.lowered[a, t]
                if raises:
                    self.demand([moved + total <= float(e.up_mw[t])])
                else:
                    self.demand([total - moved <= float(e.down_mw[t])])
                if e.commitment is not None:
                    c = e.commitment
                    power, most = (m.lowered, e.down_mw) if c.lowers else (m.raised, e.up_mw)
                    if raises != c.lowers:
                        self.demand([power[a, t] + total <= float(most[t]) * m.on[a, t]])
                    else:
                        self.demand([power[a, t] - total >= c.p_on_min_mw * m.on[a, t]])
                if e.account is None:
                    continue
                energy = sum(g * r.activation_h for g, r in zip(given, products, strict=True))
                self._energy_room(a, t, e.account, raises, energy)

    def _energy_room(self, a: int, t: int, x: EnergyAccount, raises: bool, energy: Any) -> None:
        m = self.m
        soft = x.breach_cny_per_mwh is not None
        for s in (t, t - 1):
            content = m.content[a, s] if s >= 0 else x.initial_mwh
            bound = max(s, 0)
            outside = m.outside[a, s] if soft and s >= 0 else 0.0
            if raises:
                room = float(x.max_mwh[bound]) - content + outside
                need = float(x.gain_up[t]) * energy
            else:
                least = float(min(x.min_mwh[bound], x.max_mwh[bound]))
                room = content - least + outside
                need = float(x.gain_down[t]) * energy
            if s < 0:
                room = max(room, 0.0)
            self.demand([need <= room])

    def _extra(self, name: str) -> Any:
        variable = pyo.Var(within=pyo.NonNegativeReals)
        self.m.add_component(name, variable)
        return variable


def _steps(hours: float, dt_h: float) -> int:
    return int(np.ceil(min(hours / dt_h, 1e6) - 1e-9))
