"""Carbon intensities of local sources of electricity, from what is written about a plant.

Direct emissions: sun, wind and water emit none; a plant that burns a fuel emits that fuel's CO2
over its efficiency. Biogenic CO2 counts as 0 and is reported outside of the scopes (GHG Protocol
Corporate Standard, chapter 9). A life-cycle value is another quantity than the grid's factor of
direct emissions: it enters only where the description of the city states it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset

TJ_PER_MWH = 0.0036
FUELS_KGCO2_PER_TJ: Mapping[str, float] = MappingProxyType(
    {
        "natural_gas": 56_100.0,
        "lpg": 63_100.0,
        "diesel": 74_100.0,
        "fuel_oil": 77_400.0,
        "coal": 94_600.0,  # other bituminous
        "lignite": 101_000.0,
        "blast_furnace_gas": 260_000.0,
        "biomass": 0.0,
        "biogas": 0.0,
        "hydrogen": 0.0,
    }
)
"""IPCC 2006 Guidelines, volume 2, table 1.4, by net calorific value; biogenic ones as 0."""

BY_KIND = "source_kgco2e_per_mwh"
"""Parameter of the city: intensities by kind of asset, such as {"pv": 41.0}, where life-cycle
values are wanted."""


def source_kgco2e_per_mwh(asset: Asset, by_kind: Mapping[str, Any] | None = None) -> float:
    """kgCO2e per MWh of electricity that ``asset`` feeds in.

    Its own parameter ``kgco2e_per_mwh`` comes first, then what ``by_kind`` (the city's parameter
    ``source_kgco2e_per_mwh``) says of its kind, then its ``fuel``, over ``efficiency_electric``
    (its ``efficiency``, as plans read it, or 0.35) and, where heat is used, ``efficiency_heat``
    (0): a plant that makes both shares its fuel by energy (IEA), so that MWh of either kind carry
    alike. Nothing of all that: 0.
    Raises ConfigurationError for an unknown fuel and for what is no usable number.
    """
    for stated in (asset.parameters.get("kgco2e_per_mwh"), (by_kind or {}).get(str(asset.kind))):
        if stated is not None:
            return _number(asset, "kgco2e_per_mwh", stated)
    fuel = asset.parameters.get("fuel")
    if fuel is None:
        return 0.0
    if fuel not in FUELS_KGCO2_PER_TJ:
        raise ConfigurationError(
            f"The fuel {fuel!r} of {asset.id} is unknown; there are "
            f"{', '.join(FUELS_KGCO2_PER_TJ)}."
        )
    usual = asset.parameters.get("efficiency", 0.35)
    electric = _number(
        asset, "efficiency_electric", asset.parameters.get("efficiency_electric", usual)
    )
    heat = _number(asset, "efficiency_heat", asset.parameters.get("efficiency_heat", 0.0))
    if not 0 < electric <= 1 or electric + heat > 1.2:  # condensing boilers exceed 1 by NCV
        raise ConfigurationError(f"The efficiencies of {asset.id} make no sense.")
    return FUELS_KGCO2_PER_TJ[fuel] * TJ_PER_MWH / (electric + heat)


def _number(asset: Asset, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ConfigurationError(f"{name} of {asset.id} is no number.")
    if value < 0:
        raise ConfigurationError(f"{name} of {asset.id} is negative.")
    return float(value)
