"""Prices, carbon intensity and limits of a city on a time axis, out of Site.parameters.

Site.parameters holds
- import_cny_per_mwh_by_hour: 24 numbers, by local hour
- export_cny_per_mwh, carbon_cny_per_tco2e: one number each
- import_limit_mw, export_limit_mw, max_loading_percent: one number each
- factor_region: the zone whose grid factor counts, such as 内蒙古
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from core.errors import ConfigurationError

PRICES = ("import_cny_per_mwh_by_hour", "export_cny_per_mwh", "carbon_cny_per_tco2e")
"""Who gives one of them gives a tariff, and then it has to be whole."""


def check(parameters: Mapping[str, Any]) -> None:
    """Raises ConfigurationError for a tariff that no plan can be made by; none at all may be."""
    if not any(name in parameters for name in PRICES):
        return
    import_price(parameters, np.array(["2026-01-01"], dtype="datetime64[ns]"), "UTC")
    for name in (*PRICES[1:], "import_limit_mw", "export_limit_mw", "max_loading_percent"):
        number(parameters, name)


def number(parameters: Mapping[str, Any], name: str) -> float:
    """The number called ``name``; raises ConfigurationError when it is missing or none."""
    wrong = f"The city's parameter {name!r} must be a number."
    try:
        value = float(parameters[name])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(wrong) from error
    if math.isnan(value):
        raise ConfigurationError(wrong)
    return value


def import_price(parameters: Mapping[str, Any], times: np.ndarray, timezone: str) -> np.ndarray:
    """CNY/MWh per step, shape (time,): the tariff of each step's local hour.

    times: datetime64, UTC. Raises ConfigurationError when the tariff has not 24 numbers.
    """
    wrong = "The city's parameter 'import_cny_per_mwh_by_hour' must hold 24 numbers."
    try:
        by_hour = np.asarray(parameters.get("import_cny_per_mwh_by_hour", ()), dtype=float)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(wrong) from error
    if by_hour.shape != (24,) or not np.isfinite(by_hour).all():
        raise ConfigurationError(wrong)
    return at_hours(by_hour, times, timezone)


def at_hours(by_hour: np.ndarray, times: np.ndarray, timezone: str) -> np.ndarray:
    """Per step the one of 24 numbers that is of its local hour, (time,)."""
    hours = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(timezone).hour
    found: np.ndarray = by_hour[np.asarray(hours)]
    return found
