"""Loads that can be cut within limits, and either make up for it or are paid for what they lost."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset, AssetKind
from grid.der import Conditions
from grid.der._accounts import daily_hours
from grid.der._inputs import (
    HOURS_PER_DAY,
    drawn,
    new_days,
    optional,
    parameter,
    since_hour,
    state,
)
from grid.der._switching import starts_left
from grid.envelope import Commitment, EnergyAccount, Envelope

KIND = AssetKind.INTERRUPTIBLE_LOAD
PROFILES = ("p_mw",)
STATES = ("activated_h", "e_owed_mwh", "cut_h", "time_in_state_h", "starts_today")
CONTENT_OF = MappingProxyType({"e_owed_mwh": -1.0})

_WHOLE_H = 1e-9


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """The demand, less what is cut of it, plus what is made up for later.

    Profile: p_mw, the demand. Parameters: share (1), the part of it that can be cut;
    from_hour and to_hour (0, 0: always), the local hours in which it can.
    Limits: hours_per_day, hours of a full cut in a day that begins at from_hour (two half cuts
    count as one); interruption_min_h and interruption_max_h, how long a cut lasts; rest_h, how
    long none follows; interruptions_per_day (see starts_left in _switching); interruption_min_mw
    (0), the least of a cut, without which a cut of nothing counts as one.
    Without payback: interruption_cny_per_mwh, the value of what is not delivered.
    With it: payback_hours and payback_factor (1; cut energy times factor is drawn again),
    p_max_mw, up to which the load can draw; interruption_cny_per_mwh (0) on top.

    Payback is held by periods of payback_hours, which follow each other from from_hour on: what
    is cut in a period has been made up at its end, thus within payback_hours in any case. This is
    stricter than the rule itself, because a cut late in a period has less time: a linear account
    cannot remember when each MWh was cut. Nothing is drawn in advance. The hours of a day cannot
    be limited as well: there is one account.
    States: activated_h, full hours already cut on this day (0); e_owed_mwh, what is still to be
    made up (0); cut_h, for how long it is cut now (0: it is not); time_in_state_h, since when it
    is not (long enough); starts_today, cuts so far.
    """
    demand = drawn(asset, "p_mw", conditions)
    from_hour = parameter(asset, "from_hour", 0.0, least=0.0, most=HOURS_PER_DAY)
    to_hour = parameter(asset, "to_hour", 0.0, least=0.0, most=HOURS_PER_DAY)
    length = (to_hour - from_hour) % HOURS_PER_DAY or HOURS_PER_DAY
    allowed = since_hour(conditions, from_hour) < length
    share = parameter(asset, "share", 1.0, least=0.0, most=1.0)
    down = np.where(allowed, share * demand, 0.0)
    hours = optional(asset, "hours_per_day", least=0.0)
    made = Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=demand,
        up_mw=np.zeros(conditions.steps),
        down_mw=down,
        commitment=_limits(asset, conditions),
    )
    payback_h = optional(asset, "payback_hours", above=0.0)
    if payback_h is None:
        price = parameter(asset, "interruption_cny_per_mwh", least=0.0)
        used = state(asset, "activated_h", conditions, least=0.0) or 0.0
        account = None
        if hours is not None:
            account = daily_hours(conditions, down, hours, used, from_hour)
        return replace(made, down_cny_per_mwh=price, account=account)
    if hours is not None:
        raise ConfigurationError(
            f"{asset.id} has hours_per_day and payback_hours; only one of them can be held. "
            "interruption_max_h and interruptions_per_day go with payback."
        )
    room = np.maximum(parameter(asset, "p_max_mw", least=0.0) - demand, 0.0)
    periods = _periods(conditions, from_hour, length, payback_h)
    owed = state(asset, "e_owed_mwh", conditions, least=0.0) or 0.0
    factor = parameter(asset, "payback_factor", 1.0, least=0.0)
    account = _payback(conditions, down, factor, owed, periods)
    return replace(
        made,
        up_mw=room,
        down_cny_per_mwh=parameter(asset, "interruption_cny_per_mwh", 0.0, least=0.0),
        account=account,
    )


def _limits(asset: Asset, conditions: Conditions) -> Commitment | None:
    per_day = optional(asset, "interruptions_per_day", least=0.0)
    cut_h = state(asset, "cut_h", conditions, least=0.0) or 0.0
    rested_h = state(asset, "time_in_state_h", conditions, least=0.0)
    made = Commitment(
        p_on_min_mw=parameter(asset, "interruption_min_mw", 0.0, least=0.0),
        min_up_h=parameter(asset, "interruption_min_h", 0.0, least=0.0),
        max_up_h=parameter(asset, "interruption_max_h", math.inf, above=0.0),
        min_down_h=parameter(asset, "rest_h", 0.0, least=0.0),
        starts_max=None if per_day is None else starts_left(asset, conditions, per_day),
        lowers=True,
    )
    if made.max_up_h < made.min_up_h:
        raise ConfigurationError(
            f"interruption_max_h of {asset.id} lies below its interruption_min_h."
        )
    if made == Commitment(lowers=True):
        return None
    if cut_h > 0.0:
        return replace(made, on=True, since_h=cut_h)
    return replace(made, since_h=math.inf if rested_h is None else rested_h)


@dataclass(frozen=True, eq=False)
class _Periods:
    """number: of the period of each step since from_hour, -1 outside; last: of a period's steps."""

    number: np.ndarray
    last: np.ndarray


def _periods(conditions: Conditions, from_hour: float, length: float, payback_h: float) -> _Periods:
    since = since_hour(conditions, from_hour)
    number = np.floor(since / payback_h + _WHOLE_H).astype(int)
    number[number >= math.ceil(length / payback_h - _WHOLE_H)] = -1
    day = np.cumsum(new_days(conditions, from_hour))
    label = np.where(number < 0, -1, day * math.ceil(HOURS_PER_DAY / payback_h) + number)
    last = np.append(label[1:] != label[:-1], True)
    return _Periods(label, last)


def _payback(
    conditions: Conditions, down: np.ndarray, factor: float, owed: float, periods: _Periods
) -> EnergyAccount:
    """The content is minus what is owed: never above 0, and 0 at the end of each period."""
    steps = conditions.steps
    lowest = np.zeros(steps)
    for label in np.unique(periods.number[periods.number >= 0]):
        inside = periods.number == label
        cut = factor * conditions.dt_h * float(down[inside].sum())
        lowest[inside] = -(cut + (owed if inside[0] else 0.0))
    lowest[periods.last] = 0.0
    if owed > 0.0 and periods.number[0] < 0:
        # Owed from before, outside of any period: until the next one begins, or the end.
        until = int(np.argmax(periods.last))
        lowest[:until] = -owed
    return EnergyAccount(
        initial_mwh=-owed,
        min_mwh=lowest,
        max_mwh=np.zeros(steps),
        gain_up=np.ones(steps),
        gain_down=np.full(steps, factor),
        keep=np.ones(steps),
        inflow_mwh=np.zeros(steps),
    )
