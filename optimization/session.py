"""A dispatch model held by a solver, and what is added to it on the way to a plan.

The model is handed over once. Exchange tangents, network rows, sides of inverters' circles, prices
and bounds are edited in place and every solve begins at the basis of the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import sparse

from core.errors import ConfigurationError
from optimization.devices import SIDES
from optimization.exchange import exchange_costs
from optimization.fleet import Fleet
from optimization.limitrows import (
    Limits,
    all_limits,
    exchange_rows,
    limit_rows,
    no_limits,
)
from optimization.model import Model, build, emission_costs
from optimization.problem import DispatchProblem
from optimization.program import spread
from optimization.result import Status
from optimization.shift import carried, source_steps
from optimization.solver import MIP_GAP, Solver
from optimization.standing import standing
from optimization.tangents import Tangents, none, together
from optimization.terms import FeederLimit

_SIMULTANEOUS_MW = 1e-6
_OUTSIDE = 1e-6
"""Share of sn_mva by which a solution may lie outside a side of the circle."""
_MOST_SETTLING = 20


class Session:
    """One model in one solver. Steps and resources are those of ``model.problem``."""

    def __init__(
        self,
        problem: DispatchProblem,
        fleet: Fleet | None = None,
        *,
        time_limit_s: float = 120.0,
        mip_gap: float = MIP_GAP,
    ) -> None:
        self.model: Model = build(problem, fleet)
        self.solver = Solver(self.model.program, time_limit_s=time_limit_s, mip_gap=mip_gap)
        self._exchange_mw = np.zeros(problem.steps)
        self._begun = False
        self._forget_rows()

    def _forget_rows(self) -> None:
        buses = len(self.model.problem.network.buses)
        self.tangents: Tangents = none(buses)
        self.tangent_exact = np.zeros(0, dtype=bool)
        self.tangent_rows = np.zeros(0, dtype=np.int64)
        self.tangent_effect_mw = np.zeros((0, self.model.fleet.size))
        self.limits: Limits = no_limits(buses)
        self.limit_rows = np.zeros(0, dtype=np.int64)
        self.limit_slack = np.zeros(0, dtype=np.int64)
        self.limit_effect_mw = np.zeros((0, self.model.fleet.size))
        self.limit_factor = np.zeros(0)
        self.circle_sides: dict[tuple[int, int, int], int] = {}
        self._call_margin_mw: dict[str, float] = {}

    def roll(self, problem: DispatchProblem) -> int:
        """Hold a later horizon of the same city instead; returns by how many steps it is later.

        Exchange tangents, network rows and sides of circles go with it as far as they lie within
        it, and the next solve begins at the old basis, moved in time; new steps take those of the
        last step there was. Resources are matched by name. Raises ConfigurationError when steps
        have another length or the horizon lies before the one held.
        """
        old, marks = self.model, self.solver.basis()
        by = _steps_between(old.problem, problem)
        self.model = build(problem)
        fleet, before = self.model.fleet, {e.asset: i for i, e in enumerate(old.fleet.envelopes)}
        assets = np.array([before.get(e.asset, -1) for e in fleet.envelopes], dtype=np.int64)
        tangents, exact, limits = self.tangents, self.tangent_exact, self.limits
        row_marks = {
            "tangent": marks[1][self.solver.places(self.tangent_rows)],
            "limit": marks[1][self.solver.places(self.limit_rows)],
        }
        slack_marks = marks[0][self.limit_slack]
        handles = np.array(list(self.circle_sides.values()), dtype=np.int64)
        side_marks = marks[1][self.solver.places(handles)]
        sides = dict(zip(self.circle_sides, side_marks, strict=True))
        self.solver.load(self.model.program)
        self._forget_rows()
        base = carried(
            self.model.program,
            old.program,
            marks,
            source_steps(by, old.problem.steps, problem.steps),
            assets,
        )
        columns, rows = [base[0]], [base[1]]
        kept, moved_to = _moved(tangents.steps, by, old.problem.steps, problem.steps)
        self.add_exchange(tangents.take(kept).at(moved_to), exact[kept])
        rows.append(row_marks["tangent"][kept])
        kept, moved_to = _moved(limits.tangents.steps, by, old.problem.steps, problem.steps)
        remain = self.add_limits(limits.take(kept).at(moved_to))
        rows.append(row_marks["limit"][kept][remain])
        columns.append(slack_marks[kept][remain])
        moved = {
            (t - by, int(np.flatnonzero(assets == a)[0]), k): mark
            for (t, a, k), mark in sides.items()
            if by <= t < by + problem.steps and a in assets
        }
        self._add_sides(list(moved))
        self.set_prices(self._exchange_mw[source_steps(by, old.problem.steps, problem.steps)])
        rows.append(np.array(list(moved.values()), dtype=np.int8))
        self.solver.set_basis(np.concatenate(columns), np.concatenate(rows))
        self._begun = True
        return by

    # --- edits ---------------------------------------------------------------------------------

    def set_prices(self, exchange_mw: np.ndarray) -> None:
        """Prices of import and export for an operating point with this exchange, (time,)."""
        self._exchange_mw = exchange_mw
        buy, sell = prices(self.model.problem, exchange_mw)
        for columns, price in exchange_costs(self.model.exchange, buy, sell):
            self.solver.change_costs(columns, price * self.model.problem.dt_h)

    def add_exchange(self, tangents: Tangents, exact: np.ndarray) -> None:
        """Rows for the exchange around operating points; exact: equations, (row,)."""
        rows = exchange_rows(self.model, tangents, exact, self._width)
        handles = self.solver.add_rows(rows.matrix, rows.lower, rows.upper)
        self.tangents = together([self.tangents, tangents])
        self.tangent_exact = np.concatenate([self.tangent_exact, exact])
        self.tangent_rows = np.concatenate([self.tangent_rows, handles])
        self.tangent_effect_mw = np.vstack([self.tangent_effect_mw, rows.effect_mw])

    def drop_exchange(self, where: np.ndarray) -> None:
        """Take out the exchange rows of the steps where ``where`` (time,) holds."""
        gone = where[self.tangents.steps]
        self.solver.delete_rows(self.tangent_rows[gone])
        self.tangents = self.tangents.take(~gone)
        self.tangent_exact = self.tangent_exact[~gone]
        self.tangent_rows = self.tangent_rows[~gone]
        self.tangent_effect_mw = self.tangent_effect_mw[~gone]

    def hold_calls_within(self, unseen_mw: np.ndarray) -> None:
        """Hold calls so much further inside as the grid drew beyond the model, (time,), at worst.

        Tangents alone come close too slowly: a plan that may meet a call at one hour or another
        goes each time to where its losses are not known yet.
        """
        problem, rows = self.model.problem, self.model.program.rows
        for call in problem.calls:
            own = rows[f"call {call.name}"]
            own = own[own >= 0]
            within = call.within(problem.times)
            inside = max(float(unseen_mw[within].max(initial=0.0)), 0.0)
            upper = call.limit_mw - max(inside, self._call_margin_mw.get(call.name, 0.0))
            self._call_margin_mw[call.name] = call.limit_mw - upper
            self.solver.change_sides(own, np.full(own.size, -np.inf), np.full(own.size, upper))

    @property
    def held_calls(self) -> tuple[FeederLimit, ...]:
        """The problem's calls as far inside as they are held."""
        margin_mw = self._call_margin_mw
        return tuple(
            replace(call, limit_mw=call.limit_mw - margin_mw.get(call.name, 0.0))
            for call in self.model.problem.calls
        )

    def add_limits(self, limits: Limits) -> np.ndarray:
        """Soft rows for limits of the network; positions of those that some resource can move."""
        rows, remain = limit_rows(self.model, limits, self._width)
        count = len(remain)
        price = self.model.penalty_cny_per_mwh * self.model.problem.dt_h
        slack = self.solver.add_columns(
            np.zeros(count), np.full(count, np.inf), np.full(count, price)
        )
        matrix = sparse.csr_array(sparse.hstack([rows.matrix, -sparse.eye_array(count)]))
        handles = self.solver.add_rows(matrix, rows.lower, rows.upper)
        self.limits = all_limits([self.limits, limits.take(remain)])
        self.limit_rows = np.concatenate([self.limit_rows, handles])
        self.limit_slack = np.concatenate([self.limit_slack, slack])
        self.limit_effect_mw = np.vstack([self.limit_effect_mw, rows.effect_mw])
        self.limit_factor = np.concatenate([self.limit_factor, rows.factor])
        return remain

    # --- solving -------------------------------------------------------------------------------

    def solve(self, timer: Callable[[], float]) -> tuple[Status, float]:
        """Solve until no resource raises and lowers at once and none leaves its circle.

        With positive prices doing both never pays, and a tiny cost on both decides ties. Where it
        would pay, the smaller of the two is closed. Returns the status and the seconds it took.
        """
        start = timer()
        self.solver.follow(emission_costs(self.model))
        self._begin()
        for _ in range(_MOST_SETTLING):
            status = self.solver.run()
            if status is not Status.OPTIMAL:
                break
            closed, cut = self._close_simultaneous(), self._cut_circles()
            if not closed and not cut:
                break
        return status, timer() - start

    def _begin(self) -> None:
        """Take a stand for the first solve."""
        every = np.array_equal(self.tangents.steps, np.arange(self.model.problem.steps))
        if self._begun or not every:
            return
        self._begun = True
        rows = self.solver.places(self.tangent_rows)
        self.solver.set_basis(*standing(self.model, len(self.solver.handles), self._width, rows))

    def power_mw(self) -> np.ndarray:
        """Power of each resource in the last solution, (time, asset)."""
        devices, values = self.model.devices, self.solver.values
        moved = spread(devices.raised, values, 0.0) - spread(devices.lowered, values, 0.0)
        power: np.ndarray = self.model.at_rest_mw + moved
        return power

    def power_mvar(self) -> np.ndarray:
        """Reactive power of each resource in the last solution, (time, asset)."""
        devices, values = self.model.devices, self.solver.values
        chosen = spread(devices.q_raised, values, 0.0) - spread(devices.q_lowered, values, 0.0)
        power: np.ndarray = self.model.fleet.rest_mvar + chosen
        return power

    def _close_simultaneous(self) -> bool:
        devices, values, fleet = self.model.devices, self.solver.values, self.model.fleet
        exclusive = np.array([e.exclusive for e in fleet.envelopes], dtype=bool)
        closed = False
        for up, down, of in (
            (devices.raised, devices.lowered, exclusive),
            (devices.q_raised, devices.q_lowered, fleet.has_reactive),
        ):
            more, less = spread(up, values, 0.0), spread(down, values, 0.0)
            both = (np.minimum(more, less) > _SIMULTANEOUS_MW) & of
            smaller = np.where(more < less, up, down)[both]
            if smaller.size:
                self.solver.change_bounds(smaller, np.zeros(smaller.size), np.zeros(smaller.size))
                closed = True
        return closed

    def _cut_circles(self) -> bool:
        """Add the side of the polygon that a solution lies outside of, where it does."""
        fleet = self.model.fleet
        if not fleet.has_reactive.any():
            return False
        p, q = self.power_mw(), self.power_mvar()
        size = np.array([e.reactive.sn_mva if e.reactive else np.inf for e in fleet.envelopes])
        angle = 2 * np.pi / SIDES
        side = np.round(np.arctan2(q, p) / angle).astype(int) % SIDES
        reach = np.cos(side * angle) * p + np.sin(side * angle) * q
        places = [
            (t, a, int(side[t, a]))
            for t, a in np.argwhere(reach > size * (1 + _OUTSIDE)).tolist()
            if (t, a, int(side[t, a])) not in self.circle_sides
        ]
        self._add_sides(places)
        return bool(places)

    def _add_sides(self, places: list[tuple[int, int, int]]) -> None:
        """cos * p + sin * q <= sn; where p cannot get there, as near as it can."""
        if not places:
            return
        fleet, devices = self.model.fleet, self.model.devices
        t, a, k = np.array(places, dtype=np.int64).T
        cos, sin = np.cos(k * 2 * np.pi / SIDES), np.sin(k * 2 * np.pi / SIDES)
        size = np.array([fleet.envelopes[i].reactive.sn_mva for i in a])
        nearest = np.minimum(cos * fleet.p_min_mw[t, a], cos * fleet.p_max_mw[t, a])
        upper = np.maximum(size, nearest) - cos * fleet.base_mw[t, a]
        row = np.arange(len(places))
        matrix = sparse.csr_array((len(places), self._width))
        for columns, value in (
            (devices.raised, cos),
            (devices.lowered, -cos),
            (devices.q_raised, sin),
            (devices.q_lowered, -sin),
        ):
            at = columns[t, a]
            used = at >= 0
            matrix = matrix + sparse.csr_array(
                (value[used], (row[used], at[used])), shape=matrix.shape
            )
        handles = self.solver.add_rows(
            sparse.csr_array(matrix), np.full(len(places), -np.inf), upper
        )
        self.circle_sides |= dict(zip(places, handles.tolist(), strict=True))

    @property
    def _width(self) -> int:
        return self.solver.width


