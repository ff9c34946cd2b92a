"""Water losses of a district: leak rate, night flow and sudden steps of the night flow.

The leak rate here is RWL, the gross rate of CJJ 92-2016: (input - billed) / input. It is not RBL
(RWL corrected for pipe length, pressure and frost), which the grades of CJJ 92 are set on, and
not NRW in the sense of the IWA, which counts unbilled authorised use as a part of the losses too;
with billed use as the only known use, RWL and NRW are the same number. Say RWL wherever it shows.

Night flow: between 02 and 04 local time people use the least, so what still flows is leakage and
legitimate night use. A tank that fills at night hides or feigns leaks: pass ``net_inflow``.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import xarray as xr

from core.timeaxis import HOUR, zone

FIGURE = "RWL (CJJ 92-2016)"
NIGHT_HOURS = (2, 4)
MINIMUM_COVERAGE = 0.9
STEP_M3_PER_H = 15.0
STEP_NIGHTS = 2
WEEK = 7
BASELINE_NIGHTS = 14


def leak_rate_percent(input_m3: float, billed_m3: float) -> float:
    """RWL = (Qs - Qa) / Qs x 100 %; NaN without input. Negative where more is billed than came."""
    return (input_m3 - billed_m3) / input_m3 * 100.0 if input_m3 > 0 else float("nan")


def _local(times: xr.DataArray, timezone: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times.to_numpy()).tz_localize("UTC").tz_convert(zone(timezone))


def _day_starts(times: xr.DataArray, timezone: str) -> xr.DataArray:
    starts = _local(times, timezone).normalize().tz_convert("UTC").tz_localize(None)
    return xr.DataArray(starts, dims="time", coords={"time": times.to_numpy()}, name="day")


def _intervals_of_day(day_starts: np.ndarray, timezone: str, resolution: timedelta) -> np.ndarray:
    """How many intervals each natural day has: 23, 24 or 25 hours of them."""
    starts = pd.DatetimeIndex(day_starts).tz_localize("UTC").tz_convert(zone(timezone))
    ends = (starts.tz_localize(None) + pd.Timedelta(days=1)).tz_localize(zone(timezone))
    count: np.ndarray = np.asarray((ends - starts) / resolution, dtype=float)
    return count


def _every_day(daily: xr.Dataset, timezone: str) -> xr.Dataset:
    """The same with NaN for the natural days between the first and the last that are not there."""
    if not daily.sizes["time"]:
        return daily
    known = _local(daily.time, timezone)
    days = pd.date_range(known.min(), known.max(), freq="D").tz_convert("UTC").tz_localize(None)
    return daily.reindex(time=days.to_numpy())


def leak_rates(
    flow_m3_per_h: xr.DataArray,
    billed_m3: xr.DataArray,
    *,
    resolution: timedelta,
    timezone: str,
    minimum_coverage: float = MINIMUM_COVERAGE,
) -> xr.Dataset:
    """RWL of each natural day of ``timezone``.

    flow_m3_per_h: (time,) mean inflow of intervals of ``resolution``, m3/h.
    billed_m3: (time,) billed use of the same intervals, m3.
    Only intervals that have both count, so that a gap in one of them is no leak. Returns over
    time (beginning of the day, UTC by convention): input_m3, billed_m3, coverage (share of the
    day's intervals), rwl_percent (NaN below ``minimum_coverage`` or without input).
    """
    flow, billed = xr.align(flow_m3_per_h, billed_m3, join="outer")
    both = flow.notnull() & billed.notnull()
    days = _day_starts(flow.time, timezone)
    volumes = xr.Dataset(
        {
            "input_m3": flow.where(both) * (resolution / HOUR),
            "billed_m3": billed.where(both),
            "coverage": both.astype(float),
        }
    )
    daily = volumes.groupby(days).sum("time").rename(day="time")
    expected = _intervals_of_day(daily.time.to_numpy(), timezone, resolution)
    daily["coverage"] = daily.coverage / expected
    usable = (daily.coverage >= minimum_coverage) & (daily.input_m3 > 0)
    lost = daily.input_m3 - daily.billed_m3
    daily["rwl_percent"] = (lost / daily.input_m3.where(usable)) * 100.0
    named_units = {"input_m3": "m3", "billed_m3": "m3", "coverage": "1", "rwl_percent": "%"}
    for name, unit in named_units.items():
        daily[name].attrs = {"units": unit}
    result: xr.Dataset = daily.assign_attrs(figure=FIGURE)
    return result


def net_inflow(
    flow_m3_per_h: xr.DataArray, level_m: xr.DataArray, *, area_m2: float, resolution: timedelta
) -> xr.DataArray:
    """Inflow less what the district's tank takes up, m3/h: the mass balance of each interval.

    level_m: (time,) water level at the beginning of the interval; area_m2: of the tank's surface.
    The last interval is NaN, since the level at its end is not known.
    """
    change_m = level_m.shift(time=-1) - level_m
    result: xr.DataArray = flow_m3_per_h - change_m * area_m2 / (resolution / HOUR)
    return result.assign_attrs(units="m3/h")


def night_flow(
    flow_m3_per_h: xr.DataArray,
    *,
    resolution: timedelta,
    timezone: str,
    legitimate_m3_per_h: float = 0.0,
    hours: tuple[int, int] = NIGHT_HOURS,
    minimum_coverage: float = MINIMUM_COVERAGE,
) -> xr.Dataset:
    """Night flow of each natural day, between two local hours.

    legitimate_m3_per_h: night use that is no leak (people, hospitals, factories).
    Returns over time (beginning of the day, UTC by convention), all m3/h: night_flow_m3_per_h
    (mean of the night hours), minimum_m3_per_h (lowest reading), net_m3_per_h (mean less the
    legitimate use, an estimate of leakage). NaN with too few readings.
    """
    local = _local(flow_m3_per_h.time, timezone)
    at_night = np.flatnonzero((local.hour >= hours[0]) & (local.hour < hours[1]))
    night = flow_m3_per_h.isel(time=at_night)
    grouped = night.groupby(_day_starts(night.time, timezone))
    needed = minimum_coverage * (hours[1] - hours[0]) * (HOUR / resolution)
    enough = grouped.count("time") >= needed
    mean = grouped.mean("time").where(enough)
    result = xr.Dataset(
        {
            "night_flow_m3_per_h": mean,
            "minimum_m3_per_h": grouped.min("time").where(enough),
            "net_m3_per_h": mean - legitimate_m3_per_h,
        }
    ).rename(day="time")
    result = _every_day(result, timezone)
    for variable in result.data_vars.values():
        variable.attrs = {"units": "m3/h"}
    return result


def baseline(
    night_m3_per_h: xr.DataArray, *, nights: int = BASELINE_NIGHTS, every: int = 1
) -> xr.DataArray:
    """What a night is compared with: the median of nights before it, itself left out.

    nights: how many. every: 1 for the nights just before, 7 for the same weekday of earlier
        weeks, where weekends differ (L-TOWN uses 20 to 30 m3/h more in their nights).
    night_m3_per_h: (time,), one value for each natural day. NaN until half of them are known.
    """
    lags = range(every, every * nights + 1, every)
    before = xr.concat([night_m3_per_h.shift(time=lag) for lag in lags], dim="lag")
    known = before.notnull().sum("lag") >= (nights + 1) // 2
    # Unknown columns are filled first: numpy warns of a median of nothing.
    median = before.where(known, 0.0).median("lag", skipna=True)
    result: xr.DataArray = median.where(known)
    return result.assign_attrs(night_m3_per_h.attrs)


def night_steps(
    night_m3_per_h: xr.DataArray,
    *,
    threshold_m3_per_h: float = STEP_M3_PER_H,
    nights: int = STEP_NIGHTS,
    lag_nights: int = WEEK,
    quiet_nights: int = WEEK,
) -> np.ndarray:
    """Nights on which a step is seen, as datetime64[ns], shape (n,).

    A step: each of the last ``nights`` nights lies more than the threshold above the night
    ``lag_nights`` before it, by default of the same weekday. It is told on the last of them, then
    not again for ``quiet_nights``.
    night_m3_per_h: (time,), one value for each natural day; a missing night shows no step.
    """
    rise = (night_m3_per_h - night_m3_per_h.shift(time=lag_nights)).rolling(time=nights).min()
    alarms: list[np.datetime64] = []
    quiet = np.timedelta64(quiet_nights, "D")
    for night in night_m3_per_h.time.to_numpy()[(rise > threshold_m3_per_h).to_numpy()]:
        if not alarms or night - alarms[-1] >= quiet:
            alarms.append(night)
    return np.array(alarms, dtype="datetime64[ns]")
