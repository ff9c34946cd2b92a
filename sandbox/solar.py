"""Where the sun stands, and what it gives through a clear sky."""

from __future__ import annotations

import numpy as np

_DAY_S = 86_400.0
_J2000_DAY = 10_957.5
"""2000-01-01 12:00 UTC, in days since 1970-01-01."""


def cos_zenith(ts_s: np.ndarray, lat: float, lon: float) -> np.ndarray:
    """Cosine of the sun's zenith angle at ``ts_s`` (seconds since 1970-01-01 UTC).

    The almanac's short formulas as given by Michalsky, Solar Energy 40 (1988) 227: 0.01 degrees
    from 1950 to 2050. Refraction is left out. Negative at night.
    """
    days = np.asarray(ts_s, dtype=np.float64) / _DAY_S
    n = days - _J2000_DAY
    mean_longitude = 280.460 + 0.9856474 * n
    anomaly = np.radians(357.528 + 0.9856003 * n)
    ecliptic = np.radians(mean_longitude + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    obliquity = np.radians(23.439 - 4e-7 * n)
    right_ascension = np.arctan2(np.cos(obliquity) * np.sin(ecliptic), np.cos(ecliptic))
    declination = np.arcsin(np.sin(obliquity) * np.sin(ecliptic))
    sidereal_hour = 6.697375 + 0.0657098242 * n + (days % 1.0) * 24.0
    hour_angle = np.radians(15.0 * sidereal_hour + lon) - right_ascension
    phi = np.radians(lat)
    above = np.sin(phi) * np.sin(declination)
    swing = np.cos(phi) * np.cos(declination) * np.cos(hour_angle)
    return np.asarray(above + swing)


def clear_sky_ghi(cosine: np.ndarray) -> np.ndarray:
    """Global horizontal irradiance of a clear sky, W/m2, from the cosine of the zenith angle.

    Haurwitz, Journal of Meteorology 2 (1945) 154, as compared in Reno, Hansen, Stein,
    SAND2012-2389, where it is the best of the models that need the zenith angle alone.
    """
    up = np.maximum(np.asarray(cosine, dtype=np.float64), 1e-3)
    ghi: np.ndarray = np.where(cosine > 0.0, 1098.0 * up * np.exp(-0.059 / up), 0.0)
    return ghi
