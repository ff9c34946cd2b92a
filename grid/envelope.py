"""What a distributed energy resource can do over a horizon, as arrays; one shape for every type.

Grid and optimisation read envelopes only, so neither changes when a type is added.

    p_mw = base_mw + raised_mw - lowered_mw          0 <= raised <= up_mw, 0 <= lowered <= down_mw

in the sign of the resource's pandapower table. A battery raises by charging and lowers by
discharging, a PV plant lowers by curtailing, a genset raises by running, a flexible load does both
around what it would draw anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.errors import ConfigurationError
from core.findings import Finding
from core.sites import AssetKind

_ROUNDING_MWH = 1e-9
ELEMENTS = ("sgen", "load", "storage")
"""The pandapower tables whose elements can be dispatched."""
AT_ONCE = "vehicles_at_once"
"""A setting: so many vehicles stand at a charger together, and their account is a relaxation."""
_ARRAYS = ("base_mw", "up_mw", "down_mw", "up_cny_per_mwh", "down_cny_per_mwh")
_ACCOUNT_ARRAYS = ("min_mwh", "max_mwh", "gain_up", "gain_down", "keep", "inflow_mwh")


@dataclass(frozen=True, slots=True)
class DepthBand:
    """Wear by depth: what is discharged out of this share of the capacity costs so much.

    Bands follow each other from full to empty and must not become cheaper on the way, so that the
    cheapest schedule empties them in that order (Xu et al., "Factoring the Cycle Aging Cost of
    Batteries Participating in Electricity Markets", IEEE Trans. Power Systems 33(2), 2018).
    """

    share: float
    cny_per_mwh: float


@dataclass(frozen=True, eq=False)
class EnergyAccount:
    """What a resource holds or has taken, with bounds at the END of each step, in MWh; (time,).

    content[t] = keep[t] * content[t-1] + inflow_mwh[t]
                 + dt_h * (gain_up[t] * raised[t] - gain_down[t] * lowered[t]) - spilled[t]

    gain_up: content per MWh raised (a battery's charging efficiency, a heat pump's coefficient of
    performance); gain_down: content per MWh lowered (1 / discharging efficiency). keep: share kept
    over a step. inflow_mwh: what comes and goes regardless (heat demand, a car's arrival).
    carrier: what the content is, such as ``electricity``, ``heat`` or ``water``.
    capacity_mwh turns content into a state of charge and is 0 where there is none.
    end_cny_per_mwh: what content is worth at the end of the horizon.
    breach_cny_per_mwh: where given, the bounds may be broken at this price for each MWh beyond
    them and hour (discomfort, energy not served at departure); None for hard bounds.
    bought: whether what is missing is bought at that price, such as heat from another boiler:
    then going under the bounds is a choice, and no limit that has to give.
    spill_cny_per_mwh: where given, content may be thrown away at this price.
    depth: wear by depth of discharge, on top of the price of lowering; empty for none.
    """

    initial_mwh: float
    min_mwh: np.ndarray
    max_mwh: np.ndarray
    gain_up: np.ndarray
    gain_down: np.ndarray
    keep: np.ndarray
    inflow_mwh: np.ndarray
    capacity_mwh: float = 0.0
    carrier: str = "electricity"
    end_cny_per_mwh: float = 0.0
    breach_cny_per_mwh: float | None = None
    spill_cny_per_mwh: float | None = None
    depth: tuple[DepthBand, ...] = ()
    bought: bool = False


@dataclass(frozen=True, slots=True)
class Commitment:
    """A resource that is either off (nothing raised) or on (raised by p_on_min_mw at least).

    min_up_h, min_down_h: how long it stays on or off once it is. max_up_h: how long at most.
    start_cny: for each start; running_cny_per_h, running_kgco2e_per_h: for each hour on, on top of
    what the energy costs. starts_max: starts within the horizon; None for any number.
    on, since_h: the state before the horizon and for how long it has lasted.
    """

    p_on_min_mw: float = 0.0
    min_up_h: float = 0.0
    min_down_h: float = 0.0
    max_up_h: float = float("inf")
    start_cny: float = 0.0
    running_cny_per_h: float = 0.0
    running_kgco2e_per_h: float = 0.0
    starts_max: int | None = None
    on: bool = False
    since_h: float = float("inf")
    lowers: bool = False
    """True where it is lowering, not raising, that is switched (an interruptible load)."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """How fast p_mw may rise and fall, MW per hour; before_mw: the power before the horizon."""

    up_mw_per_h: float
    down_mw_per_h: float
    before_mw: float | None = None


@dataclass(frozen=True, slots=True)
class Reactive:
    """Reactive power that can be chosen: p_mw^2 + q_mvar^2 <= sn_mva^2, |q_mvar| <= q_max_mvar.

    In the sign of the resource's table. cny_per_mvarh: price of each Mvarh either way, which
    stands for the inverter's own losses and keeps q at 0 where it does no good.
    """

    sn_mva: float
    q_max_mvar: float
    cny_per_mvarh: float = 1.0


@dataclass(frozen=True, eq=False)
class Envelope:
    """What one resource can do; arrays of shape (time,).

    base_mw: power when nothing is moved; up_mw, down_mw >= 0: the most that can be added to it
    and taken off it; all in the sign of the pandapower table ``element`` (sgen positive producing,
    load and storage positive consuming or charging).
    up_cny_per_mwh, down_cny_per_mwh: price of each MWh raised or lowered (fuel, wear,
    curtailment); numbers or arrays. up_kgco2e_per_mwh: emissions of each MWh raised.
    exclusive: raising and lowering at once is impossible, also where it would pay.
    account: None where power of one step does not bind another. soft_kind: what breaking the
    account's bounds means in words, such as ``comfort`` or ``energy at departure``.
    Raises ConfigurationError for shapes that do not fit, bounds that cross or values that are no
    numbers.
    """

    asset: str
    kind: AssetKind
    element: str
    element_index: int
    base_mw: np.ndarray
    up_mw: np.ndarray
    down_mw: np.ndarray
    up_cny_per_mwh: np.ndarray | float = 0.0
    down_cny_per_mwh: np.ndarray | float = 0.0
    up_kgco2e_per_mwh: float = 0.0
    account: EnergyAccount | None = None
    commitment: Commitment | None = None
    ramp: Ramp | None = None
    reactive: Reactive | None = None
    exclusive: bool = True
    soft_kind: str = ""
    settings: dict[str, float] = field(default_factory=dict)
    """Numbers that only reasons and reports need, such as the temperature behind a content."""

    def __post_init__(self) -> None:
        steps = len(self.base_mw)
        for name in ("up_cny_per_mwh", "down_cny_per_mwh"):
            value = np.asarray(getattr(self, name), dtype=float)
            object.__setattr__(self, name, np.full(steps, value) if value.ndim == 0 else value)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.account is not None:
            arrays |= {name: getattr(self.account, name) for name in _ACCOUNT_ARRAYS}
        for name, array in arrays.items():
            if np.shape(array) != (steps,):
                raise ConfigurationError(f"{name} of {self.asset} has another length than base_mw.")
        # All at once: a fleet has thousands, and a call of numpy costs more than 96 steps do.
        stacked = np.array(list(arrays.values()), dtype=float)
        if not np.isfinite(stacked).all():
            name = next(name for name, array in arrays.items() if not np.isfinite(array).all())
            raise ConfigurationError(f"{name} of {self.asset} holds values that are no numbers.")
        least = dict(zip(arrays, stacked.min(axis=1, initial=np.inf).tolist(), strict=True))
        if least["up_mw"] < -1e-12 or least["down_mw"] < -1e-12:
            raise ConfigurationError(f"The power bounds of {self.asset} cross.")
        if self.element not in ELEMENTS:
            raise ConfigurationError(
                f"{self.asset} stands in the table {self.element!r}; only sgen, load and storage "
                "can be dispatched."
            )
        if self.account is not None:
            self._check_account(self.account, least)

    def _check_account(self, account: EnergyAccount, least: dict[str, float]) -> None:
        if least["gain_up"] < 0 or least["gain_down"] < 0:
            raise ConfigurationError(f"A gain of {self.asset} is negative.")
        if least["keep"] < 0 or np.max(account.keep, initial=0.0) > 1:
            raise ConfigurationError(f"What {self.asset} keeps over a step lies outside 0..1.")
        prices = [band.cny_per_mwh for band in account.depth]
        shares = [band.share for band in account.depth]
        if prices != sorted(prices) or any(s <= 0 for s in shares):
            raise ConfigurationError(f"The wear of {self.asset} must not fall with depth.")
        if account.depth and abs(sum(shares) - 1.0) > 1e-9:
            raise ConfigurationError(f"The depth bands of {self.asset} do not add up to 1.")

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.base_mw)

    @property
    def p_min_mw(self) -> np.ndarray:
        """Least power, (time,)."""
        low: np.ndarray = self.base_mw - self.down_mw
        return low

    @property
    def p_max_mw(self) -> np.ndarray:
        """Most power, (time,)."""
        high: np.ndarray = self.base_mw + self.up_mw
        return high

    @property
    def fed_sign(self) -> int:
        """+1 when positive power is fed into the grid (sgen), -1 when it is drawn."""
        return 1 if self.element == "sgen" else -1

    def conflicts(self, dt_h: float) -> list[Finding]:
        """See ``conflicts``."""
        return conflicts([self], dt_h)


def conflicts(envelopes: Sequence[Envelope], dt_h: float) -> list[Finding]:
    """A finding for each resource whose energy bounds no schedule keeps, whatever power it uses.

    envelopes: all of the same steps. Exact for a resource without commitment and ramp; these can
    only leave less. Resources with soft bounds have none.
    """
    held = [
        (e, e.account)
        for e in envelopes
        if e.account is not None and e.account.breach_cny_per_mwh is None
    ]
    if not held:
        return []
    courses = [
        (a.keep, a.inflow_mwh, a.gain_down * e.down_mw, a.gain_up * e.up_mw, a.min_mwh, a.max_mwh)
        for e, a in held
    ]
    keep, inflow, fall, rise, least, most = np.array(courses).transpose(1, 2, 0)
    spills = np.array([a.spill_cny_per_mwh is not None for _, a in held])
    lows, highs = np.empty_like(least), np.empty_like(most)
    low = high = np.array([a.initial_mwh for _, a in held])
    for t in range(len(least)):
        low = keep[t] * low + inflow[t] - dt_h * fall[t]
        low = np.where(spills, np.minimum(low, most[t]), low)
        high = keep[t] * high + inflow[t] + dt_h * rise[t]
        lows[t], highs[t] = low, high
        low, high = np.maximum(low, least[t]), np.minimum(high, most[t])
    above, below = lows > most + _ROUNDING_MWH, highs < least - _ROUNDING_MWH
    broken = above | below | (least > most + _ROUNDING_MWH)
    found = []
    for n in np.flatnonzero(broken.any(axis=0)).tolist():
        t = int(broken[:, n].argmax())
        if above[t, n]:
            told = lows[t, n], most[t, n], "above", "most"
        elif below[t, n]:
            told = highs[t, n], least[t, n], "below", "least"
        else:
            told = least[t, n], most[t, n], "above", "most"
        found.append(_conflict(held[n][0], t, *told))
    return found


def _conflict(
    envelope: Envelope, t: int, value: float, bound: float, side: str, which: str
) -> Finding:
    return Finding(
        str(envelope.kind),
        "e_mwh",
        (envelope.asset,),
        f"Its energy cannot be kept: {value:.3f} MWh at the end of step {t} stays {side} the "
        f"{which} allowed there, {bound:.3f} MWh, at full power.",
    )
