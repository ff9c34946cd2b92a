"""Helpers for energy accounts: what a step keeps, ways back into bounds, budgets of a day."""

from __future__ import annotations

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset
from grid.der import Conditions
from grid.der._inputs import HOURS_PER_DAY, new_days, since_hour
from grid.envelope import EnergyAccount


def kept(loss_percent: float, hours: float, conditions: Conditions) -> np.ndarray:
    """The share kept over a step where loss_percent is lost in ``hours``; (time,).

    keep = (1 - loss_percent / 100) ** (dt_h / hours): losses are proportional to the content.
    """
    share = (1.0 - loss_percent / 100.0) ** (conditions.dt_h / hours)
    return np.full(conditions.steps, share)


def ordered(asset: Asset, low: str, low_value: float, high: str, high_value: float) -> None:
    """Raises ConfigurationError where a lower bound lies above its upper one."""
    if low_value > high_value:
        raise ConfigurationError(
            f"{low} of {asset.id} is {low_value:g}, above {high}, which is {high_value:g}."
        )


def within_reach(
    low: np.ndarray,
    high: np.ndarray,
    initial: float,
    keep: np.ndarray,
    most_change: np.ndarray,
    least_change: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """``low`` and ``high``, widened for a content that begins outside of them; all (time,).

    It has to return as fast as power allows and then never leaves again, so that a measured state
    alone is never a conflict. most_change, least_change: what is added to the kept content in a
    step at full power either way, MWh.
    """
    low, high = low.copy(), high.copy()
    if initial < low[0]:
        _follow(low, initial, keep, most_change, np.greater_equal)
    if initial > high[0]:
        _follow(high, initial, keep, least_change, np.less_equal)
    return low, high


def _follow(
    bound: np.ndarray,
    initial: float,
    keep: np.ndarray,
    change: np.ndarray,
    back: np.ufunc,
) -> None:
    content = initial
    for t in range(len(bound)):
        content = keep[t] * content + change[t]
        if back(content, bound[t]):
            return
        bound[t] = content


def daily_hours(
    conditions: Conditions, down_mw: np.ndarray, hours: float, used_h: float, reset_hour: float
) -> EnergyAccount:
    """At most ``hours`` of full lowering between one local ``reset_hour`` and the next.

    The content is what may still be lowered, in MWh at the greatest of down_mw: an hour of full
    lowering takes the same whenever it is, half a lowering half of it. What is left at the reset
    is gone (keep = 0 there), and the hours of the new day come in. used_h: of the first day.
    """
    most = float(down_mw.max(initial=0.0))
    resets = new_days(conditions, reset_hour)
    if since_hour(conditions, reset_hour)[0] == 0.0:
        used_h = 0.0  # of the day that has just ended
    gain = np.divide(most, down_mw, out=np.zeros_like(down_mw), where=down_mw > 0)
    budget = min(hours, HOURS_PER_DAY) * most
    return EnergyAccount(
        initial_mwh=max(min(hours, HOURS_PER_DAY) - used_h, 0.0) * most,
        min_mwh=np.zeros(conditions.steps),
        max_mwh=np.full(conditions.steps, budget),
        gain_up=np.zeros(conditions.steps),
        gain_down=gain,
        keep=np.where(resets, 0.0, 1.0),
        inflow_mwh=np.where(resets, budget, 0.0),
    )
