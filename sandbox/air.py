"""The air over the city: stations, sources, and what comes with the wind from elsewhere.

A concentration is the regional background, which passes in days and makes the episodes, plus
the plumes of the city's own sources. Ozone lives by sun and warmth and is eaten by fresh
exhaust. Everything is a pure function of city time and weather.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sandbox import citytime, names, noise, plume
from sandbox.weather import Climate

POLLUTANTS = ("pm2_5", "pm10", "so2", "no2", "o3", "co")
"""µg/m3, co in mg/m3."""

INTERVAL_S = 300
PER_QUARTER = citytime.QUARTER_S // INTERVAL_S


@dataclass(frozen=True)
class Station:
    """An air station. x_m is metres east, y_m metres north of the city's middle."""

    name_en: str
    name_zh: str
    surroundings: str
    x_m: float
    y_m: float


_PLACES = (
    (0.0, 200.0),
    (300.0, 2600.0),
    (-1400.0, 900.0),
    (2700.0, -600.0),
    (3600.0, -1900.0),
    (-2200.0, 2300.0),
    (1300.0, -1500.0),
    (-300.0, -2800.0),
    (-3900.0, -400.0),
    (700.0, 700.0),
    (4300.0, 1800.0),
    (-3300.0, -3600.0),
)

STATIONS = tuple(
    Station(*words, *place) for words, place in zip(names.STATIONS, _PLACES, strict=True)
)

_METRES_PER_DEGREE = 111_320.0


def position(station: Station, lat: float, lon: float) -> tuple[float, float]:
    """Latitude and longitude of ``station`` when the city's middle lies at lat, lon."""
    east = station.x_m / (_METRES_PER_DEGREE * math.cos(math.radians(lat)))
    return round(lat + station.y_m / _METRES_PER_DEGREE, 5), round(lon + east, 5)


@dataclass(frozen=True)
class Source:
    """A source of pollution; emissions in g/s when its rhythm is 1."""

    x_m: float
    y_m: float
    height_m: float
    spread_m: float
    rhythm: str
    g_per_s: dict[str, float]


_PLANT = {"pm2_5": 1.4, "pm10": 2.2, "so2": 9.0, "no2": 9.0, "co": 12.0}
_KILN = {"pm2_5": 0.9, "pm10": 2.0, "so2": 1.6, "no2": 1.5, "co": 7.0}
_ROAD = {"pm2_5": 0.09, "pm10": 0.30, "so2": 0.008, "no2": 0.75, "co": 6.0}
"""A piece stands for the street and those beside it."""
_HOMES = {"pm2_5": 0.50, "pm10": 0.70, "so2": 0.30, "no2": 0.60, "co": 5.0}
_STREETS = {"pm2_5": 0.5, "pm10": 1.7, "so2": 0.05, "no2": 5.0, "co": 40.0}
"""The small streets of a quarter, as one wide source."""


def _road(x0: float, y0: float, x1: float, y1: float, pieces: int = 12) -> list[Source]:
    """A road as a row of small sources."""
    return [
        Source(x0 + (x1 - x0) * f, y0 + (y1 - y0) * f, 1.0, 60.0, "traffic", _ROAD)
        for f in np.linspace(0.0, 1.0, pieces)
    ]


SOURCES = (
    Source(1800.0, -300.0, 80.0, 0.0, "steady", _PLANT),
    Source(3000.0, -1600.0, 30.0, 0.0, "shift", _KILN),
    Source(3300.0, -2300.0, 25.0, 0.0, "shift", _KILN),
    *_road(-4000.0, 300.0, 4500.0, 1700.0),
    *_road(300.0, -3200.0, 200.0, 3200.0),
    *(
        Source(x, y, 2.0, 600.0, "traffic", _STREETS)
        for x, y in ((-1200.0, 1300.0), (900.0, 1100.0), (700.0, -1200.0), (-1000.0, -1100.0))
    ),
    Source(-600.0, 500.0, 10.0, 500.0, "homes", _HOMES),
    Source(900.0, -900.0, 10.0, 500.0, "homes", _HOMES),
)

_BACKGROUND = {"pm2_5": 17.0, "pm10": 36.0, "so2": 6.0, "no2": 9.0, "co": 0.35}
_EPISODE = {"pm2_5": 0.62, "pm10": 0.52, "so2": 0.30, "no2": 0.25, "co": 0.30}
"""How strongly each pollutant swings with the regional air (standard deviation of its log)."""


