"""A Gaussian plume: what a source upwind adds to the air at a place.

Dispersion: Briggs' urban formulas (Briggs, ATDL Contribution 79, 1973, as printed in Hanna,
Briggs, Hosker, Handbook on Atmospheric Diffusion, DOE/TIC-11223, 1982, table 4.5). Stability:
Pasquill's classes by wind, sun and night (Turner, Workbook of Atmospheric Dispersion
Estimates, 1970, table 3-1), in the four groups that Briggs' urban formulas know.

Arrays: time n, receptors r, sources s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AB, C, D, EF = range(4)
"""Stability groups: very unstable to stable."""

MIN_WIND_M_PER_S = 0.8
"""A plume needs a wind; below this the formula would divide by a calm."""

_SIGMA_Y = np.array([0.32, 0.22, 0.16, 0.11])
_SIGMA_Y_BEND = 0.0004
_SIGMA_Z = np.array([0.24, 0.20, 0.14, 0.08])
_SIGMA_Z_BEND = np.array([0.001, 0.0, 0.0003, 0.0015])
_SIGMA_Z_POWER = np.array([0.5, 0.0, -0.5, -0.5])

_WIND_EDGES = np.array([2.0, 3.0, 5.0, 6.0])
_BY_SUN = np.array(
    [  # wind below 2, 3, 5, 6 m/s, and above
        [AB, C, C, D, D],  # slight sun
        [AB, AB, C, D, D],  # moderate
        [AB, AB, AB, C, C],  # strong
        [EF, EF, D, D, D],  # night
    ]
)


@dataclass(frozen=True)
class Points:
    """Places or sources: metres east and north of the middle, and above ground, shape (k,).

    spread_m: the size a source already has where it begins, for roads and areas; 0 for stacks.
    """

    x_m: np.ndarray
    y_m: np.ndarray
    height_m: np.ndarray
    spread_m: np.ndarray


def stability(wind_speed: np.ndarray, ghi: np.ndarray) -> np.ndarray:
    """The stability group of each moment, shape (n,), from wind (m/s, 10 m) and sun (W/m2)."""
    by_wind = np.searchsorted(_WIND_EDGES, wind_speed, side="right")
    by_sun = np.select([ghi <= 10.0, ghi < 300.0, ghi < 600.0], [3, 0, 1], default=2)
    group: np.ndarray = _BY_SUN[by_sun, by_wind]
    return group


def sigma_y(distance_m: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Crosswind spread in metres at ``distance_m`` downwind."""
    result: np.ndarray = _SIGMA_Y[group] * distance_m / np.sqrt(1.0 + _SIGMA_Y_BEND * distance_m)
    return result


def sigma_z(distance_m: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Vertical spread in metres at ``distance_m`` downwind."""
    bend = (1.0 + _SIGMA_Z_BEND[group] * distance_m) ** _SIGMA_Z_POWER[group]
    result: np.ndarray = _SIGMA_Z[group] * distance_m * bend
    return result


def dispersion(
    receptors: Points,
    sources: Points,
    wind_speed: np.ndarray,
    wind_direction: np.ndarray,
    group: np.ndarray,
) -> np.ndarray:
    """Concentration per emission, s/m3, shape (n, r, s): multiply g/s by it to get g/m3.

    wind_direction: degrees the wind comes from. The ground reflects, no lid on top; nothing
    upwind of a source.
    """
    toward = np.radians(wind_direction + 180.0)[:, None, None]
    east = receptors.x_m[:, None] - sources.x_m[None, :]
    north = receptors.y_m[:, None] - sources.y_m[None, :]
    along = east * np.sin(toward) + north * np.cos(toward)
    across = east * np.cos(toward) - north * np.sin(toward)
    reached = np.maximum(along, 1.0)
    groups = np.broadcast_to(group[:, None, None], along.shape)
    spread_y = np.hypot(sigma_y(reached, groups), sources.spread_m)
    spread_z = np.hypot(sigma_z(reached, groups), 0.3 * sources.spread_m)
    up = receptors.height_m[:, None] - sources.height_m[None, :]
    mirrored = receptors.height_m[:, None] + sources.height_m[None, :]
    vertical = np.exp(-0.5 * (up / spread_z) ** 2) + np.exp(-0.5 * (mirrored / spread_z) ** 2)
    speed = np.maximum(wind_speed, MIN_WIND_M_PER_S)[:, None, None]
    shape = np.exp(-0.5 * (across / spread_y) ** 2) * vertical
    result = shape / (2.0 * np.pi * speed * spread_y * spread_z)
    return np.where(along > 0.0, result, 0.0)
