"""Gensets: run on fuel when that is cheaper than the grid, and are slow to start and stop."""

from __future__ import annotations

import numpy as np

from core.sites import Asset, AssetKind
from grid.der import Conditions
from grid.der._accounts import ordered
from grid.der._fuel import burning
from grid.der._inputs import parameter
from grid.der._inverter import reactive
from grid.der._switching import STATES, commitment, ramp
from grid.envelope import Envelope

__all__ = ["KIND", "STATES", "envelope"]

KIND = AssetKind.GENSET


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """Off, or between its minimum stable load and p_max_mw.

    Parameters: p_max_mw, p_min_mw (0.3 of p_max_mw: diesel engines are not to run below about 30 %
    of their rating, or soot wets the exhaust), those of fuel (grid/der/_fuel.py), of switching and
    ramps (grid/der/_switching.py) and of reactive power (grid/der/_inverter.py). States: p_mw,
    time_in_state_h.
    """
    power = parameter(asset, "p_max_mw", above=0.0)
    p_min = parameter(asset, "p_min_mw", 0.3 * power, least=0.0)
    ordered(asset, "p_min_mw", p_min, "p_max_mw", power)
    burnt = burning(asset, power)
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=np.zeros(conditions.steps),
        up_mw=np.full(conditions.steps, power),
        down_mw=np.zeros(conditions.steps),
        up_cny_per_mwh=burnt.cny_per_mwh,
        up_kgco2e_per_mwh=burnt.kgco2e_per_mwh,
        commitment=commitment(
            asset,
            conditions,
            p_min,
            running_cny_per_h=burnt.cny_per_h,
            running_kgco2e_per_h=burnt.kgco2e_per_h,
        ),
        ramp=ramp(asset, conditions),
        reactive=reactive(asset, power),
    )
