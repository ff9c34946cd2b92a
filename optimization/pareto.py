"""Cost against carbon against peak: plans for a sweep of weights, and which are worth it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from optimization.planner import plan
from optimization.problem import DispatchProblem
from optimization.result import Plan, Status
from optimization.session import Session
from optimization.terms import Weights

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Point:
    """One plan of a sweep. money_cny: its total without carbon price and peak.

    efficient: no other plan of the sweep is better in one of money, emissions and peak import
    without being worse in another.
    """

    weights: Weights
    plan: Plan
    money_cny: float
    emissions_kgco2e: float
    peak_import_mw: float
    efficient: bool = True


def sweep(
    problem: DispatchProblem,
    *,
    carbon: Sequence[float] = (1.0, 3.0, 10.0),
    peak: Sequence[float] = (1.0,),
    progress: Callable[[str], None] | None = None,
) -> list[Point]:
    """A plan for each pair of weights, in the order given; warm, out of one session.

    carbon, peak: multipliers of the carbon price and of peak charge and peak-valley target; a
    weight says nothing where the problem has no such price. Plans without optimum are left out.
    Raises as planner.plan does.
    """
    session: Session | None = None
    points: list[Point] = []
    for on_carbon, on_peak in product(carbon, peak):
        weights = replace(problem.weights, carbon=on_carbon, peak=on_peak)
        weighted = replace(problem, weights=weights)
        if session is None:
            session = Session(weighted)
        else:
            session.roll(weighted)
        found = plan(weighted, session=session, progress=progress)
        if found.status is Status.OPTIMAL:
            points.append(_point(weights, found))
    return [replace(p, efficient=not any(_beats(q, p) for q in points)) for p in points]


def _point(weights: Weights, found: Plan) -> Point:
    figures = found.planned
    money = figures.total_cny - figures.carbon_cny - figures.peak_cny
    return Point(weights, found, money, figures.emissions_kgco2e, figures.peak_import_mw)


def _beats(one: Point, other: Point) -> bool:
    pairs = [
        (one.money_cny, other.money_cny),
        (one.emissions_kgco2e, other.emissions_kgco2e),
        (one.peak_import_mw, other.peak_import_mw),
    ]
    no_worse = all(a <= b + _ROUNDING * max(1.0, abs(b)) for a, b in pairs)
    return no_worse and any(a < b - _ROUNDING * max(1.0, abs(b)) for a, b in pairs)
