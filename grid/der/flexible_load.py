"""Loads that can be moved by some hours, such as heat pumps with a buffer."""

from __future__ import annotations

import numpy as np

from core.sites import Asset, AssetKind
from grid.der import Conditions, parameter, power
from grid.envelope import EnergyAccount, Envelope

KIND = AssetKind.FLEXIBLE_LOAD


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """Each part of the demand drawn at most ``shift_hours`` earlier or later, never beyond the end.

    Profile: p_mw, the demand. Parameters: p_max_mw, shift_hours (2).
    """
    demand = power(asset, conditions)
    steps = conditions.steps
    shift = int(parameter(asset, "shift_hours", 2.0) / conditions.dt_h + 1e-9)
    energy = np.concatenate([[0.0], np.cumsum(demand) * conditions.dt_h])
    ends = np.arange(1, steps + 1)
    latest = energy[np.maximum(ends - shift, 0)]
    latest[-1] = energy[-1]
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=np.zeros(steps),
        up_mw=np.maximum(parameter(asset, "p_max_mw"), demand),
        down_mw=np.zeros(steps),
        account=EnergyAccount(
            initial_mwh=0.0,
            min_mwh=latest,
            max_mwh=energy[np.minimum(ends + shift, steps)],
            gain_up=np.ones(steps),
            gain_down=np.ones(steps),
            keep=np.ones(steps),
            inflow_mwh=np.zeros(steps),
        ),
    )
