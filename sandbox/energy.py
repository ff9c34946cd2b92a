"""The city's electricity by the quarter-hour: profiles, plants, set-points, batteries, exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.sites import Asset, AssetKind, Site
from core.timeaxis import to_us
from sandbox import batteries, citytime, plants
from sandbox.equipment import TAN_PHI
from sandbox.materials import Materials
from sandbox.plants import Around, Moment
from sandbox.profiles import Profiles
from sandbox.setpoints import Setpoints
from sandbox.state import Holding
from sandbox.weather import Climate

LOSS_SHARE = 0.015
"""Losses of lines and transformers, as a share of what flows: about what a power flow finds."""

START_SOC = 0.5
SETTLING_DAYS = 7
"""After a week of the local rule most batteries have forgotten how they began."""

_CURTAILABLE = (AssetKind.PV, AssetKind.WIND)
_STEERABLE = (AssetKind.EV_CHARGER, AssetKind.FLEXIBLE_LOAD)


@dataclass(frozen=True)
class Quarter:
    """A quarter-hour of the whole city; powers are means, what is held is at its end.

    load_p_mw, load_q_mvar (loads,), sgen_p_mw (sgens,), battery_p_mw (b,); import_mw and
    export_mw, both >= 0, at the substation. reported: what plants show beside power, in the order
    of Energy.reported.
    """

    load_p_mw: np.ndarray
    load_q_mvar: np.ndarray
    sgen_p_mw: np.ndarray
    battery_p_mw: np.ndarray
    holding: Holding
    import_mw: float
    export_mw: float
    reported: np.ndarray


class Energy:
    """The electric city. Pure in time but for what it holds, which the caller keeps.

    Its loads and sgens are those of SimBench, then the plants of sandbox/equipment.
    """

    def __init__(
        self, source: Materials, site: Site, seed: int, climate: Climate | None = None
    ) -> None:
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
            np.where(
                [a.kind is AssetKind.PV for a in self.sgens[: len(source.sgens.bus)]],
                source.sgens.sn_mva,
                0.0,
            ),
        )
        self._climate = Climate(source, seed) if climate is None else climate
        self._drawing = plants.of(self.loads, seed)
        self._feeding = plants.of(self.sgens, seed)
        self._equipment = self._drawing | self._feeding
        self._tan_phi = np.array(
            [a.parameters[TAN_PHI] for a in self.loads if a.id in self._drawing]
        )
        self.reported = [
            (asset, variable)
            for asset, plant in self._equipment.items()
            for variable in plant.reported
        ]
        """What plants show beside power: asset and variable."""
        self._steerable = [i for i, a in enumerate(self.loads) if a.kind in _STEERABLE]
        self._curtailable = [i for i, a in enumerate(self.sgens) if a.kind in _CURTAILABLE]

    def settled(self, quarter: int) -> Holding:
        """What is held at the beginning of ``quarter`` if nobody ever planned."""
        holding = Holding(np.full(len(self.batteries), START_SOC))
        start = quarter - SETTLING_DAYS * citytime.STEPS_PER_DAY
        return self.run(np.arange(start, quarter), holding, Setpoints())[-1].holding

    def run(self, quarters: np.ndarray, holding: Holding, setpoints: Setpoints) -> list[Quarter]:
        """The city in consecutive quarter-hours, from what is held before them on."""
        powers = self._profiles.at(quarters)
        around = Around.of(quarters, self._climate)
        needs = {asset: plant.need(around) for asset, plant in self._equipment.items()}
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
            battery_p, soc = self._fleet.step(holding.soc, wanted)
            told = self._told(holding, around, needs, i, setpoints)
            holding = Holding(soc, told)
            drawn = np.array([told[asset]["p_mw"] for asset in self._drawing])
            result.append(
                _balanced(
                    np.append(load_p, drawn),
                    np.append(load_q, self._tan_phi * drawn),
                    np.append(sgen_p, [told[asset]["p_mw"] for asset in self._feeding]),
                    battery_p,
                    holding,
                    np.array([told[asset][variable] for asset, variable in self.reported]),
                )
            )
        return result

    def _told(
        self,
        holding: Holding,
        around: Around,
        needs: Mapping[str, np.ndarray],
        i: int,
        setpoints: Setpoints,
    ) -> dict[str, plants.Held]:
        """What the meter of each plant shows of the quarter-hour ``i``."""
        hour, temp_air = float(around.hour[i]), float(around.temp_air[i])
        ts_us = to_us(citytime.quarter_start(int(around.quarters[i])))
        return {
            asset: plant.step(
                {**plant.start, **holding.plants.get(asset, {})},
                Moment(float(needs[asset][i]), hour, temp_air, setpoints.at(asset, ts_us)),
            )
            for asset, plant in self._equipment.items()
        }

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
    holding: Holding,
    reported: np.ndarray,
) -> Quarter:
    """What is missing comes from the upstream grid, what is left goes there."""
    used = float(load_p.sum() + np.maximum(battery_p, 0.0).sum())
    made = float(sgen_p.sum() + np.maximum(-battery_p, 0.0).sum())
    exchange = used - made + LOSS_SHARE * max(used, made)
    return Quarter(
        load_p,
        load_q,
        sgen_p,
        battery_p,
        holding,
        max(exchange, 0.0),
        max(-exchange, 0.0),
        reported,
    )
