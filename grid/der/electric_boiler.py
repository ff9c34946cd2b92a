"""Electric boilers with a tank: heat made when power is cheap, for a demand at other hours."""

from __future__ import annotations

import numpy as np

from core.sites import Asset, AssetKind
from grid.der import Conditions
from grid.der._accounts import ordered
from grid.der._inputs import parameter
from grid.der._switching import STATES as SWITCHING_STATES
from grid.der._switching import commitment, ramp
from grid.der._tank import PROFILES as TANK_PROFILES
from grid.der._tank import SOFT_KIND, heat_account
from grid.der._tank import STATES as TANK_STATES
from grid.envelope import Envelope

KIND = AssetKind.ELECTRIC_BOILER
PROFILES = TANK_PROFILES
STATES = (*TANK_STATES, *SWITCHING_STATES)


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """Power up to p_max_mw, heat into the tank that ``heat_mw`` empties.

    Parameters: p_max_mw, p_min_mw (0; the least while on), efficiency (0.99, electrode and
    resistance boilers alike: Danish Energy Agency, Technology Data for Generation of Electricity
    and District Heating), those of the tank (grid/der/_tank.py) and of switching and ramps
    (grid/der/_switching.py). Profile and states: theirs.
    """
    power = parameter(asset, "p_max_mw", above=0.0)
    p_min = parameter(asset, "p_min_mw", 0.0, least=0.0)
    ordered(asset, "p_min_mw", p_min, "p_max_mw", power)
    efficiency = parameter(asset, "efficiency", 0.99, above=0.0, most=1.0)
    account = heat_account(asset, conditions, efficiency, power, dumps=False)
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=np.zeros(conditions.steps),
        up_mw=np.full(conditions.steps, power),
        down_mw=np.zeros(conditions.steps),
        account=account,
        commitment=commitment(asset, conditions, p_min),
        ramp=ramp(asset, conditions),
        soft_kind="" if account.breach_cny_per_mwh is None else SOFT_KIND,
    )
