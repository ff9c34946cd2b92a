"""How the city's devices call themselves and their values on the wire."""

from __future__ import annotations

from types import MappingProxyType

from core.sites import AssetKind

TagRow = tuple[str, str, str]
"""Tag on the wire, variable, unit on the wire."""

_LOAD: tuple[TagRow, ...] = (("p", "p_mw", "kW"), ("q", "q_mvar", "kvar"))
_SGEN: tuple[TagRow, ...] = (("p", "p_mw", "kW"),)
_HEAT: TagRow = ("heat", "heat_mw", "kW")
_STATE: TagRow = ("state_h", "time_in_state_h", "h")

ENERGY_TAGS: MappingProxyType[AssetKind, tuple[TagRow, ...]] = MappingProxyType(
    {
        AssetKind.METER: _LOAD,
        AssetKind.EV_CHARGER: _LOAD,
        AssetKind.FLEXIBLE_LOAD: _LOAD,
        AssetKind.HEAT_PUMP: (*_LOAD, ("room", "temp_indoor", "Cel")),
        AssetKind.ELECTRIC_BOILER: (*_LOAD, _HEAT, ("soc", "soc", "%")),
        AssetKind.PUMP_STATION: (
            *_LOAD,
            ("flow", "flow_m3_per_h", "m3/h"),
            ("volume", "volume_m3", "m3"),
        ),
        AssetKind.STREET_LIGHTING: _LOAD,
        AssetKind.CHP: (*_SGEN, _HEAT, _STATE),
        AssetKind.GENSET: (*_SGEN, _STATE),
        AssetKind.PV: _SGEN,
        AssetKind.WIND: _SGEN,
        AssetKind.GENERATOR: _SGEN,
        AssetKind.BATTERY: (("p", "p_mw", "kW"), ("soc", "soc", "%")),
        AssetKind.SUBSTATION: (("import", "import_mw", "kW"), ("export", "export_mw", "kW")),
    }
)
"""What speaks SenML through a gateway. Meters say kW, as meters do."""

_MICRO = "µg/m3"
CHIRPSTACK_TAGS: MappingProxyType[AssetKind, tuple[TagRow, ...]] = MappingProxyType(
    {
        AssetKind.AIR_STATION: (
            ("pm2_5", "pm2_5", _MICRO),
            ("pm10", "pm10", _MICRO),
            ("so2", "so2", _MICRO),
            ("no2", "no2", _MICRO),
            ("o3", "o3", _MICRO),
            ("co", "co", "mg/m3"),
        ),
        AssetKind.WEATHER_STATION: (
            ("ghi", "ghi", "W/m2"),
            ("temp_air", "temp_air", "Cel"),
            ("wind_speed", "wind_speed", "m/s"),
            ("wind_direction", "wind_direction", "deg"),
        ),
        AssetKind.WATER_DISTRICT: (
            ("flow", "flow_m3_per_h", "L/s"),
            ("billed", "billed_m3", "m3"),
        ),
    }
)
"""What speaks LoRaWAN and comes through ChirpStack. The flow meter says litres a second."""

APPLICATIONS: MappingProxyType[AssetKind, tuple[str, str]] = MappingProxyType(
    {
        AssetKind.AIR_STATION: ("a1f7c3d2-0001-4c00-8000-76657264697a", "air"),
        AssetKind.WEATHER_STATION: ("a1f7c3d2-0002-4c00-8000-76657264697a", "weather"),
        AssetKind.WATER_DISTRICT: ("a1f7c3d2-0003-4c00-8000-76657264697a", "water"),
    }
)
"""ChirpStack application: id, name."""

_EUI_PREFIX = "76657264"  # "verd" in ASCII; no vendor's block
_EUI_KINDS = {"air": 1, "weather": 2, "dma": 3}


def urn_of(asset_id: str) -> str:
    """The device name of an energy meter in SenML."""
    return f"urn:dev:verdigrid:{asset_id}"


def eui_of(asset_id: str) -> str:
    """The DevEUI, 16 hexadecimal digits, of an air, weather or water device."""
    family, _, number = asset_id.partition("-")
    return f"{_EUI_PREFIX}{_EUI_KINDS[family]:04x}{int(number or 0):04x}"
