"""Limits that survive forecast errors: each kept further inside by a quantile of its own error.

    s(x) + z(level) * sqrt(g' Sigma g) <= limit

g: change of the limited quantity per MW of each uncertain power at the operating point, with the
reactive power that goes with it; Sigma: covariance of their errors; z: the normal quantile. Each
limit then holds at each step with the probability ``level`` (Bienstock, Chertkov, Harnett, SIAM
Review 56 (2014) 461; Roald and Andersson, IEEE Trans. Power Systems 33 (2018) 2906, who also find
the margins around a plan and plan again). One plan, no scenarios.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy.special import ndtri

from core.errors import ConfigurationError
from core.findings import Finding, Severity
from grid.powerflow import values as powers_of
from grid.sensitivity import TABLE, Gradient, Quantity, gradients
from optimization.fleet import Fleet
from optimization.keyfigures import count
from optimization.outlook import Outlook, normal_score_correlation, realised
from optimization.planner import plan as plan_one
from optimization.problem import DispatchProblem
from optimization.result import Plan, Status
from optimization.unheld import unheld


@dataclass(frozen=True, eq=False)
class Margins:
    """exchange_mw: of import and export, (time,). network: (time, element) by quantity."""

    exchange_mw: np.ndarray
    network: dict[Quantity, np.ndarray]


@dataclass(frozen=True, eq=False)
class MarginPlan:
    """plan: judged by the limits themselves. plain: the plan without margins."""

    plan: Plan
    plain: Plan
    margins: Margins | None
    level: float


def plan(
    problem: DispatchProblem,
    outlook: Outlook,
    level: float,
    *,
    progress: Callable[[str], None] | None = None,
) -> MarginPlan:
    """Plan, find the margins around that plan, and plan again inside them.

    level: 0.5 up to below 1. Where a margin cannot be kept the plan comes as near as it can and a
    note says so. Raises ConfigurationError for a level out of range, and as planner.plan does.
    """
    plain = plan_one(problem, progress=progress)
    if plain.status is not Status.OPTIMAL:
        return MarginPlan(plain, plain, None, level)
    found = margins(problem, outlook, plain.ac, level)
    inside = plan_one(tightened(problem, found), progress=progress)
    return MarginPlan(_judged(problem, inside), plain, found, level)


def margins(problem: DispatchProblem, outlook: Outlook, flow: xr.Dataset, level: float) -> Margins:
    """Margins of all limits around the operating points of ``flow``.

    The errors are those of the outlook's outermost quantiles taken as normal. Plants that the
    plan holds back are counted as if they followed the sun all the same, which errs towards more
    margin.
    """
    if not 0.5 <= level < 1:
        raise ConfigurationError("The level of the margins must lie within 0.5..1, 1 left out.")
    errors = _Errors(problem, outlook, float(ndtri(level)))
    steps = np.arange(problem.steps)
    network = problem.network
    exchange = errors.margin(gradients(network, flow, Quantity.EXCHANGE, steps), steps)
    found = {}
    for quantity, table in TABLE.items():
        elements = len(network.ids(table))
        at, element = (x.ravel() for x in np.indices((problem.steps, elements)))
        gradient = gradients(network, flow, quantity, at, element)
        found[quantity] = errors.margin(gradient, at).reshape(problem.steps, elements)
    return Margins(exchange, found)


def tightened(problem: DispatchProblem, found: Margins) -> DispatchProblem:
    """The problem with its limits moved inwards; no limit of the exchange falls below 0."""
    return replace(
        problem,
        import_limit_mw=np.maximum(problem.limit_mw("import") - found.exchange_mw, 0.0),
        export_limit_mw=np.maximum(problem.limit_mw("export") - found.exchange_mw, 0.0),
        margins=found.network,
    )


def on_quantile(problem: DispatchProblem, outlook: Outlook, level: float) -> DispatchProblem:
    """The problem of a day as heavy as a quantile: loads at ``level``, generators at 1 - level.

    Above 0.5 it is a day of much load and little sun, for limits of import; below, the reverse,
    for limits of export. All errors at once are rarer than each.
    """
    if not 0 < level < 1:
        raise ConfigurationError("A quantile lies within 0..1.")
    levels = np.array([level if table == "load" else 1.0 - level for table in outlook.table])
    return realised(problem, outlook, outlook.at_level(levels))


class _Errors:
    """The errors of an outlook as seen by quantities of the grid."""

    def __init__(self, problem: DispatchProblem, outlook: Outlook, z: float) -> None:
        self._outlook, self._z = outlook, z
        self._sigma = outlook.sigma_mw()
        self._shared = normal_score_correlation(outlook.dependence.within)
        self._between = outlook.dependence.of_groups(outlook.groups)
        self._member = np.eye(len(outlook.groups))[outlook.group_of]
        network, given = problem.network, problem.injections
        self._bus = np.zeros(outlook.size, dtype=np.int64)
        self._fed = np.zeros(outlook.size)
        self._ratio = np.zeros((problem.steps, outlook.size))
        for table, sign in (("load", -1.0), ("sgen", 1.0)):
            mine = np.flatnonzero([t == table for t in outlook.table])
            elements = [outlook.element[i] for i in mine]
            at = np.array([network.ids(table).tolist().index(e) for e in elements], dtype=np.int64)
            if not len(at):
                continue
            self._bus[mine] = network.bus_position(table)[at]
            self._fed[mine] = sign * network.in_use(table)[at]
            active = powers_of(network, given, table, "p_mw")[:, at]
            reactive = powers_of(network, given, table, "q_mvar")[:, at]
            self._ratio[:, mine] = np.divide(
                reactive, active, out=np.zeros_like(active), where=np.abs(active) > 1e-9
            )

    def margin(self, gradient: Gradient, steps: np.ndarray) -> np.ndarray:
        """z times the standard deviation of each row, in its unit, (row,)."""
        effect = gradient.per_mw[:, self._bus]
        effect = effect + gradient.per_mvar[:, self._bus] * self._ratio[steps]
        effect = effect * self._fed * self._sigma[steps]
        together = np.sqrt(self._shared) * effect @ self._member
        variance = np.einsum("rg,gh,rh->r", together, self._between, together)
        variance += (1.0 - self._shared) * np.einsum("rs,rs->r", effect, effect)
        margin: np.ndarray = self._z * np.sqrt(np.maximum(variance, 0.0))
        return margin


def _judged(problem: DispatchProblem, inside: Plan) -> Plan:
    """A plan made inside margins, measured by the limits themselves."""
    if inside.numbers is None:
        return inside
    flow, fleet = inside.ac, Fleet(problem)
    missed = inside.planned.violations
    planned = replace(inside.planned, violations=count(problem, flow))
    notes = list(inside.notes)
    if missed:
        notes.append(
            Finding(
                "plan",
                "margins",
                (),
                f"At {missed} places the margin for forecast errors cannot be kept in full.",
                Severity.WARNING,
            )
        )
    return replace(
        inside,
        baseline=replace(inside.baseline, violations=count(problem, inside.baseline_ac)),
        numbers=replace(inside.numbers, planned=planned),
        violations=unheld(fleet, flow),
        notes=notes,
    )