def _steps_between(old: DispatchProblem, new: DispatchProblem) -> int:
    step = np.timedelta64(round(old.dt_h * 3600), "s")
    by, rest = divmod(new.times[0] - old.times[0], step)
    if new.dt_h != old.dt_h or rest or by < 0:
        raise ConfigurationError("A horizon can only move on by whole steps of the same length.")
    return int(by)


def _moved(
    steps: np.ndarray, by: int, old_steps: int, new_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows at ``steps`` of the old horizon go into the new one, and at which step there.

    Steps that are new take those of the last step there was: a tangent by the power of the buses
    is a fair guess there, and the AC check adds a better one where it is not.
    """
    source = np.minimum(np.arange(new_steps) + by, old_steps - 1)
    pairs = [(row, t) for t, s in enumerate(source) for row in np.flatnonzero(steps == s)]
    kept, moved_to = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return kept, moved_to


def prices(problem: DispatchProblem, exchange_mw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prices of import and export for the linear model, (time,).

    Where exporting pays more than importing costs, a linear model would do both at once without
    end. There the price of the side the operating point stands on counts for both directions.
    """
    buy, sell = problem.import_total_cny_per_mwh, problem.export_total_cny_per_mwh
    crossed = sell > buy
    one = np.where(exchange_mw >= 0, buy, sell)
    return np.where(crossed, one, buy), np.where(crossed, one, sell)
