"""Chance as a pure function of time: a city that is asked twice, or restarted, says the same.

A generator with a state would make the world depend on who asked first. Here every moment's
chance is a hash of (seed, stream, knot), and between knots it is interpolated.
"""

from __future__ import annotations

import zlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream(*names: object) -> int:
    """A number for a named source of chance, the same in every process."""
    return zlib.crc32("/".join(str(name) for name in names).encode())


def _mix(value: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), on uint64."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return np.asarray(value ^ (value >> np.uint64(31)))


def uniform(seed: int, source: int | np.ndarray, knot: np.ndarray) -> np.ndarray:
    """Numbers in (0, 1) for the integer knots; source and knot broadcast."""
    key = np.asarray(source, dtype=np.uint64) ^ (np.uint64(seed) << np.uint64(32))
    knots = np.asarray(knot, dtype=np.int64).view(np.uint64)
    with np.errstate(over="ignore"):
        mixed = _mix(_mix(key * _GOLDEN + _GOLDEN) + knots * _GOLDEN)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53)


def normal(seed: int, source: int | np.ndarray, knot: np.ndarray) -> np.ndarray:
    """Standard normal numbers for the integer knots, by Box and Muller."""
    knots = np.asarray(knot, dtype=np.int64)
    radius = np.sqrt(-2.0 * np.log(uniform(seed, source, 2 * knots)))
    result: np.ndarray = radius * np.cos(2.0 * np.pi * uniform(seed, source, 2 * knots + 1))
    return result


def smooth(seed: int, source: int | np.ndarray, ts_s: np.ndarray, period_s: float) -> np.ndarray:
    """A smooth standard normal signal over time that forgets itself after ``period_s``.

    ts_s: seconds since 1970-01-01 UTC; source and ts_s broadcast. The variance is 1 at every
    moment, not only at the knots.
    """
    place = np.asarray(ts_s, dtype=np.float64) / period_s
    knot = np.floor(place).astype(np.int64)
    weight = 0.5 - 0.5 * np.cos(np.pi * (place - knot))
    before, after = normal(seed, source, knot), normal(seed, source, knot + 1)
    blended = before * (1.0 - weight) + after * weight
    return np.asarray(blended / np.sqrt(weight**2 + (1.0 - weight) ** 2))
