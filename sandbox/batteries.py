"""The city's batteries: they follow set-points, and without one look after their own bus.

Everything is vectorised over the batteries, shape (b,). Power is positive when charging, as
pandapower's storages; soc is the state of charge, 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.sites import Asset

STEP_H = 0.25

CHARGE_FROM_HOUR, CHARGE_TO_HOUR = 6.0, 17.0
DISCHARGE_FROM_HOUR, DISCHARGE_TO_HOUR = 17.0, 24.0
_BLIND_HOURS = 4.0
"""A battery without a meter beside it empties evenly over this long in the evening."""


@dataclass(frozen=True)
class Fleet:
    """What the batteries are; arrays of shape (b,)."""

    p_max_mw: np.ndarray
    e_max_mwh: np.ndarray
    efficiency_charge: np.ndarray
    efficiency_discharge: np.ndarray
    soc_min: np.ndarray
    soc_max: np.ndarray

    @classmethod
    def of(cls, assets: list[Asset]) -> Fleet:
        """The fleet that ``assets``, all of them batteries, make up."""
        return cls(
            **{
                name: np.array([a.parameters[name] for a in assets], dtype=np.float64)
                for name in cls.__dataclass_fields__
            }
        )

    def step(self, soc: np.ndarray, wanted_mw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Power and state of charge after a quarter-hour of wanting ``wanted_mw``.

        What is wanted is cut to the power limit and to what fits into, or is left in, the
        battery; so soc never leaves soc_min to soc_max, and energy is kept:
        ``e_max * (soc' - soc) = (efficiency_charge * charge - discharge / efficiency_discharge)
        * 0.25 h``. A battery that starts outside its limits is led back by its next use.
        """
        room_mwh = np.maximum(self.soc_max - soc, 0.0) * self.e_max_mwh
        left_mwh = np.maximum(soc - self.soc_min, 0.0) * self.e_max_mwh
        most_mw = np.minimum(self.p_max_mw, room_mwh / (self.efficiency_charge * STEP_H))
        least_mw = -np.minimum(self.p_max_mw, left_mwh * self.efficiency_discharge / STEP_H)
        p_mw = np.clip(wanted_mw, least_mw, most_mw)
        charge_mw, discharge_mw = np.maximum(p_mw, 0.0), np.maximum(-p_mw, 0.0)
        gained_mwh = STEP_H * (
            self.efficiency_charge * charge_mw - discharge_mw / self.efficiency_discharge
        )
        moved = soc + gained_mwh / self.e_max_mwh
        # The last bit of rounding must not carry it over a limit it has just reached.
        low, high = np.minimum(soc, self.soc_min), np.maximum(soc, self.soc_max)
        return p_mw, np.clip(moved, low, high)


@dataclass(frozen=True)
class LocalRule:
    """Self-consumption: charge from the surplus of the sun, discharge into the evening.

    load_share, pv_share: what part of each load and PV plant stands beside each battery, shapes
    (loads, b) and (sgens, b); pv: which sgens are PV, bool. A battery without much PV beside it
    (``shaded``) takes its part, by power, of what the whole city's sun has left over; one
    without any load (``blind``) empties evenly.
    """

    fleet: Fleet
    load_share: np.ndarray
    pv_share: np.ndarray
    pv: np.ndarray
    shaded: np.ndarray
    blind: np.ndarray

    @classmethod
    def beside(
        cls,
        fleet: Fleet,
        battery_bus: np.ndarray,
        load_bus: np.ndarray,
        sgen_bus: np.ndarray,
        pv_mw: np.ndarray,
    ) -> LocalRule:
        """The rule for batteries at ``battery_bus``; ``pv_mw``: rating of each sgen that is PV.

        Other sgens have 0 there. Batteries on one bus share what stands beside them by power.
        """
        same = battery_bus[:, None] == battery_bus[None, :]
        part = fleet.p_max_mw / (same * fleet.p_max_mw[None, :]).sum(axis=1)
        load_share = (load_bus[:, None] == battery_bus[None, :]) * part
        pv = pv_mw > 0.0
        pv_share = ((sgen_bus[:, None] == battery_bus[None, :]) & pv[:, None]) * part
        return cls(
            fleet,
            load_share,
            pv_share,
            pv,
            shaded=pv_mw @ pv_share < 0.5 * fleet.p_max_mw,
            blind=load_share.sum(axis=0) == 0.0,
        )

    def wanted(self, hour: float, load_p_mw: np.ndarray, sgen_p_mw: np.ndarray) -> np.ndarray:
        """What each battery wants, MW, shape (b,), at the local ``hour`` of a day.

        load_p_mw (loads,), sgen_p_mw (sgens,): what loads and generators do now.
        """
        need = load_p_mw @ self.load_share
        sun = sgen_p_mw @ self.pv_share
        if CHARGE_FROM_HOUR <= hour < CHARGE_TO_HOUR:
            left_over = max(float(sgen_p_mw[self.pv].sum() - load_p_mw.sum()), 0.0)
            part = self.fleet.p_max_mw / self.fleet.p_max_mw.sum()
            own = np.maximum(sun - need, 0.0)
            return np.asarray(np.where(self.shaded, np.maximum(own, left_over * part), own))
        if DISCHARGE_FROM_HOUR <= hour < DISCHARGE_TO_HOUR:
            evenly = self.fleet.e_max_mwh / _BLIND_HOURS
            return np.asarray(-np.where(self.blind, evenly, np.maximum(need - sun, 0.0)))
        return np.zeros_like(need)
