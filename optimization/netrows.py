"""Network rows: tangents of voltages and loadings, added where the AC grid exceeds a limit.

Tangents of currents never cut off anything allowed beyond second order, as currents are convex in
the injections; all rows are kept, so the loop closes in on a limit from outside.

With flat prices a plan can move a breach to another step at no cost, and repairing one step after
the other would take many rounds. So the resources that caused the worst breach of an element are
tried at every other step too, all in one batch power flow, and rows are added where that would
break the limit as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from core.errors import PowerFlowError
from grid import powerflow
from grid.limits import Excess, excesses
from grid.sensitivity import Quantity, gradients
from optimization.dispatch import Dispatch
from optimization.fleet import Fleet

_PARALLEL = 0.999
"""Rows of one step pointing this much the same way count as one; the worst stands for them."""
_MOST_PATTERNS = 4
_CAUSES = 0.1
"""Resources with this share of the largest effect on an element belong to its breach."""


@dataclass(frozen=True, eq=False)
class Breach:
    """A limit exceeded at one step. effect: change of the value per MW of each resource."""

    step: int
    quantity: Quantity
    element: int
    side: int
    severity: float
    value: float
    aim: float
    effect: np.ndarray

    @property
    def limit_key(self) -> tuple[Quantity, int, int]:
        """Which limit it is, whatever the step."""
        return self.quantity, self.element, self.side


def add_violated(dispatch: Dispatch, fleet: Fleet, flow: xr.Dataset, p_mw: np.ndarray) -> None:
    """Add rows for what ``flow``, the power flow of ``p_mw`` (time, asset), breaks."""
    chosen = _leading(list(_breaches(dispatch, fleet, flow)))
    added = [b for b in chosen if _add(dispatch, b, p_mw)]
    worst: dict[tuple[Quantity, int, int], Breach] = {}
    for breach in added:
        known = worst.get(breach.limit_key)
        if known is None or breach.severity > known.severity:
            worst[breach.limit_key] = breach
    for breach in sorted(worst.values(), key=lambda b: -b.severity)[:_MOST_PATTERNS]:
        _spread(dispatch, fleet, breach, p_mw, {b.step for b in added if _same(b, breach)})


def _same(one: Breach, other: Breach) -> bool:
    return one.limit_key == other.limit_key


def _add(dispatch: Dispatch, breach: Breach, p_mw: np.ndarray) -> bool:
    return dispatch.add_row(
        breach.step, breach.value, breach.effect, p_mw[breach.step], breach.aim, breach.side
    )


def _breaches(
    dispatch: Dispatch,
    fleet: Fleet,
    flow: xr.Dataset,
    only: tuple[Quantity, int, int] | None = None,
) -> Iterator[Breach]:
    problem = dispatch.problem
    for excess in excesses(problem.network, flow, max_loading_percent=problem.max_loading_percent):
        steps, elements = np.nonzero(excess.violated)
        if only is not None:
            wanted = (excess.quantity, excess.side) == (only[0], only[2])
            keep = (elements == only[1]) & wanted
            steps, elements = steps[keep], elements[keep]
        if len(steps):
            yield from _of_excess(fleet, flow, excess, steps, elements)


def _of_excess(
    fleet: Fleet, flow: xr.Dataset, excess: Excess, steps: np.ndarray, elements: np.ndarray
) -> Iterator[Breach]:
    """Breaches at the given places; they aim half a tolerance inside the limit."""
    network = fleet.problem.network
    effect = fleet.effect(gradients(network, flow, excess.quantity, steps, elements))
    values = flow[excess.quantity.value].values
    for row, (step, element) in enumerate(zip(steps.tolist(), elements.tolist(), strict=True)):
        yield Breach(
            step=step,
            quantity=excess.quantity,
            element=element,
            side=excess.side,
            severity=float(excess.values[step, element]) / excess.tolerance,
            value=float(values[step, element]),
            aim=float(excess.limit[element]) - excess.side * excess.tolerance / 2,
            effect=effect[row],
        )


def _leading(breaches: list[Breach]) -> list[Breach]:
    """Per step, the worst of each group of breaches that answer alike."""
    leaders: dict[int, list[tuple[Breach, np.ndarray]]] = {}
    for breach in sorted(breaches, key=lambda b: -b.severity):
        length = float(np.linalg.norm(breach.effect))
        if length == 0.0:
            continue
        direction = breach.side * breach.effect / length
        group = leaders.setdefault(breach.step, [])
        if all(float(direction @ other) < _PARALLEL for _, other in group):
            group.append((breach, direction))
    return [breach for group in leaders.values() for breach, _ in group]


def _spread(
    dispatch: Dispatch, fleet: Fleet, breach: Breach, p_mw: np.ndarray, done: set[int]
) -> None:
    """Add rows at the other steps where the same behaviour would break the same limit."""
    strength = np.abs(breach.effect)
    causes = strength >= _CAUSES * strength.max()
    tried = np.where(causes, p_mw[breach.step], p_mw)
    tried = np.clip(tried, fleet.p_min_mw, fleet.p_max_mw)
    try:
        flow = powerflow.run(fleet.problem.network, fleet.injections(tried))
    except PowerFlowError:
        return  # nothing but a hint is lost: the steps are checked again after the next solve
    for other in _breaches(dispatch, fleet, flow, breach.limit_key):
        if other.step not in done:
            _add(dispatch, other, tried)
