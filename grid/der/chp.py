"""Combined heat and power: electricity whose heat goes to a demand, a tank, or is thrown away."""

from __future__ import annotations

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset, AssetKind
from grid.der import Conditions
from grid.der._accounts import ordered
from grid.der._fuel import burning
from grid.der._inputs import parameter
from grid.der._inverter import reactive
from grid.der._switching import STATES as SWITCHING_STATES
from grid.der._switching import commitment, ramp
from grid.der._tank import PROFILES as TANK_PROFILES
from grid.der._tank import SOFT_KIND, heat_account
from grid.der._tank import STATES as TANK_STATES
from grid.envelope import Envelope

KIND = AssetKind.CHP
PROFILES = TANK_PROFILES
STATES = (*TANK_STATES, *SWITCHING_STATES)


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """Off, or between its minimum stable load and p_max_mw, with heat in step with the power.

    Parameters: p_max_mw, p_min_mw (0.5 of p_max_mw, as gas engines are mostly rated);
    efficiency_heat, the thermal one, so that each MWh of electricity brings
    efficiency_heat / efficiency MWh of heat at any load (an engine or a back-pressure turbine; one
    that trades heat for power needs a file of its own); those of fuel (grid/der/_fuel.py), of
    demand and tank (grid/der/_tank.py; heat may be thrown away at spill_cny_per_mwh), of switching
    and ramps (grid/der/_switching.py) and of reactive power (grid/der/_inverter.py).
    All emissions stand with the electricity. Profile and states: theirs.
    """
    power = parameter(asset, "p_max_mw", above=0.0)
    p_min = parameter(asset, "p_min_mw", 0.5 * power, least=0.0)
    ordered(asset, "p_min_mw", p_min, "p_max_mw", power)
    burnt = burning(asset, power)
    electrical = parameter(asset, "efficiency", above=0.0, most=1.0)
    thermal = parameter(asset, "efficiency_heat", above=0.0)
    if electrical + thermal > 1.1:
        # Up to 1.1 of the lower heating value is possible where the flue gas condenses.
        raise ConfigurationError(
            f"efficiency and efficiency_heat of {asset.id} make {electrical + thermal:g} together."
        )
    account = heat_account(asset, conditions, thermal / electrical, power, dumps=True)
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
        account=account,
        commitment=commitment(
            asset,
            conditions,
            p_min,
            running_cny_per_h=burnt.cny_per_h,
            running_kgco2e_per_h=burnt.kgco2e_per_h,
        ),
        ramp=ramp(asset, conditions),
        reactive=reactive(asset, power),
        soft_kind="" if account.breach_cny_per_mwh is None else SOFT_KIND,
    )
