"""What the sandbox's HJ 212 station measures: air, noise and weather, as a function of time.

A street station's day: traffic at eight and at six, ozone with the sun, noise by the hour, and the
regional air that changes over days. Five minutes are the finest; an hour and a day are their means.
Nothing here is measured anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox import noise
from sandbox.citytime import local_hours

FIVE_MINUTES_S = 300
CALIBRATED_HOUR = 1.75
"""Local time at which the gas analysers calibrate themselves for five minutes: mark C."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor of HJ 212-2017, annex B: its field on the wire, our variable, the unit it sends.

    The annex prints ng/m3 for particles; stations send µg/m3, as this one does.
    """

    code: str
    field: str
    variable: str
    unit: str
    decimals: int
    gas: bool = False


FACTORS = (
    Factor("a34004", "Avg", "pm2_5", "µg/m3", 1),
    Factor("a34002", "Avg", "pm10", "µg/m3", 1),
    Factor("a21026", "Avg", "so2", "µg/m3", 1, gas=True),
    Factor("a21004", "Avg", "no2", "µg/m3", 1, gas=True),
    Factor("a05024", "Avg", "o3", "µg/m3", 1, gas=True),
    Factor("a21005", "Avg", "co", "mg/m3", 3, gas=True),
    Factor("Leq", "Data", "laeq", "dB(A)", 1),
    Factor("a01001", "Avg", "temp_air", "degC", 1),
    Factor("a01002", "Avg", "relative_humidity", "%", 1),
    Factor("a01006", "Avg", "pressure", "kPa", 3),
    Factor("a01007", "Avg", "wind_speed", "m/s", 1),
    Factor("a01008", "Avg", "wind_direction", "deg", 0),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of one factor, in the factor's unit, with the letter that marks it."""

    factor: Factor
    average: float
    minimum: float
    maximum: float
    mark: str


def measure(seed: int, begin_s: int, length_s: int) -> list[Measured]:
    """All factors over [begin_s, begin_s + length_s), seconds since 1970-01-01 UTC.

    length_s: a whole number of five minutes.
    """
    ts_s = np.arange(begin_s, begin_s + length_s, FIVE_MINUTES_S)
    calibrating = np.abs(local_hours(ts_s) - CALIBRATED_HOUR) < 0.01
    levels = _levels(seed, ts_s)
    found = []
    for factor in FACTORS:
        level = levels[factor.variable]
        marked = factor.gas and bool(calibrating.all())
        spread = 0.04 * level + 0.05
        found.append(
            Measured(
                factor,
                float(_mean(factor, level)),
                float(np.min(level - spread)),
                float(np.max(level + spread)),
                "C" if marked else "N",
            )
        )
    return found


def _mean(factor: Factor, level: np.ndarray) -> np.float64:
    """Sound adds up by its energy, a direction turns; the rest is an arithmetic mean."""
    if factor.variable == "laeq":
        return np.float64(10.0 * np.log10(np.mean(10.0 ** (level / 10.0))))
    if factor.variable == "wind_direction":
        angle = np.angle(np.mean(np.exp(1j * np.deg2rad(level))))
        return np.float64(np.rad2deg(angle) % 360.0)
    return np.float64(level.mean())


def _levels(seed: int, ts_s: np.ndarray) -> dict[str, np.ndarray]:
    hour = local_hours(ts_s)

    def near(centre: float, width: float) -> np.ndarray:
        away = (hour - centre + 12.0) % 24.0 - 12.0
        return np.asarray(np.exp(-0.5 * (away / width) ** 2))

    def chance(name: str, period_s: float) -> np.ndarray:
        return noise.smooth(seed, noise.stream("hj212", name), ts_s, period_s)

    traffic = 0.15 + near(8.0, 1.5) + near(18.0, 1.8) + 0.4 * near(13.0, 3.0)
    sun = np.clip(np.cos((hour - 12.5) / 12.0 * np.pi), 0.0, None)
    regional = np.exp(0.4 * chance("regional", 2.0 * 86_400.0))
    wind_speed = 0.4 + 2.6 * np.exp(0.5 * chance("wind", 3 * 3600.0)) * (0.6 + 0.4 * sun)
    fresh = traffic / wind_speed * np.exp(0.15 * chance("fresh", 900.0))
    pm2_5 = 22.0 * regional + 14.0 * fresh
    temp_air = 22.0 + 5.0 * np.cos((hour - 15.0) / 12.0 * np.pi) + 2.0 * chance("warm", 2e5)
    return {
        "pm2_5": pm2_5,
        "pm10": 1.6 * pm2_5 + 18.0 * fresh + 4.0,
        "so2": 6.0 * regional + 1.0 * fresh,
        "no2": 11.0 * regional + 38.0 * fresh,
        "o3": 40.0 + 95.0 * sun * np.exp(0.2 * chance("photo", 86_400.0)) - 6.0 * fresh,
        "co": 0.35 * regional + 0.5 * fresh,
        "laeq": 52.0 + 9.0 * traffic + 1.2 * chance("loud", 600.0),
        "temp_air": temp_air,
        "relative_humidity": np.clip(64.0 - 2.4 * (temp_air - 22.0), 15.0, 99.0),
        "pressure": 95.2 + 0.4 * chance("pressure", 2.5e5),
        "wind_speed": wind_speed,
        "wind_direction": (245.0 + 60.0 * chance("front", 1.3e5)) % 360.0,
    }
