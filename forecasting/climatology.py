"""From what is now to what is usual: short-term persistence that decays to quantiles by hour.

    median(lead) = w x now + (1 - w) x usual median        w = exp(-lead / decay)
    quantile(lead) = median(lead) + sqrt(1 - w^2) x (usual quantile - usual median)

as of an autoregressive process of first order whose innovations have the usual shape. Used for
the clear-sky index of the sun and for the power of wind and other generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import xarray as xr

from core.timeaxis import HOUR, to_datetime64
from forecasting.history import QUANTILES, known, resolution_of, second_of_day, step_of

HISTORY_DAYS = 28.0
WINDOW = HOUR
"""How far around a time of day values count as the same time of day."""
NOW_WINDOW = HOUR
"""The newest values that say how things are now."""

_DAY_S = 86_400


def usual_quantiles(
    values: np.ndarray,
    times: np.ndarray,
    targets: np.ndarray,
    quantiles: Sequence[float],
    *,
    window: timedelta = WINDOW,
) -> np.ndarray:
    """Quantiles of past values near the same time of day (UTC), (target, ..., quantile).

    values: (time, ...), NaN where missing. NaN where nothing is known near that time of day.
    """
    seconds, wanted = second_of_day(times), second_of_day(targets)
    result = np.full((len(targets), *values.shape[1:], len(quantiles)), np.nan)
    for second in np.unique(wanted):
        distance = np.abs(seconds - second)
        near = np.minimum(distance, _DAY_S - distance) <= window.total_seconds()
        result[wanted == second] = _quantiles(values[near], quantiles)
    return result


def _quantiles(values: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """Quantiles over the first axis, moved to the last; NaN of nothing, without a warning."""
    flat = np.sort(values.reshape(len(values), int(np.prod(values.shape[1:]))), axis=0)
    count = np.isfinite(flat).sum(axis=0)  # NaN is sorted behind everything
    place = np.asarray(quantiles)[:, np.newaxis] * np.maximum(count - 1, 0)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    if not len(flat):
        return np.full((*values.shape[1:], len(quantiles)), np.nan)
    columns = np.arange(flat.shape[1])
    lower, upper = flat[low, columns], flat[high, columns]
    between = lower + (place - low) * (upper - lower)
    return np.where(count > 0, between, np.nan).T.reshape(*values.shape[1:], len(quantiles))


def blend(
    usual: np.ndarray,
    usual_median: np.ndarray,
    now: np.ndarray,
    lead: np.ndarray,
    decay: timedelta,
) -> np.ndarray:
    """The quantiles above, (time, ..., quantile), never crossing.

    usual: (time, ..., quantile); usual_median: (time, ...); now: (...), NaN where nothing is
    known, then only what is usual counts; lead: (time,) timedelta64 from now, see ``lead_of``.
    """
    weight = np.exp(-np.maximum(lead / step_of(decay), 0.0))
    weight = weight.reshape(-1, *([1] * now.ndim))
    weight = np.where(np.isfinite(now), weight, 0.0)
    median = weight * np.nan_to_num(now) + (1.0 - weight) * usual_median
    spread = np.sqrt(1.0 - weight**2)[..., np.newaxis]
    return np.sort(median[..., np.newaxis] + spread * (usual - usual_median[..., np.newaxis]))


def lead_of(times: np.ndarray, known_at: datetime, resolution: timedelta) -> np.ndarray:
    """From the middle of what ``recent_mean`` looks at to the middle of each interval."""
    half_windows = step_of(resolution + NOW_WINDOW) // 2
    lead: np.ndarray = (times - to_datetime64(known_at)) + half_windows
    return lead


def recent_mean(past: xr.DataArray, window: timedelta = NOW_WINDOW) -> np.ndarray:
    """Mean of the newest ``window`` of a regular axis, (...); NaN where nothing is there."""
    if not past.sizes["time"]:
        return np.full(past.shape[1:], np.nan)
    newest = past.time.to_numpy()[-1]
    values = past.where(past.time > newest - step_of(window), drop=True).to_numpy()
    present = np.isfinite(values)
    total, count = np.where(present, values, 0.0).sum(axis=0), present.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def persistence(
    history: xr.DataArray,
    times: np.ndarray,
    *,
    known_at: datetime,
    quantiles: Sequence[float] = QUANTILES,
    decay: timedelta = 6 * HOUR,
    history_days: float = HISTORY_DAYS,
) -> xr.DataArray:
    """Forecast of wind and other generation: (time, asset, quantile), the unit of ``history``.

    history: (time, asset) means of intervals. times: (n,) regular datetime64, the intervals
    forecast, of the same length. Quantiles stay within what the asset has shown in the last
    ``history_days``. NaN for assets without history.
    """
    resolution = resolution_of(times)
    past = known(history, known_at, resolution=resolution, days=history_days)
    values = past.to_numpy().astype(float)
    ordered = sorted(quantiles)
    wanted = usual_quantiles(values, past.time.to_numpy(), times, [*ordered, 0.5])
    lead = lead_of(times, known_at, resolution)
    forecast = blend(wanted[..., :-1], wanted[..., -1], recent_mean(past), lead, decay)
    bounds = _quantiles(values, [0.0, 1.0])
    forecast = np.clip(forecast, bounds[..., :1], bounds[..., 1:])
    return xr.DataArray(
        forecast,
        dims=("time", *past.dims[1:], "quantile"),
        coords={"time": times, "quantile": list(ordered)}
        | {d: past[d].to_numpy() for d in past.dims[1:] if d in past.coords},
        attrs={"units": history.attrs.get("units", "MW")},
    )
