"""Where the sun stands, and what it gives through a clear sky."""

from __future__ import annotations

import numpy as np

_DAY_S = 86_400.0


def cos_zenith(ts_s: np.ndarray, lat: float, lon: float) -> np.ndarray:
    """Cosine of the sun's zenith angle at ``ts_s`` (seconds since 1970-01-01 UTC).

    Declination and equation of time are Spencer's Fourier series (Search 2 (1971) 172; also
    Iqbal, An Introduction to Solar Radiation, 1983, eq. 1.3.1 and 1.4.1). Within 0.3 degrees
    of an almanac; refraction is left out. Negative at night.
    """
    days = np.asarray(ts_s, dtype=np.float64) / _DAY_S
    year_start = days.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]")
    day_angle = 2.0 * np.pi * (np.floor(days) - year_start.astype(np.float64)) / 365.25
    declination = (
        0.006918
        - 0.399912 * np.cos(day_angle)
        + 0.070257 * np.sin(day_angle)
        - 0.006758 * np.cos(2 * day_angle)
        + 0.000907 * np.sin(2 * day_angle)
        - 0.002697 * np.cos(3 * day_angle)
        + 0.001480 * np.sin(3 * day_angle)
    )
    equation_min = 229.18 * (
        0.000075
        + 0.001868 * np.cos(day_angle)
        - 0.032077 * np.sin(day_angle)
        - 0.014615 * np.cos(2 * day_angle)
        - 0.040849 * np.sin(2 * day_angle)
    )
    solar_hour = (days % 1.0) * 24.0 + lon / 15.0 + equation_min / 60.0
    hour_angle = np.radians(15.0 * (solar_hour - 12.0))
    phi = np.radians(lat)
    result: np.ndarray = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(
        declination
    ) * np.cos(hour_angle)
    return result


def clear_sky_ghi(cosine: np.ndarray) -> np.ndarray:
    """Global horizontal irradiance of a clear sky, W/m2, from the cosine of the zenith angle.

    Haurwitz, Journal of Meteorology 2 (1945) 154, as compared in Reno, Hansen, Stein,
    SAND2012-2389, where it is the best of the models that need the zenith angle alone.
    """
    up = np.maximum(np.asarray(cosine, dtype=np.float64), 1e-3)
    ghi: np.ndarray = np.where(cosine > 0.0, 1098.0 * up * np.exp(-0.057 / up), 0.0)
    return ghi
