"""PV power: from irradiance and module data by pvlib, and ahead in time by the clear-sky index.

The chain: solar position at the middle of each interval -> Erbs decomposition of ghi -> Hay-Davies
transposition into the plane of the array -> PVsyst cell temperature -> PVWatts DC power with its
temperature coefficient -> PVWatts inverter with clipping. At night the power is exactly 0.

Without an outside weather forecast the sky is forecast from itself: the clear-sky index (ghi over
the Ineichen clear-sky ghi) of the newest hour decays to its usual quantiles at that time of day.
References: pvlib-python (doi 10.21105/joss.05994); PVWatts version 5 (NREL/TP-6A20-62641).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pvlib
import xarray as xr

from core.errors import ConfigurationError
from core.timeaxis import HOUR
from forecasting.climatology import HISTORY_DAYS, blend, lead_of, recent_mean, usual_quantiles
from forecasting.history import QUANTILES, known, resolution_of, step_of

LINKE_TURBIDITY = 3.0
"""One turbidity for all sites: what it misses is the same in history and forecast."""
DAYLIGHT_ZENITH_DEGREE = 85.0
"""The clear-sky index means nothing with the sun lower than 5 degrees."""
MAXIMUM_INDEX = 1.3
WITHOUT_HISTORY = (0.2, 1.0)
"""Clear-sky index where nothing is known: spread evenly between these."""
DECAY = 4 * HOUR
TEMPERATURE_DECAY = 12 * HOUR
DEFAULT_TEMPERATURE_DEGC = 15.0
MINIMUM_SAMPLES = 200
"""Daylight intervals (about five days of quarter-hours) a calibration needs."""

_INVERTER_EFFICIENCY = 0.96
_MINIMUM_SHARE = 0.05  # of pdc0: weaker light says little about the scale


@dataclass(frozen=True, slots=True)
class PvArray:
    """Module data. azimuth_degree: clockwise from north, 180 is south.

    pdc0_mw: DC power at 1000 W/m2 and 25 degC. p_ac_max_mw: limit of the inverters, without one
    0.96 x pdc0. scale: AC power measured / modelled, see ``fit_array``.
    """

    pdc0_mw: float
    tilt_degree: float = 30.0
    azimuth_degree: float = 180.0
    temp_coefficient_per_degc: float = -0.004
    p_ac_max_mw: float | None = None
    scale: float = 1.0

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> PvArray:
        """The array of an asset's parameters, others ignored; ConfigurationError for bad ones."""
        names = {f.name for f in fields(cls)}
        try:
            array = cls(**{k: float(v) for k, v in parameters.items() if k in names})
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"PV parameters cannot be used: {error}") from error
        if not (array.pdc0_mw >= 0 and 0 <= array.tilt_degree <= 90 and array.scale > 0):
            raise ConfigurationError(f"PV parameters make no sense: {array}.")
        return array


