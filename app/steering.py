"""What a plan asks of its devices, and what they do when no news comes.

The safe default after the end of a plan, or after ``plan_valid_hours`` (a parameter of the site,
6 by default) since its first step: storages rest, sun and wind give what there is, everything else
does as it likes (cars charge at once), and none gives reactive power. Where the AC power flow of
that default breaks a limit, what the plan held back keeps the last cap it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import xarray as xr

from app.tariffs import number
from core.setpoints import Setpoint, limited
from grid import limits, powerflow
from grid.envelope import Envelope
from grid.tracking import CAPPED
from optimization.problem import DispatchProblem

HELD_BACK_MW = 1e-4
EXCHANGE_TOLERANCE_MW = 0.01
VALID_HOURS = 6.0


def setpoints(
    problem: DispatchProblem,
    schedule: xr.Dataset,
    parameters: Mapping[str, Any],
    run_id: int | None = None,
) -> list[Setpoint]:
    """The schedule of each asset with its validity and its safe default.

    Sun and wind are asked only in the steps in which they are held back: a plant that is planned at
    all it could give must stay free to give more than was forecast. Reactive power is asked, in
    every step, of those that have a range for it. Raises ConfigurationError for a validity that is
    no number.
    """
    hours = number({"plan_valid_hours": VALID_HOURS, **parameters}, "plan_valid_hours")
    p_mw = schedule["p_mw"]
    times = p_mw.time.to_numpy()
    asked = {
        envelope.asset: _asked(envelope, p_mw.sel(asset=envelope.asset).to_numpy())
        for envelope in problem.envelopes
    }
    q_mvar = {
        envelope.asset: schedule["q_mvar"].sel(asset=envelope.asset).to_numpy()
        for envelope in problem.envelopes
        if envelope.reactive is not None
    }
    default = safe_default(problem, asked)
    return [
        limited(
            Setpoint(
                asset,
                times,
                powers,
                fallback_mw=default[asset],
                run_id=run_id,
                q_mvar=q_mvar.get(asset),
            ),
            timedelta(hours=hours),
        )
        for asset, powers in asked.items()
    ]


def _asked(envelope: Envelope, planned: np.ndarray) -> np.ndarray:
    """What is asked in each step, NaN where the asset is free; (time,)."""
    if envelope.kind not in CAPPED:
        return planned
    return np.where(np.abs(planned - envelope.base_mw) > HELD_BACK_MW, planned, np.nan)


def safe_default(
    problem: DispatchProblem, asked: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    """What each asset does without a plan, MW in the sign of its element; None: as it likes.

    asked: (time,) by asset, NaN where it is free, as the plan has it.
    """
    free = not breaks_a_limit(problem)
    return {
        envelope.asset: _default(envelope, asked[envelope.asset], free=free)
        for envelope in problem.envelopes
    }


def _default(envelope: Envelope, asked: np.ndarray, *, free: bool) -> float | None:
    if envelope.element == "storage":
        return 0.0
    capped = asked[~np.isnan(asked)]
    if envelope.kind not in CAPPED or free or not capped.size:
        return None
    return float(capped[-1])


def breaks_a_limit(problem: DispatchProblem) -> bool:
    """Whether the grid with resting storages and everything else at its own will breaks a limit."""
    storages = [name for name in problem.injections.data_vars if str(name).startswith("storage_")]
    flow = powerflow.run(problem.network, problem.injections.drop_vars(storages))
    if limits.violations(problem.network, flow, max_loading_percent=problem.max_loading_percent):
        return True
    over = (
        (flow["import_mw"] - problem.import_limit_mw) > EXCHANGE_TOLERANCE_MW,
        (flow["export_mw"] - problem.export_limit_mw) > EXCHANGE_TOLERANCE_MW,
    )
    return any(bool(each.any()) for each in over)
