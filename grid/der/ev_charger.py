"""Charging stations: the energy of a stay may be taken at any time of the stay."""

from __future__ import annotations

import numpy as np

from core.sites import Asset, AssetKind
from core.timeaxis import from_datetime64, zone
from grid.der import Conditions, parameter, power
from grid.envelope import EnergyAccount, Envelope

KIND = AssetKind.EV_CHARGER


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """The demand of each stay, shifted within it; demand outside of stays remains as it is.

    A stay lasts from arrival_hour to departure_hour, local hours, over midnight where the departure
    is the earlier one. Within a stay nothing is charged before the car came and all is there when
    it leaves. The horizon cuts stays: each part delivers its own demand.
    Profile: p_mw, the demand. Parameters: p_max_mw, arrival_hour (18), departure_hour (7).
    """
    demand = power(asset, conditions)
    steps = conditions.steps
    arrival = parameter(asset, "arrival_hour", 18.0)
    departure = parameter(asset, "departure_hour", 7.0)
    staying = _staying(conditions.times, conditions.timezone, arrival, departure)
    energy = np.cumsum(np.where(staying, demand, 0.0)) * conditions.dt_h
    earliest, latest = energy.copy(), energy.copy()
    for first, last in _runs(staying):
        latest[first:last] = energy[first - 1] if first else 0.0
        latest[last] = energy[last]
        earliest[first : last + 1] = energy[last]
    limit = np.maximum(parameter(asset, "p_max_mw"), demand)
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=np.where(staying, 0.0, demand),
        up_mw=np.where(staying, limit, 0.0),
        down_mw=np.zeros(steps),
        account=EnergyAccount(
            initial_mwh=0.0,
            min_mwh=latest,
            max_mwh=earliest,
            gain_up=np.ones(steps),
            gain_down=np.ones(steps),
            keep=np.ones(steps),
            inflow_mwh=np.zeros(steps),
        ),
    )


def _staying(times: np.ndarray, timezone: str, arrival: float, departure: float) -> np.ndarray:
    tz = zone(timezone)
    local = [from_datetime64(t).astimezone(tz) for t in times]
    hour = np.array([t.hour + t.minute / 60 for t in local])
    if arrival <= departure:
        return np.asarray((hour >= arrival) & (hour < departure))
    return np.asarray((hour >= arrival) | (hour < departure))


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last position of each unbroken stretch of True."""
    edges = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
