"""One district-metered area: a small looped network that EPANET computes, with a leak.

The district hangs on one inlet main with a flow meter; its customers have meters too. What goes
in and is not billed has leaked: a little everywhere from the beginning, and more from
LEAK_START on, when a main breaks. Leaks are emitters, so that they follow the pressure as real
ones do: strongest at night.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import citytime, noise

LEAK_START = citytime.CITY_START + timedelta(hours=26)
"""02:00 of the second day: at the default pace a newcomer sees it within half an hour."""

COLUMNS, ROWS = 7, 6
SPACING_M = 220.0
HEAD_M = 52.0
CONNECTIONS = 2150
DAILY_USE_M3 = 860.0
"""What all customers use on an average day: 0.4 m3 a connection."""

BACKGROUND_M3_PER_S_PER_SQRT_M = 3.6e-6
"""Emitter coefficient of every junction: joints and service pipes weep."""
BURST_M3_PER_S_PER_SQRT_M = 1.9e-4
BURST_JUNCTION = "J-4-3"

_MORNING_AND_EVENING = {
    # Use by the hour, 0 to 11 and 12 to 23, in any measure.
    "homes-early": (
        (30, 22, 18, 18, 28, 75, 170, 205, 150, 105, 95, 100),
        (110, 95, 85, 85, 95, 120, 165, 180, 160, 130, 95, 64),
    ),
    "homes-late": (
        (42, 30, 22, 20, 24, 45, 105, 170, 175, 125, 105, 105),
        (120, 105, 90, 90, 95, 110, 145, 175, 180, 155, 115, 72),
    ),
    "shops": (
        (12, 10, 10, 10, 12, 20, 50, 100, 170, 210, 215, 220),
        (215, 205, 200, 195, 190, 180, 150, 110, 60, 30, 20, 14),
    ),
    "laundry": (  # works at night
        (150, 160, 160, 155, 140, 110, 70, 60, 60, 65, 70, 70),
        (70, 70, 70, 70, 70, 75, 85, 100, 120, 135, 145, 150),
    ),
}
_USERS = ("homes-early", "homes-late", "homes-early", "shops", "homes-late", "homes-early")


@dataclass(frozen=True)
class WaterDay:
    """A city day of the district, 96 quarter-hours each.

    inflow_m3_per_h: what the inlet meter sees. billed_m3: what the customers' meters saw.
    leak_m3: the truth that nobody measures, from the pressures at the emitters.
    """

    inflow_m3_per_h: np.ndarray
    billed_m3: np.ndarray
    leak_m3: np.ndarray


class District:
    """The days of the district for a seed; each is computed once, in some 20 ms."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._days: dict[int, WaterDay] = {}

    def day(self, number: int) -> WaterDay:
        """The day ``number`` of the city, 0 being the one that begins at CITY_START."""
        if number not in self._days:
            self._days[number] = simulate(number, self._seed)
        return self._days[number]

    def at(self, quarters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inflow (m3/h) and billed volume (m3) of the quarter-hours, each of shape (n,)."""
        numbers, steps = np.divmod(np.asarray(quarters), citytime.STEPS_PER_DAY)
        flow, billed = np.empty(len(numbers)), np.empty(len(numbers))
        for number in np.unique(numbers).tolist():
            here = numbers == number
            day = self.day(number)
            flow[here] = day.inflow_m3_per_h[steps[here]]
            billed[here] = day.billed_m3[steps[here]]
        return flow, billed


def simulate(number: int, seed: int) -> WaterDay:
    """Computes the day ``number`` with EPANET; pure but for EPANET's own scratch files.

    Without tanks each quarter-hour stands for itself, so that the day on which the main breaks
    is the morning of a whole day and the rest of a broken one.
    """
    start = citytime.quarter_start(number * citytime.STEPS_PER_DAY)
    broken_from = _broken_from(start)
    whole = _solve(number, seed, broken=False) if broken_from > 0 else None
    broken = _solve(number, seed, broken=True) if broken_from < citytime.STEPS_PER_DAY else None
    if whole is None or broken is None:
        only = whole or broken
        assert only is not None
        return only
    after = np.arange(citytime.STEPS_PER_DAY) >= broken_from
    return WaterDay(
        *(
            np.where(after, getattr(broken, f.name), getattr(whole, f.name))
            for f in fields(WaterDay)
        )
    )


def _broken_from(start: datetime) -> int:
    """The first quarter-hour of the day from ``start`` in which the main is broken; 96: none."""
    quarter = (LEAK_START - start) // timedelta(seconds=citytime.QUARTER_S)
    return int(np.clip(quarter, 0, citytime.STEPS_PER_DAY))


def _solve(number: int, seed: int, *, broken: bool) -> WaterDay:
    from wntr.sim import EpanetSimulator  # costs seconds; nothing else here needs it

    network = _network(_patterns(number, seed), broken=broken)
    with tempfile.TemporaryDirectory(prefix="verdigrid-epanet-") as folder:
        results = EpanetSimulator(network).run_sim(
            str(Path(folder) / "day"), convergence_error=True
        )
    pressure_m = results.node["pressure"][network.junction_name_list].to_numpy()
    emitter = np.array([j.emitter_coefficient for _, j in network.junctions()])
    leak_m3_per_s = (np.sqrt(np.maximum(pressure_m, 0.0)) * emitter).sum(axis=1)
    used_m3_per_s = sum(
        junction.demand_timeseries_list[0].base_value
        * junction.demand_timeseries_list[0].pattern.multipliers
        for _, junction in network.junctions()
    )
    return WaterDay(
        inflow_m3_per_h=results.link["flowrate"]["INLET"].to_numpy(dtype=np.float64) * 3600.0,
        billed_m3=np.asarray(used_m3_per_s) * citytime.QUARTER_S,
        leak_m3=leak_m3_per_s * citytime.QUARTER_S,
    )


def _network(patterns: dict[str, np.ndarray], *, broken: bool) -> Any:
    """The district: a reservoir that stands for the trunk main, an inlet, a grid of streets."""
    from wntr.network import WaterNetworkModel

    network = WaterNetworkModel()
    options = network.options
    options.hydraulic.inpfile_units = "LPS"
    options.hydraulic.accuracy = 1e-6
    options.time.duration = citytime.QUARTER_S * (citytime.STEPS_PER_DAY - 1)
    for step in ("hydraulic_timestep", "pattern_timestep", "report_timestep"):
        setattr(options.time, step, citytime.QUARTER_S)
    for name, multipliers in patterns.items():
        network.add_pattern(name, multipliers.tolist())
    mean_m3_per_s = DAILY_USE_M3 / 86_400.0 / (COLUMNS * ROWS)
    for column in range(COLUMNS):
        for row in range(ROWS):
            name = f"J-{column}-{row}"
            network.add_junction(
                name,
                base_demand=mean_m3_per_s,
                demand_pattern=_user(column, row),
                elevation=4.0 + 1.1 * row + 0.4 * column,
                coordinates=(SPACING_M * column, SPACING_M * row),
            )
            junction = network.get_node(name)
            junction.emitter_coefficient = BACKGROUND_M3_PER_S_PER_SQRT_M
    if broken:
        junction = network.get_node(BURST_JUNCTION)
        junction.emitter_coefficient += BURST_M3_PER_S_PER_SQRT_M
    _pipes(network)
    return network


def _pipes(network: Any) -> None:
    network.add_reservoir("TRUNK", base_head=HEAD_M, coordinates=(-SPACING_M, 0.0))
    network.add_pipe("INLET", "TRUNK", "J-0-0", length=120.0, diameter=0.25, roughness=125.0)
    for column in range(COLUMNS):
        for row in range(ROWS):
            here = f"J-{column}-{row}"
            for name, there, main in (
                (f"E-{column}-{row}", (column + 1, row), row == 0),
                (f"N-{column}-{row}", (column, row + 1), column == 0),
            ):
                if there[0] < COLUMNS and there[1] < ROWS:
                    network.add_pipe(
                        name,
                        here,
                        f"J-{there[0]}-{there[1]}",
                        length=SPACING_M,
                        diameter=0.2 if main else 0.1,
                        roughness=120.0,
                    )


def _user(column: int, row: int) -> str:
    if (column, row) == (COLUMNS - 1, ROWS - 1):
        return "laundry"
    return _USERS[(2 * column + row) % len(_USERS)]


def _patterns(number: int, seed: int) -> dict[str, np.ndarray]:
    """Use of each kind of customer in the day's quarter-hours, per unit of its mean."""
    quarters = number * citytime.STEPS_PER_DAY + np.arange(citytime.STEPS_PER_DAY)
    ts_s = citytime.seconds(quarters)
    hours = citytime.local_hours(ts_s)
    weekend = number % 7 >= 5  # the city began on a Monday
    patterns = {}
    for name, (morning, evening) in _MORNING_AND_EVENING.items():
        by_hour = np.array([*morning, *evening, morning[0]], dtype=np.float64)
        level = np.interp(hours, np.arange(25), by_hour / by_hour[:24].mean())
        if weekend:
            level = level * (0.75 if name == "shops" else 1.06)
        day = noise.smooth(seed, noise.stream("water day", name), ts_s, 2 * 86_400.0)
        quick = noise.smooth(seed, noise.stream("water", name), ts_s, 1800.0)
        patterns[name] = level * np.exp(0.03 * day + 0.05 * quick)
    return patterns
