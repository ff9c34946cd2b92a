"""Wind turbines: produce what the wind allows, or less."""

from __future__ import annotations

import numpy as np

from core.sites import Asset, AssetKind
from grid.der import parameter, profile
from grid.envelope import Envelope

KIND = AssetKind.WIND


def envelope(
    asset: Asset,
    *,
    times: np.ndarray,
    dt_h: float,  # noqa: ARG001 - one signature for all types
    available_mw: np.ndarray | None = None,
    demand_mw: np.ndarray | None = None,  # noqa: ARG001
    soc: float | None = None,  # noqa: ARG001
    timezone: str = "UTC",  # noqa: ARG001
) -> Envelope:
    """Between nothing and ``available_mw`` in each step.

    Parameter: curtailment_cost_cny_per_mwh (0), owed for each MWh not produced.
    """
    available = profile(asset, "available_mw", available_mw, len(times))
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        p_min_mw=np.zeros(len(times)),
        p_max_mw=available,
        cost_cny_per_mwh=parameter(asset, "curtailment_cost_cny_per_mwh", 0.0),
    )
