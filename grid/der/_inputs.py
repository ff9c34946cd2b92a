"""What a type reads of its asset and its surroundings, checked; each error names the asset.

Every parameter goes through one of these functions, by its name in quotes, so that a test can hold
docs/der.md to what the types read.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset
from core.timeaxis import from_datetime64, zone
from grid.der import Conditions

HOURS_PER_DAY = 24
DAYS_PER_MONTH = 365.25 / 12


def optional(
    asset: Asset,
    name: str,
    *,
    least: float = -np.inf,
    most: float = np.inf,
    above: float = -np.inf,
) -> float | None:
    """A number among the asset's parameters, None where it is not there.

    least, most: what it may be; above: what it has to be greater than. Raises ConfigurationError
    for what is no number or lies outside.
    """
    value = asset.parameters.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or not np.isfinite(value):
        raise ConfigurationError(f"{name} of {asset.id} is {value!r}, which is no number.")
    if value < least or value > most or value <= above:
        raise ConfigurationError(
            f"{name} of {asset.id} is {value:g}, not {_range(least, most, above)}."
        )
    return float(value)


def parameter(
    asset: Asset,
    name: str,
    default: float | None = None,
    *,
    least: float = -np.inf,
    most: float = np.inf,
    above: float = -np.inf,
) -> float:
    """As ``optional``, with a default; raises ConfigurationError where both are missing."""
    value = optional(asset, name, least=least, most=most, above=above)
    if value is None:
        value = default
    if value is None:
        raise ConfigurationError(f"The asset {asset.id} lacks the number {name}.")
    return value


def _range(least: float, most: float, above: float) -> str:
    low = f"above {above:g}" if above > -np.inf else f"{least:g} at least"
    if most == np.inf:
        return low
    high = f"{most:g} at most"
    return high if max(least, above) == -np.inf else f"{low} and {high}"


def word(asset: Asset, name: str, known: tuple[str, ...]) -> str:
    """A word among the asset's parameters, one of ``known``; empty where it is not there."""
    value = asset.parameters.get(name)
    if value is None:
        return ""
    if value not in known:
        raise ConfigurationError(
            f"{name} of {asset.id} is {value!r}; known are {', '.join(known)}."
        )
    return str(value)


def pairs(asset: Asset, name: str) -> list[tuple[float, float]]:
    """A list of pairs of numbers, such as a curve; empty where it is not there."""
    rows = asset.parameters.get(name)
    if rows is None:
        return []
    try:
        table = np.array([[float(a), float(b)] for a, b in rows])
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} of {asset.id} is no list of pairs of numbers.") from error
    if not np.isfinite(table).all():
        raise ConfigurationError(f"{name} of {asset.id} holds values that are no numbers.")
    return [(float(a), float(b)) for a, b in table]


def by_hour(asset: Asset, name: str, conditions: Conditions, default: float) -> np.ndarray:
    """A number, or a list of 24 by local hour, as an array of shape (time,)."""
    value = asset.parameters.get(name)
    value = default if value is None else value
    hours = np.atleast_1d(np.array(value, dtype=object))
    if hours.size not in (1, HOURS_PER_DAY) or not all(
        isinstance(v, int | float) and np.isfinite(v) for v in hours
    ):
        raise ConfigurationError(f"{name} of {asset.id} is neither a number nor 24 by hour.")
    table = np.broadcast_to(hours.astype(float), (HOURS_PER_DAY,))
    return np.asarray(table[local_hours(conditions).astype(int)])


def profile(asset: Asset, name: str, conditions: Conditions) -> np.ndarray:
    """The profile ``name`` as an array of shape (time,); ConfigurationError without it."""
    values = conditions.profiles.get(name)
    if values is None or np.shape(values) != (conditions.steps,):
        raise ConfigurationError(
            f"The envelope of {asset.id} needs {name} for each of {conditions.steps} steps."
        )
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        raise ConfigurationError(f"{name} of {asset.id} holds values that are no numbers.")
    return array


def drawn(asset: Asset, name: str, conditions: Conditions) -> np.ndarray:
    """The profile ``name``, never negative; raises ConfigurationError without it."""
    return np.asarray(np.maximum(profile(asset, name, conditions), 0.0))


def state(
    asset: Asset,
    name: str,
    conditions: Conditions,
    *,
    least: float = -np.inf,
    most: float = np.inf,
) -> float | None:
    """The state ``name`` at the beginning; None where nobody knows it.

    Raises ConfigurationError for a value outside of least..most.
    """
    value = conditions.states.get(name)
    if value is None:
        return None
    if not np.isfinite(value) or not least <= value <= most:
        raise ConfigurationError(
            f"The state {name} of {asset.id} is {value}, not within {least:g}..{most:g}."
        )
    return float(value)


def local_hours(conditions: Conditions) -> np.ndarray:
    """Local time of each step's beginning, hours since midnight, (time,)."""
    times = np.asarray(conditions.times).astype("datetime64[ns]")
    return _local_hours(times.tobytes(), conditions.timezone)


@lru_cache(maxsize=16)
def _local_hours(times: bytes, timezone: str) -> np.ndarray:
    """Thousands of assets share a horizon; a zone is slow to ask."""
    tz = zone(timezone)
    local = [from_datetime64(t).astimezone(tz) for t in np.frombuffer(times, "datetime64[ns]")]
    hours = np.array([t.hour + t.minute / 60 + t.second / 3600 for t in local])
    hours.flags.writeable = False
    return hours


def since_hour(conditions: Conditions, hour: float) -> np.ndarray:
    """Hours since the local time of day ``hour`` was last passed, 0 <= value < 24, (time,)."""
    return np.asarray((local_hours(conditions) - hour) % HOURS_PER_DAY)


def new_days(conditions: Conditions, hour: float) -> np.ndarray:
    """Which steps are the first after the local time ``hour`` was passed, but the first of all.

    A clock that is put back by an hour begins no new day. bool (time,).
    """
    passed = np.diff(since_hour(conditions, hour)) < -HOURS_PER_DAY / 2
    return np.concatenate([[False], passed])


def within_hours(conditions: Conditions, start: float, end: float) -> np.ndarray:
    """Which steps begin within local hours start..end, over midnight where end is the earlier.

    The whole day where both are the same; bool (time,).
    """
    length = (end - start) % HOURS_PER_DAY or HOURS_PER_DAY
    return np.asarray(since_hour(conditions, start) < length)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last position of each unbroken stretch of True."""
    edges = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
