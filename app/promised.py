"""A promised exchange for a plan that somebody asks for: out of a file, or that of the day before.

A file has the columns time (with a zone, or on the city's clock) and mw, import less export; each
value holds until the next one, the last as long as the one before it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from app import asked
from app.plankinds import DAY_AHEAD
from app.planning import Horizon
from app.wiring import City
from core.errors import ConfigurationError, TimeError
from core.timeaxis import parse_local, steps, to_datetime64, zone
from optimization.problem import DispatchProblem

DAY_AHEAD_WORD = DAY_AHEAD.replace("_", "-")
TIME, POWER = "time", "mw"


def keeping(
    city: City, horizon: Horizon, source: str
) -> Callable[[DispatchProblem], DispatchProblem]:
    """What makes a problem over ``horizon`` keep the exchange of ``source``.

    source: a CSV file, or ``day-ahead``. Raises ConfigurationError naming what is wrong with it.
    """
    times = steps(horizon.start, horizon.end, city.site.plan_resolution)
    if source == DAY_AHEAD_WORD:
        asked.position(city, np.zeros(0))  # without prices nothing else matters
        with city.database.connection() as connection:
            position = asked.day_ahead_position(connection, city, times, horizon.known_at)
        if position is None:
            raise ConfigurationError("No approved day-ahead plan covers any step of this day.")
    else:
        position = asked.position(city, of_file(Path(source), times, city.site.timezone))
    return lambda problem: replace(problem, position=position)


def of_file(path: Path, times: np.ndarray, timezone: str) -> np.ndarray:
    """The exchange in ``path`` at ``times``, (time,), NaN before its first and after its last row.

    Raises ConfigurationError naming the line that cannot be used, or a file beside the horizon.
    """
    tz = zone(timezone)
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"The position {path} cannot be read: {error}.") from error
    starts, powers = [], []
    for number, row in enumerate(rows, start=2):
        try:
            starts.append(to_datetime64(parse_local(str(row[TIME]), tz)))
            powers.append(float(row[POWER] or "nan"))
            if np.isinf(powers[-1]) or (number > 2 and starts[-1] <= starts[-2]):
                raise ValueError("times must rise, and powers be numbers or empty")
        except (KeyError, TypeError, ValueError, TimeError) as error:
            raise ConfigurationError(
                f"Line {number} of {path.name} is no promise with the columns {TIME} and {POWER}: "
                f"{error}."
            ) from error
    if not starts:
        raise ConfigurationError(f"The position {path} has no rows below {TIME},{POWER}.")
    begun = np.array(starts, dtype="datetime64[ns]")
    lasts = begun[-1] - begun[-2] if len(begun) > 1 else np.timedelta64(1, "h")
    at = np.searchsorted(begun, times, side="right") - 1
    covered = (at >= 0) & (times < begun[-1] + lasts)
    found = np.where(covered, np.array(powers)[np.maximum(at, 0)], np.nan)
    if not np.isfinite(found).any():
        raise ConfigurationError(f"The position {path} promises nothing for the steps of this day.")
    return found
