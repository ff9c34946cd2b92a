"""What a plan can be asked beyond energy at a tariff; each a value that a problem may hold.

Money is CNY, power MW, energy MWh, time h; arrays are (time,) unless said otherwise. A breach
price is what a target that is missed costs; it makes the target soft.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np

from core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class PeakCharge:
    """Two-part tariff: the highest import of the month costs cny_per_mw.

    peak_so_far_mw: the highest of the month until now; only what goes beyond it costs anything.
    """

    cny_per_mw: float
    peak_so_far_mw: float = 0.0

    def __post_init__(self) -> None:
        _not_negative(self)


class Direction(StrEnum):
    """Of a reserve: up feeds more or draws less, down the other way round."""

    UP = "up"
    DOWN = "down"

    @property
    def sign(self) -> int:
        """+1 for up, -1 for down: of what a delivery feeds in."""
        return 1 if self is Direction.UP else -1


@dataclass(frozen=True, eq=False)
class Reserve:
    """Power held ready in every step, with the energy to deliver it for activation_h.

    requirement_mw: how much at most; what is held of it earns price_cny_per_mw_h for each MW and
    hour, what is missing costs breach_cny_per_mw_h. assets: who may contribute, None for all.
    """

    name: str
    direction: Direction
    requirement_mw: np.ndarray
    activation_h: float = 1.0
    price_cny_per_mw_h: float = 0.0
    breach_cny_per_mw_h: float = 0.0
    assets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _not_negative(self)


@dataclass(frozen=True, slots=True)
class PeakValley:
    """The highest exchange less the lowest shall stay within target_mw."""

    target_mw: float
    breach_cny_per_mw: float

    def __post_init__(self) -> None:
        _not_negative(self)


@dataclass(frozen=True, eq=False)
class FeederLimit:
    """A call of demand response: import less export stays at or below limit_mw within a window.

    start, end: datetime64, UTC; steps that begin in [start, end) count. limit_mw may be negative,
    which asks for export.
    """

    name: str
    start: np.datetime64
    end: np.datetime64
    limit_mw: float
    breach_cny_per_mwh: float

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ConfigurationError(f"The call {self.name} ends before it begins.")
        if not np.isfinite(self.limit_mw) or self.breach_cny_per_mwh < 0:
            raise ConfigurationError(f"The limit or price of the call {self.name} makes no sense.")

    def within(self, times: np.ndarray) -> np.ndarray:
        """Which steps count, (time,)."""
        inside: np.ndarray = (times >= self.start) & (times < self.end)
        return inside


@dataclass(frozen=True, eq=False)
class Position:
    """An exchange (import less export) that was sold or promised, and what deviations cost.

    committed_mw: NaN where nothing was promised. above_, below_cny_per_mwh: for each MWh of
    exchange above or below it; numbers or (time,).
    """

    committed_mw: np.ndarray
    above_cny_per_mwh: np.ndarray | float
    below_cny_per_mwh: np.ndarray | float


@dataclass(frozen=True, eq=False)
class ChangeCost:
    """A price on leaving the plan before, so that re-plans do not chatter.

    p_mw: the plan before, (time, asset) in the order of the envelopes, NaN where there is none.
    cny_per_mwh: a number or (time,). held: steps that are committed and stay as they are as far
    as the resources allow, (time,); None for none.
    """

    p_mw: np.ndarray
    cny_per_mwh: np.ndarray | float
    held: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ExchangeSpread:
    """What the exchange may turn out to be: its expected course plus an offset, by case.

    offset_mw: (time, case), import less export. share: probability of each case, (case,), sum 1.
    Every step is bought and sold as it turns out, and the plan minimises the expected bill: a
    program of simple recourse (Wets, SIAM Review 16 (1974) 309). Prices of limits and terms stay
    those of the expected course.
    """

    offset_mw: np.ndarray
    share: np.ndarray

    def __post_init__(self) -> None:
        share = np.asarray(self.share, dtype=float)
        if np.ndim(self.offset_mw) != 2 or np.shape(self.offset_mw)[1:] != share.shape:
            raise ConfigurationError("The spread of the exchange must be given by time and case.")
        if not np.isfinite(self.offset_mw).all() or np.any(share < 0):
            raise ConfigurationError("The spread of the exchange holds values that make no sense.")
        if abs(share.sum() - 1.0) > 1e-9:
            raise ConfigurationError("The cases of the spread of the exchange must add up to 1.")


@dataclass(frozen=True, slots=True)
class Unserved:
    """Load without a resource of its own may be shed at this price, each at its own bus."""

    cny_per_mwh: float

    def __post_init__(self) -> None:
        if not self.cny_per_mwh > 0:
            raise ConfigurationError("Energy that is not served must have a price above 0.")


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each kind of cost counts in the objective, as multipliers of CNY without a unit.

    money: energy, fuel, wear, starts, positions. carbon: the carbon price. peak: the peak charge
    and the peak-valley target. discomfort: soft bounds of accounts and energy not served.
    curtailment: what producing less costs.
    """

    money: float = 1.0
    carbon: float = 1.0
    peak: float = 1.0
    discomfort: float = 1.0
    curtailment: float = 1.0

    def __post_init__(self) -> None:
        _not_negative(self)


def _not_negative(value: object) -> None:
    for item in fields(value):  # type: ignore[arg-type]
        number = getattr(value, item.name)
        if isinstance(number, str | tuple) or number is None:
            continue
        if not np.isfinite(number).all() or np.any(np.asarray(number) < 0):
            raise ConfigurationError(
                f"{item.name} of {type(value).__name__} must be a number, not below 0."
            )