def solar_position(
    lat: float, lon: float, times: np.ndarray, resolution: timedelta
) -> pd.DataFrame:
    """pvlib's solar position at the middle of the intervals that begin at ``times``."""
    middles = pd.DatetimeIndex(times + step_of(resolution) // 2).tz_localize("UTC")
    position: pd.DataFrame = pvlib.solarposition.get_solarposition(middles, lat, lon)
    return position


def clear_sky_ghi(position: pd.DataFrame) -> np.ndarray:
    """Ineichen clear-sky ghi, W/m2, of solar positions; exactly 0 with the sun down."""
    airmass = pvlib.atmosphere.get_relative_airmass(position.apparent_zenith)
    sky = pvlib.clearsky.ineichen(
        position.apparent_zenith, airmass, LINKE_TURBIDITY, dni_extra=_extra(position)
    )
    return np.where(position.apparent_zenith < 90.0, np.nan_to_num(sky["ghi"]), 0.0)


def _extra(position: pd.DataFrame) -> np.ndarray:
    return np.asarray(pvlib.irradiance.get_extra_radiation(position.index))


def plane_irradiance(array: PvArray, ghi: np.ndarray, position: pd.DataFrame) -> np.ndarray:
    """Irradiance in the plane of the array (poa_global, W/m2) from ghi (W/m2)."""
    zenith = position.apparent_zenith.to_numpy()
    parts = pvlib.irradiance.erbs(ghi, zenith, position.index)
    total = pvlib.irradiance.get_total_irradiance(
        array.tilt_degree,
        array.azimuth_degree,
        zenith,
        position.azimuth.to_numpy(),
        np.asarray(parts["dni"]),
        ghi,
        np.asarray(parts["dhi"]),
        dni_extra=_extra(position),
        model="haydavies",
    )
    return np.asarray(total["poa_global"])


def ac_power(
    array: PvArray, poa_global: np.ndarray, temp_air: np.ndarray, wind_speed: np.ndarray | float
) -> np.ndarray:
    """AC power (MW, positive produced) from plane irradiance (W/m2), air (degC) and wind (m/s)."""
    cell = pvlib.temperature.pvsyst_cell(poa_global, temp_air, wind_speed)
    dc = pvlib.pvsystem.pvwatts_dc(poa_global, cell, array.pdc0_mw, array.temp_coefficient_per_degc)
    limit = array.p_ac_max_mw
    if limit is None:
        limit = _INVERTER_EFFICIENCY * array.pdc0_mw
    if limit <= 0:
        return np.where(np.isnan(poa_global), np.nan, 0.0)
    # pvlib's inverter is given as DC input at the limit, and clips there.
    ac = pvlib.inverter.pvwatts(np.maximum(dc, 0.0), limit / _INVERTER_EFFICIENCY)
    clipped: np.ndarray = np.clip(ac * array.scale, 0.0, limit)
    return clipped


def power(
    array: PvArray,
    *,
    lat: float,
    lon: float,
    ghi: xr.DataArray,
    temp_air: xr.DataArray,
    wind_speed: xr.DataArray | None = None,
    resolution: timedelta | None = None,
) -> xr.DataArray:
    """AC power (time,), mean MW of each interval, positive produced.

    ghi (W/m2), temp_air (degC) and wind_speed (m/s, 1 without): (time,) means of the same
    intervals. NaN where ghi or the temperature is missing by day; exactly 0 at night.
    resolution: length of the intervals, by default the step of a regular time axis.
    """
    times = ghi.time.to_numpy()
    position = solar_position(lat, lon, times, resolution or resolution_of(times))
    wind: np.ndarray | float = 1.0
    if wind_speed is not None:
        wind = np.nan_to_num(wind_speed.reindex(time=times).to_numpy(), nan=1.0)
    values = _power(array, ghi.to_numpy(), temp_air.reindex(time=times).to_numpy(), wind, position)
    return xr.DataArray(values, dims="time", coords={"time": times}, attrs={"units": "MW"})


def _power(
    array: PvArray,
    ghi: np.ndarray,
    temp_air: np.ndarray,
    wind_speed: np.ndarray | float,
    position: pd.DataFrame,
) -> np.ndarray:
    ghi = np.maximum(ghi, 0.0)
    poa = plane_irradiance(array, ghi, position)
    ac = ac_power(array, poa, temp_air, wind_speed)
    dark = (position.apparent_zenith.to_numpy() >= 90.0) | (ghi == 0.0)
    return np.where(dark, 0.0, ac)


def fit_scale(modelled_mw: xr.DataArray, measured_mw: xr.DataArray, pdc0_mw: float) -> float:
    """Measured over modelled power by least squares through 0; 1 with too little to go by.

    Counts intervals in which both are known and the model is above 5 % of pdc0;
    MINIMUM_SAMPLES are needed. Curtailed power would lower it: leave such intervals out.
    """
    model, measured = (a.to_numpy() for a in xr.align(modelled_mw, measured_mw, join="inner"))
    usable = np.isfinite(model) & np.isfinite(measured) & (model > _MINIMUM_SHARE * pdc0_mw)
    if usable.sum() < MINIMUM_SAMPLES:
        return 1.0
    x, y = model[usable], measured[usable]
    scale = float(x @ y / (x @ x))
    return scale if scale > 0 else 1.0


def fit_array(
    array: PvArray,
    *,
    lat: float,
    lon: float,
    ghi: xr.DataArray,
    temp_air: xr.DataArray,
    p_mw: xr.DataArray,
    resolution: timedelta | None = None,
) -> PvArray:
    """``array`` with its scale fitted to measured power (time,); see ``fit_scale``."""
    plain = replace(array, scale=1.0)
    modelled = power(plain, lat=lat, lon=lon, ghi=ghi, temp_air=temp_air, resolution=resolution)
    return replace(array, scale=fit_scale(modelled, p_mw, array.pdc0_mw))


def weather(
    lat: float,
    lon: float,
    times: np.ndarray,
    ghi_history: xr.DataArray,
    temp_history: xr.DataArray,
    *,
    known_at: datetime,
    quantiles: Sequence[float] = QUANTILES,
    history_days: float = HISTORY_DAYS,
) -> xr.Dataset:
    """Forecast of the sky: ghi (time, quantile) in W/m2, temp_air (time,) in degC.

    times: (n,) regular datetime64. The histories are (time,) means of intervals of that length.
    One forecast serves all arrays under the same sky.
    """
    resolution, ordered = resolution_of(times), sorted(quantiles)
    sky = clear_sky_ghi(solar_position(lat, lon, times, resolution))
    index = _index_quantiles(
        _past_index(lat, lon, ghi_history, known_at, resolution, history_days),
        times,
        lead_of(times, known_at, resolution),
        ordered,
    )
    temp = known(temp_history, known_at, resolution=resolution, days=history_days)
    usual = usual_quantiles(temp.to_numpy(), temp.time.to_numpy(), times, [0.5])
    usual = np.where(np.isfinite(usual), usual, DEFAULT_TEMPERATURE_DEGC)
    lead = lead_of(times, known_at, resolution)
    temp_air = blend(usual, usual[:, 0], recent_mean(temp), lead, TEMPERATURE_DECAY)[:, 0]
    return xr.Dataset(
        {
            "ghi": (("time", "quantile"), index * sky[:, np.newaxis], {"units": "W/m2"}),
            "temp_air": (("time",), temp_air, {"units": "degC"}),
        },
        coords={"time": times, "quantile": list(ordered)},
    )


def _past_index(
    lat: float,
    lon: float,
    ghi_history: xr.DataArray,
    known_at: datetime,
    resolution: timedelta,
    history_days: float,
) -> xr.DataArray:
    """Clear-sky index of the known past, NaN in the dark; its ``time`` is regular."""
    past = known(ghi_history, known_at, resolution=resolution, days=history_days)
    if not past.sizes["time"]:
        return past
    position = solar_position(lat, lon, past.time.to_numpy(), resolution)
    light = (position.apparent_zenith < DAYLIGHT_ZENITH_DEGREE).to_numpy()
    sky = np.where(light, clear_sky_ghi(position), np.nan)
    return (past / sky).clip(0.0, MAXIMUM_INDEX)


def _index_quantiles(
    past: xr.DataArray, times: np.ndarray, lead: np.ndarray, quantiles: Sequence[float]
) -> np.ndarray:
    levels = [*quantiles, 0.5]
    usual = usual_quantiles(past.to_numpy(), past.time.to_numpy(), times, levels)
    # At the edges of the day, where the index means nothing, that of the whole day stands in.
    all_day = usual_quantiles(
        past.to_numpy(), past.time.to_numpy(), times[:1], levels, window=24 * HOUR
    )
    usual = np.where(np.isfinite(usual), usual, all_day)
    low, high = WITHOUT_HISTORY
    usual = np.where(np.isfinite(usual), usual, low + (high - low) * np.array(levels))
    mixed = blend(usual[:, :-1], usual[:, -1], recent_mean(past), lead, DECAY)
    index: np.ndarray = np.clip(mixed, 0.0, MAXIMUM_INDEX)
    return index


def from_weather(
    array: PvArray, lat: float, lon: float, sky: xr.Dataset, *, resolution: timedelta | None = None
) -> xr.DataArray:
    """Power (time, quantile), MW, positive produced, under a forecast sky (see ``weather``)."""
    times = sky.time.to_numpy()
    position = solar_position(lat, lon, times, resolution or resolution_of(times))
    ghi, temp_air = sky.ghi.transpose("time", "quantile").to_numpy(), sky.temp_air.to_numpy()
    columns = [_power(array, column, temp_air, 1.0, position) for column in ghi.T]
    return xr.DataArray(
        np.sort(np.stack(columns, axis=1), axis=1),
        dims=("time", "quantile"),
        coords={"time": times, "quantile": sky["quantile"].to_numpy()},
        attrs={"units": "MW"},
    )


def forecast(
    asset_parameters: Mapping[str, Any],
    lat: float,
    lon: float,
    times: np.ndarray,
    ghi_history: xr.DataArray,
    temp_history: xr.DataArray,
    known_at: datetime,
    quantiles: Sequence[float] = QUANTILES,
    *,
    p_history: xr.DataArray | None = None,
    sky: xr.Dataset | None = None,
) -> xr.DataArray:
    """PV forecast (time, quantile), mean MW, positive produced; quantiles never cross.

    times: (n,) regular datetime64, intervals forecast. Histories: (time,) ghi (W/m2), temp_air
    (degC) and p_mw of the plant, means of intervals of the same length; what is not known at
    ``known_at`` is not looked at. With enough of ``p_history`` the array is calibrated first.
    sky: a forecast by ``weather`` to use, where several arrays share one.
    """
    array = PvArray.from_parameters(asset_parameters)
    resolution = resolution_of(times)
    if p_history is not None:
        past = [
            known(h, known_at, resolution=resolution, days=HISTORY_DAYS)
            for h in (ghi_history, temp_history, p_history)
        ]
        if past[0].sizes["time"]:
            array = fit_array(
                array,
                lat=lat,
                lon=lon,
                ghi=past[0],
                temp_air=past[1],
                p_mw=past[2],
                resolution=resolution,
            )
    if sky is None:
        sky = weather(
            lat, lon, times, ghi_history, temp_history, known_at=known_at, quantiles=quantiles
        )
    return from_weather(array, lat, lon, sky, resolution=resolution)
