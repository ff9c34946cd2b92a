"""What the city has beside SimBench's loads, plants and batteries: one of each further kind.

Each stands on the bus of one of SimBench's loads as an element of its own, behind a meter of its
own. Sizes are plausible for a town of this size, and nobody's in particular.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.sites import AssetKind

FUELLED = (AssetKind.CHP, AssetKind.GENSET)
"""What feeds in; the others draw."""


TAN_PHI = "tan_phi"
"""Parameter of what draws: its reactive over its active power."""


@dataclass(frozen=True)
class Item:
    """A plant or load before it stands anywhere. beside: the SimBench load whose bus it is on.

    parameters: as docs/der.md has them; tan_phi: reactive over active power of what draws.
    """

    id: str
    kind: AssetKind
    name_en: str
    name_zh: str
    beside: int
    parameters: dict[str, Any] = field(default_factory=dict)
    tan_phi: float = 0.0
    owner: str = ""

    @property
    def element(self) -> str:
        """Its table in pandapower."""
        return "sgen" if self.kind in FUELLED else "load"


_GAS = {"fuel": "natural_gas", "fuel_cny_per_mwh": 320.0}
"""About 3.2 CNY a cubic metre, by lower heating value."""
_DIESEL = {"fuel": "diesel", "fuel_cny_per_mwh": 750.0}
"""About 7.5 CNY a litre."""

EQUIPMENT = (
    Item(
        "heat-pump-1",
        AssetKind.HEAT_PUMP,
        "Swimming hall heat pump",
        "游泳馆热泵",
        111,
        # Hall and pool together; warm enough to need heat in June too.
        {
            "p_max_mw": 0.4,
            "ua_mw_per_k": 0.02,
            "time_constant_h": 40.0,
            "temp_min_degc": 28.0,
            "temp_max_degc": 31.0,
            "internal_gain_mw": 0.03,
            "flow_temp_degc": 42.0,
            "cop_carnot_share": 0.42,
            "end_cny_per_mwh": 80.0,
        },
        tan_phi=0.33,
    ),
    Item(
        "boiler-1",
        AssetKind.ELECTRIC_BOILER,
        "District electric boiler with tank",
        "区域电锅炉（带蓄热水罐）",
        1,
        {
            "p_max_mw": 0.6,
            "efficiency": 0.99,
            "tank_mwh": 3.0,
            "tank_min_mwh": 0.3,
            "tank_loss_percent_per_day": 3.0,
            # Between a valley hour and a flat one, carbon included: filled up while it is cheap.
            "end_cny_per_mwh": 300.0,
        },
    ),
    Item(
        "pumps-1",
        AssetKind.PUMP_STATION,
        "Water works pump station",
        "自来水厂泵站",
        2,
        {
            "p_max_mw": 0.2,
            "head_m": 75.0,
            "pump_efficiency": 0.7,
            "volume_min_m3": 600.0,
            "volume_max_m3": 3000.0,
            "volume_end_m3": 1800.0,
            "shortage_cny_per_m3_h": 20.0,
            "overflow_cny_per_m3": 5.0,
        },
        tan_phi=0.48,
        owner="ent-11",
    ),
    Item(
        "lights-1",
        AssetKind.STREET_LIGHTING,
        "Street lighting, industrial quarter",
        "工业区路灯",
        83,
        {
            "p_max_mw": 0.12,
            "dim_share_min": 0.5,
            "dim_from_hour": 23.0,
            "dim_to_hour": 5.0,
            "dimming_cny_per_mwh": 50.0,
        },
        tan_phi=0.2,
    ),
    Item(
        "chp-1",
        AssetKind.CHP,
        "Hospital CHP plant",
        "医院热电联产机组",
        0,
        {
            **_GAS,
            "p_max_mw": 0.2,
            "p_min_mw": 0.1,
            "efficiency": 0.38,
            "efficiency_heat": 0.46,
            "no_load_fuel_mw": 0.03,
            "maintenance_cny_per_mwh": 80.0,
            "start_cny": 40.0,
            "min_up_h": 2.0,
            "min_down_h": 1.0,
            # An old boiler on fuel oil: a lack of heat is dear, but never a conflict.
            "backup_heat_cny_per_mwh": 680.0,
        },
    ),
    Item(
        "genset-1",
        AssetKind.GENSET,
        "Logistics park backup genset",
        "物流园备用柴油机组",
        113,
        {
            **_DIESEL,
            "p_max_mw": 0.4,
            "p_min_mw": 0.12,
            "efficiency": 0.38,
            "maintenance_cny_per_mwh": 100.0,
            "start_cny": 80.0,
            "min_up_h": 0.5,
            "min_down_h": 0.5,
        },
    ),
)
