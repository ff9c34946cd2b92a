"""The weather that belongs to the city's year: sun from its PV profiles, wind from its wind's.

Irradiance and wind speed are inferred from what the plants of the SimBench year produced, so
that a forecast from weather to power meets the world it was made in. Temperature and wind
direction are invented, as smooth functions of time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from sandbox import citytime, noise, solar
from sandbox.materials import Elements, Materials

_WINDOW_DAYS = 31
_CLEAR_PERCENTILE = 95.0
_LOW_SUN = 0.12
"""Cosine of the zenith angle below which the PV profile says too little about the sky."""

CUT_IN_M_PER_S, RATED_M_PER_S = 3.0, 12.0
_HUB_TO_10_M = (10.0 / 100.0) ** 0.143
"""Power law of the wind profile with the neutral exponent 1/7, hub at 100 m."""


@dataclass(frozen=True)
class Weather:
    """Means of quarter-hours, all of shape (n,).

    ghi in W/m2, temp_air in degC, wind_speed in m/s at 10 m, wind_direction in degrees where
    the wind comes from, 0 to 360.
    """

    ghi: np.ndarray
    temp_air: np.ndarray
    wind_speed: np.ndarray
    wind_direction: np.ndarray


class Climate:
    """The year's sky and wind, inferred once from the profiles; ``at`` is then quick."""

    def __init__(self, source: Materials, seed: int) -> None:
        self._seed = seed
        self.lat, self.lon = source.lat, source.lon
        self._clearness = _clearness(source)
        self._wind_pu = _fleet(source, source.sgens.kind == "Wind_MV")

    def at(self, quarters: np.ndarray) -> Weather:
        """The weather of the city's quarter-hours ``quarters``, shape (n,)."""
        ts_s = citytime.seconds(quarters)
        rows = citytime.profile_rows(quarters)
        clearness = self._clearness[rows]
        middle_s = ts_s + citytime.QUARTER_S / 2
        clear = solar.clear_sky_ghi(solar.cos_zenith(middle_s, self.lat, self.lon))
        return Weather(
            ghi=clear * clearness,
            temp_air=_temperature(self._seed, ts_s, clearness),
            wind_speed=_wind_speed(self._seed, ts_s, self._wind_pu[rows]),
            wind_direction=_wind_direction(self._seed, ts_s),
        )


def _fleet(source: Materials, chosen: np.ndarray) -> np.ndarray:
    """Mean output of the chosen sgens over the year, per unit of what they are rated."""
    sgens: Elements = source.sgens
    rated = sgens.p_mw[chosen]
    profiles = source.profiles[:, sgens.p_column[chosen]].astype(np.float64)
    return np.asarray(np.clip(profiles @ rated / rated.sum(), 0.0, 1.0))


def _clearness(source: Materials) -> np.ndarray:
    """The clear-sky index of each row of the year, about 0.05 to 1.1, defined also at night.

    What a clear sky would have given at a time of day is taken from the best days of the
    month around it; so neither the tilt nor the direction of the panels has to be known.
    """
    pv = _fleet(source, np.isin(source.sgens.kind, ("PV_MV", "lv_RES")))
    by_day = pv.reshape(-1, citytime.STEPS_PER_DAY)
    clear = ndimage.percentile_filter(
        by_day, _CLEAR_PERCENTILE, size=(_WINDOW_DAYS, 1), mode="wrap"
    )
    clear = ndimage.uniform_filter(clear, size=(9, 3), mode=("wrap", "nearest")).ravel()
    rows = np.arange(pv.size)
    quarters = rows - citytime.profile_rows(np.array([0]))[0]
    cosine = solar.cos_zenith(
        citytime.seconds(quarters) + citytime.QUARTER_S / 2, source.lat, source.lon
    )
    told = (cosine > _LOW_SUN) & (clear > 0.02)
    index = np.clip(pv[told] / clear[told], 0.05, 1.1)
    return np.asarray(np.interp(rows, rows[told], index, period=pv.size))


def _temperature(seed: int, ts_s: np.ndarray, clearness: np.ndarray) -> np.ndarray:
    """Air temperature in degC: season, hour of the day (stronger under a clear sky), weather."""
    year = 2.0 * np.pi * (ts_s / 86_400.0 / 365.2425 - 0.55)  # warmest in the third week of July
    day = 2.0 * np.pi * (citytime.local_hours(ts_s) - 15.0) / 24.0
    swing = 2.0 + 4.0 * np.clip(clearness, 0.0, 1.0)
    passing = 3.0 * noise.smooth(seed, noise.stream("temperature"), ts_s, 3.5 * 86_400.0)
    result: np.ndarray = 8.0 + 12.0 * np.cos(year) + swing * np.cos(day) + passing
    return result


def _wind_speed(seed: int, ts_s: np.ndarray, output_pu: np.ndarray) -> np.ndarray:
    """Wind speed at 10 m, m/s: the cubic power curve of a turbine, read backwards.

    Below cut-in the turbines stand still and say nothing, so chance speaks there.
    """
    calm = np.exp(noise.smooth(seed, noise.stream("calm"), ts_s, 4 * 3600.0) - 1.0)
    still = CUT_IN_M_PER_S**3 * np.clip(calm, 0.03, 1.0)
    hub = np.cbrt(still + output_pu * (RATED_M_PER_S**3 - CUT_IN_M_PER_S**3))
    return np.asarray(hub * _HUB_TO_10_M)


def _wind_direction(seed: int, ts_s: np.ndarray) -> np.ndarray:
    """Where the wind comes from, degrees: mostly west-south-west, turning over days."""
    slow = 65.0 * noise.smooth(seed, noise.stream("front"), ts_s, 1.5 * 86_400.0)
    quick = 12.0 * noise.smooth(seed, noise.stream("veer"), ts_s, 3 * 3600.0)
    return np.asarray((245.0 + slow + quick) % 360.0)
