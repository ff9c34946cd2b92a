"""Plants that are switched on and off: commitment and ramps."""

from __future__ import annotations

import math
from dataclasses import replace

from core.errors import ConfigurationError
from core.sites import Asset
from grid.der import Conditions
from grid.der._inputs import HOURS_PER_DAY, local_hours, optional, parameter, state
from grid.envelope import Commitment, Ramp

STATES = ("p_mw", "time_in_state_h", "starts_today")
"""The power before the horizon, for how long the plant has been on or off, and its starts."""

_ON_MW = 1e-6


def commitment(
    asset: Asset,
    conditions: Conditions,
    p_on_min_mw: float,
    *,
    running_cny_per_h: float = 0.0,
    running_kgco2e_per_h: float = 0.0,
) -> Commitment | None:
    """How ``asset`` may be switched; None where nothing makes on and off differ.

    Parameters: min_up_h, min_down_h (0), max_up_h (none), start_cny (0), running_cny_per_h (0; on
    top of the argument, such as fuel at no load), starts_max_per_day (none), see ``starts_left``.
    States: p_mw (on where it is positive; off where nobody knows) and time_in_state_h (where
    nobody knows, just long enough to be switched).
    """
    starts = optional(asset, "starts_max_per_day", least=0.0)
    made = Commitment(
        p_on_min_mw=p_on_min_mw,
        min_up_h=parameter(asset, "min_up_h", 0.0, least=0.0),
        min_down_h=parameter(asset, "min_down_h", 0.0, least=0.0),
        max_up_h=parameter(asset, "max_up_h", math.inf, above=0.0),
        start_cny=parameter(asset, "start_cny", 0.0, least=0.0),
        running_cny_per_h=parameter(asset, "running_cny_per_h", 0.0, least=0.0) + running_cny_per_h,
        running_kgco2e_per_h=running_kgco2e_per_h,
        starts_max=None if starts is None else starts_left(asset, conditions, starts),
    )
    if made.max_up_h < made.min_up_h:
        raise ConfigurationError(f"max_up_h of {asset.id} lies below its min_up_h.")
    if made == Commitment():
        return None
    before = state(asset, "p_mw", conditions)
    on = before is not None and before > _ON_MW
    since = state(asset, "time_in_state_h", conditions, least=0.0)
    if since is None:
        since = made.min_up_h if on else math.inf
    return replace(made, on=on, since_h=since)


def starts_left(asset: Asset, conditions: Conditions, per_day: float) -> int:
    """How many starts the horizon has left of ``per_day``.

    Days are counted from the local midnight before the horizon, less what was started since (state
    starts_today); where nobody knows that, from the beginning of the horizon. When in the horizon
    they happen is free: 3 a day make 6 in 48 hours, at any time of them.
    """
    hours = conditions.steps * conditions.dt_h
    done = state(asset, "starts_today", conditions, least=0.0)
    if done is not None:
        hours += float(local_hours(conditions)[0])
    return max(math.ceil(per_day * hours / HOURS_PER_DAY - (done or 0.0) - 1e-9), 0)


def ramp(asset: Asset, conditions: Conditions) -> Ramp | None:
    """How fast the power of ``asset`` may change; None without the parameter.

    Parameters: ramp_up_mw_per_h, ramp_down_mw_per_h (each, where missing, as the other).
    State: p_mw before the horizon.
    """
    up = optional(asset, "ramp_up_mw_per_h", above=0.0)
    down = optional(asset, "ramp_down_mw_per_h", above=0.0)
    if up is None and down is None:
        return None
    rising = up if up is not None else down
    falling = down if down is not None else up
    assert rising is not None
    assert falling is not None
    return Ramp(rising, falling, state(asset, "p_mw", conditions))
