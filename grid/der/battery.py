"""Batteries: shift energy at the price of their losses and wear."""

from __future__ import annotations

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset, AssetKind
from grid.der import parameter
from grid.envelope import EnergyAccount, Envelope

KIND = AssetKind.BATTERY


def envelope(
    asset: Asset,
    *,
    times: np.ndarray,
    dt_h: float,  # noqa: ARG001 - one signature for all types
    available_mw: np.ndarray | None = None,  # noqa: ARG001
    demand_mw: np.ndarray | None = None,  # noqa: ARG001
    soc: float | None = None,
    timezone: str = "UTC",  # noqa: ARG001
) -> Envelope:
    """Power within +-p_max_mw, content within the allowed states of charge.

    Parameters: p_max_mw, e_max_mwh, efficiency_charge and efficiency_discharge (0.95),
    cycle_cost_cny_per_mwh (0; per MWh discharged), soc_min (0), soc_max (1), and soc_end: the
    least state of charge at the end, by default the one at the beginning, so that a plan cannot
    profit by leaving the battery empty. ``soc`` is the state at the beginning (0.5).
    A state outside soc_min..soc_max must be left as fast as power allows and then never returns.
    """
    steps = len(times)
    capacity = parameter(asset, "e_max_mwh")
    power = parameter(asset, "p_max_mw")
    start = 0.5 if soc is None else float(soc)
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
        p_min_mw=np.full(steps, -power),
        p_max_mw=np.full(steps, power),
        energy=EnergyAccount(
            initial_mwh=start * capacity,
            min_mwh=content_min,
            max_mwh=content_max,
            efficiency_charge=parameter(asset, "efficiency_charge", 0.95),
            efficiency_discharge=parameter(asset, "efficiency_discharge", 0.95),
            capacity_mwh=capacity,
        ),
        cost_cny_per_mwh=parameter(asset, "cycle_cost_cny_per_mwh", 0.0),
    )
