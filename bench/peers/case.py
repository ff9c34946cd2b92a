"""A fleet at one substation as numbers only, the common ground of all who solve it.

    min  dt_h * sum_t [ buy_t * import_t - sell_t * export_t
                        + wear * discharge_t + curtail * curtailed_t ]
    s.t. import_t - export_t = base_t + charge_t - discharge_t - produced_t + drawn_t
         0 <= import_t <= import_limit,  0 <= export_t <= export_limit
         stored_t = keep * stored_{t-1} + dt_h * (efficiency * charge_t - discharge_t / efficiency)
         0 <= stored_t <= capacity,      stored_{-1} = stored_T = initial
         0 <= charge_t, discharge_t <= power
         0 <= produced_t <= available_t, curtailed_t = available_t - produced_t
         taken_t = taken_{t-1} + dt_h * drawn_t,  late_t <= taken_t <= early_t,  taken_{-1} = 0
         0 <= drawn_t <= draw_max

``buy`` holds the price of carbon already. Powers in MW, energies in MWh at the END of each step,
prices in CNY/MWh. Only numpy is needed here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

STEPS = 96
DT_H = 0.25
SHIFT_STEPS = 8
SELF_DISCHARGE_PER_DAY = 0.0013
"""SimBench's: 0.13 % a day."""
CARBON_CNY_PER_TCO2E = 80.0
WARM_UP_DEVICES = 10
"""A first case in each process, so that nothing is measured that is loaded once."""
SHARE_BATTERIES, SHARE_PLANTS = 0.30, 0.45
"""The rest are loads: about 178 columns and 53 rows a device."""


