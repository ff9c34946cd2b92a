"""The air stations of the city and the sources they stand among."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sandbox import names


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
