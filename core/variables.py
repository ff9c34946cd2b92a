"""The vocabulary of quantities: name, unit, bounds and how values aggregate over time.

The unit belongs to the variable, never to the row of a reading. Names are the field's own:
pandapower's for the grid, pvlib's for weather, the standards' for air and water.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """A quantity. ``minimum`` and ``maximum`` bound what a sensor can plausibly report.

    rate_per_s: how fast it can plausibly change, in its unit and second, counted over a minute at
    least, so that the noise of a fast sensor is no change; None where a step is normal.
    flat_after_s: for how long exactly the same value is plausible; None where it may rest.
    """

    name: str
    unit: str
    minimum: float
    maximum: float
    aggregation: Aggregation
    description: str
    rate_per_s: float | None = None
    flat_after_s: float | None = None


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
    # Heat, and what plants and loads remember of the hours before.
    Variable("heat_mw", "MW", 0.0, 10_000.0, _MEAN, "heat drawn from a plant or its tank"),
    Variable("temp_indoor", "degC", -40.0, 60.0, _MEAN, "indoor air temperature"),
    Variable("time_in_state_h", "h", 0.0, 1e6, _LAST, "time since a plant was switched on or off"),
    Variable("starts_today", "1", 0.0, 1_000.0, _LAST, "starts since local midnight"),
    Variable(
        "cut_h", "h", 0.0, 1e6, _LAST, "time the present cut of a load has lasted, 0 for none"
    ),
    Variable("activated_h", "h", 0.0, 24.0, _LAST, "time a load was cut or dimmed on its day"),
    Variable("e_owed_mwh", "MWh", 0.0, 1e6, _LAST, "energy to be drawn again after a cut"),
    Variable("e_ahead_mwh", "MWh", -1e6, 1e6, _LAST, "energy drawn ahead of a movable demand"),
    # What the counters of meters show; they only rise, until they begin anew at zero.
    Variable("e_import_register_mwh", "MWh", 0.0, 1e9, _LAST, "meter register of imported energy"),
    Variable("e_export_register_mwh", "MWh", 0.0, 1e9, _LAST, "meter register of exported energy"),
    Variable("volume_register_m3", "m3", 0.0, 1e10, _LAST, "meter register of volume"),
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
    Variable("volume_m3", "m3", 0.0, 1e9, _LAST, "volume held in a reservoir"),
    Variable("billed_m3", "m3", 0.0, 1e6, _SUM, "billed use of the interval"),
    # Prices and carbon.
    Variable("price_cny_per_mwh", "CNY/MWh", -20_000.0, 100_000.0, _MEAN, "energy price"),
    Variable("kgco2e_per_mwh", "kgCO2e/MWh", 0.0, 2_000.0, _MEAN, "carbon intensity"),
    Variable("kgco2e", "kgCO2e", -1e9, 1e9, _SUM, "emissions of the interval"),
)

_MINUTE, _HOUR = 60.0, 3_600.0

_CHANGES: tuple[tuple[str, float | None, float | None], ...] = (
    # What may change in a second, and for how long a value may stay exactly the same.
    # A dip of the voltage is an event worth a flag; a meter without a digit of noise is stuck.
    ("vm_pu", 0.3 / _MINUTE, 3 * _HOUR),
    # Weather, after the step checks of WMO's guidelines for automatic stations (2004), which say
    # what one minute may change. Nights are dark and calm for hours: no limit, or a long one.
    ("ghi", 800 / _MINUTE, None),
    ("poa_global", 800 / _MINUTE, None),
    ("temp_air", 3 / _MINUTE, 6 * _HOUR),
    ("wind_speed", 10 / _MINUTE, 12 * _HOUR),
    ("wind_direction", None, 12 * _HOUR),
    ("relative_humidity", 10 / _MINUTE, 12 * _HOUR),
    ("pressure", 0.5 / _MINUTE, 6 * _HOUR),
    # Air: a bonfire beside the station is no fault of the sensor. SO2 and CO rest at the limit of
    # detection where the air is clean.
    ("pm2_5", 500 / _MINUTE, 3 * _HOUR),
    ("pm10", 1_000 / _MINUTE, 3 * _HOUR),
    ("so2", 200 / _MINUTE, 12 * _HOUR),
    ("no2", 200 / _MINUTE, 3 * _HOUR),
    ("o3", 200 / _MINUTE, 3 * _HOUR),
    ("co", 10 / _MINUTE, 12 * _HOUR),
    # Noise is made of steps, but never the same to a tenth of a decibel.
    ("laeq", None, 3 * _HOUR),
    # Pumps and valves make steps of flow; a reservoir may stand still.
    ("head_m", 30 / _MINUTE, 12 * _HOUR),
    ("level_m", 3 / _MINUTE, None),
)


def _by_name(variables: tuple[Variable, ...]) -> MappingProxyType[str, Variable]:
    table = {v.name: v for v in variables}
    if len(table) != len(variables):
        raise ConfigurationError("Two variables of core/variables.py share a name.")
    for name, rate_per_s, flat_after_s in _CHANGES:
        table[name] = replace(table[name], rate_per_s=rate_per_s, flat_after_s=flat_after_s)
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
