"""Batteries: shift energy at the price of their losses and wear."""

from __future__ import annotations

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset, AssetKind
from grid.der import Conditions, parameter
from grid.envelope import EnergyAccount, Envelope

KIND = AssetKind.BATTERY
STATES = ("soc",)


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """Power within +-p_max_mw, content within the allowed states of charge.

    Parameters: p_max_mw, e_max_mwh, efficiency_charge and efficiency_discharge (0.95),
    cycle_cost_cny_per_mwh (0; per MWh discharged), soc_min (0), soc_max (1), and soc_end: the
    least state of charge at the end, by default the one at the beginning, so that a plan cannot
    profit by leaving the battery empty. State: soc at the beginning (0.5).
    A state outside soc_min..soc_max must be left as fast as power allows and then never returns.
    """
    steps = conditions.steps
    capacity = parameter(asset, "e_max_mwh")
    power = parameter(asset, "p_max_mw")
    start = float(conditions.states.get("soc", 0.5))
    if not 0.0 <= start <= 1.0:
        raise ConfigurationError(f"The state of charge of {asset.id} is {start}, not within 0..1.")
    if capacity <= 0 or power < 0:
        raise ConfigurationError(f"The size of the battery {asset.id} must be positive.")
    low, high = parameter(asset, "soc_min", 0.0), parameter(asset, "soc_max", 1.0)
    content_min, content_max = np.full(steps, low * capacity), np.full(steps, high * capacity)
    end = parameter(asset, "soc_end", min(max(start, low), high))
    content_min[-1] = max(content_min[-1], end * capacity)
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=np.zeros(steps),
        up_mw=np.full(steps, power),
        down_mw=np.full(steps, power),
        down_cny_per_mwh=parameter(asset, "cycle_cost_cny_per_mwh", 0.0),
        account=EnergyAccount(
            initial_mwh=start * capacity,
            min_mwh=content_min,
            max_mwh=content_max,
            gain_up=np.full(steps, _efficiency(asset, "efficiency_charge")),
            gain_down=np.full(steps, 1.0 / _efficiency(asset, "efficiency_discharge")),
            keep=np.ones(steps),
            inflow_mwh=np.zeros(steps),
            capacity_mwh=capacity,
        ),
    )


def _efficiency(asset: Asset, name: str) -> float:
    value = parameter(asset, name, 0.95)
    if not 0 < value <= 1:
        raise ConfigurationError(f"{name} of {asset.id} lies outside 0..1.")
    return value
