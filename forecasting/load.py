"""Load: the same time last week, and one gradient-boosted model over all assets.

Both look at values known at ``known_at`` only, work on the unit of their history, and give
quantiles that never cross. The model is global: assets are scaled by their own mean and learnt
together, so that one with a short history profits from the others. It is trained on the situations
it will meet: each training row is a forecast that could have been made in the past, with the lags
that were known then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import xarray as xr
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from core.errors import ConfigurationError
from core.timeaxis import DAY, to_datetime64, zone
from forecasting.climatology import usual_quantiles
from forecasting.history import QUANTILES, known, local_index, resolution_of, step_of

HISTORY_DAYS = 35.0
WEEK = 7 * DAY
LAGS = (DAY, 2 * DAY, WEEK, 2 * WEEK)
WEEKS_OF_MEAN = 4
MINIMUM_DAYS = 8.0
"""Less history than this teaches the model nothing about a week."""
CALIBRATION = WEEK
"""The newest part of the history, on which the quantiles are set right."""
CALIBRATION_NEEDS = 3 * WEEK
MAXIMUM_ROWS = 40_000
SEED = 20260622

_LEVEL_WINDOW = DAY / 24  # the newest hour says what the level is now
_SMALL = 1e-9


def _coords(past: xr.DataArray, times: np.ndarray, quantiles: Sequence[float]) -> dict[str, Any]:
    own = {str(d): past[d].to_numpy() for d in past.dims[1:] if d in past.coords}
    return {"time": times, "quantile": list(quantiles), **own}


# --- seasonal naive -------------------------------------------------------------------------


def seasonal_naive(
    history: xr.DataArray,
    times: np.ndarray,
    quantiles: Sequence[float] = QUANTILES,
    *,
    known_at: datetime,
    history_days: float = HISTORY_DAYS,
) -> xr.DataArray:
    """The same time of the same weekday last week: (time, asset, quantile), unit of ``history``.

    history: (time, asset) means of intervals. times: (n,) regular datetime64, the intervals
    forecast, of the same length. Where last week is not known the last known day stands in, then
    what is usual at that time of day. The spread is that of the same rule over the history, by
    time of day. NaN for assets without any history.
    """
    resolution, ordered = resolution_of(times), sorted(quantiles)
    past = known(history, known_at, resolution=resolution, days=history_days)
    values, axis = past.to_numpy().astype(float), past.time.to_numpy()
    usual = usual_quantiles(values, axis, times, [0.5])[..., 0]
    by_day = _same_time(values, axis, times, DAY, resolution)
    by_week = _same_time(values, axis, times, WEEK, resolution)
    centre = np.where(np.isfinite(by_week), by_week, by_day)
    centre = np.where(np.isfinite(centre), centre, usual)
    weekly = _spread(values, axis, times, WEEK, resolution, ordered)
    daily = _spread(values, axis, times, DAY, resolution, ordered)
    spread = np.where(np.isfinite(weekly), weekly, np.nan_to_num(daily))
    forecast = np.sort(centre[..., np.newaxis] + spread, axis=-1)
    return xr.DataArray(
        forecast,
        dims=("time", *past.dims[1:], "quantile"),
        coords=_coords(past, times, ordered),
        attrs={"units": history.attrs.get("units", "MW")},
    )


def _same_time(
    values: np.ndarray, axis: np.ndarray, times: np.ndarray, season: timedelta, step: timedelta
) -> np.ndarray:
    """The value one season earlier, of the newest season known at that time of it; (n, ...)."""
    if not len(axis):
        return np.full((len(times), *values.shape[1:]), np.nan)
    steps, length = season // step, len(axis)
    rows = (times - axis[0]) // step_of(step)
    seasons_back = np.maximum(1, -(-(rows - length + 1) // steps))
    return _take(values, rows - seasons_back * steps)


def _take(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    inside = (rows >= 0) & (rows < len(values))
    taken: np.ndarray = values[np.clip(rows, 0, len(values) - 1)].copy()
    taken[~inside] = np.nan
    return taken


def _spread(
    values: np.ndarray,
    axis: np.ndarray,
    times: np.ndarray,
    season: timedelta,
    step: timedelta,
    quantiles: Sequence[float],
) -> np.ndarray:
    """Quantiles of what the rule was wrong by, near the same time of day; centred on the rule."""
    steps = season // step
    if len(axis) <= steps:
        return np.full((len(times), *values.shape[1:], len(quantiles)), np.nan)
    wrong_by = values[steps:] - values[:-steps]
    levels = usual_quantiles(wrong_by, axis[steps:], times, [*quantiles, 0.5])
    # A trend over few weeks is no reason to leave the rule: only the shape is kept.
    centred: np.ndarray = levels[..., :-1] - levels[..., -1:]
    return centred


# --- gradient boosting ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A regular history divided by each asset's mean, (time, asset)."""

    values: np.ndarray
    axis: np.ndarray
    scale: np.ndarray
    resolution: timedelta


