"""What running a plant on fuel costs and emits."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from core.errors import ConfigurationError
from core.sites import Asset
from core.units import convert
from grid.der._inputs import optional, parameter, word

_KGCO2_PER_TJ = {
    "natural_gas": 56_100.0,
    "lpg": 63_100.0,
    "diesel": 74_100.0,
    "fuel_oil": 77_400.0,
    "biogas": 0.0,
    "biomass": 0.0,
}

KGCO2_PER_MWH = MappingProxyType(
    {fuel: kg / convert(1.0, "TJ", "MWh") for fuel, kg in _KGCO2_PER_TJ.items()}
)
"""CO2 of burning a MWh of fuel (lower heating value).

2006 IPCC Guidelines for National Greenhouse Gas Inventories, volume 2, chapter 2, table 2.2:
natural gas, liquefied petroleum gases, gas/diesel oil and residual fuel oil, compared with an
independent transcription of that table (the whole of it, with its bounds), not with the PDF itself.
Biogenic CO2 counts 0 there (it is reported apart); CH4 and N2O, and a gas engine's slip, are not
in it: fuel_kgco2e_per_mwh is the place for a factor that has them.
"""


@dataclass(frozen=True, slots=True)
class Burning:
    """Per MWh of electricity, and per hour at no load."""

    cny_per_mwh: float
    kgco2e_per_mwh: float
    cny_per_h: float
    kgco2e_per_h: float


def burning(asset: Asset, p_max_mw: float) -> Burning:
    """Cost and emissions of a fuel line: what is burnt is no_load_fuel_mw + slope * p_mw.

    Parameters: fuel_cny_per_mwh (price, per MWh of fuel, lower heating value); efficiency, the
    electrical one at p_max_mw; no_load_fuel_mw (0), burnt while on whatever the power, so that
    slope = 1 / efficiency - no_load_fuel_mw / p_max_mw; maintenance_cny_per_mwh (0) of
    electricity; fuel, one of KGCO2_PER_MWH, or fuel_kgco2e_per_mwh, the factor itself.
    Raises ConfigurationError also where the no-load fuel is all that full power burns.
    """
    price = parameter(asset, "fuel_cny_per_mwh", least=0.0)
    efficiency = parameter(asset, "efficiency", above=0.0, most=1.0)
    no_load = parameter(asset, "no_load_fuel_mw", 0.0, least=0.0)
    slope = 1.0 / efficiency - no_load / p_max_mw
    if slope <= 0.0:
        raise ConfigurationError(
            f"no_load_fuel_mw of {asset.id} is {no_load:g}; at full power it burns "
            f"{p_max_mw / efficiency:g} MW in all."
        )
    factor = _factor(asset)
    return Burning(
        cny_per_mwh=slope * price + parameter(asset, "maintenance_cny_per_mwh", 0.0, least=0.0),
        kgco2e_per_mwh=slope * factor,
        cny_per_h=no_load * price,
        kgco2e_per_h=no_load * factor,
    )


def _factor(asset: Asset) -> float:
    given = optional(asset, "fuel_kgco2e_per_mwh", least=0.0)
    fuel = word(asset, "fuel", tuple(KGCO2_PER_MWH))
    if given is not None:
        return given
    if not fuel:
        raise ConfigurationError(
            f"The asset {asset.id} lacks its fuel, or the number fuel_kgco2e_per_mwh."
        )
    return KGCO2_PER_MWH[fuel]