@dataclass(frozen=True)
class Case:
    """Arrays (time,) for the substation, (device,) or (time, device) for the fleet."""

    dt_h: np.ndarray
    base_mw: np.ndarray
    buy_cny_per_mwh: np.ndarray
    sell_cny_per_mwh: np.ndarray
    import_limit_mw: np.ndarray
    export_limit_mw: np.ndarray
    power_mw: np.ndarray
    capacity_mwh: np.ndarray
    initial_mwh: np.ndarray
    efficiency: np.ndarray
    keep: np.ndarray
    """Share of the content that is left after one step, a number for all batteries."""
    wear_cny_per_mwh: np.ndarray
    available_mw: np.ndarray
    curtail_cny_per_mwh: np.ndarray
    draw_max_mw: np.ndarray
    late_mwh: np.ndarray
    early_mwh: np.ndarray

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.base_mw)

    @property
    def devices(self) -> int:
        """Batteries, plants and loads together."""
        return len(self.power_mw) + len(self.available_mw.T) + len(self.draw_max_mw)

    def save(self, path: Path) -> None:
        """As one npz file."""
        np.savez(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Case:
        """Reads what ``save`` wrote."""
        with np.load(path) as found:
            return cls(**{name: found[name] for name in found.files})


@dataclass(frozen=True)
class Schedule:
    """What a solver answers: powers (time, device), all >= 0."""

    charge_mw: np.ndarray
    discharge_mw: np.ndarray
    produced_mw: np.ndarray
    drawn_mw: np.ndarray

    def save(self, path: Path, **figures: float) -> None:
        """As one npz file, with the solver's own figures (objective, seconds)."""
        np.savez(path, **{f.name: getattr(self, f.name) for f in fields(self)} | figures)

    @classmethod
    def load(cls, path: Path) -> tuple[Schedule, dict[str, float]]:
        """Reads what ``save`` wrote."""
        names = {f.name for f in fields(cls)}
        with np.load(path) as found:
            arrays = {n: found[n] for n in found.files}
        figures = {n: float(v) for n, v in arrays.items() if n not in names}
        return cls(**{n: arrays[n] for n in names}), figures


def make(devices: int, *, seed: int = 4) -> Case:
    """A fleet whose members all differ, under a price that differs by the hour.

    The export limit binds around noon, so that the devices are bound together.
    """
    rng = np.random.default_rng(seed)
    batteries = round(SHARE_BATTERIES * devices)
    plants = round(SHARE_PLANTS * devices)
    loads = devices - batteries - plants
    hour = np.arange(STEPS) * DT_H
    power = rng.uniform(0.05, 0.4, batteries)
    capacity = power * rng.uniform(1.5, 3.0, batteries)
    sun = np.maximum(np.sin((hour - 6.0) / 12.0 * np.pi), 0.0)[:, np.newaxis]
    cloud = np.clip(1.0 - rng.gamma(1.0, 0.15, (STEPS, plants)), 0.0, 1.0)
    available = rng.uniform(0.05, 0.5, plants) * sun * cloud
    draw_max = rng.uniform(0.02, 0.1, loads)
    evening = 0.25 + 0.35 * np.exp(-(((hour - 19.0) / 2.5) ** 2))[:, np.newaxis]
    demand = draw_max * evening * rng.uniform(0.4, 1.6, (STEPS, loads))
    demand = np.minimum(demand, draw_max)
    taken = np.vstack([np.zeros((1, loads)), np.cumsum(demand, axis=0) * DT_H])
    ends = np.arange(1, STEPS + 1)
    late = taken[np.maximum(ends - SHIFT_STEPS, 0)]
    late[-1] = taken[-1]
    base = 0.08 * devices * (0.6 + 0.4 * np.exp(-(((hour - 19.0) / 3.0) ** 2)))
    by_hour = 420.0 + 260.0 * np.exp(-(((np.arange(24) - 19.0) / 3.0) ** 2))
    by_hour += 180.0 * np.exp(-(((np.arange(24) - 9.0) / 2.0) ** 2)) + rng.normal(0.0, 25.0, 24)
    intensity = 530.0 + 60.0 * np.cos((hour - 20.0) / 12.0 * np.pi)
    surplus = float((available.sum(axis=1) - base).max())
    return Case(
        dt_h=np.array(DT_H),
        base_mw=base,
        buy_cny_per_mwh=np.repeat(by_hour, 4) + CARBON_CNY_PER_TCO2E * intensity / 1000.0,
        sell_cny_per_mwh=0.6 * np.repeat(by_hour, 4),
        import_limit_mw=np.array(0.25 * devices),
        export_limit_mw=np.array(max(0.5 * surplus, 0.02 * devices)),
        power_mw=power,
        capacity_mwh=capacity,
        initial_mwh=0.5 * capacity,
        efficiency=rng.uniform(0.92, 0.97, batteries),
        keep=np.array((1.0 - SELF_DISCHARGE_PER_DAY) ** (DT_H / 24.0)),
        wear_cny_per_mwh=rng.uniform(40.0, 90.0, batteries),
        available_mw=available,
        curtail_cny_per_mwh=rng.uniform(1.0, 5.0, plants),
        draw_max_mw=draw_max,
        late_mwh=late,
        early_mwh=taken[np.minimum(ends + SHIFT_STEPS, STEPS)],
    )


def cost_cny(case: Case, found: Schedule) -> float:
    """What a schedule costs, whoever made it."""
    buy, sell = case.buy_cny_per_mwh, case.sell_cny_per_mwh
    exchange = exchange_mw(case, found)
    total = buy @ np.maximum(exchange, 0.0) - sell @ np.maximum(-exchange, 0.0)
    total += (found.discharge_mw @ case.wear_cny_per_mwh).sum()
    total += ((case.available_mw - found.produced_mw) @ case.curtail_cny_per_mwh).sum()
    return float(total * case.dt_h)


def curtailed_if_all(case: Case) -> float:
    """The constant of a model that credits production instead of charging curtailment, CNY."""
    return float((case.available_mw @ case.curtail_cny_per_mwh).sum() * case.dt_h)


def exchange_mw(case: Case, found: Schedule) -> np.ndarray:
    """Import minus export of a schedule, (time,)."""
    drawn: np.ndarray = (
        case.base_mw
        + (found.charge_mw - found.discharge_mw).sum(axis=1)
        - found.produced_mw.sum(axis=1)
        + found.drawn_mw.sum(axis=1)
    )
    return drawn


def excess(case: Case, found: Schedule) -> float:
    """By how much a schedule breaks the constraint it breaks most, MW or MWh; 0 is feasible."""
    dt_h = float(case.dt_h)
    stored, taken = np.array(case.initial_mwh), np.zeros(len(case.draw_max_mw))
    worst = [0.0]
    for t in range(case.steps):
        gain = case.efficiency * found.charge_mw[t] - found.discharge_mw[t] / case.efficiency
        stored = float(case.keep) * stored + dt_h * gain
        taken = taken + dt_h * found.drawn_mw[t]
        worst += [_most(-stored), _most(stored - case.capacity_mwh)]
        worst += [_most(case.late_mwh[t] - taken), _most(taken - case.early_mwh[t])]
    exchange = exchange_mw(case, found)
    worst += [_most(np.abs(stored - case.initial_mwh))]
    worst += [_most(exchange - case.import_limit_mw), _most(-exchange - case.export_limit_mw)]
    for power, most in (
        (found.charge_mw, case.power_mw),
        (found.discharge_mw, case.power_mw),
        (found.produced_mw, case.available_mw),
        (found.drawn_mw, case.draw_max_mw),
    ):
        worst += [_most(-power), _most(power - most)]
    return max(worst)


def _most(values: np.ndarray) -> float:
    return float(np.max(values, initial=0.0))
