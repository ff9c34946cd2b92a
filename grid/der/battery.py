"""Batteries: shift energy at the price of their losses and wear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset, AssetKind
from grid.der import Conditions
from grid.der._accounts import kept, ordered, within_reach
from grid.der._inputs import DAYS_PER_MONTH, HOURS_PER_DAY, optional, pairs, parameter, state
from grid.der._inverter import reactive
from grid.envelope import DepthBand, EnergyAccount, Envelope

KIND = AssetKind.BATTERY
STATES = ("soc",)

_SHARES_SUM = 1e-6


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """Power within its limits, content within the allowed states of charge.

    Parameters: e_max_mwh; p_max_mw, or charge_max_mw and discharge_max_mw (each p_max_mw);
    efficiency_charge, efficiency_discharge (0.95); self_discharge_percent_per_day or
    self_discharge_percent_per_month (0); soc_min (0), soc_max (1).
    Wear: cycle_cost_cny_per_mwh (0), per MWh discharged; on top of it by depth either
    cycle_cost_by_depth, pairs of a share of e_max_mwh and CNY per MWh, from full to empty, or
    cycle_life with replacement_cny_per_mwh, see ``wear``.
    End: soc_end, the least state of charge at the end, or end_cny_per_mwh (0), what a MWh is worth
    then. Without either it ends no emptier than if it had been left alone, so that a plan cannot
    profit by leaving it empty.
    Reactive power: grid/der/_inverter.py. State: soc at the beginning (0.5, or what is
    allowed next to it).
    A state outside soc_min..soc_max is left as fast as power allows and then never returns;
    self-discharge alone may lead below soc_min.
    """
    steps = conditions.steps
    capacity = parameter(asset, "e_max_mwh", above=0.0)
    charge, discharge = _power(asset)
    q = reactive(asset, max(charge, discharge))
    low = parameter(asset, "soc_min", 0.0, least=0.0, most=1.0)
    high = parameter(asset, "soc_max", 1.0, least=0.0, most=1.0)
    ordered(asset, "soc_min", low, "soc_max", high)
    start = state(asset, "soc", conditions, least=0.0, most=1.0)
    start = min(max(0.5, low), high) if start is None else start
    keep = _keep(asset, conditions)
    gain_up = parameter(asset, "efficiency_charge", 0.95, above=0.0, most=1.0)
    gain_down = 1.0 / parameter(asset, "efficiency_discharge", 0.95, above=0.0, most=1.0)
    alone = start * np.cumprod(keep)
    soc_min, soc_max = np.full(steps, low), np.full(steps, high)
    if start >= low:
        soc_min = np.minimum(soc_min, alone)
    end_price = optional(asset, "end_cny_per_mwh", least=0.0)
    end = optional(asset, "soc_end", least=0.0, most=1.0)
    if end is not None:
        ordered(asset, "soc_end", end, "soc_max", high)
        soc_min[-1] = max(low, end)
    elif end_price is None:
        soc_min[-1] = max(soc_min[-1], min(alone[-1], high))
    per_mw = conditions.dt_h / capacity
    soc_min, soc_max = within_reach(
        soc_min,
        soc_max,
        start,
        keep,
        np.full(steps, per_mw * gain_up * charge),
        np.full(steps, -per_mw * gain_down * discharge),
    )
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=np.zeros(steps),
        up_mw=np.full(steps, charge),
        down_mw=np.full(steps, discharge),
        down_cny_per_mwh=parameter(asset, "cycle_cost_cny_per_mwh", 0.0, least=0.0),
        account=EnergyAccount(
            initial_mwh=start * capacity,
            min_mwh=soc_min * capacity,
            max_mwh=soc_max * capacity,
            gain_up=np.full(steps, gain_up),
            gain_down=np.full(steps, gain_down),
            keep=keep,
            inflow_mwh=np.zeros(steps),
            capacity_mwh=capacity,
            end_cny_per_mwh=end_price or 0.0,
            depth=_depth(asset, 1.0 / gain_down),
        ),
        reactive=q,
    )


def wear(
    cycle_life: Sequence[tuple[float, float]],
    replacement_cny_per_mwh: float,
    efficiency_discharge: float = 1.0,
) -> tuple[DepthBand, ...]:
    """Wear by depth out of a cycle life, per MWh discharged at the terminals.

    cycle_life: pairs of a depth of discharge (0..1] and the full cycles of that depth until the
    battery is worn out, as data sheets give them. replacement_cny_per_mwh: of new cells, per MWh
    of capacity. A cycle of depth d uses 1 / cycles(d) of the life, so that what is discharged
    between the depths d1 < d2 costs

        replacement / efficiency * (1 / cycles(d2) - 1 / cycles(d1)) / (d2 - d1),  1 / cycles(0) = 0

    and a cycle to one of the depths given costs exactly its share of the replacement (Xu et al.,
    IEEE Trans. Power Systems 33(2), 2018, equations 6 to 9). Below the deepest given, the last
    price goes on. Only discharging is priced: it stands for the whole cycle.
    Raises ConfigurationError for depths outside 0..1 or repeated, cycles that are not positive,
    and a life by which deeper discharge wears less per MWh, which no data sheet means.
    """
    curve = sorted(cycle_life)
    depths, cycles = np.array([d for d, _ in curve]), np.array([n for _, n in curve])
    if not curve or depths[0] <= 0 or depths[-1] > 1 or np.any(np.diff(depths) <= 0):
        raise ConfigurationError("The depths of a cycle life lie within 0..1, each once.")
    if np.any(cycles <= 0):
        raise ConfigurationError("The cycles of a cycle life are positive.")
    widths = np.diff(depths, prepend=0.0)
    prices = replacement_cny_per_mwh * np.diff(1.0 / cycles, prepend=0.0) / widths
    if np.any(np.diff(prices) < -1e-9 * replacement_cny_per_mwh):
        raise ConfigurationError("By this cycle life, deeper discharge would wear less per MWh.")
    prices = np.maximum.accumulate(prices) / efficiency_discharge
    widths[-1] += 1.0 - depths[-1]
    return tuple(DepthBand(float(w), float(p)) for w, p in zip(widths, prices, strict=True))


def _power(asset: Asset) -> tuple[float, float]:
    both = optional(asset, "p_max_mw", least=0.0)
    return (
        parameter(asset, "charge_max_mw", both, least=0.0),
        parameter(asset, "discharge_max_mw", both, least=0.0),
    )


def _keep(asset: Asset, conditions: Conditions) -> np.ndarray:
    by_day = optional(asset, "self_discharge_percent_per_day", least=0.0, most=100.0)
    by_month = optional(asset, "self_discharge_percent_per_month", least=0.0, most=100.0)
    if by_day is not None and by_month is not None:
        raise ConfigurationError(f"The self-discharge of {asset.id} is given by day and by month.")
    if by_month is not None:
        return kept(by_month, DAYS_PER_MONTH * HOURS_PER_DAY, conditions)
    return kept(by_day or 0.0, HOURS_PER_DAY, conditions)


def _depth(asset: Asset, efficiency_discharge: float) -> tuple[DepthBand, ...]:
    bands = pairs(asset, "cycle_cost_by_depth")
    life = pairs(asset, "cycle_life")
    replacement = optional(asset, "replacement_cny_per_mwh", least=0.0)
    if bands and life:
        raise ConfigurationError(
            f"The wear of {asset.id} is given by cycle_cost_by_depth and by cycle_life."
        )
    if life:
        if replacement is None:
            raise ConfigurationError(
                f"The cycle_life of {asset.id} needs the number replacement_cny_per_mwh."
            )
        try:
            return wear(life, replacement, efficiency_discharge)
        except ConfigurationError as error:
            raise ConfigurationError(f"cycle_life of {asset.id}: {error}") from error
    total = sum(share for share, _ in bands)
    if bands and abs(total - 1.0) > _SHARES_SUM:
        raise ConfigurationError(
            f"The shares in cycle_cost_by_depth of {asset.id} make {total:g}, not 1."
        )
    return tuple(DepthBand(share / total, price) for share, price in bands)
