"""Pump stations: fill a reservoir that a demand empties, at hours of their choice."""

from __future__ import annotations

import numpy as np

from core.sites import Asset, AssetKind
from core.units import convert
from grid.der import Conditions
from grid.der._accounts import ordered, within_reach
from grid.der._inputs import drawn, optional, parameter, state
from grid.der._switching import STATES as SWITCHING_STATES
from grid.der._switching import commitment
from grid.envelope import EnergyAccount, Envelope

KIND = AssetKind.PUMP_STATION
PROFILES = ("flow_m3_per_h",)
STATES = ("volume_m3", "level_m", *SWITCHING_STATES)

GRAVITY_M_PER_S2 = 9.80665
WATER_KG_PER_M3 = 1000.0
MWH_PER_M3 = "mwh_per_m3"


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """The volume of the reservoir between its bounds while ``flow_m3_per_h`` leaves it.

    The content is that volume times the energy to pump it, MWh; ``volume_m3`` turns it back.
    Profile: flow_m3_per_h, the demand. Parameters: p_max_mw; specific_energy_kwh_per_m3, or
    head_m with pump_efficiency (0.7): rho g h / efficiency; volume_min_m3 (0) and volume_max_m3,
    or level_min_m (0) and level_max_m with area_m2, for an upright tank; volume_end_m3, the least
    at the end (as at the beginning); p_min_mw (0), for pumps of fixed speed p_max_mw;
    overflow_cny_per_m3, at which water may be lost (none: it may not);
    shortage_cny_per_m3_h, at which the bounds may be broken, by each m3 and hour (none: they may
    not); and those of grid/der/_switching.py.
    States: volume_m3, or level_m with area_m2 (the middle of the bounds); those of switching.
    A drainage station is the same: its content is the room left, its demand what flows in.
    """
    steps = conditions.steps
    power = parameter(asset, "p_max_mw", above=0.0)
    p_min = parameter(asset, "p_min_mw", 0.0, least=0.0)
    ordered(asset, "p_min_mw", p_min, "p_max_mw", power)
    per_m3 = _mwh_per_m3(asset)
    low, high = _volumes(asset)
    start = _start(asset, conditions, 0.5 * (low + high))
    end = parameter(asset, "volume_end_m3", min(max(start, low), high), least=0.0)
    ordered(asset, "volume_end_m3", end, "volume_max_m3", high)
    drain = -drawn(asset, "flow_m3_per_h", conditions) * conditions.dt_h * per_m3
    lowest, highest = np.full(steps, low * per_m3), np.full(steps, high * per_m3)
    lowest[-1] = max(lowest[-1], end * per_m3)
    lowest, highest = within_reach(
        lowest,
        highest,
        start * per_m3,
        np.ones(steps),
        drain + conditions.dt_h * power,
        drain,
    )
    shortage = optional(asset, "shortage_cny_per_m3_h", least=0.0)
    overflow = optional(asset, "overflow_cny_per_m3", least=0.0)
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=np.zeros(steps),
        up_mw=np.full(steps, power),
        down_mw=np.zeros(steps),
        account=EnergyAccount(
            initial_mwh=start * per_m3,
            min_mwh=lowest,
            max_mwh=highest,
            gain_up=np.ones(steps),
            gain_down=np.zeros(steps),
            keep=np.ones(steps),
            inflow_mwh=drain,
            capacity_mwh=high * per_m3,
            carrier="water",
            breach_cny_per_mwh=None if shortage is None else shortage / per_m3,
            spill_cny_per_mwh=None if overflow is None else overflow / per_m3,
        ),
        commitment=commitment(asset, conditions, p_min),
        soft_kind="" if shortage is None else "reservoir level",
        settings={MWH_PER_M3: per_m3},
    )


def volume_m3(envelope: Envelope, content_mwh: np.ndarray) -> np.ndarray:
    """The volume in the reservoir, m3, of a content of a pump station's account, MWh."""
    return np.asarray(content_mwh / envelope.settings[MWH_PER_M3])


def _mwh_per_m3(asset: Asset) -> float:
    head = optional(asset, "head_m", above=0.0)
    if head is None:
        specific = parameter(asset, "specific_energy_kwh_per_m3", above=0.0)
        return convert(specific, "kWh", "MWh")
    efficiency = parameter(asset, "pump_efficiency", 0.7, above=0.0, most=1.0)
    return convert(WATER_KG_PER_M3 * GRAVITY_M_PER_S2 * head / efficiency, "J", "MWh")


def _volumes(asset: Asset) -> tuple[float, float]:
    area = optional(asset, "area_m2", above=0.0)
    if area is None or "volume_max_m3" in asset.parameters:
        low = parameter(asset, "volume_min_m3", 0.0, least=0.0)
        high = parameter(asset, "volume_max_m3", above=0.0)
        ordered(asset, "volume_min_m3", low, "volume_max_m3", high)
        return low, high
    low = parameter(asset, "level_min_m", 0.0, least=0.0)
    high = parameter(asset, "level_max_m", above=0.0)
    ordered(asset, "level_min_m", low, "level_max_m", high)
    return low * area, high * area


def _start(asset: Asset, conditions: Conditions, otherwise: float) -> float:
    volume = state(asset, "volume_m3", conditions, least=0.0)
    level = state(asset, "level_m", conditions, least=0.0)
    area = optional(asset, "area_m2", above=0.0)
    if volume is not None:
        return volume
    return otherwise if level is None or area is None else level * area
