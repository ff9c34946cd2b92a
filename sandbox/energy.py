"""The city's electricity by the quarter-hour: profiles, set-points, batteries, exchange."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.sites import Asset, AssetKind, Site
from core.timeaxis import to_us
from sandbox import batteries, citytime
from sandbox.materials import Materials
from sandbox.profiles import Profiles
from sandbox.setpoints import Setpoints

LOSS_SHARE = 0.015
"""Losses of lines and transformers, as a share of what flows: about what a power flow finds."""

START_SOC = 0.5
SETTLING_DAYS = 7
"""After a week of the local rule most batteries have forgotten how they began."""

_CURTAILABLE = (AssetKind.PV, AssetKind.WIND)
_STEERABLE = (AssetKind.EV_CHARGER, AssetKind.FLEXIBLE_LOAD)


@dataclass(frozen=True)
class Quarter:
    """A quarter-hour of the whole city; powers are means, soc is at its end.

    load_p_mw, load_q_mvar (loads,), sgen_p_mw (sgens,), battery_p_mw, soc (b,); import_mw and
    export_mw, both >= 0, at the substation.
    """

    load_p_mw: np.ndarray
    load_q_mvar: np.ndarray
    sgen_p_mw: np.ndarray
    battery_p_mw: np.ndarray
    soc: np.ndarray
    import_mw: float
    export_mw: float


class Energy:
    """The electric city. Pure in time but for what its batteries hold, which the caller keeps."""

    def __init__(self, source: Materials, site: Site, seed: int) -> None:
        self.loads = _of(site, "load")
        self.sgens = _of(site, "sgen")
        self.batteries = _of(site, "storage")
        self._profiles = Profiles(source, seed)
        self._fleet = batteries.Fleet.of(self.batteries)
        self._rule = batteries.LocalRule.beside(
            self._fleet,
            source.storages.bus,
            source.loads.bus,
            source.sgens.bus,
            np.where([a.kind is AssetKind.PV for a in self.sgens], source.sgens.sn_mva, 0.0),
        )
        self._steerable = [i for i, a in enumerate(self.loads) if a.kind in _STEERABLE]
        self._curtailable = [i for i, a in enumerate(self.sgens) if a.kind in _CURTAILABLE]

    def settled(self, quarter: int) -> np.ndarray:
        """State of charge, shape (b,), at the beginning of ``quarter`` if nobody ever planned."""
        soc = np.full(len(self.batteries), START_SOC)
        start = quarter - SETTLING_DAYS * citytime.STEPS_PER_DAY
        for step in self.run(np.arange(start, quarter), soc, Setpoints()):
            soc = step.soc
        return soc

    def run(self, quarters: np.ndarray, soc: np.ndarray, setpoints: Setpoints) -> list[Quarter]:
        """The city in consecutive quarter-hours, from the state of charge ``soc`` on."""
        powers = self._profiles.at(quarters)
        hours = citytime.local_hours(citytime.seconds(quarters))
        result = []
        for i, quarter in enumerate(quarters.tolist()):
            ts_us = to_us(citytime.quarter_start(quarter)) if len(setpoints) else 0
            load_p, load_q = powers.load_p_mw[i], powers.load_q_mvar[i]
            sgen_p = powers.sgen_p_mw[i]
            if len(setpoints):
                load_p, load_q = self._steered(load_p, load_q, setpoints, ts_us)
                sgen_p = self._curtailed(sgen_p, setpoints, ts_us)
            wanted = self._rule.wanted(float(hours[i]), load_p, sgen_p)
            if len(setpoints):
                wanted = _asked(wanted, self.batteries, setpoints, ts_us)
            battery_p, soc = self._fleet.step(soc, wanted)
            result.append(_balanced(load_p, load_q, sgen_p, battery_p, soc))
        return result

    def _steered(
        self, load_p: np.ndarray, load_q: np.ndarray, setpoints: Setpoints, ts_us: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Chargers and heat pumps do what they are asked, within what they can."""
        load_p, load_q = load_p.copy(), load_q.copy()
        for i in self._steerable:
            asked = setpoints.at(self.loads[i].id, ts_us)
            if asked is not None:
                p_mw = min(max(asked, 0.0), self.loads[i].parameters["p_max_mw"])
                load_q[i] *= p_mw / load_p[i] if load_p[i] > 0.0 else 0.0
                load_p[i] = p_mw
        return load_p, load_q

    def _curtailed(self, sgen_p: np.ndarray, setpoints: Setpoints, ts_us: int) -> np.ndarray:
        """Sun and wind give what they are asked, and never more than there is."""
        sgen_p = sgen_p.copy()
        for i in self._curtailable:
            asked = setpoints.at(self.sgens[i].id, ts_us)
            if asked is not None:
                sgen_p[i] = min(max(asked, 0.0), sgen_p[i])
        return sgen_p


def _of(site: Site, element: str) -> list[Asset]:
    """The assets of a pandapower table, in the order of its index."""
    found = [a for a in site.assets if a.element == element]
    return sorted(found, key=lambda a: a.element_index)


def _asked(wanted: np.ndarray, assets: list[Asset], setpoints: Setpoints, ts_us: int) -> np.ndarray:
    """What the batteries are asked where they are asked anything, else what they want."""
    wishes = (setpoints.at(a.id, ts_us) for a in assets)
    return np.array([own if w is None else w for own, w in zip(wanted, wishes, strict=True)])


def _balanced(
    load_p: np.ndarray,
    load_q: np.ndarray,
    sgen_p: np.ndarray,
    battery_p: np.ndarray,
    soc: np.ndarray,
) -> Quarter:
    """What is missing comes from the upstream grid, what is left goes there."""
    used = float(load_p.sum() + np.maximum(battery_p, 0.0).sum())
    made = float(sgen_p.sum() + np.maximum(-battery_p, 0.0).sum())
    exchange = used - made + LOSS_SHARE * max(used, made)
    return Quarter(load_p, load_q, sgen_p, battery_p, soc, max(exchange, 0.0), max(-exchange, 0.0))
