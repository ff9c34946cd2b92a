"""The vocabulary of quantities: name, unit, bounds and how values aggregate over time.

The unit belongs to the variable, never to the row of a reading. Names are the field's own:
pandapower's for the grid, pvlib's for weather, the standards' for air and water.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from core.errors import ConfigurationError


class Aggregation(StrEnum):
    """How several values of an interval become one."""

    MEAN = "mean"
    SUM = "sum"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Variable:
    """A quantity. ``minimum`` and ``maximum`` bound what a sensor can plausibly report."""

    name: str
    unit: str
    minimum: float
    maximum: float
    aggregation: Aggregation
    description: str


_MEAN, _SUM, _LAST = Aggregation.MEAN, Aggregation.SUM, Aggregation.LAST

_ALL = (
    # Electricity. Load, storage and bus are positive when consuming (storage: charging);
    # sgen and gen positive when producing, as in pandapower.
    Variable("p_mw", "MW", -10_000.0, 10_000.0, _MEAN, "active power"),
    Variable("q_mvar", "Mvar", -10_000.0, 10_000.0, _MEAN, "reactive power"),
    Variable("vm_pu", "pu", 0.0, 2.0, _MEAN, "voltage magnitude"),
    Variable("va_degree", "deg", -360.0, 360.0, _LAST, "voltage angle"),
    Variable("loading_percent", "%", 0.0, 1_000.0, _MEAN, "loading of a line or transformer"),
    Variable("e_mwh", "MWh", -1e6, 1e6, _SUM, "energy of the interval"),
    Variable("soc", "1", 0.0, 1.0, _LAST, "state of charge"),
    Variable("import_mw", "MW", 0.0, 10_000.0, _MEAN, "power drawn from the upstream grid"),
    Variable("export_mw", "MW", 0.0, 10_000.0, _MEAN, "power fed to the upstream grid"),
    # Weather.
    Variable("ghi", "W/m2", 0.0, 1_600.0, _MEAN, "global horizontal irradiance"),
    Variable("dni", "W/m2", 0.0, 1_600.0, _MEAN, "direct normal irradiance"),
    Variable("dhi", "W/m2", 0.0, 1_600.0, _MEAN, "diffuse horizontal irradiance"),
    Variable("poa_global", "W/m2", 0.0, 1_800.0, _MEAN, "irradiance in the plane of array"),
    Variable("temp_air", "degC", -60.0, 60.0, _MEAN, "air temperature"),
    Variable("wind_speed", "m/s", 0.0, 100.0, _MEAN, "wind speed"),
    Variable("wind_direction", "deg", 0.0, 360.0, _LAST, "direction the wind comes from"),
    Variable("relative_humidity", "%", 0.0, 100.0, _MEAN, "relative humidity"),
    Variable("pressure", "hPa", 500.0, 1_100.0, _MEAN, "air pressure"),
    # Air quality (HJ 633) and noise (GB 3096).
    Variable("pm2_5", "µg/m3", 0.0, 5_000.0, _MEAN, "fine particulate matter"),
    Variable("pm10", "µg/m3", 0.0, 10_000.0, _MEAN, "inhalable particulate matter"),
    Variable("so2", "µg/m3", 0.0, 10_000.0, _MEAN, "sulphur dioxide"),
    Variable("no2", "µg/m3", 0.0, 10_000.0, _MEAN, "nitrogen dioxide"),
    Variable("o3", "µg/m3", 0.0, 5_000.0, _MEAN, "ozone"),
    Variable("co", "mg/m3", 0.0, 500.0, _MEAN, "carbon monoxide"),
    Variable("laeq", "dB(A)", 0.0, 160.0, _MEAN, "equivalent sound level"),
    # Water.
    Variable("flow_m3_per_h", "m3/h", -100_000.0, 100_000.0, _MEAN, "volume flow"),
    Variable("head_m", "m", -50.0, 1_000.0, _MEAN, "pressure head"),
    Variable("level_m", "m", -10.0, 200.0, _LAST, "water level"),
    Variable("billed_m3", "m3", 0.0, 1e6, _SUM, "billed use of the interval"),
    # Prices and carbon.
    Variable("price_cny_per_mwh", "CNY/MWh", -20_000.0, 100_000.0, _MEAN, "energy price"),
    Variable("kgco2e_per_mwh", "kgCO2e/MWh", 0.0, 2_000.0, _MEAN, "carbon intensity"),
    Variable("kgco2e", "kgCO2e", -1e9, 1e9, _SUM, "emissions of the interval"),
)


def _by_name(variables: tuple[Variable, ...]) -> MappingProxyType[str, Variable]:
    table = {v.name: v for v in variables}
    if len(table) != len(variables):
        raise ConfigurationError("Two variables of core/variables.py share a name.")
    return MappingProxyType(table)


VARIABLES: MappingProxyType[str, Variable] = _by_name(_ALL)


def variable(name: str) -> Variable:
    """The variable of that name; raises ConfigurationError when there is none."""
    try:
        return VARIABLES[name]
    except KeyError:
        raise ConfigurationError(
            f"Unknown variable {name!r}; core/variables.py names all there are."
        ) from None
