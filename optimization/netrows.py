"""Network rows: tangents of voltages and loadings, added where the AC grid exceeds a limit.

Tangents of currents never cut off anything allowed beyond second order, as currents are convex in
the injections; all rows are kept, so the loop closes in on a limit from outside.

With flat prices a plan can move a breach to another step at no cost, and repairing one step after
the other would take many rounds. So the resources that caused the worst breach of an element are
tried at every other step too, all in one batch power flow, and rows are added where that would
break the limit as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from core.errors import PowerFlowError
from grid import powerflow
from grid.limits import Excess, excesses
from grid.sensitivity import Quantity
from optimization.extract import Solution
from optimization.fleet import Fleet
from optimization.limitrows import Limits, all_limits, no_limits
from optimization.session import Session
from optimization.tangents import tangents

_PARALLEL = 0.999
"""Rows of one step pointing this much the same way count as one; the worst stands for them."""
_MOST_PATTERNS = 4
_CAUSES = 0.1
"""Resources with this share of the largest effect on an element belong to its breach."""
_Key = tuple[Quantity, int, int]


@dataclass(frozen=True, eq=False)
class Breaches:
    """Limits exceeded on the AC grid. severity: excess in units of the tolerance, (row,)."""

    limits: Limits
    severity: np.ndarray

    def key(self, row: int) -> _Key:
        """Which limit it is, whatever the step."""
        limits = self.limits
        return limits.quantity[row], int(limits.element[row]), int(limits.side[row])


def add_violated(session: Session, flow: xr.Dataset, found: Solution) -> int:
    """Add rows for what ``flow``, the power flow of ``found``, breaks; returns how many."""
    fleet = session.model.fleet
    breaches = breached(fleet, flow, found.p_mw, found.q_mvar)
    worst_ones = leading(fleet, breaches)
    remain = worst_ones[session.add_limits(breaches.limits.take(worst_ones))]
    worst: dict[_Key, int] = {}
    for row in remain.tolist():
        known = worst.setdefault(breaches.key(row), row)
        if breaches.severity[row] > breaches.severity[known]:
            worst[breaches.key(row)] = row
    added = len(remain)
    chosen = sorted(worst.values(), key=lambda row: -breaches.severity[row])[:_MOST_PATTERNS]
    for row in chosen:
        same = [r for r in remain.tolist() if breaches.key(r) == breaches.key(row)]
        done = set(breaches.limits.tangents.steps[same].tolist())
        added += _spread(session, breaches, row, found, done)
    return added


def breached(
    fleet: Fleet,
    flow: xr.Dataset,
    p_mw: np.ndarray,
    q_mvar: np.ndarray,
    only: _Key | None = None,
) -> Breaches:
    """What ``flow`` exceeds, aiming half a tolerance inside the limits."""
    problem = fleet.problem
    fed = fleet.fed(p_mw, q_mvar)
    parts = []
    for excess in excesses(
        problem.network,
        flow,
        max_loading_percent=problem.max_loading_percent,
        margins=problem.margins,
    ):
        steps, elements = np.nonzero(excess.violated)
        if only is not None:
            wanted = (excess.quantity, excess.side) == (only[0], only[2])
            keep = (elements == only[1]) & wanted
            steps, elements = steps[keep], elements[keep]
        parts.append(breaches_of(fleet, flow, fed, excess, steps, elements))
    return all_breaches(fleet, parts)


def breaches_of(
    fleet: Fleet,
    flow: xr.Dataset,
    fed: tuple[np.ndarray, np.ndarray],
    excess: Excess,
    steps: np.ndarray,
    elements: np.ndarray,
    activated: int = 0,
) -> Breaches:
    """Of one kind of limit at (steps[i], elements[i]), where ``flow`` is solved.

    fed: Fleet.fed of what ``flow`` was calculated with; activated: as in Limits.
    """
    if not len(steps):
        return Breaches(no_limits(len(fleet.problem.network.buses)), np.zeros(0))
    size = len(steps)
    limits = Limits(
        tangents(fleet, flow, fed, excess.quantity, steps, elements),
        (excess.quantity,) * size,
        elements,
        np.full(size, float(excess.side)),
        excess.held(steps, elements) - excess.side * excess.tolerance / 2,
        np.full(size, activated),
    )
    return Breaches(limits, excess.values[steps, elements] / excess.tolerance)


def all_breaches(fleet: Fleet, parts: list[Breaches]) -> Breaches:
    """Several as one."""
    return Breaches(
        all_limits([no_limits(len(fleet.problem.network.buses)), *(p.limits for p in parts)]),
        np.concatenate([np.zeros(0), *(p.severity for p in parts)]),
    )


def leading(fleet: Fleet, breaches: Breaches) -> np.ndarray:
    """Per step, the worst of each group of breaches that answer alike; positions."""
    limits = breaches.limits
    effect = np.hstack(limits.tangents.effects(fleet)) * limits.side[:, None]
    length = np.linalg.norm(effect, axis=1)
    effect /= np.maximum(length, 1e-300)[:, None]
    chosen: dict[int, list[int]] = {}
    for row in np.argsort(-breaches.severity, kind="stable").tolist():
        if length[row] == 0.0:
            continue
        group = chosen.setdefault(int(limits.tangents.steps[row]), [])
        if not group or float((effect[group] @ effect[row]).max()) < _PARALLEL:
            group.append(row)
    return np.array([row for group in chosen.values() for row in group], dtype=np.int64)


def _spread(session: Session, breaches: Breaches, row: int, found: Solution, done: set[int]) -> int:
    """Add rows at the other steps where the same behaviour would break the same limit."""
    fleet = session.model.fleet
    step = int(breaches.limits.tangents.steps[row])
    active, _ = breaches.limits.take(np.array([row])).tangents.effects(fleet)
    strength = np.abs(active[0])
    causes = strength >= _CAUSES * strength.max()
    tried = np.clip(np.where(causes, found.p_mw[step], found.p_mw), fleet.p_min_mw, fleet.p_max_mw)
    q_mvar = np.where(causes & fleet.has_reactive, found.q_mvar[step], found.q_mvar)
    try:
        flow = powerflow.run(fleet.problem.network, fleet.injections(tried, q_mvar))
    except PowerFlowError:
        return 0  # nothing but a hint is lost: the steps are checked again after the next solve
    other = breached(fleet, flow, tried, q_mvar, breaches.key(row))
    new = np.flatnonzero(~np.isin(other.limits.tangents.steps, list(done)))
    return len(session.add_limits(other.limits.take(new)))
