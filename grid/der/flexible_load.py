"""Loads that can be moved by some hours, such as heat pumps with a buffer."""

from __future__ import annotations

import numpy as np

from core.sites import Asset, AssetKind
from grid.der import parameter, profile
from grid.envelope import EnergyAccount, Envelope

KIND = AssetKind.FLEXIBLE_LOAD


def envelope(
    asset: Asset,
    *,
    times: np.ndarray,
    dt_h: float,
    available_mw: np.ndarray | None = None,  # noqa: ARG001 - one signature for all types
    demand_mw: np.ndarray | None = None,
    soc: float | None = None,  # noqa: ARG001
    timezone: str = "UTC",  # noqa: ARG001
) -> Envelope:
    """Each part of the demand drawn at most ``shift_hours`` earlier or later, never beyond the end.

    Parameters: p_max_mw, shift_hours (2).
    """
    demand = profile(asset, "demand_mw", demand_mw, len(times))
    steps = len(times)
    shift = int(parameter(asset, "shift_hours", 2.0) / dt_h + 1e-9)
    energy = np.concatenate([[0.0], np.cumsum(demand) * dt_h])
    ends = np.arange(1, steps + 1)
    latest = energy[np.maximum(ends - shift, 0)]
    latest[-1] = energy[-1]
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        p_min_mw=np.zeros(steps),
        p_max_mw=np.maximum(parameter(asset, "p_max_mw"), demand),
        energy=EnergyAccount(
            initial_mwh=0.0,
            min_mwh=latest,
            max_mwh=energy[np.minimum(ends + shift, steps)],
        ),
    )
