"""Unit conversion, in one place: elsewhere a bare ``* 1000`` is a question for review.

The arithmetic is pint's; this module adds the spellings that devices use (SenML's ``Cel`` of
RFC 8798, plain ``m3/h``) and reduces a pair of units to ``value * factor + offset``, so that a
million readings cost one multiplication. Money is a unit of its own, never converted.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TypeVar

import numpy as np
import pint

from core.errors import UnitError

Number = TypeVar("Number", float, np.ndarray)

SPELLINGS: dict[str, str] = {
    # RFC 8428 (SenML) and RFC 8798 symbols, then what vendors print.
    "Cel": "degC",
    "°C": "degC",
    "%": "percent",
    "%RH": "percent",
    "/": "dimensionless",
    "": "dimensionless",
    "1": "dimensionless",
    "pu": "dimensionless",
    "m3/h": "m**3/hour",
    "m³/h": "m**3/hour",
    "L/s": "liter/second",
    "l/s": "liter/second",
    "W/m2": "W/m**2",
    "W/m²": "W/m**2",
    "µg/m3": "microgram/m**3",
    "µg/m³": "microgram/m**3",
    "ug/m3": "microgram/m**3",
    "μg/m3": "microgram/m**3",
    "mg/m3": "milligram/m**3",
    "mg/m³": "milligram/m**3",
    "ng/m3": "nanogram/m**3",
    "m3": "m**3",
    "m³": "m**3",
    "var": "volt_ampere",
    "kvar": "kilovolt_ampere",
    "Mvar": "megavolt_ampere",
    "varh": "volt_ampere*hour",
    "VA": "volt_ampere",
    "dB(A)": "decibel_a",
    "CNY/MWh": "CNY/megawatt_hour",
    "CNY/kWh": "CNY/kilowatt_hour",
    "kgCO2e": "kgco2e",
    "tCO2e": "tco2e",
    "kgCO2e/MWh": "kgco2e/megawatt_hour",
    "kgCO2/kWh": "kgco2e/kilowatt_hour",
    "gCO2/kWh": "gco2e/kilowatt_hour",
    "m/s": "meter/second",
    "deg": "degree",
}


@cache
def _registry() -> pint.UnitRegistry[float]:
    registry: pint.UnitRegistry[float] = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    registry.define("CNY = [currency]")
    registry.define("decibel_a = [sound_level_a]")
    registry.define("gco2e = [co2_equivalent]")
    registry.define("kgco2e = 1000 * gco2e")
    registry.define("tco2e = 1000 * kgco2e")
    return registry


_EXPRESSION = re.compile(r"[A-Za-z_]\w*(\*\*\d)?([/*][A-Za-z_]\w*(\*\*\d)?)?")
"""Units arrive from the wire: nothing but names, one operator and a small power gets evaluated."""


def _parse(unit: str) -> pint.Unit:
    expression = SPELLINGS.get(unit, unit)
    if not _EXPRESSION.fullmatch(expression):
        raise UnitError(f"Unknown unit {unit[:40]!r}.")
    try:
        return _registry().Unit(expression)
    except (pint.errors.PintError, AttributeError, ValueError) as error:
        raise UnitError(f"Unknown unit {unit!r}.") from error


@cache
def linear(from_unit: str, to_unit: str) -> tuple[float, float]:
    """Factor and offset so that ``value_in_to = value_in_from * factor + offset``.

    Raises UnitError when a unit is unknown or the two do not measure the same quantity.
    """
    if from_unit == to_unit:
        return 1.0, 0.0
    source, target = _parse(from_unit), _parse(to_unit)
    registry = _registry()
    try:
        zero = float(registry.Quantity(0.0, source).to(target).magnitude)
        one = float(registry.Quantity(1.0, source).to(target).magnitude)
    except pint.errors.PintError as error:
        raise UnitError(
            f"Cannot convert {from_unit!r} to {to_unit!r}: they measure different quantities."
        ) from error
    return one - zero, zero


def convert(value: Number, from_unit: str, to_unit: str) -> Number:
    """``value`` (float or array) given in ``from_unit``, expressed in ``to_unit``.

    Raises UnitError when a unit is unknown or the two do not measure the same quantity.
    """
    factor, offset = linear(from_unit, to_unit)
    return value * factor + offset


def known(unit: str) -> bool:
    """Whether ``unit`` can be used in a conversion."""
    try:
        _parse(unit)
    except UnitError:
        return False
    return True
