"""Plants and loads that hold something or are switched: by themselves, and as they are asked.

Each is a small machine with its own controls: without a set-point it looks after itself, with one
it does what it is asked within what it can, and whatever is asked it keeps its room warm, its tank
hot and its reservoir filled. A quarter-hour at a time; what a plant holds goes in and comes out by
variable (core/variables.py), as its meter shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from core.sites import Asset, AssetKind
from core.units import convert
from sandbox import citytime, noise, solar
from sandbox.weather import Climate

STEP_H = 0.25

_GRAVITY_M_PER_S2 = 9.80665
_WATER_KG_PER_M3 = 1000.0

Held = Mapping[str, float]
"""What one plant holds at the beginning of a quarter-hour, by variable."""

_BUSY_BY_HOUR = np.array(
    (
        *(0.3, 0.25, 0.2, 0.2, 0.3, 0.7, 1.4, 1.8, 1.6, 1.3, 1.1, 1.1),
        *(1.2, 1.1, 1.0, 0.9, 1.0, 1.2, 1.5, 1.7, 1.6, 1.3, 0.9, 0.5),
    )
)
"""Hot water and water are drawn when people are at home and awake; 1 on average or so."""
_WARD_BY_HOUR = np.array(
    (
        *(0.7, 0.65, 0.6, 0.6, 0.7, 0.9, 1.2, 1.4, 1.4, 1.3, 1.2, 1.2),
        *(1.2, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.0, 0.9, 0.8, 0.75),
    )
)
"""A hospital never sleeps: sterilisation and laundry by day, hot water all the time."""


@dataclass(frozen=True)
class Around:
    """What the surroundings are in some consecutive quarter-hours; arrays of shape (n,).

    quarters: their numbers. hour: of the local day. temp_air in degC. sun: the cosine of its
    zenith angle.
    """

    quarters: np.ndarray
    hour: np.ndarray
    temp_air: np.ndarray
    sun: np.ndarray

    @classmethod
    def of(cls, quarters: np.ndarray, climate: Climate) -> Around:
        """The surroundings under ``climate``."""
        ts_s = citytime.seconds(quarters)
        return cls(
            quarters,
            citytime.local_hours(ts_s),
            climate.at(quarters).temp_air,
            solar.cos_zenith(ts_s + citytime.QUARTER_S / 2, climate.lat, climate.lon),
        )


@dataclass(frozen=True)
class Moment:
    """One quarter-hour of one plant. need: what is drawn from it, in its own unit.

    asked_mw: its set-point, None without one.
    """

    need: float
    hour: float
    temp_air: float
    asked_mw: float | None


class Plant(Protocol):
    """One plant or load. reported: what its meter shows beside p_mw (and q_mvar)."""

    @property
    def reported(self) -> tuple[str, ...]:
        """Variables in a fixed order."""
        ...

    @property
    def start(self) -> Held:
        """What it holds in the very beginning."""
        ...

    def need(self, around: Around, /) -> np.ndarray:
        """What is drawn from it, whatever it does, (n,)."""
        ...

    def step(self, held: Held, now: Moment, /) -> Held:
        """What its meter shows of a quarter-hour: p_mw and ``reported``, which is all it holds."""
        ...


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


class _Sized:
    """A plant with the numbers of its asset, and chance of its own."""

    start: Held = MappingProxyType({})
    reported: tuple[str, ...] = ()

    def __init__(self, asset: Asset, seed: int) -> None:
        self._seed, self._id = seed, asset.id
        self._p: Mapping[str, float] = asset.parameters
        self._most = float(asset.parameters["p_max_mw"])

    def need(self, around: Around, /) -> np.ndarray:
        """Nothing is drawn from it."""
        return np.zeros(len(around.quarters))

    def _chance(self, around: Around, spread: float) -> np.ndarray:
        """A factor around 1 that wanders over hours and days, (n,)."""
        ts_s = citytime.seconds(around.quarters)
        hours = noise.smooth(self._seed, noise.stream(self._id, "hours"), ts_s, 2 * 3600.0)
        days = noise.smooth(self._seed, noise.stream(self._id, "days"), ts_s, 86_400.0)
        return np.asarray(np.exp(spread * (0.8 * hours + 0.6 * days)))


def _by_hour(table: np.ndarray, around: Around) -> np.ndarray:
    return np.asarray(np.interp(around.hour, np.arange(25), np.append(table, table[0])))


class HeatPump(_Sized):
    """A room behind a conductance, with visitors that come and go."""

    reported = ("temp_indoor",)
    start = MappingProxyType({"temp_indoor": 29.5})

    def __init__(self, asset: Asset, seed: int) -> None:
        super().__init__(asset, seed)
        self._low, self._high = self._p["temp_min_degc"], self._p["temp_max_degc"]
        self._kept = float(np.exp(-STEP_H / self._p["time_constant_h"]))

    def need(self, around: Around, /) -> np.ndarray:
        """Heat that comes by itself, MW."""
        return self._p["internal_gain_mw"] * self._chance(around, 0.2)

    def step(self, held: Held, now: Moment, /) -> Held:
        """Holds the middle of its band; when asked, within half a kelvin beyond the band."""
        outdoor, ua = now.temp_air, self._p["ua_mw_per_k"]
        flow = self._p["flow_temp_degc"]
        best = convert(flow, "degC", "K") / max(flow - outdoor, 5.0)
        per_mw = (1.0 - self._kept) / ua * self._p["cop_carnot_share"] * best
        alone = self._kept * held["temp_indoor"] + (1.0 - self._kept) * (outdoor + now.need / ua)

        def to_reach(degc: float) -> float:
            return _clip((degc - alone) / per_mw, 0.0, self._most)

        if now.asked_mw is None:
            p_mw = to_reach(0.5 * (self._low + self._high))
        else:
            p_mw = _clip(now.asked_mw, to_reach(self._low - 0.5), to_reach(self._high + 0.5))
        return {"p_mw": p_mw, "temp_indoor": alone + per_mw * p_mw}


class Boiler(_Sized):
    """An electric boiler whose tank a district draws hot water from."""

    reported = ("heat_mw", "soc")
    start = MappingProxyType({"soc": 0.6})
    _MEAN_MW = 0.22

    def need(self, around: Around, /) -> np.ndarray:
        """Hot water, more of it in cold weather; MW."""
        colder = 1.0 + 0.02 * np.maximum(15.0 - around.temp_air, 0.0)
        wanted = self._MEAN_MW * _by_hour(_BUSY_BY_HOUR, around) * colder
        return np.asarray(np.minimum(wanted * self._chance(around, 0.08), 0.55))

    def step(self, held: Held, now: Moment, /) -> Held:
        """Keeps its tank at 60 %; when asked, between half its least content and full."""
        tank, efficiency = self._p["tank_mwh"], self._p["efficiency"]
        keep = (1.0 - self._p["tank_loss_percent_per_day"] / 100.0) ** (STEP_H / 24.0)
        heat_mw = now.need
        alone = keep * held["soc"] * tank - STEP_H * heat_mw

        def to_reach(mwh: float) -> float:
            return _clip((mwh - alone) / (STEP_H * efficiency), 0.0, self._most)

        least = 0.5 * self._p["tank_min_mwh"]
        own = to_reach(0.6 * tank)
        p_mw = own if now.asked_mw is None else _clip(now.asked_mw, to_reach(least), to_reach(tank))
        content = alone + STEP_H * efficiency * p_mw
        return {"p_mw": p_mw, "heat_mw": heat_mw, "soc": _clip(content / tank, 0.0, 1.0)}


class PumpStation(_Sized):
    """Pumps that lift water into a reservoir out of which the city drinks."""

    reported = ("flow_m3_per_h", "volume_m3")
    start = MappingProxyType({"volume_m3": 1800.0})
    _MEAN_M3_PER_H = 260.0

    def __init__(self, asset: Asset, seed: int) -> None:
        super().__init__(asset, seed)
        joule = (
            _WATER_KG_PER_M3 * _GRAVITY_M_PER_S2 * self._p["head_m"] / self._p["pump_efficiency"]
        )
        self._mwh_per_m3 = convert(joule, "J", "MWh")

    def need(self, around: Around, /) -> np.ndarray:
        """What the city draws, m3/h."""
        drawn = self._MEAN_M3_PER_H * _by_hour(0.4 + 0.6 * _BUSY_BY_HOUR, around)
        return np.asarray(np.minimum(drawn * self._chance(around, 0.05), 600.0))

    def step(self, held: Held, now: Moment, /) -> Held:
        """Keeps its reservoir at 1800 m3; when asked, between nearly empty and full."""
        flow = now.need
        alone = held["volume_m3"] - STEP_H * flow

        def to_reach(m3: float) -> float:
            return _clip((m3 - alone) * self._mwh_per_m3 / STEP_H, 0.0, self._most)

        least = 0.8 * self._p["volume_min_m3"]
        if now.asked_mw is None:
            p_mw = to_reach(self._p["volume_end_m3"])
        else:
            p_mw = _clip(now.asked_mw, to_reach(least), to_reach(self._p["volume_max_m3"]))
        volume = alone + STEP_H * p_mw / self._mwh_per_m3
        return {"p_mw": p_mw, "flow_m3_per_h": flow, "volume_m3": max(volume, 0.0)}


class StreetLighting(_Sized):
    """Lamps that the sun switches, and that can be dimmed."""

    def need(self, around: Around, /) -> np.ndarray:
        """Full light from three degrees below the horizon on, MW."""
        return np.where(around.sun < np.sin(np.radians(-3.0)), self._most, 0.0)

    def step(self, _held: Held, now: Moment, /) -> Held:
        """Full light; when asked, down to the least share of it."""
        full = now.need
        least = self._p["dim_share_min"] * full
        return {"p_mw": full if now.asked_mw is None else _clip(now.asked_mw, least, full)}


class _Engine(_Sized):
    """An engine: off, or between its least and its most power."""

    start = MappingProxyType({"p_mw": 0.0, "time_in_state_h": 24.0})

    def _run(self, held: Held, wanted_mw: float) -> dict[str, float]:
        least = self._p["p_min_mw"]
        p_mw = _clip(wanted_mw, least, self._most) if wanted_mw > 0.5 * least else 0.0
        same = (p_mw > 0.0) == (held["p_mw"] > 0.0)
        return {"p_mw": p_mw, "time_in_state_h": STEP_H + (held["time_in_state_h"] if same else 0)}


class Chp(_Engine):
    """An engine whose heat a hospital uses, as far as it goes; a boiler gives the rest."""

    reported = ("heat_mw", "time_in_state_h")
    _MEAN_MW = 0.2

    def need(self, around: Around, /) -> np.ndarray:
        """Heat, more of it in cold weather; MW."""
        colder = 1.0 + 0.03 * np.maximum(18.0 - around.temp_air, 0.0)
        wanted = self._MEAN_MW * _by_hour(_WARD_BY_HOUR, around) * colder
        return np.asarray(wanted * self._chance(around, 0.06))

    def step(self, held: Held, now: Moment, /) -> Held:
        """By day it follows the heat; when asked, it follows that."""
        heat_mw = now.need
        follows = 6.0 <= now.hour < 22.0
        own = heat_mw * self._p["efficiency"] / self._p["efficiency_heat"] if follows else 0.0
        return {
            "heat_mw": heat_mw,
            **self._run(held, own if now.asked_mw is None else now.asked_mw),
        }


class Genset(_Engine):
    """A backup engine: it stands still unless it is asked."""

    reported = ("time_in_state_h",)

    def step(self, held: Held, now: Moment, /) -> Held:
        """Runs as it is asked."""
        return self._run(held, now.asked_mw or 0.0)


_KINDS: Mapping[AssetKind, Callable[[Asset, int], Plant]] = MappingProxyType(
    {
        AssetKind.HEAT_PUMP: HeatPump,
        AssetKind.ELECTRIC_BOILER: Boiler,
        AssetKind.PUMP_STATION: PumpStation,
        AssetKind.STREET_LIGHTING: StreetLighting,
        AssetKind.CHP: Chp,
        AssetKind.GENSET: Genset,
    }
)


def of(assets: Sequence[Asset], seed: int) -> dict[str, Plant]:
    """The plants among ``assets`` by id, in their order."""
    return {a.id: _KINDS[a.kind](a, seed) for a in assets if a.kind in _KINDS}