def _scaled(past: xr.DataArray, resolution: timedelta) -> _Scaled:
    values = past.to_numpy().astype(float)
    present = np.isfinite(values)
    total = np.abs(np.where(present, values, 0.0)).sum(axis=0)
    mean = total / np.maximum(present.sum(axis=0), 1)
    scale = np.where(mean > _SMALL, mean, 1.0)
    return _Scaled(values / scale, past.time.to_numpy(), scale, resolution)


def _features(
    scaled: _Scaled, asset: np.ndarray, issued: np.ndarray, target: np.ndarray, timezone: str
) -> np.ndarray:
    """Features (row, feature) of forecasts for row ``target``, made with rows < ``issued`` known.

    asset, issued, target: (row,) indices. What was not known then is NaN.
    """
    values, step = scaled.values, scaled.resolution

    def at(rows: np.ndarray) -> np.ndarray:
        seen = (rows >= 0) & (rows < np.minimum(issued, len(values)))
        found = values[np.clip(rows, 0, len(values) - 1), asset]
        return np.where(seen, found, np.nan)

    lagged = [at(target - lag // step) for lag in LAGS]
    weekday = _mean([at(target - n * (WEEK // step)) for n in range(1, WEEKS_OF_MEAN + 1)])
    window = range(1, max(1, round(_LEVEL_WINDOW / step)) + 1)
    level = _mean([at(issued - back) for back in window])
    level_of_week = _mean([at(issued - back - WEEK // step) for back in window])
    when = scaled.axis[0] + target * step_of(step)
    local = local_index(when, timezone)
    return np.column_stack(
        [
            *lagged,
            weekday,
            level,
            level - level_of_week,
            (target - issued) * (step / DAY),
            local.hour + local.minute / 60.0,
            local.dayofweek,
            local.dayofweek >= 5,
        ]
    )


def _mean(parts: list[np.ndarray]) -> np.ndarray:
    stacked = np.stack(parts)
    present = np.isfinite(stacked)
    total, count = np.where(present, stacked, 0.0).sum(axis=0), present.sum(axis=0)
    mean: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


@dataclass(frozen=True, slots=True)
class GradientBoosted:
    """A trained model; ``fit`` makes one. It may be pickled and used for other assets too."""

    regressors: tuple[HistGradientBoostingRegressor, ...]
    offsets: tuple[float, ...]
    """What each quantile is moved outwards by, in means of the asset; see ``_offsets``."""
    quantiles: tuple[float, ...]
    timezone: str
    resolution: timedelta
    horizon: timedelta

    @classmethod
    def fit(
        cls,
        history: xr.DataArray,
        *,
        known_at: datetime,
        timezone: str,
        resolution: timedelta,
        quantiles: Sequence[float] = QUANTILES,
        horizon: timedelta = 2 * DAY,
        history_days: float = HISTORY_DAYS,
        maximum_rows: int = MAXIMUM_ROWS,
        iterations: int = 80,
    ) -> GradientBoosted:
        """Train on what is known at ``known_at``; the same input gives the same model.

        history: (time, asset) means of intervals of ``resolution``, any unit. timezone: whose
        hours, weekdays and weekends the load follows. horizon: the longest lead it is used for.
        Raises ConfigurationError with less than MINIMUM_DAYS of history.
        """
        zone(timezone)
        past = _lived(known(history, known_at, resolution=resolution, days=history_days))
        if past.sizes["time"] * resolution < MINIMUM_DAYS * DAY:
            raise ConfigurationError(
                f"The load model needs {MINIMUM_DAYS:g} days of history; "
                "use seasonal_naive until then."
            )
        scaled, reach = _scaled(past, resolution), horizon // resolution
        ordered = tuple(sorted(quantiles))
        return cls(
            regressors=_regressors(
                scaled, ordered, timezone, reach, rows=maximum_rows, iterations=iterations
            ),
            offsets=_offsets(
                scaled, ordered, timezone, reach, rows=maximum_rows // 2, iterations=iterations
            ),
            quantiles=ordered,
            timezone=timezone,
            resolution=resolution,
            horizon=horizon,
        )

    def predict(
        self, history: xr.DataArray, times: np.ndarray, *, known_at: datetime
    ) -> xr.DataArray:
        """Forecast (time, asset, quantile) in the unit of ``history``.

        times: (n,) regular datetime64 of the model's resolution. NaN for assets that have no
        history in the last weeks. Raises ConfigurationError for another resolution.
        """
        if resolution_of(times) != self.resolution:
            raise ConfigurationError("The load model was trained for another resolution.")
        past = known(history, known_at, resolution=self.resolution, days=HISTORY_DAYS)
        shape = (len(times), past.shape[1], len(self.quantiles))
        forecast = np.full(shape, np.nan)
        if past.sizes["time"] and past.shape[1]:
            forecast = self._predict(_scaled(past, self.resolution), times, known_at, shape)
            forecast[:, ~np.isfinite(past.to_numpy()).any(axis=0)] = np.nan
        return xr.DataArray(
            forecast,
            dims=("time", *past.dims[1:], "quantile"),
            coords=_coords(past, times, self.quantiles),
            attrs={"units": history.attrs.get("units", "MW")},
        )

    def _predict(
        self, scaled: _Scaled, times: np.ndarray, known_at: datetime, shape: tuple[int, int, int]
    ) -> np.ndarray:
        step = step_of(self.resolution)
        rows = (times - scaled.axis[0]) // step
        issued = (to_datetime64(known_at) - scaled.axis[0]) // step
        target, asset = (a.ravel() for a in np.meshgrid(rows, np.arange(shape[1]), indexing="ij"))
        features = _features(scaled, asset, np.full_like(target, issued), target, self.timezone)
        columns = _predictions(self.regressors, features) + np.array(self.offsets)
        relative = np.sort(columns, axis=1).reshape(shape)
        forecast: np.ndarray = relative * scaled.scale[np.newaxis, :, np.newaxis]
        return forecast


def _lived(past: xr.DataArray) -> xr.DataArray:
    """``past`` from its first value on: rows before it are no history."""
    present = np.flatnonzero(np.isfinite(past.to_numpy()).any(axis=1))
    return past.isel(time=slice(int(present[0]) if len(present) else past.sizes["time"], None))


def _regressor(quantile: float, iterations: int) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        loss="quantile",
        quantile=quantile,
        max_iter=iterations,
        learning_rate=0.1,
        max_leaf_nodes=15,
        min_samples_leaf=200,
        early_stopping=False,
        random_state=SEED,
    )


def _predictions(
    regressors: Sequence[HistGradientBoostingRegressor], features: np.ndarray
) -> np.ndarray:
    """Predictions (row, quantile).

    On one thread, as the fit: on a busy machine OpenMP's threads wait for each other. The same fit
    (122 assets, 28 days) took 2.3 to 3.3 s on one thread and 21 to 50 s on two, on two cores with
    a load of about 7. One thread also keeps sums in one order.
    """
    with threadpool_limits(limits=1):
        return np.stack([r.predict(features) for r in regressors], axis=1)


def _regressors(
    scaled: _Scaled,
    quantiles: Sequence[float],
    timezone: str,
    reach: int,
    *,
    rows: int,
    iterations: int,
) -> tuple[HistGradientBoostingRegressor, ...]:
    first = WEEK // scaled.resolution  # earlier targets would know no week before
    features, wanted = _rows(scaled, timezone, reach, first, rows)
    with threadpool_limits(limits=1):
        return tuple(_regressor(q, iterations).fit(features, wanted) for q in quantiles)


def _offsets(
    scaled: _Scaled,
    quantiles: Sequence[float],
    timezone: str,
    reach: int,
    *,
    rows: int,
    iterations: int,
) -> tuple[float, ...]:
    """How far quantiles must move outwards, from a model that had not seen the newest week.

    Boosted quantiles are too narrow on days they were not trained on; moving each by the quantile
    of its own error there sets it right (conformal quantile regression). The bias of the median
    is taken out: what one week was above or below the model says little of the next.
    """
    length, held_out = len(scaled.values), CALIBRATION // scaled.resolution
    if length < CALIBRATION_NEEDS // scaled.resolution:
        return (0.0,) * len(quantiles)
    before = replace(scaled, values=scaled.values[:-held_out], axis=scaled.axis[:-held_out])
    regressors = _regressors(before, quantiles, timezone, reach, rows=rows, iterations=iterations)
    features, wanted = _rows(scaled, timezone, reach, length - held_out, rows)
    if not len(wanted):
        return (0.0,) * len(quantiles)
    errors = wanted[:, np.newaxis] - _predictions(regressors, features)
    own = [float(np.quantile(errors[:, i], q)) for i, q in enumerate(quantiles)]
    bias = own[quantiles.index(0.5)] if 0.5 in quantiles else 0.0
    return tuple(_outwards(o - bias, q) for o, q in zip(own, quantiles, strict=True))


def _outwards(shift: float, quantile: float) -> float:
    if quantile == 0.5:
        return 0.0
    return min(shift, 0.0) if quantile < 0.5 else max(shift, 0.0)


def _rows(
    scaled: _Scaled, timezone: str, reach: int, first: int, maximum: int
) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts that could have been made: random asset, target from ``first`` on, and lead."""
    rng = np.random.default_rng(SEED)
    length, assets = scaled.values.shape
    possible = (length - first) * assets
    count = min(maximum, possible)
    cells = rng.choice(possible, size=count, replace=False)
    target, asset = first + cells // assets, cells % assets
    issued = np.maximum(target - rng.integers(0, reach, size=count), 1)
    wanted = scaled.values[target, asset]
    usable = np.isfinite(wanted)
    features = _features(scaled, asset[usable], issued[usable], target[usable], timezone)
    # A young history has no value two weeks back; scikit-learn cannot bin a column without any.
    features[:, np.isnan(features).all(axis=0)] = 0.0
    return features, wanted[usable]
