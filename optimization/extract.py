"""From solver values to arrays: powers, contents, prices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from optimization.dispatch import Dispatch
from optimization.solve import Solver


@dataclass(frozen=True, eq=False)
class Solution:
    """One solve as arrays, (time, asset) or (time,).

    stored_cny_per_mwh: value of one more MWh of content, NaN where there is none.
    exchange_mw: import minus export as the linear model sees it.
    """

    p_mw: np.ndarray
    charge_mw: np.ndarray
    discharge_mw: np.ndarray
    content_mwh: np.ndarray
    stored_cny_per_mwh: np.ndarray
    exchange_mw: np.ndarray
    price_cny_per_mwh: np.ndarray
    local_cny_per_mwh: np.ndarray
    """Cost of one more MWh drawn where the resource stands: losses and network limits included."""


def solution(dispatch: Dispatch, solver: Solver) -> Solution:
    """The values of the last solve, which must have been optimal."""
    model, dt_h = dispatch.model, dispatch.problem.dt_h
    charge = _spread(dispatch.charge_at, solver.values(model.charge), 0.0)
    discharge = _spread(dispatch.discharge_at, solver.values(model.discharge), 0.0)
    power = _spread(dispatch.power_at, solver.values(model.power), 0.0)
    price, local = _prices(dispatch, solver)
    return Solution(
        p_mw=dispatch.fixed_mw + power + charge - discharge,
        charge_mw=charge,
        discharge_mw=discharge,
        content_mwh=_spread(dispatch.content_at, solver.values(model.content), np.nan),
        stored_cny_per_mwh=_spread(
            dispatch.content_at, -solver.duals(list(model.energy.values())), np.nan
        ),
        exchange_mw=solver.values(model.imported) - solver.values(model.exported),
        price_cny_per_mwh=price / dt_h,
        local_cny_per_mwh=local / dt_h,
    )


def _prices(dispatch: Dispatch, solver: Solver) -> tuple[np.ndarray, np.ndarray]:
    """Cost of one more MW drawn at the substation, (time,), and at each resource, (time, asset)."""
    model, problem = dispatch.model, dispatch.problem
    price = np.zeros(problem.steps)
    local = np.zeros((problem.steps, len(problem.envelopes)))
    duals = solver.duals([model.exchange[row] for row in dispatch.exchange_rows])
    for (t, effect), dual in zip(dispatch.exchange_rows.values(), duals, strict=True):
        price[t] += dual
        local[t] += dual * effect
    for row, dual in enumerate(solver.duals(list(model.network.values()))):
        local[dispatch.row_steps[row]] -= dual * dispatch.row_effects[row]
    drawn = np.array([-1.0 if e.element == "sgen" else 1.0 for e in problem.envelopes])
    return price, local * drawn


def schedule(dispatch: Dispatch, found: Solution, flow: xr.Dataset) -> xr.Dataset:
    """The plan's schedule; import and export are those of the AC power flow ``flow``."""
    problem = dispatch.problem
    capacity = np.array(
        [e.energy.capacity_mwh if e.energy is not None else 0.0 for e in problem.envelopes]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        soc = np.where(capacity > 0, found.content_mwh / capacity, np.nan)
    both = ("time", "asset")
    return xr.Dataset(
        {
            "p_mw": (both, found.p_mw, {"units": "MW"}),
            "soc": (both, soc, {"units": "1"}),
            "import_mw": ("time", flow["import_mw"].values, {"units": "MW"}),
            "export_mw": ("time", flow["export_mw"].values, {"units": "MW"}),
            "price_cny_per_mwh": ("time", found.price_cny_per_mwh, {"units": "CNY/MWh"}),
        },
        coords={"time": problem.times, "asset": [e.asset for e in problem.envelopes]},
    )


def _spread(index: np.ndarray, values: np.ndarray, missing: float) -> np.ndarray:
    out = np.full(index.shape, missing)
    at = index >= 0
    out[at] = values[index[at]]
    return out
