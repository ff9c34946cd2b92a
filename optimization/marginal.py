"""What one more MWh drawn at a bus makes a plan emit, exactly, as long as its basis holds.

At the optimal basis B the basic columns are x_B = B^-1 (b - N x_N): they follow the sides b of the
rows, and so do the plan's emissions g @ x, although the plan does not minimise them:

    y = B^-T g_B           d(g @ x)/db = y

y are emission duals as the row duals are cost duals (which are the same with g the costs).
One more MW drawn at a bus moves the sides of the rows of that step that know the grid, the exchange
tangents and the limits of the network; a battery or a plant that answers, also at another time, is
in y. Where the optimum is degenerate, y is the derivative to one of both sides.
"""

from __future__ import annotations

import highspy
import numpy as np
import xarray as xr

from core.errors import NotOptimalError
from optimization.fleet import Fleet
from optimization.limitrows import limit_factors
from optimization.model import Model
from optimization.session import Session
from optimization.solver import Solver


def marginal_kgco2e(row_duals_of_emissions: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Emissions per unit of each cause, kgCO2e, (cause,).

    row_duals_of_emissions: kgCO2e per unit of the side of a row, (row,). effects: by how much the
    side of each row moves with one unit of each cause, (row, cause).
    """
    total: np.ndarray = row_duals_of_emissions @ effects
    return total


def emissions_of_columns(model: Model, width: int) -> np.ndarray:
    """kgCO2e per unit of each column: imports, fuel by energy and by hour on; (column,).

    width: columns the solver holds; those added after the model was built emit nothing.
    """
    problem, fleet, devices = model.problem, model.fleet, model.devices
    emitted = np.zeros(width)
    emitted[model.exchange.imported] = problem.kgco2e_per_mwh * problem.dt_h
    for columns, each in (
        (devices.raised, fleet.stack(lambda e: e.up_kgco2e_per_mwh)),
        (devices.on, _running(fleet)),
    ):
        there = columns >= 0
        emitted[columns[there]] = (np.broadcast_to(each, columns.shape) * problem.dt_h)[there]
    return emitted


def _running(fleet: Fleet) -> np.ndarray:
    return np.array(
        [e.commitment.running_kgco2e_per_h if e.commitment else 0.0 for e in fleet.envelopes]
    )


def row_duals(solver: Solver, per_column: np.ndarray) -> np.ndarray:
    """d(per_column @ x)/d(side) of every row at the optimal basis, in the order of its handles.

    Raises NotOptimalError where the solver holds no basis: before it has run, after an edit, and
    for programs with integers, whose basis belongs to another program by then.
    """
    highs, count = solver.highs, len(solver.handles)
    if solver.has_integers or highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise NotOptimalError("The plan has no basis, so that its marginal emissions are unknown.")
    if not count:
        return np.zeros(0)
    status, basic = highs.getBasicVariables()
    if status != highspy.HighsStatus.kOk or len(basic) != count:
        raise NotOptimalError("The plan has no basis, so that its marginal emissions are unknown.")
    costs = np.where(basic >= 0, per_column[np.maximum(basic, 0)], 0.0)
    status, duals = highs.getBasisTransposeSolve(costs)
    if status != highspy.HighsStatus.kOk:
        raise NotOptimalError("The basis of the plan cannot be solved with.")
    return np.asarray(duals)


def marginal_kgco2e_per_mwh(session: Session) -> xr.DataArray:
    """Marginal emissions of a session's last plan, kgCO2e per MWh drawn, (time, bus).

    Right after ``session.solve`` has found an optimum; see ``row_duals`` for what it raises.
    """
    model, solver = session.model, session.solver
    network, steps = model.problem.network, model.problem.steps
    duals = row_duals(solver, emissions_of_columns(model, solver.width))
    values = np.zeros((steps, len(network.buses)))
    limits = session.limits.tangents
    for handles, at, effects in (
        (session.tangent_rows, session.tangents.steps, -session.tangents.per_mw),
        (
            session.limit_rows,
            limits.steps,
            limit_factors(model, session.limits)[:, None] * limits.per_mw,
        ),
    ):
        own = duals[np.searchsorted(solver.handles, handles)]
        for step in np.unique(at):
            here = at == step
            values[step] += marginal_kgco2e(own[here], effects[here])
    alive = network.admittance.node_of_bus >= 0
    return xr.DataArray(
        np.where(alive, values / model.problem.dt_h, np.nan),
        dims=("time", "bus"),
        coords={"time": model.problem.times, "bus": network.buses},
        attrs={"units": "kgCO2e/MWh"},
    )
