"""The resources of a problem as columns: their bounds, and how their power reaches the grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import xarray as xr
from scipy import sparse

from core.sites import AssetKind
from grid.envelope import EnergyAccount, Envelope
from grid.powerflow import values
from grid.sensitivity import Gradient
from optimization.problem import DispatchProblem

TABLES = ("load", "sgen", "storage")
SHED = "shed-"


@dataclass(frozen=True, eq=False)
class Accounts:
    """Courses of grid.envelope.EnergyAccount by their names there; (time, asset), not writeable."""

    keep: np.ndarray
    inflow_mwh: np.ndarray
    gain_up: np.ndarray
    gain_down: np.ndarray
    min_mwh: np.ndarray
    max_mwh: np.ndarray


@dataclass(frozen=True, eq=False)
class Fleet:
    """Views of a problem's envelopes as arrays; (time, asset) unless said otherwise."""

    problem: DispatchProblem

    @cached_property
    def envelopes(self) -> tuple[Envelope, ...]:
        """The problem's envelopes, then one for each load that may be shed."""
        return (*self.problem.envelopes, *_sheddable(self.problem))

    @property
    def size(self) -> int:
        """The number of resources, loads that may be shed included."""
        return len(self.envelopes)

    @property
    def named(self) -> int:
        """The number of the problem's own envelopes, which come first."""
        return len(self.problem.envelopes)

    @cached_property
    def base_mw(self) -> np.ndarray:
        """Power when nothing is moved, in the resource's own sign."""
        return self.stack(lambda e: e.base_mw)

    @cached_property
    def up_mw(self) -> np.ndarray:
        """The most that can be raised."""
        return self.stack(lambda e: np.maximum(e.up_mw, 0.0))

    @cached_property
    def down_mw(self) -> np.ndarray:
        """The most that can be lowered."""
        return self.stack(lambda e: np.maximum(e.down_mw, 0.0))

    @cached_property
    def p_min_mw(self) -> np.ndarray:
        """Least power in the resource's own sign."""
        low: np.ndarray = self.base_mw - self.down_mw
        return low

    @cached_property
    def p_max_mw(self) -> np.ndarray:
        """Most power in the resource's own sign."""
        high: np.ndarray = self.base_mw + self.up_mw
        return high

    @cached_property
    def has_account(self) -> np.ndarray:
        """Which resources have an energy account, (asset,)."""
        return np.array([e.account is not None for e in self.envelopes], dtype=bool)

    @cached_property
    def has_reactive(self) -> np.ndarray:
        """Whose reactive power can be chosen, (asset,)."""
        return np.array([e.reactive is not None for e in self.envelopes], dtype=bool)

    @cached_property
    def up_cny_per_mwh(self) -> np.ndarray:
        """Price of each MWh raised, without weights and carbon."""
        return self.stack(lambda e: e.up_cny_per_mwh)

    @cached_property
    def down_cny_per_mwh(self) -> np.ndarray:
        """Price of each MWh lowered, without weights."""
        return self.stack(lambda e: e.down_cny_per_mwh)

    @cached_property
    def accounts(self) -> Accounts:
        """The courses of the energy accounts; 0 where there is none."""
        courses = np.zeros((len(fields(Accounts)), self.size, self.problem.steps))
        for a, envelope in enumerate(self.envelopes):
            if envelope.account is not None:
                courses[:, a] = [getattr(envelope.account, f.name) for f in fields(Accounts)]
        courses.flags.writeable = False
        return Accounts(*courses.transpose(0, 2, 1))

    def account_number(
        self, get: Callable[[EnergyAccount], float], missing: float = 0.0
    ) -> np.ndarray:
        """A number of each energy account, (asset,); ``missing`` where there is none."""
        return np.array(
            [missing if e.account is None else get(e.account) for e in self.envelopes], dtype=float
        )

    @cached_property
    def baseline_mw(self) -> np.ndarray:
        """Power of the uncontrolled day, in the resource's own sign."""
        return self._of_resources("p_mw")

    @cached_property
    def baseline_mvar(self) -> np.ndarray:
        """Reactive power of the uncontrolled day, in the resource's own sign."""
        return self._of_resources("q_mvar")

    @cached_property
    def rest_mvar(self) -> np.ndarray:
        """Reactive power when none is chosen: 0 where it can be, else as uncontrolled."""
        return np.where(self.has_reactive, 0.0, self.baseline_mvar)

    @cached_property
    def fed_per_unit(self) -> np.ndarray:
        """MW fed into its bus per MW of the resource's own sign, (asset,); 0 out of service."""
        factors = {t: self.problem.network.in_use(t) for t in TABLES}
        return np.array(
            [
                e.fed_sign * factors[e.element][i]
                for e, i in zip(self.envelopes, self._element_position, strict=True)
            ],
            dtype=float,
        )

    @cached_property
    def fed_sign(self) -> np.ndarray:
        """+1 where positive power is fed into the grid, -1 where it is drawn, (asset,)."""
        return np.array([e.fed_sign for e in self.envelopes], dtype=float)

    @cached_property
    def bus_position(self) -> np.ndarray:
        """Position in network.buses of each resource, (asset,)."""
        buses = {t: self.problem.network.bus_position(t) for t in TABLES}
        return np.array(
            [
                buses[e.element][i]
                for e, i in zip(self.envelopes, self._element_position, strict=True)
            ],
            dtype=np.int64,
        )

    def effect(self, gradient: Gradient) -> tuple[np.ndarray, np.ndarray]:
        """Change of each row per MW and per Mvar of each resource in its own sign, (row, asset)."""
        return (
            gradient.per_mw[:, self.bus_position] * self.fed_per_unit,
            gradient.per_mvar[:, self.bus_position] * self.fed_per_unit,
        )

    def fed(self, p_mw: np.ndarray, q_mvar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Active and reactive power fed into each bus, (time, bus), with the resources there."""
        others_mw, others_mvar = self._fed_by_others
        at_bus = self._at_buses(self.bus_position, self.fed_per_unit)
        return others_mw + p_mw @ at_bus, others_mvar + q_mvar @ at_bus

    @cached_property
    def fed_at_rest(self) -> tuple[np.ndarray, np.ndarray]:
        """What ``fed`` gives when nothing is moved and no reactive power is chosen."""
        return self.fed(self.base_mw, self.rest_mvar)

    @cached_property
    def _fed_by_others(self) -> tuple[np.ndarray, np.ndarray]:
        network = self.problem.network
        fed = np.zeros((2, self.problem.steps, len(network.buses)))
        for table in TABLES:
            sign = 1.0 if table == "sgen" else -1.0
            factor = sign * network.in_use(table)
            own = [i for e, i in zip(self.envelopes, self._element_position, strict=True)
                   if e.element == table]  # fmt: skip
            factor[own] = 0.0
            at_bus = self._at_buses(network.bus_position(table), factor)
            for row, column in enumerate(("p_mw", "q_mvar")):
                fed[row] += self._given[table, column] @ at_bus
        return fed[0], fed[1]

    def _at_buses(self, bus: np.ndarray, factor: np.ndarray) -> sparse.csr_array:
        """``power @ this`` adds up (time, element) by bus, times a factor of each element."""
        shape = (len(bus), len(self.problem.network.buses))
        return sparse.csr_array((factor, (np.arange(len(bus)), bus)), shape=shape)

    def injections(self, p_mw: np.ndarray, q_mvar: np.ndarray | None = None) -> xr.Dataset:
        """The problem's injections with the resources at ``p_mw`` and ``q_mvar`` (time, asset).

        q_mvar: None for that of the uncontrolled day.
        """
        given = self.problem.injections
        power = {f"{t}_{c}": mw for (t, c), mw in self._given.items() if f"{t}_{c}" in given}
        chosen = {"p_mw": p_mw} if q_mvar is None else {"p_mw": p_mw, "q_mvar": q_mvar}
        for table in TABLES:
            columns = [i for i, e in enumerate(self.envelopes) if e.element == table]
            if not columns:
                continue
            for column, value in chosen.items():
                full = self._given[table, column].copy()
                full[:, self._element_position[columns]] = value[:, columns]
                power[f"{table}_{column}"] = full
        coords = {t: self.problem.network.ids(t) for t in TABLES}
        return xr.Dataset(
            {name: (("time", name.split("_")[0]), array) for name, array in power.items()},
            coords={"time": self.problem.times, **coords},
        )

    def stack(self, get: Callable[[Envelope], np.ndarray | float]) -> np.ndarray:
        """Something of each envelope as columns, (time, asset)."""
        stacked = np.zeros((self.size, self.problem.steps))
        for a, envelope in enumerate(self.envelopes):
            stacked[a] = get(envelope)
        return stacked.T

    @cached_property
    def _element_position(self) -> np.ndarray:
        """Position of each resource in its pandapower table, (asset,)."""
        position: dict[str, dict[int, int]] = {
            t: {int(index): i for i, index in enumerate(self.problem.network.ids(t))}
            for t in TABLES
        }
        return np.array(
            [position[e.element][e.element_index] for e in self.envelopes], dtype=np.int64
        )

    @cached_property
    def _given(self) -> dict[tuple[str, str], np.ndarray]:
        """Power of all elements as the problem has it, by table and column; (time, element)."""
        network, given = self.problem.network, self.problem.injections
        return {
            (table, column): values(network, given, table, column)
            for table in TABLES
            for column in ("p_mw", "q_mvar")
        }

    def _of_resources(self, column: str) -> np.ndarray:
        stacked = np.zeros((self.problem.steps, self.size))
        for table in TABLES:
            own = [a for a, e in enumerate(self.envelopes) if e.element == table]
            stacked[:, own] = self._given[table, column][:, self._element_position[own]]
        return stacked


def _sheddable(problem: DispatchProblem) -> list[Envelope]:
    """An envelope for each load without one, which may be shed at the price of the problem."""
    if problem.unserved is None:
        return []
    taken = {e.element_index for e in problem.envelopes if e.element == "load"}
    drawn = values(problem.network, problem.injections, "load", "p_mw")
    in_use = problem.network.in_use("load")
    found = []
    for position, index in enumerate(problem.network.ids("load")):
        demand = np.maximum(drawn[:, position], 0.0)
        if int(index) in taken or not in_use[position] or not demand.any():
            continue
        found.append(
            Envelope(
                asset=f"{SHED}{index}",
                kind=AssetKind.METER,
                element="load",
                element_index=int(index),
                base_mw=drawn[:, position],
                up_mw=np.zeros(problem.steps),
                down_mw=demand,
                down_cny_per_mwh=problem.unserved.cny_per_mwh,
            )
        )
    return found
