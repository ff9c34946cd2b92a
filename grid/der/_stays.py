"""What the vehicles at one charger can do together: bounds on what they hold.

Each vehicle is taken by itself between charging as late and as early as it can; the bounds of
several add up. That is exact for one vehicle at a time. For several at once it is a relaxation:
every schedule that serves them all lies within the bounds, but not the other way round. What one
that leaves late got early may stand for what one that leaves soon still needs, and the power that
is left may be more than those can take that still want some. Describe each connector as an asset
of its own where that matters.

No account can be exact for several: a sum u of power can be shared among vehicles that ask e_i and
take p_it at most if and only if for every set S of steps

    sum over S of u_t dt <= sum over i of min(e_i, sum over S of p_it dt),  equal over all steps

(maximum flow is minimum cut), while an account holds it for the sets that begin or end with the
horizon and for single steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from core.errors import ConfigurationError
from core.timeaxis import to_datetime64
from grid.der import Conditions, Stay


@dataclass(frozen=True, slots=True)
class Rules:
    """How a charger treats its vehicles; parameters of grid/der/ev_charger.py."""

    p_max_mw: float
    efficiency: float
    v2g: bool
    v2g_soc_min: float
    fair_share: float
    soft: bool


@dataclass(frozen=True, eq=False)
class Vehicle:
    """One stay in the horizon; arrays (time,), energies as they arrive in the battery, MWh.

    present: share of each step that it is there. first, last: its steps. arrives: what it brings,
    leaves: what it takes along, by its departure. within: what of it it gets in the horizon.
    charge_mw: the most it takes at the plug in each step, no more than all it needs.
    low, high: bounds of its content at the end of each step, as long as it is there.
    """

    present: np.ndarray
    first: int
    last: int
    before: bool
    arrives: float
    leaves: float
    within: float
    p_max_mw: float
    charge_mw: np.ndarray
    v2g: bool
    low: np.ndarray
    high: np.ndarray


def vehicles(
    asset_id: str, stays: Sequence[Stay], conditions: Conditions, rules: Rules
) -> list[Vehicle]:
    """The stays that meet the horizon; raises ConfigurationError for one that makes no sense."""
    found = (_vehicle(asset_id, stay, conditions, rules) for stay in stays)
    return [vehicle for vehicle in found if vehicle is not None]


def _vehicle(asset_id: str, stay: Stay, conditions: Conditions, rules: Rules) -> Vehicle | None:
    _check(asset_id, stay)
    dt_h = conditions.dt_h
    arrival, departure = _hour(stay.arrival, conditions), _hour(stay.departure, conditions)
    begins = np.arange(conditions.steps) * dt_h
    present = np.clip(
        (np.minimum(departure, begins + dt_h) - np.maximum(arrival, begins)) / dt_h, 0.0, 1.0
    )
    present[present < 1e-9] = 0.0
    where = np.flatnonzero(present)
    if not where.size:
        return None
    p_max = min(rules.p_max_mw, rules.p_max_mw if stay.max_p_mw is None else stay.max_p_mw)
    most = rules.efficiency * p_max * dt_h * present  # what each step can add
    needed = rules.efficiency * max(stay.needed_mwh - stay.charged_mwh, 0.0)
    v2g = rules.v2g and stay.battery_mwh is not None and stay.arrival_mwh is not None
    arrives = 0.0
    if v2g:
        assert stay.arrival_mwh is not None
        arrives = stay.arrival_mwh + rules.efficiency * stay.charged_mwh
    end_h = float(conditions.steps) * dt_h
    gone = departure <= end_h + 1e-9
    within = needed if gone else _part(needed, arrival, departure, end_h, p_max, rules)
    leaves = arrives + needed
    so_far = np.cumsum(most)
    to_come = so_far[-1] - so_far
    low = arrives + within - to_come
    if rules.soft:
        low[: where[-1]] = 0.0  # a lack is counted once, at departure
    if v2g:
        assert stay.battery_mwh is not None
        full = max(stay.battery_mwh, leaves)
        floor = min(rules.v2g_soc_min * full, arrives)
        low, high = np.maximum(low, floor), np.minimum(arrives + so_far, full)
        if gone:
            high[where[-1]] = min(high[where[-1]], leaves)
    else:
        low, high = np.maximum(low, 0.0), np.minimum(so_far, needed)
    return Vehicle(
        present=present,
        first=int(where[0]),
        last=int(where[-1]),
        before=arrival < -1e-9,
        arrives=arrives,
        leaves=leaves,
        within=within,
        p_max_mw=p_max,
        charge_mw=np.minimum(most, np.inf if v2g else needed) / (rules.efficiency * dt_h),
        v2g=v2g,
        low=low,
        high=high,
    )


def _part(
    needed: float, arrival: float, departure: float, end_h: float, p_max: float, rules: Rules
) -> float:
    """What a vehicle that leaves after the horizon has to get within it."""
    must = max(needed - rules.efficiency * p_max * (departure - end_h), 0.0)
    begin = max(arrival, 0.0)
    fair = needed * (end_h - begin) / (departure - begin)
    return max(must, rules.fair_share * fair)


def _hour(ts: datetime, conditions: Conditions) -> float:
    """Hours from the beginning of the horizon."""
    return float((to_datetime64(ts) - conditions.times[0]) / np.timedelta64(1, "s")) / 3600.0


def _check(asset_id: str, stay: Stay) -> None:
    when = f"The stay from {stay.arrival.isoformat()} at {asset_id}"
    if to_datetime64(stay.departure) <= to_datetime64(stay.arrival):
        raise ConfigurationError(f"{when} ends before it begins: departure {stay.departure}.")
    for name in ("needed_mwh", "charged_mwh", "max_p_mw", "battery_mwh", "arrival_mwh"):
        value = getattr(stay, name)
        if value is not None and not (np.isfinite(value) and value >= 0.0):
            raise ConfigurationError(f"{when} has the {name} {value}.")
    if (
        stay.battery_mwh is not None
        and stay.arrival_mwh is not None
        and stay.arrival_mwh > stay.battery_mwh + 1e-9
    ):
        raise ConfigurationError(
            f"{when} has the arrival_mwh {stay.arrival_mwh}, more than its battery_mwh."
        )
