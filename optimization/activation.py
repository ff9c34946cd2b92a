"""Reserve that the grid can deliver: what happens where all of it is called, and rows against it.

Reserve is held by power and energy of the resources. Here every step of a plan is calculated once
more on the AC grid with all products of a direction delivered in full. What that breaks of limits
that the plan itself keeps becomes rows over the resources' power and their reserve together, and
the plan is solved again (optimization/netloop). For what cannot be held all the same, the largest
share that can be delivered is searched.

Between the plan and full delivery no more is broken than at the ends: currents are convex in the
injections, and voltages move one way along the line between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from grid import powerflow
from grid.limits import Excess, excesses
from grid.sensitivity import Quantity
from optimization.diagnose import PART, stretch
from optimization.extract import Solution
from optimization.fleet import Fleet
from optimization.keyfigures import EXCHANGE_TOLERANCE_MW
from optimization.netrows import all_breaches, breaches_of, leading
from optimization.optimum import Optimum
from optimization.problem import DispatchProblem
from optimization.result import Given
from optimization.session import Session
from optimization.terms import Direction

_NOTHING_MW = 1e-6
_NOTABLE_MW = 1e-3
_NO_PRICE_CNY = 1e-3
_HALVINGS = 7
"""Of the share that can be delivered: known to 1 % then, from below."""
_NEAR = 50
"""Tolerances by which a limit that breaks at one step is missed at others that get a row too: 5
points of loading, 0.005 pu. Reserve moves from step to step at no cost."""
_ByLimit = dict[tuple[Quantity, int], np.ndarray]
"""(time, element) by kind and side; the exchange has one element, +1 is import and -1 export."""


@dataclass(frozen=True, eq=False)
class Activation:
    """All reserve of one direction delivered in full at every step of a plan.

    names: of its products. held_mw: of all of them, (time,). planned, delivered: p_mw of the
    resources without and with it, (time, asset); q_mvar is that of the plan in both. flow: the
    power flow with it, NaN where it has no solution. allowed: by how much it may exceed each limit:
    the tolerance, on top of what the plan itself exceeds it by. broken: where it does by more.
    """

    direction: Direction
    names: tuple[str, ...]
    held_mw: np.ndarray
    planned_mw: np.ndarray
    delivered_mw: np.ndarray
    q_mvar: np.ndarray
    flow: xr.Dataset
    allowed: _ByLimit
    broken: _ByLimit

    @property
    def count(self) -> int:
        """(step, element) pairs it breaks."""
        return sum(int(over.sum()) for over in self.broken.values())


def activations(fleet: Fleet, flow: xr.Dataset, found: Solution) -> list[Activation]:
    """One for each direction in which ``found`` holds reserve; all in one batch power flow.

    flow: the power flow of ``found``. Limits are those of the network and of the exchange, without
    margins for forecast errors.
    """
    problem = fleet.problem
    held: dict[Direction, np.ndarray] = {}
    for reserve in problem.reserves:
        more = held.get(reserve.direction, 0.0) + found.reserve_mw[reserve.name]
        held[reserve.direction] = more
    held = {way: mw for way, mw in held.items() if (mw > _NOTHING_MW).any()}
    if not held:
        return []
    ends = [found.p_mw + way.sign * fleet.fed_sign * mw for way, mw in held.items()]
    drawn = [powerflow.drawn(problem.network, fleet.injections(p, found.q_mvar)) for p in ends]
    every = powerflow.solved_where_possible(problem.network, np.concatenate(drawn))
    allowed = {
        (e.quantity, e.side): np.where(e.violated, e.values, 0.0) + e.tolerance
        for e in _excesses(problem, flow)
    }
    told = []
    for i, (way, mw) in enumerate(held.items()):
        own = every.isel(time=slice(i * problem.steps, (i + 1) * problem.steps))
        told.append(
            Activation(
                direction=way,
                names=tuple(r.name for r in problem.reserves if r.direction is way),
                held_mw=mw.sum(axis=1),
                planned_mw=found.p_mw,
                delivered_mw=ends[i],
                q_mvar=found.q_mvar,
                flow=own,
                allowed=allowed,
                broken=_broken(problem, own, allowed),
            )
        )
    return told


def add_undeliverable(session: Session, called: Sequence[Activation]) -> int:
    """Add rows for what activations break, at all steps that are near it; returns how many.

    side * (value + slope @ (p - p_called + sign * fed_sign * reserve)) <= side * aim, at the point
    p_called of the activation. A step without solution is taken as far along as it has one.
    """
    fleet, added = session.model.fleet, 0
    for one in called:
        flow, p_mw = one.flow, one.delivered_mw
        if bool(np.isnan(flow["losses_mw"].values).any()):
            share = _share(fleet, one, _unsolved)
            p_mw = one.planned_mw + share[:, None] * (one.delivered_mw - one.planned_mw)
            flow = _flow(fleet, one, share)
        fed, parts = fleet.fed(p_mw, one.q_mvar), []
        for excess in _excesses(fleet.problem, flow):
            key = excess.quantity, excess.side
            near = excess.values > one.allowed[key] - _NEAR * excess.tolerance
            steps, elements = np.nonzero(near & one.broken[key].any(axis=0))
            sign = one.direction.sign
            parts.append(breaches_of(fleet, flow, fed, excess, steps, elements, sign))
        breaches = all_breaches(fleet, parts)
        added += len(session.add_limits(breaches.limits.take(leading(fleet, breaches))))
    return added


def undeliverable(fleet: Fleet, called: Sequence[Activation]) -> list[Given]:
    """One for each limit that full activation of up or of down reserve would break.

    What the plan breaks by itself is left to ``unheld``.
    """
    return [given for one in called if one.count for given in _of_direction(fleet, one)]


def _of_direction(fleet: Fleet, one: Activation) -> Iterator[Given]:
    def breaks(flow: xr.Dataset) -> np.ndarray:
        broken = _broken(fleet.problem, flow, one.allowed)
        over: np.ndarray = np.any([b.any(axis=1) for b in broken.values()], axis=0)
        return over

    share = _share(fleet, one, breaks)
    for (quantity, side), over in one.broken.items():
        for element in np.flatnonzero(over.any(axis=0)).tolist():
            steps = over[:, element]
            values = None if quantity is Quantity.EXCHANGE else one.flow[quantity.value].values
            names = " + ".join(one.names)
            limit = quantity, side, element
            yield _told(fleet.problem, limit, steps, values, share, one.held_mw, names)


def _excesses(problem: DispatchProblem, flow: xr.Dataset) -> list[Excess]:
    """Those of the network, and of the exchange as a quantity of one element."""
    net = flow["import_mw"].values - flow["export_mw"].values
    found = excesses(problem.network, flow, max_loading_percent=problem.max_loading_percent)
    for name, side in (("import", 1), ("export", -1)):
        limit = problem.limit_mw(name)[:, None]
        over = side * net[:, None] - limit
        # A limit of its own for each step is a margin around 0.
        found.append(
            Excess(Quantity.EXCHANGE, side, over, np.zeros(1), EXCHANGE_TOLERANCE_MW, -limit)
        )
    return found


def _broken(problem: DispatchProblem, flow: xr.Dataset, allowed: _ByLimit) -> _ByLimit:
    """Which limits a power flow exceeds by more than allowed or leaves without a solution."""
    found = {(e.quantity, e.side): e.values for e in _excesses(problem, flow)}
    return {key: (over > allowed[key]) | np.isnan(over) for key, over in found.items()}


def _unsolved(flow: xr.Dataset) -> np.ndarray:
    missing: np.ndarray = np.isnan(flow["losses_mw"].values)
    return missing


def _flow(fleet: Fleet, one: Activation, share: np.ndarray) -> xr.Dataset:
    """The power flow with a share of the reserve delivered, (time,)."""
    network = fleet.problem.network
    p_mw = one.planned_mw + share[:, None] * (one.delivered_mw - one.planned_mw)
    drawn = powerflow.drawn(network, fleet.injections(p_mw, one.q_mvar))
    return powerflow.solved_where_possible(network, drawn)


def _share(fleet: Fleet, one: Activation, fails: Callable[[xr.Dataset], np.ndarray]) -> np.ndarray:
    """The largest share of the reserve whose power flow does not fail, (time,); 1 where all."""
    low, high = np.zeros(fleet.problem.steps), np.ones(fleet.problem.steps)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        failed = fails(_flow(fleet, one, middle))
        low, high = np.where(failed, low, middle), np.where(failed, middle, high)
    return np.where(fails(one.flow), low, 1.0)


def held_back(found: Optimum) -> list[Given]:
    """One for each limit of the grid because of which reserve that is asked for is not held.

    By the duals: more reserve would be held, were the limit a little wider.
    """
    problem, limits = found.model.problem, found.limits
    told: list[Given] = []
    for direction in Direction:
        products = [r.name for r in problem.reserves if r.direction is direction]
        missing = np.zeros(problem.steps)
        for name in products:
            missing += found.values[found.model.reserves[name][1]]
        acting = (limits.activated == direction.sign) & (np.abs(found.limit_duals) > _NO_PRICE_CNY)
        steps: dict[tuple[Quantity, int, int], np.ndarray] = {}
        for row in np.flatnonzero(acting).tolist():
            key = limits.quantity[row], int(limits.side[row]), int(limits.element[row])
            at = steps.setdefault(key, np.zeros(problem.steps, dtype=bool))
            step = int(limits.tangents.steps[row])
            at[step] = missing[step] > _NOTABLE_MW
        told.extend(
            _short(problem, key, at, missing, " + ".join(products))
            for key, at in steps.items()
            if at.any()
        )
    return told


def _short(
    problem: DispatchProblem,
    limit: tuple[Quantity, int, int],
    steps: np.ndarray,
    missing_mw: np.ndarray,
    names: str,
) -> Given:
    part = _part(problem, *limit)
    start, end, when = stretch(problem, steps)
    most = float(missing_mw[steps].max())
    return Given(
        component=part.table,
        subject=part.subject,
        limit="reserve_held",
        amount=most,
        unit="MW",
        start=start,
        end=end,
        text_en=f"Up to {most:.3g} MW of reserve {names} is not held at {when}: called in full it "
        f"would take the {part.en} {part.edge_en} limit.",
        text_zh=f"{when} 有至多 {most:.3g} MW 备用 {names} 未能保留：全部调用会使{part.zh}"
        f"越过{part.edge_zh}。",
        hard=False,
    )


@dataclass(frozen=True)
class _Part:
    """A limit in words."""

    table: str
    subject: str
    en: str
    zh: str
    unit: str
    edge_en: str
    edge_zh: str


def _part(problem: DispatchProblem, quantity: Quantity, side: int, element: int) -> _Part:
    if quantity is Quantity.EXCHANGE:
        name_en, name_zh = ("import", "受电") if side > 0 else ("export", "外送")
        en, zh = f"{name_en} of the substation", f"变电站{name_zh}功率"
        return _Part("substation", "substation", en, zh, "MW", "above its upper", "上限")
    table, en, zh, unit = PART[quantity]
    subject = str(int(problem.network.ids(table)[element]))
    edge = ("above its upper", "上限") if side > 0 else ("below its lower", "下限")
    return _Part(table, subject, en.format(subject), zh.format(subject), unit, *edge)


def _told(
    problem: DispatchProblem,
    limit: tuple[Quantity, int, int],
    steps: np.ndarray,
    values: np.ndarray | None,
    share: np.ndarray,
    held_mw: np.ndarray,
    names: str,
) -> Given:
    """values: of the limited quantity with all reserve called, (time, element)."""
    part = _part(problem, *limit)
    worst = int(np.where(steps, share, np.inf).argmin())
    value = float(values[worst, limit[2]]) if values is not None else np.nan
    reached = f" ({value:.4g} {part.unit})" if np.isfinite(value) else ""
    start, end, when = stretch(problem, steps)
    one = np.zeros(problem.steps, dtype=bool)
    one[worst] = True
    _, _, at = stretch(problem, one)
    percent, mw = 100.0 * share[worst], held_mw[worst]
    return Given(
        component=part.table,
        subject=part.subject,
        limit="reserve",
        amount=float(mw * (1.0 - share[worst])),
        unit="MW",
        start=start,
        end=end,
        text_en=f"Reserve {names} called in full takes the {part.en}{reached} {part.edge_en} limit "
        f"at {when}; worst at {at}, where {percent:.0f} % of {mw:.3g} MW can be called.",
        text_zh=f"备用 {names} 全部调用时，{part.zh}{reached}在 {when} 越过{part.edge_zh}；"
        f"最严重时段 {at} 仅可调用 {mw:.3g} MW 的 {percent:.0f}%。",
        hard=False,
    )
