"""Charging stations: the energy of a stay may be taken at any time of the stay."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from core.sites import Asset, AssetKind
from grid.der import Conditions
from grid.der._inputs import HOURS_PER_DAY, drawn, optional, parameter, runs, state, within_hours
from grid.der._stays import Rules, vehicles
from grid.envelope import AT_ONCE, EnergyAccount, Envelope

KIND = AssetKind.EV_CHARGER
PROFILES = ("p_mw",)
STATES = ("e_ahead_mwh",)
CONTENT_OF = MappingProxyType({"e_ahead_mwh": 1.0})


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """The stays of vehicles where they are known, else the demand, shifted within usual stays.

    Known stays (Conditions.stays). The content is what the vehicles there hold: what they brought
    where that is known, plus what they got; it leaves with them, and 0 is left when all have gone.
    A stay counts from its arrival or the horizon's beginning, less what it was charged by then,
    and until its departure; one that ends after the horizon must have got until its end what it
    could not get afterwards at full power, and fair_share (1) of the part that falls to the
    horizon by time. Parameters: p_max_mw, of the whole station and of each vehicle that does not
    take less; v2g (0; 1 where vehicles with a known battery_mwh and arrival_mwh may feed back, at
    most v2g_max_mw (p_max_mw) together, at v2g_cny_per_mwh (0), never below v2g_soc_min (0.2) or
    what they brought, if less); efficiency_charge and efficiency_discharge (0.93 each: 87.0 %
    round trip, Schram et al., "Empirical evaluation of V2G round-trip efficiency", SEST 2020);
    needed_mwh and charged_mwh count at the plug. unserved_cny_per_mwh: what a MWh costs that
    the battery lacks at departure; without it, a stay that asks more than the charger can give is
    a conflict. With several vehicles at once a lack counts again in each step until all have gone,
    and their limits are a relaxation, see grid/der/_stays.py; settings says how many there are
    (AT_ONCE), and a plan names such chargers. One vehicle after the other is exact.

    Expected demand (profile p_mw; optional where stays are known). As long as known vehicles are
    there, what is expected beyond their needs stays as it is; afterwards, and where the charger
    reports no stays, the demand from arrival_hour (18) to departure_hour (7), local hours, may be
    shifted within that time, and the rest stays as it is. The horizon's end cuts such a stay: what
    lies before it is delivered before it. The content is then what was charged ahead of the demand.
    State, for a stay without vehicles known that is under way at the beginning: e_ahead_mwh, what
    was charged ahead of the demand by then, negative where it was put off (0); it is made up for
    until departure, as far as power allows.
    """
    power = parameter(asset, "p_max_mw", least=0.0)
    known = _known(asset, conditions, power)
    demand = _demand(asset, conditions)
    arrival = parameter(asset, "arrival_hour", 18.0, least=0.0, most=HOURS_PER_DAY)
    departure = parameter(asset, "departure_hour", 7.0, least=0.0, most=HOURS_PER_DAY)
    until = known.until
    staying = within_hours(conditions, arrival, departure)
    staying[:until] = False
    staying &= bool(demand.any())
    limit = np.where(staying, np.maximum(power, demand), 0.0)
    usual = _usual(asset, conditions, demand, staying, limit)
    base = np.where(staying, 0.0, demand)
    base[:until] = known.beyond(demand, conditions.dt_h, power)[:until]
    price = optional(asset, "unserved_cny_per_mwh", least=0.0)
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=base,
        up_mw=np.minimum(known.charge_mw, power) + limit,
        down_mw=known.discharge_mw,
        down_cny_per_mwh=parameter(asset, "v2g_cny_per_mwh", 0.0, least=0.0),
        account=EnergyAccount(
            initial_mwh=known.initial_mwh + usual.ahead_mwh,
            min_mwh=known.low + usual.least_mwh,
            max_mwh=known.high + usual.most_mwh,
            gain_up=np.where(staying, 1.0, known.gain_up),
            gain_down=np.full(conditions.steps, known.gain_down),
            keep=known.keep,
            inflow_mwh=known.inflow - usual.taken_mwh,
            breach_cny_per_mwh=None if price is None else price / conditions.dt_h,
        ),
        soft_kind="" if price is None else "energy at departure",
        settings={AT_ONCE: known.at_once} if known.at_once > 1 else {},
    )


@dataclass(frozen=True, eq=False)
class _Known:
    """All known vehicles together; until: the first step that none of them concerns.

    at_once: the most that stand there at one time; one that comes as another leaves does not count.
    """

    until: int
    initial_mwh: float
    low: np.ndarray
    high: np.ndarray
    keep: np.ndarray
    inflow: np.ndarray
    charge_mw: np.ndarray
    discharge_mw: np.ndarray
    gain_up: float
    gain_down: float
    needed_mwh: float
    at_once: int

    def beyond(self, demand: np.ndarray, dt_h: float, p_max_mw: float) -> np.ndarray:
        """What of the demand the known vehicles do not explain, within what they leave of power."""
        expected = float(demand[: self.until].sum()) * dt_h
        share = max(1.0 - self.needed_mwh / expected, 0.0) if expected > 0.0 else 0.0
        room = np.maximum(p_max_mw - self.charge_mw, 0.0)
        return np.asarray(np.minimum(share * demand, room))


def _known(asset: Asset, conditions: Conditions, power: float) -> _Known:
    efficiency = parameter(asset, "efficiency_charge", 0.93, above=0.0, most=1.0)
    gain_down = 1.0 / parameter(asset, "efficiency_discharge", 0.93, above=0.0, most=1.0)
    feeding = parameter(asset, "v2g_max_mw", power, least=0.0)
    rules = Rules(
        p_max_mw=power,
        efficiency=efficiency,
        v2g=parameter(asset, "v2g", 0.0, least=0.0, most=1.0) > 0.0,
        v2g_soc_min=parameter(asset, "v2g_soc_min", 0.2, least=0.0, most=1.0),
        fair_share=parameter(asset, "fair_share", 1.0, least=0.0, most=1.0),
        soft=optional(asset, "unserved_cny_per_mwh", least=0.0) is not None,
    )
    there = vehicles(asset.id, conditions.stays or (), conditions, rules)
    steps = conditions.steps
    busy = np.any([v.present > 0.0 for v in there], axis=0) if there else np.zeros(steps, bool)
    stretches = runs(busy)
    present = np.array([v.present for v in there]).reshape(len(there), steps)
    together = present.sum(axis=0) > 1.0 + 1e-9
    low, high, inflow, keep = np.zeros(steps), np.zeros(steps), np.zeros(steps), np.ones(steps)
    charge, discharge = np.zeros(steps), np.zeros(steps)
    for vehicle in there:
        here = slice(vehicle.first, vehicle.last + 1)
        low[here] += vehicle.low[here]
        high[here] += vehicle.high[here]
        charge += vehicle.charge_mw
        if vehicle.v2g:
            discharge += vehicle.p_max_mw * vehicle.present
        if not vehicle.before:
            inflow[vehicle.first] += vehicle.arrives
        if vehicle.last + 1 < steps and busy[vehicle.last + 1]:
            inflow[vehicle.last + 1] -= vehicle.leaves
    for _, last in stretches:
        keep[last + 1 : last + 2] = 0.0  # whatever was left, all have gone
    return _Known(
        until=stretches[-1][1] + 1 if stretches else 0,
        initial_mwh=sum(v.arrives for v in there if v.before),
        low=low,
        high=high,
        keep=keep,
        inflow=inflow,
        charge_mw=charge,
        discharge_mw=np.minimum(discharge, feeding),
        gain_up=efficiency,
        gain_down=gain_down,
        needed_mwh=sum(v.within for v in there) / efficiency,
        at_once=int((present[:, together] > 0.0).sum(axis=0).max(initial=min(len(there), 1))),
    )


def _demand(asset: Asset, conditions: Conditions) -> np.ndarray:
    if conditions.stays is not None and "p_mw" not in conditions.profiles:
        return np.zeros(conditions.steps)
    return drawn(asset, "p_mw", conditions)


@dataclass(frozen=True, eq=False)
class _Usual:
    """The demand of usual stays: taken in each step, and what may have been charged ahead of it by
    its end, MWh; ahead: at the beginning."""

    taken_mwh: np.ndarray
    least_mwh: np.ndarray
    most_mwh: np.ndarray
    ahead_mwh: float


def _usual(
    asset: Asset,
    conditions: Conditions,
    demand: np.ndarray,
    staying: np.ndarray,
    limit: np.ndarray,
) -> _Usual:
    taken = np.where(staying, demand, 0.0) * conditions.dt_h
    least, most = np.zeros(conditions.steps), np.zeros(conditions.steps)
    ahead = 0.0
    for first, last in runs(staying):
        here = slice(first, last + 1)
        waiting = 0.0
        if first == 0 and conditions.stays is None:
            ahead = state(asset, "e_ahead_mwh", conditions) or 0.0
            room = float((limit[here] * conditions.dt_h - taken[here]).sum())
            ahead = float(np.clip(ahead, -room, taken[here].sum()))
            waiting = min(ahead, 0.0)
        so_far = np.cumsum(taken[here])
        least[here] = waiting - so_far
        least[last] = 0.0
        most[here] = so_far[-1] - so_far
    return _Usual(taken, least, most, ahead)
