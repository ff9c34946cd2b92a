"""Loads whose demand can be moved by some hours, such as cold stores and laundries."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from core.sites import Asset, AssetKind
from grid.der import Conditions
from grid.der._inputs import drawn, parameter, state
from grid.envelope import EnergyAccount, Envelope

KIND = AssetKind.FLEXIBLE_LOAD
PROFILES = ("p_mw",)
STATES = ("e_ahead_mwh",)
CONTENT_OF = MappingProxyType({"e_ahead_mwh": 1.0})


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """Each part of the demand drawn at most ``shift_hours`` earlier or later, never beyond the end.

    The content is what has been drawn ahead of the demand: at most the demand of the next
    shift_hours, and at least minus that of the last ones. What was moved before the horizon stays
    moved: drawn ahead, it is not drawn again; put off, it falls due evenly over shift_hours, since
    nobody knows which part of it is how old, or as fast as p_max_mw allows.
    Profile: p_mw, the demand. Parameters: p_max_mw, shift_hours (2).
    State: e_ahead_mwh, drawn ahead at the beginning, negative where put off (0); no more counts
    than shift_hours can have moved.
    """
    demand = drawn(asset, "p_mw", conditions)
    steps, dt_h = conditions.steps, conditions.dt_h
    shift_h = parameter(asset, "shift_hours", 2.0, least=0.0)
    p_max = np.maximum(parameter(asset, "p_max_mw", least=0.0), demand)
    shift = int(min(shift_h / dt_h + 1e-9, steps))
    energy = np.concatenate([[0.0], np.cumsum(demand) * dt_h])
    ends = np.arange(1, steps + 1)
    ahead = state(asset, "e_ahead_mwh", conditions) or 0.0
    ahead = float(np.clip(ahead, -shift * dt_h * p_max.max(initial=0.0), energy[shift]))
    still_put_off = min(ahead, 0.0) * np.maximum(1.0 - ends / max(shift, 1), 0.0)
    lowest = still_put_off - (energy[ends] - energy[np.maximum(ends - shift, 0)])
    lowest[-1] = 0.0
    up = p_max - demand
    reached = ahead + np.cumsum(up) * dt_h
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=demand,
        up_mw=up,
        down_mw=demand,
        account=EnergyAccount(
            initial_mwh=ahead,
            min_mwh=np.minimum(lowest, reached),
            max_mwh=energy[np.minimum(ends + shift, steps)] - energy[ends],
            gain_up=np.ones(steps),
            gain_down=np.ones(steps),
            keep=np.ones(steps),
            inflow_mwh=np.zeros(steps),
        ),
    )
