"""How good a forecast was: scores over all dimensions, or over those named.

Points where the forecast or the value is NaN do not count. Scores have the unit of the data.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import xarray as xr

Dims = Sequence[Hashable] | None


def mae(forecast: xr.DataArray, actual: xr.DataArray, dim: Dims = None) -> xr.DataArray:
    """Mean absolute error; 0 is perfect."""
    return abs(forecast - actual).mean(dim, keep_attrs=False)


def rmse(forecast: xr.DataArray, actual: xr.DataArray, dim: Dims = None) -> xr.DataArray:
    """Root of the mean squared error; 0 is perfect."""
    return ((forecast - actual) ** 2).mean(dim, keep_attrs=False) ** 0.5


def bias(forecast: xr.DataArray, actual: xr.DataArray, dim: Dims = None) -> xr.DataArray:
    """Mean of forecast - actual; positive when too much is forecast."""
    return (forecast - actual).mean(dim, keep_attrs=False)


def pinball(quantiles: xr.DataArray, actual: xr.DataArray, dim: Dims = None) -> xr.DataArray:
    """Pinball loss of quantile forecasts (..., quantile), mean over quantiles too; 0 is perfect.

    q x (y - f) where the value y lies above the forecast f, else (1 - q) x (f - y).
    """
    level = quantiles["quantile"]
    error = actual - quantiles
    loss = (level * error).where(error >= 0, (level - 1.0) * error)
    result: xr.DataArray = loss.mean(None if dim is None else [*dim, "quantile"], keep_attrs=False)
    return result


def coverage(quantiles: xr.DataArray, actual: xr.DataArray, dim: Dims = None) -> xr.DataArray:
    """Share of values between the lowest and the highest quantile; 0.8 is meant for 0.1 to 0.9."""
    low = quantiles.isel(quantile=0, drop=True)
    high = quantiles.isel(quantile=-1, drop=True)
    inside = (actual >= low) & (actual <= high)
    counted = actual.notnull() & low.notnull() & high.notnull()
    return inside.where(counted).mean(dim, keep_attrs=False)


def skill(score: xr.DataArray | float, reference: xr.DataArray | float) -> xr.DataArray | float:
    """1 - score / reference: 1 is perfect, 0 as good as the reference, negative worse."""
    return 1.0 - score / reference
