"""What comes from outside the city and enters its plans: spot prices, the grid's intensity, and the
month's peak at the substation.

Site.parameters may name series as ``asset/variable``
- import_price_series, export_price_series: of a variable in CNY/MWh
- import_intensity_series: of a variable in kgCO2e/MWh, the hourly intensity of imports

A value that is known counts, also one that was published ahead of its time; else the newest
forecast; gaps stand at the tariff, or at the yearly factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import xarray as xr

from app import keys
from core.errors import ConfigurationError
from core.findings import Finding, Severity
from core.readings import Quality
from core.sites import AssetKind, Site
from core.timeaxis import HOUR, QUARTER_HOUR, floor_to, from_datetime64, utc, zone
from core.variables import VARIABLES
from store import forecasts, readings, series
from store.database import Connection

MEDIAN = 0.5
SERIES = {
    "import_price_series": "CNY/MWh",
    "export_price_series": "CNY/MWh",
    "import_intensity_series": "kgCO2e/MWh",
}
"""Parameters that name a series, and the unit they are in."""
_WRONG = Quality.OUT_OF_RANGE | Quality.RATE_OF_CHANGE | Quality.DEVICE_FLAG
"""Flags of readings that make no peak: one broken value would free a month of its charge."""


def check(site: Site) -> None:
    """Raises ConfigurationError for a parameter that names no series of the right unit.

    A series of a device that registers itself may come later.
    """
    known = {s.key for s in site.series}
    later = {tag.variable for profile in site.profiles for tag in profile.tags}
    for name in SERIES:
        key = _key(site, name)
        if key is not None and key not in known and key.rsplit("/", 1)[1] not in later:
            raise _wrong(site, name, "the city has no such series")


def _key(site: Site, name: str) -> str | None:
    """The key of the series that the parameter names; None where it names none."""
    value = site.parameters.get(name)
    if value is None:
        return None
    parts = value.split("/") if isinstance(value, str) else []
    if len(parts) != 2 or not all(parts):
        raise _wrong(site, name, "it must name a series as asset/variable")
    if parts[1] not in VARIABLES or VARIABLES[parts[1]].unit != SERIES[name]:
        raise _wrong(site, name, f"its variable must be in {SERIES[name]}")
    return keys.of(site.id, *parts)


def _wrong(site: Site, name: str, must: str) -> ConfigurationError:
    value = site.parameters.get(name)
    return ConfigurationError(f"The city's parameter {name!r} cannot be {value!r}: {must}.")


def over(
    connection: Connection,
    site: Site,
    name: str,
    otherwise: np.ndarray,
    times: np.ndarray,
    known_at: datetime,
) -> np.ndarray:
    """The series that the parameter ``name`` names over the steps ``times``, (time,).

    otherwise: (time,), what holds where the series has nothing, and where none is named. Raises
    ConfigurationError for a series that is not there.
    """
    key = _key(site, name)
    if key is None:
        return otherwise
    there = series.known(connection, [key]).get(key)
    if there is None:
        raise _wrong(site, name, "the city has no such series")
    step = site.plan_resolution
    length = there.resolution or step
    start, end = from_datetime64(times[0]), from_datetime64(times[-1]) + step
    first = start - max(length, step)  # an hour that has begun holds on
    bucket = step if length <= step else None
    read = readings.read(connection, [key], first, end, bucket)
    known = _held(read.isel(series=0, drop=True), times, length)
    told = forecasts.read(connection, [key], first, end, as_of=known_at)
    if np.isnan(known).any() and told.sizes["quantile"]:
        median = told.sel(quantile=MEDIAN, method="nearest").isel(series=0, drop=True)
        known = np.where(np.isnan(known), _held(median, times, _step(median, length)), known)
    found: np.ndarray = np.where(np.isnan(known), otherwise, known)
    return found


def _held(values: xr.DataArray, times: np.ndarray, length: timedelta) -> np.ndarray:
    """``values`` at ``times``, each held for ``length``; NaN where there is none."""
    there = values.dropna("time").sortby("time")
    if not there.sizes["time"]:
        return np.full(len(times), np.nan)
    at = np.searchsorted(there.time.to_numpy(), times, side="right") - 1
    since = times - there.time.to_numpy()[np.maximum(at, 0)]
    held = (at >= 0) & (since < np.timedelta64(length))
    return np.where(held, there.to_numpy()[np.maximum(at, 0)], np.nan)


def _step(values: xr.DataArray, least: timedelta) -> timedelta:
    """How far the values of a forecast lie apart."""
    gaps = np.diff(values.dropna("time").time.to_numpy())
    if not len(gaps):
        return least
    return min(timedelta(microseconds=int(gaps.min() // np.timedelta64(1, "us"))), HOUR)


# --- the month's peak --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SoFar:
    """The highest import of the month, a 15-minute mean in MW, and by what it was measured."""

    import_mw: float
    source: str
    notes: tuple[Finding, ...] = ()


def peak_so_far(connection: Connection, site: Site, start: datetime, known_at: datetime) -> SoFar:
    """The highest import of the local month in which a horizon begins at ``start``, before it.

    Measured at the substations; where nobody measures there, the sum of meters, which lacks the
    losses. Nothing after ``known_at`` counts, and no reading that is flagged as wrong.
    """
    local = utc(start).astimezone(zone(site.timezone))
    first = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    until = floor_to(min(utc(known_at), utc(start)), QUARTER_HOUR)
    if until <= utc(first):
        return SoFar(0.0, "")
    substations = [a.id for a in site.assets if a.kind is AssetKind.SUBSTATION]
    measured = _sum(connection, site, substations, "import_mw", first, until)
    if measured is not None:
        return SoFar(float(measured.max()), "substation")
    drawn = [a.id for a in site.assets if a.element in ("load", "storage")]
    fed = [a.id for a in site.assets if a.element == "sgen"]
    used = _sum(connection, site, drawn, "p_mw", first, until)
    if used is None:
        return SoFar(0.0, "nothing", (_note("no meter has measured it; it counts from 0"),))
    made = _sum(connection, site, fed, "p_mw", first, until)
    net = used if made is None else used - made.reindex(time=used.time, fill_value=0.0)
    said = "it is the sum of the meters, without losses"
    return SoFar(max(float(net.max()), 0.0), "meters", (_note(said),))


def _note(said: str) -> Finding:
    text = f"The month's peak so far is not measured at the substation: {said}."
    return Finding("substation", "import_mw", (), text, Severity.INFO)


def _sum(
    connection: Connection,
    site: Site,
    assets: Sequence[str],
    name: str,
    start: datetime,
    end: datetime,
) -> xr.DataArray | None:
    """The sum over ``assets`` in the quarter-hours that have any value, (time,); None for none."""
    wanted = list(series.known(connection, [keys.of(site.id, a, name) for a in assets]))
    if not wanted:
        return None
    values = readings.read(connection, wanted, start, end, QUARTER_HOUR, exclude=_WRONG)
    total = values.sum("series", min_count=1).dropna("time")
    return total if total.sizes["time"] else None
