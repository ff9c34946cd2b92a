"""Intensities of plants: what burns by its fuel, the rest by what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from carbon.sources import source_kgco2e_per_mwh
from core.errors import ConfigurationError
from core.sites import Asset, AssetKind


def plant(kind: AssetKind = AssetKind.GENERATOR, **parameters: Any) -> Asset:
    return Asset("plant", kind, "Plant", "", parameters=parameters)


def test_sun_wind_and_what_burns_nothing_emit_nothing():
    for kind in (AssetKind.PV, AssetKind.WIND, AssetKind.GENERATOR):
        assert source_kgco2e_per_mwh(plant(kind)) == 0.0
    assert source_kgco2e_per_mwh(plant(fuel="biogas")) == 0.0


def test_a_genset_by_its_fuel_and_efficiency():
    """Diesel: 74100 kg/TJ x 0.0036 TJ/MWh = 266.76 kg per MWh burnt; 40 % of it is electricity."""
    found = source_kgco2e_per_mwh(plant(fuel="diesel", efficiency_electric=0.4))
    assert found == pytest.approx(266.76 / 0.4)


def test_a_plant_whose_heat_is_used_shares_its_fuel_by_energy():
    """Natural gas: 201.96 kg per MWh burnt, 80 % of it used: 252.45 kg for each MWh of either."""
    chp = plant(fuel="natural_gas", efficiency_electric=0.35, efficiency_heat=0.45)
    assert source_kgco2e_per_mwh(chp) == pytest.approx(201.96 / 0.8)


def test_what_is_stated_comes_first():
    assert source_kgco2e_per_mwh(plant(AssetKind.PV), {"pv": 41}) == 41.0
    assert source_kgco2e_per_mwh(plant(AssetKind.PV, kgco2e_per_mwh=38.5), {"pv": 41}) == 38.5
    assert source_kgco2e_per_mwh(plant(fuel="coal", kgco2e_per_mwh=900.0)) == 900.0


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"fuel": "peat"}, "peat"),
        ({"fuel": "coal", "efficiency_electric": 0}, "efficiencies"),
        ({"fuel": "coal", "efficiency_electric": "much"}, "efficiency_electric"),
        ({"kgco2e_per_mwh": -1.0}, "negative"),
        ({"kgco2e_per_mwh": True}, "no number"),
    ],
)
def test_what_cannot_be_is_named(parameters: dict[str, Any], named: str):
    with pytest.raises(ConfigurationError, match=named):
        source_kgco2e_per_mwh(plant(**parameters))
