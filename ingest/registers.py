"""Registers to intervals: what a meter's counter shows becomes the energy of each interval.

A register only rises, until it begins anew at zero (a roll-over) or somebody puts another meter in
its place. Between two readings it is taken to rise evenly, so that readings need not lie on the
bounds of intervals. Times are UTC: an hour of the night on which clocks are changed is an hour.
All energies are in the unit of the register.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from core.errors import ConfigurationError
from core.readings import Quality
from core.timeaxis import MICROSECOND, to_us

_UNUSABLE = int(Quality.OUT_OF_RANGE | Quality.CLOCK_SKEW)
_PASSED_ON = int(Quality.ESTIMATED | Quality.DEVICE_FLAG)
_FAR = 1.5
"""Intervals between two readings from which on energy is spread over more than it was measured."""

_SECOND_US = 1e6


@dataclass(frozen=True, slots=True)
class Exchange:
    """Another meter: the last reading of the old one and the first of the new one."""

    at: datetime
    final: float
    initial: float = 0.0


@dataclass(frozen=True, slots=True)
class Register:
    """What has to be known of a register.

    step: length of an interval. most_per_s: what can pass at most in a second; tells a roll-over
    from an exchange. modulus: where it begins anew, 0 for never; a register of five digits of kWh
    has 100 MWh. exchanges: those that somebody wrote down.
    Raises ConfigurationError for numbers that make no sense.
    """

    step: timedelta
    most_per_s: float
    modulus: float = 0.0
    exchanges: tuple[Exchange, ...] = ()

    def __post_init__(self) -> None:
        if self.step <= timedelta(0) or self.most_per_s <= 0.0 or self.modulus < 0.0:
            raise ConfigurationError(
                "A register needs a length of intervals and a largest rate greater than zero, and "
                "a modulus that is not negative."
            )


@dataclass(frozen=True, slots=True)
class Intervals:
    """ts_us: beginnings, int64 (n,), consecutive. energy: float64 (n,). quality: flags (n,)."""

    ts_us: np.ndarray
    energy: np.ndarray
    quality: np.ndarray


@dataclass(frozen=True, slots=True)
class _Piece:
    """From one reading to the next: what passed, and whether that is known."""

    end_us: int
    energy: float
    quality: int


def intervals(
    ts_us: np.ndarray, value: np.ndarray, quality: np.ndarray, register: Register
) -> Intervals:
    """The energy of every interval that lies between the first and the last reading.

    ts_us: int64 (n,), rising; value: what the register showed; quality: flags of the readings.
    Intervals begin at multiples of the step since 1970. ESTIMATED are those whose energy was
    spread over more than 1.5 intervals, or that hold an exchange which nobody wrote down: there
    the new meter is taken to have begun at zero, and if it shows too much for that, power to have
    gone on as before. Readings out of range or of a wrong clock are left out.
    """
    usable = (quality & _UNUSABLE) == 0
    ts_us, value, quality = ts_us[usable], value[usable], quality[usable]
    step_us = register.step // MICROSECOND
    if len(ts_us) < 2:
        return _nothing()
    first_us = -(-int(ts_us[0]) // step_us) * step_us
    bounds = np.arange(first_us, int(ts_us[-1]) + 1, step_us, dtype=np.int64)
    if len(bounds) < 2:
        return _nothing()
    pieces = list(_pieces(ts_us, value, quality, register))
    knots = np.array([int(ts_us[0]), *(piece.end_us for piece in pieces)], dtype=np.int64)
    risen = np.concatenate(([0.0], np.cumsum([piece.energy for piece in pieces])))
    at_bounds = np.interp(bounds - first_us, knots - first_us, risen)
    flags = _flags(bounds, knots, [piece.quality for piece in pieces], _FAR * step_us)
    return Intervals(bounds[:-1], np.diff(at_bounds), flags)


def _nothing() -> Intervals:
    return Intervals(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int16))


def _pieces(
    ts_us: np.ndarray, value: np.ndarray, quality: np.ndarray, register: Register
) -> Sequence[_Piece]:
    """The pieces between readings; a declared exchange parts one in two."""
    declared = sorted(register.exchanges, key=lambda e: e.at)
    found: list[_Piece] = []
    rate = 0.0  # of the piece before, in the register's unit by the microsecond
    now_us, now, flags = int(ts_us[0]), float(value[0]), int(quality[0]) & _PASSED_ON
    for next_us, shown, its in zip(
        ts_us[1:].tolist(), value[1:].tolist(), quality[1:].tolist(), strict=True
    ):
        for exchange in declared:
            at_us = to_us(exchange.at)
            if now_us < at_us <= next_us:
                found.append(_piece(now_us, now, at_us, exchange.final, flags, rate, register))
                now_us, now = at_us, exchange.initial
        if now_us == next_us:
            now, flags = shown, its & _PASSED_ON
            continue
        piece = _piece(now_us, now, next_us, shown, flags | its & _PASSED_ON, rate, register)
        found.append(piece)
        rate = piece.energy / (next_us - now_us)
        now_us, now, flags = next_us, shown, its & _PASSED_ON
    return found


def _piece(
    begin_us: int,
    before: float,
    end_us: int,
    after: float,
    flags: int,
    rate: float,
    register: Register,
) -> _Piece:
    """What passed while the register went from ``before`` to ``after``."""
    most = register.most_per_s * (end_us - begin_us) / _SECOND_US
    rolled = after - before + register.modulus
    if 0.0 <= after - before <= most:
        return _Piece(end_us, after - before, flags)
    if register.modulus and 0.0 <= rolled <= most:
        return _Piece(end_us, rolled, flags)
    went_on = min(rate * (end_us - begin_us), most)
    guessed = after if 0.0 <= after <= most and after < before else went_on
    return _Piece(end_us, guessed, flags | int(Quality.ESTIMATED))


def _flags(
    bounds: np.ndarray, knots: np.ndarray, given: Sequence[int], far_us: float
) -> np.ndarray:
    """Of every interval the flags of the pieces that it touches."""
    quality = np.array(given, dtype=np.int16)
    quality[np.diff(knots) > far_us] |= np.int16(Quality.ESTIMATED)
    first = np.searchsorted(knots, bounds[:-1], side="right") - 1
    last = np.searchsorted(knots, bounds[1:], side="left") - 1
    found = np.zeros(len(bounds) - 1, dtype=np.int16)
    for flag in (Quality.ESTIMATED, Quality.DEVICE_FLAG):
        with_it = np.concatenate(([0], np.cumsum((quality & flag) != 0)))
        found[with_it[last + 1] > with_it[first]] |= np.int16(flag)
    return found
