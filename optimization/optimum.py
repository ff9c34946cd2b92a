"""What a solver knows at an optimum, kept as values: the session may go on, these stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimization.limitrows import Limits
from optimization.model import Model
from optimization.session import Session
from optimization.tangents import Tangents


@dataclass(frozen=True, eq=False)
class Optimum:
    """Primal and dual values of one solve; integers count as held where they are.

    values, reduced_costs: of the program's columns, then of those added later. duals,
    emission_duals: change of the cost (CNY) and of the emissions (kgCO2e) per unit of the side of
    the program's rows. tangent_, limit_: the same of the rows of the exchange and of the network,
    with their coefficients (row, asset); limit_factor: what each tangent was multiplied by.
    circle_duals: by (step, resource, side) of inverters' circles.
    """

    model: Model
    values: np.ndarray
    reduced_costs: np.ndarray
    duals: np.ndarray
    emission_duals: np.ndarray
    tangents: Tangents
    tangent_duals: np.ndarray
    tangent_emission_duals: np.ndarray
    tangent_effect_mw: np.ndarray
    limits: Limits
    limit_duals: np.ndarray
    limit_emission_duals: np.ndarray
    limit_effect_mw: np.ndarray
    limit_factor: np.ndarray
    circle_duals: dict[tuple[int, int, int], float]


def optimum(session: Session) -> Optimum:
    """The last solve of ``session``, which must have been optimal."""
    solver, model = session.solver, session.model
    rows = np.arange(model.program.shape[0])
    circles = np.array(list(session.circle_sides.values()), dtype=np.int64)
    return Optimum(
        model=model,
        values=solver.values,
        reduced_costs=solver.reduced_costs,
        duals=solver.duals(rows),
        emission_duals=solver.followed_duals(rows),
        tangents=session.tangents,
        tangent_duals=solver.duals(session.tangent_rows),
        tangent_emission_duals=solver.followed_duals(session.tangent_rows),
        tangent_effect_mw=session.tangent_effect_mw,
        limits=session.limits,
        limit_duals=solver.duals(session.limit_rows),
        limit_emission_duals=solver.followed_duals(session.limit_rows),
        limit_effect_mw=session.limit_effect_mw,
        limit_factor=session.limit_factor,
        circle_duals=dict(zip(session.circle_sides, solver.duals(circles).tolist(), strict=True)),
    )
