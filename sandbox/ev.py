"""Cars that come to a charging post, take what it gives them, and leave again."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Habits:
    """How a post is used: seconds between two cars and of a stay, both as means, and what a car
    wants, Wh. max_w: of the post.
    """

    gap_s: float = 2 * 3600.0
    stay_s: float = 4 * 3600.0
    least_wh: float = 8_000.0
    most_wh: float = 40_000.0
    max_w: float = 22_000.0


@dataclass(frozen=True)
class Visit:
    """One car: when it comes and leaves, seconds since 1970; what it wants, what it can take."""

    number: int
    arrival_s: float
    departure_s: float
    energy_wh: float
    capacity_wh: float
    max_w: float

    def soc_percent(self, delivered_wh: float) -> float:
        """The state of charge that would be 90 % with all that is wanted."""
        return 90.0 - 100.0 * (self.energy_wh - delivered_wh) / self.capacity_wh


def visit(seed: int, charger: str, number: int, after_s: float, habits: Habits) -> Visit:
    """The car ``number`` of a post, the first to come after ``after_s``; always the same one."""
    dice = random.Random(f"{seed}/{charger}/{number}")  # noqa: S311 - no secret
    arrival_s = after_s + habits.gap_s * dice.uniform(0.5, 1.5)
    return Visit(
        number=number,
        arrival_s=arrival_s,
        departure_s=arrival_s + habits.stay_s * dice.uniform(0.6, 1.4),
        energy_wh=dice.uniform(habits.least_wh, habits.most_wh),
        capacity_wh=60_000.0,
        max_w=min(habits.max_w, dice.choice((7_400.0, 11_000.0, 22_000.0))),
    )


def power_w(car: Visit, delivered_wh: float, limit_w: float | None, dt_s: float) -> float:
    """The mean power of the next ``dt_s`` seconds: what the car can take and still wants."""
    wanted_w = max(0.0, car.energy_wh - delivered_wh) / dt_s * 3600.0
    return min(car.max_w, wanted_w, car.max_w if limit_w is None else max(0.0, limit_w))


@dataclass(frozen=True)
class LimitCurve:
    """A charging profile: W from each start (seconds since 1970) on, until ``until_s``."""

    starts_s: Sequence[float]
    limits_w: Sequence[float]
    until_s: float

    def at(self, ts_s: float) -> float | None:
        """The limit at ``ts_s``; None before the curve begins and after its end."""
        place = bisect_right(self.starts_s, ts_s) - 1
        return self.limits_w[place] if place >= 0 and ts_s < self.until_s else None
