"""From solver values to arrays: powers, contents, prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from optimization.program import spread
from optimization.session import Session


@dataclass(frozen=True, eq=False)
class Solution:
    """One solve as arrays, (time, asset) or (time,); loads that may be shed stand last.

    p_mw, q_mvar: in the resource's own sign. stored_cny_per_mwh: value of one more MWh of
    content, NaN where there is none. on: True where switched on, False where never switched.
    exchange_mw: import minus export as the linear model sees it. reserve_mw: by product.
    """

    p_mw: np.ndarray
    q_mvar: np.ndarray
    raised_mw: np.ndarray
    lowered_mw: np.ndarray
    content_mwh: np.ndarray
    spilled_mwh: np.ndarray
    on: np.ndarray
    stored_cny_per_mwh: np.ndarray
    exchange_mw: np.ndarray
    price_cny_per_mwh: np.ndarray
    local_cny_per_mwh: np.ndarray
    """Cost of one more MWh drawn where the resource stands: losses and network limits included."""
    reserve_mw: Mapping[str, np.ndarray]
    objective_cny: float


def solution(session: Session) -> Solution:
    """The values of the last solve, which must have been optimal."""
    model, solver = session.model, session.solver
    devices, values = model.devices, solver.values
    energy = model.program.rows["energy"]
    exchange = model.exchange
    price, local = _prices(session)
    return Solution(
        p_mw=session.power_mw(),
        q_mvar=session.power_mvar(),
        raised_mw=spread(devices.raised, values, 0.0),
        lowered_mw=spread(devices.lowered, values, 0.0),
        content_mwh=spread(devices.content, values, np.nan),
        spilled_mwh=spread(devices.spilled, values, 0.0),
        on=spread(devices.on, values, 0.0) > 0.5,
        stored_cny_per_mwh=spread(energy, -solver.duals(np.arange(model.program.shape[0])), np.nan),
        exchange_mw=values[exchange.imported] - values[exchange.exported],
        price_cny_per_mwh=price,
        local_cny_per_mwh=local,
        reserve_mw={name: spread(held, values, 0.0) for name, (held, _) in model.reserves.items()},
        objective_cny=solver.objective,
    )


def _prices(session: Session) -> tuple[np.ndarray, np.ndarray]:
    """Cost of one more MWh drawn at the substation, (time,), and where resources stand, (t, a)."""
    problem, fleet = session.model.problem, session.model.fleet
    price = np.zeros(problem.steps)
    local = np.zeros((problem.steps, fleet.size))
    dual = session.solver.duals(session.tangent_rows)
    np.add.at(price, session.tangents.steps, dual)
    np.add.at(local, session.tangents.steps, dual[:, None] * session.tangent_effect_mw)
    dual = session.solver.duals(session.limit_rows)
    np.add.at(local, session.limits.tangents.steps, -dual[:, None] * session.limit_effect_mw)
    return price / problem.dt_h, -fleet.fed_sign * local / problem.dt_h


def schedule(session: Session, found: Solution, flow: xr.Dataset) -> xr.Dataset:
    """The plan's schedule; import and export are those of the AC power flow ``flow``."""
    problem, named = session.model.problem, session.model.fleet.named
    capacity = np.array([e.account.capacity_mwh if e.account else 0.0 for e in problem.envelopes])
    content = found.content_mwh[:, :named]
    with np.errstate(divide="ignore", invalid="ignore"):
        soc = np.where(capacity > 0, content / capacity, np.nan)
    both = ("time", "asset")
    arrays = {
        "p_mw": (found.p_mw, "MW"),
        "q_mvar": (found.q_mvar, "Mvar"),
        "soc": (soc, "1"),
        "content_mwh": (content, "MWh"),
        "local_cny_per_mwh": (found.local_cny_per_mwh, "CNY/MWh"),
    }
    arrays |= {f"reserve_{n}_mw": (held, "MW") for n, held in found.reserve_mw.items()}
    return xr.Dataset(
        {
            **{n: (both, a[:, :named], {"units": unit}) for n, (a, unit) in arrays.items()},
            "import_mw": ("time", flow["import_mw"].values, {"units": "MW"}),
            "export_mw": ("time", flow["export_mw"].values, {"units": "MW"}),
            "price_cny_per_mwh": ("time", found.price_cny_per_mwh, {"units": "CNY/MWh"}),
        },
        coords={"time": problem.times, "asset": [e.asset for e in problem.envelopes]},
    )