class AirModel:
    """The concentrations at the stations, from the weather of a Climate."""

    def __init__(self, climate: Climate, seed: int) -> None:
        self._climate = climate
        self._seed = seed
        self._receptors = plume.Points(
            np.array([s.x_m for s in STATIONS]),
            np.array([s.y_m for s in STATIONS]),
            np.full(len(STATIONS), 3.0),
            np.zeros(len(STATIONS)),
        )
        self._sources = plume.Points(
            np.array([s.x_m for s in SOURCES]),
            np.array([s.y_m for s in SOURCES]),
            np.array([s.height_m for s in SOURCES]),
            np.array([s.spread_m for s in SOURCES]),
        )

    def at(self, quarters: np.ndarray) -> dict[str, np.ndarray]:
        """Five-minute means of each pollutant, shape (3 n, stations), for n quarter-hours."""
        weather = self._climate.at(quarters)
        ts_s = (
            citytime.seconds(quarters)[:, None] + INTERVAL_S * np.arange(PER_QUARTER)[None, :]
        ).ravel()
        speed, direction, ghi, temp_air = (
            np.repeat(v, PER_QUARTER)
            for v in (weather.wind_speed, weather.wind_direction, weather.ghi, weather.temp_air)
        )
        swaying = direction + 8.0 * noise.smooth(self._seed, noise.stream("sway"), ts_s, 1200.0)
        reach = plume.dispersion(
            self._receptors, self._sources, speed, swaying, plume.stability(speed, ghi)
        )
        local = _local(reach, ts_s)
        regional = _regional(self._seed, ts_s, speed)
        ozone = _ozone(self._seed, ts_s, ghi, temp_air, local["no2"])
        result = {}
        for pollutant in POLLUTANTS:
            levels = ozone if pollutant == "o3" else regional[pollutant][:, None] + local[pollutant]
            result[pollutant] = levels * self._instrument(pollutant, ts_s)
        return result

    def _instrument(self, pollutant: str, ts_s: np.ndarray) -> np.ndarray:
        """What stations add of their own: a factor near 1, shape (n, stations)."""
        sources = np.array([noise.stream("air", pollutant, i) for i in range(len(STATIONS))])
        own = noise.smooth(self._seed, sources[None, :], ts_s[:, None], 600.0)
        return np.exp(0.05 * own)


def _local(reach: np.ndarray, ts_s: np.ndarray) -> dict[str, np.ndarray]:
    """What the city's sources add, shape (n, stations); µg/m3, co in mg/m3."""
    rhythms = _rhythms(ts_s)
    active = np.stack([rhythms[s.rhythm] for s in SOURCES], axis=1)
    added = {}
    for pollutant in _BACKGROUND:
        rate = np.array([s.g_per_s[pollutant] for s in SOURCES])
        grams = np.einsum("nrs,ns->nr", reach, active * rate)
        added[pollutant] = grams * (1e3 if pollutant == "co" else 1e6)
    return added


def _rhythms(ts_s: np.ndarray) -> dict[str, np.ndarray]:
    """How active each kind of source is, around 1 at its busiest."""
    hour = citytime.local_hours(ts_s)
    weekday = (np.floor(ts_s / 86_400.0 + 8.0 / 24.0).astype(np.int64) + 3) % 7  # 0 is Monday
    weekend = weekday >= 5

    def bump(centre: float, width: float) -> np.ndarray:
        away = (hour - centre + 12.0) % 24.0 - 12.0
        return np.asarray(np.exp(-0.5 * (away / width) ** 2))

    rush = 0.12 + 0.85 * bump(8.0, 1.3) + 0.45 * bump(13.0, 3.0) + 0.9 * bump(18.2, 1.6)
    return {
        "steady": np.ones_like(hour),
        "shift": np.where(weekend, 0.3, 0.35 + 0.65 * ((hour >= 7.0) & (hour < 22.0))),
        "traffic": np.where(weekend, 0.7, 1.0) * rush,
        "homes": 0.15 + 0.5 * bump(7.0, 1.0) + 0.4 * bump(12.0, 1.0) + 0.9 * bump(19.0, 1.8),
    }


def _regional(seed: int, ts_s: np.ndarray, speed: np.ndarray) -> dict[str, np.ndarray]:
    """The background, shape (n,): air masses of some days, thinned by a strong wind."""
    mass = noise.smooth(seed, noise.stream("air mass"), ts_s, 2.5 * 86_400.0)
    haze = noise.smooth(seed, noise.stream("haze"), ts_s, 9 * 3600.0)
    dust = noise.smooth(seed, noise.stream("dust"), ts_s, 30 * 3600.0)
    thin = (3.5 / np.maximum(speed, 1.5)) ** 0.25
    result = {}
    for pollutant, level in _BACKGROUND.items():
        swing = 0.9 * mass + 0.45 * haze
        if pollutant == "pm10":
            swing = 0.75 * mass + 0.3 * haze + 0.6 * np.maximum(dust - 0.8, 0.0)
        result[pollutant] = level * thin * np.exp(_EPISODE[pollutant] * swing)
    # Coarse dust lies on top of the fine one, never below it.
    result["pm10"] = np.maximum(result["pm10"], 1.25 * result["pm2_5"])
    return result


def _ozone(
    seed: int, ts_s: np.ndarray, ghi: np.ndarray, temp_air: np.ndarray, fresh_no2: np.ndarray
) -> np.ndarray:
    """Ozone, µg/m3, shape (n, stations): a pool that the sun fills and fresh NO empties."""
    hour = citytime.local_hours(ts_s)
    noon = np.exp(-0.5 * ((hour - 15.0) / 3.8) ** 2)  # the pool is fullest after the sun
    warm = np.clip((temp_air - 5.0) / 20.0, 0.0, 1.8)
    stagnant = np.exp(0.28 * noise.smooth(seed, noise.stream("ozone"), ts_s, 2 * 86_400.0))
    made = stagnant * (78.0 * noon * warm + 0.035 * ghi)
    pool = 42.0 + made
    return np.maximum(pool[:, None] - 0.75 * fresh_no2, 4.0)
