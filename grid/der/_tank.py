"""Heat that a plant makes for a demand, through a tank or without one."""

from __future__ import annotations

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset
from grid.der import Conditions
from grid.der._accounts import kept, ordered, within_reach
from grid.der._inputs import HOURS_PER_DAY, drawn, optional, parameter, state
from grid.envelope import EnergyAccount

PROFILES = ("heat_mw",)
STATES = ("soc",)
SOFT_KIND = "heat from elsewhere"


def heat_account(
    asset: Asset, conditions: Conditions, heat_per_mwh: float, p_max_mw: float, *, dumps: bool
) -> EnergyAccount:
    """The heat in the tank of ``asset``, MWh above what it holds when it is cold.

    heat_per_mwh: heat made by each MWh of electricity; p_max_mw: the most of it. dumps: heat may
    be thrown away at spill_cny_per_mwh (0).
    Profile: heat_mw, the demand. Parameters: tank_mwh (0: none), tank_min_mwh (0),
    tank_loss_percent_per_day (0) of the content; soc_end, the least share of tank_mwh at the end
    (what it would hold if left alone without demand), or end_cny_per_mwh (0), the worth of a MWh
    then. backup_boiler (0): 1 where another boiler gives what this plant cannot give at full
    power. backup_heat_cny_per_mwh: what heat from elsewhere costs, at any time; only without a
    tank, where each step stands for itself (keep = 0, so that a lack of it is not owed).
    State: soc, the content as a share of tank_mwh (0.5).
    """
    steps, dt_h = conditions.steps, conditions.dt_h
    demand = drawn(asset, "heat_mw", conditions)
    if parameter(asset, "backup_boiler", 0.0, least=0.0, most=1.0):
        demand = np.minimum(demand, heat_per_mwh * p_max_mw)
    tank = parameter(asset, "tank_mwh", 0.0, least=0.0)
    backup = optional(asset, "backup_heat_cny_per_mwh", least=0.0)
    spill = parameter(asset, "spill_cny_per_mwh", 0.0, least=0.0) if dumps else None
    if tank > 0.0 and backup is not None:
        raise ConfigurationError(
            f"{asset.id} has tank_mwh and backup_heat_cny_per_mwh; a price for heat from elsewhere "
            "goes without a tank only. With one, backup_boiler gives what is beyond full power."
        )
    keep = kept(
        parameter(asset, "tank_loss_percent_per_day", 0.0, least=0.0, most=100.0),
        HOURS_PER_DAY,
        conditions,
    )
    if tank == 0.0:
        keep = np.zeros(steps)
    low, high, start = np.zeros(steps), np.full(steps, tank), 0.0
    if tank > 0.0:
        least = parameter(asset, "tank_min_mwh", 0.0, least=0.0)
        ordered(asset, "tank_min_mwh", least, "tank_mwh", tank)
        soc = state(asset, "soc", conditions, least=0.0, most=1.0)
        start = max(0.5 * tank, least) if soc is None else soc * tank
        low[:] = least
        low[-1] = max(least, _end(asset, tank, start * float(np.prod(keep))))
    made = dt_h * heat_per_mwh * p_max_mw
    low, high = within_reach(low, high, start, keep, made - dt_h * demand, -dt_h * demand)
    return EnergyAccount(
        initial_mwh=start,
        min_mwh=low,
        max_mwh=high,
        gain_up=np.full(steps, heat_per_mwh),
        gain_down=np.zeros(steps),
        keep=keep,
        inflow_mwh=-dt_h * demand,
        capacity_mwh=tank,
        carrier="heat",
        end_cny_per_mwh=parameter(asset, "end_cny_per_mwh", 0.0, least=0.0),
        breach_cny_per_mwh=None if backup is None else backup / dt_h,
        spill_cny_per_mwh=spill,
        bought=backup is not None,
    )


def _end(asset: Asset, tank: float, alone: float) -> float:
    share = optional(asset, "soc_end", least=0.0, most=1.0)
    if share is not None:
        return share * tank
    return 0.0 if optional(asset, "end_cny_per_mwh") is not None else alone
