"""The whole simulated city: what every device would report, in the device's own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.sites import Site, Tag
from core.timeaxis import to_us
from core.units import linear
from core.variables import VARIABLES
from sandbox import air, citytime
from sandbox.air import AirModel
from sandbox.energy import Energy, Quarter
from sandbox.materials import Materials
from sandbox.setpoints import Setpoints
from sandbox.state import Holding
from sandbox.water import District
from sandbox.weather import Climate

_DIGITS = {
    "kW": 3,
    "kvar": 3,
    "%": 2,
    "µg/m3": 1,
    "mg/m3": 3,
    "L/s": 3,
    "m3": 3,
    "m3/h": 2,
    "MW": 4,
    "h": 2,
}
"""Decimals that a device sends, by unit; 2 for the others."""


@dataclass(frozen=True)
class Panel:
    """Values of k tags at n moments: ts_us (n,), the BEGINNINGS of intervals; values (n, k)."""

    tags: tuple[Tag, ...]
    interval_s: int
    ts_us: np.ndarray
    values: np.ndarray


class World:
    """Everything that happens in the city of ``source`` and ``site`` with the chance of ``seed``.

    All but what batteries and plants hold is a pure function of time; that goes in and comes out.
    """

    def __init__(self, source: Materials, site: Site, seed: int) -> None:
        self._climate = Climate(source, seed)
        self.energy = Energy(source, site, seed, self._climate)
        self._air = AirModel(self._climate, seed)
        self._district = District(seed)
        by_key = {tag.series_key: tag for tag in site.tags}

        def columns(assets: Sequence[str], *variables: str) -> _Columns:
            return _Columns([by_key[f"{site.id}/{a}/{v}"] for v in variables for a in assets])

        loads = [a.id for a in self.energy.loads]
        sgens = [a.id for a in self.energy.sgens]
        batteries = [a.id for a in self.energy.batteries]
        stations = [f"air-{i:02d}" for i in range(1, len(air.STATIONS) + 1)]
        reported = [by_key[f"{site.id}/{a}/{v}"] for a, v in self.energy.reported]
        self._energy_columns = (
            columns(loads, "p_mw", "q_mvar")
            + columns(sgens, "p_mw")
            + columns(batteries, "p_mw", "soc")
            + columns(["substation"], "import_mw", "export_mw")
            + _Columns(reported)
        )
        self._air_columns = columns(stations, *air.POLLUTANTS)
        self._weather_columns = columns(
            ["weather"], "ghi", "temp_air", "wind_speed", "wind_direction"
        )
        self._water_columns = columns(["dma-1"], "flow_m3_per_h", "billed_m3")

    def electric(
        self, quarters: np.ndarray, holding: Holding, setpoints: Setpoints
    ) -> tuple[Panel, Holding]:
        """All energy meters in consecutive quarter-hours, and what the city holds after them."""
        steps = self.energy.run(quarters, holding, setpoints)
        values = np.stack([_row(step) for step in steps])
        panel = self._energy_columns.panel(_quarter_us(quarters), citytime.QUARTER_S, values)
        return panel, steps[-1].holding

    def air(self, quarters: np.ndarray) -> Panel:
        """The air stations, every five minutes."""
        levels = self._air.at(quarters)
        values = np.hstack([levels[pollutant] for pollutant in air.POLLUTANTS])
        offsets = np.arange(air.PER_QUARTER) * air.INTERVAL_S * 1_000_000
        ts_us = (_quarter_us(quarters)[:, None] + offsets).ravel()
        return self._air_columns.panel(ts_us, air.INTERVAL_S, values)

    def weather(self, quarters: np.ndarray) -> Panel:
        """The weather station, every quarter-hour."""
        now = self._climate.at(quarters)
        values = np.stack(
            [now.ghi, now.temp_air, now.wind_speed, now.wind_direction],
            axis=1,
        )
        return self._weather_columns.panel(_quarter_us(quarters), citytime.QUARTER_S, values)

    def water(self, quarters: np.ndarray) -> Panel:
        """The district's meters, every quarter-hour. The first call loads WNTR: seconds."""
        values = np.stack(self._district.at(quarters), axis=1)
        return self._water_columns.panel(_quarter_us(quarters), citytime.QUARTER_S, values)


class _Columns:
    """Tags with the factors that bring the variables' units into the devices'."""

    def __init__(self, tags: Sequence[Tag]) -> None:
        self.tags = tuple(tags)
        own = [VARIABLES[tag.series_key.rsplit("/", 1)[1]].unit for tag in tags]
        lines = [linear(unit, tag.unit) for unit, tag in zip(own, tags, strict=True)]
        self._factor = np.array([factor for factor, _ in lines])
        self._offset = np.array([offset for _, offset in lines])
        self._scale = 10.0 ** np.array([_DIGITS.get(tag.unit, 2) for tag in tags])

    def __add__(self, other: _Columns) -> _Columns:
        return _Columns(self.tags + other.tags)

    def panel(self, ts_us: np.ndarray, interval_s: int, values: np.ndarray) -> Panel:
        sent = np.round((values * self._factor + self._offset) * self._scale) / self._scale
        return Panel(self.tags, interval_s, ts_us, sent + 0.0)  # no negative zero on the wire


def _row(step: Quarter) -> np.ndarray:
    return np.concatenate(
        [
            step.load_p_mw,
            step.load_q_mvar,
            step.sgen_p_mw,
            step.battery_p_mw,
            step.holding.soc,
            [step.import_mw, step.export_mw],
            step.reported,
        ]
    )


def _quarter_us(quarters: np.ndarray) -> np.ndarray:
    start_us = to_us(citytime.CITY_START)
    result: np.ndarray = start_us + np.asarray(quarters, dtype=np.int64) * (
        citytime.QUARTER_S * 1_000_000
    )
    return result
