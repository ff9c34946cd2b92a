"""The resources of a problem as columns: where each power stands in injections and at which bus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from grid.powerflow import values
from grid.sensitivity import Gradient
from optimization.problem import DispatchProblem


@dataclass(frozen=True, eq=False)
class Fleet:
    """Views of a problem's envelopes as arrays; (time, asset) unless said otherwise."""

    problem: DispatchProblem

    @cached_property
    def p_min_mw(self) -> np.ndarray:
        """Least power in the resource's own sign."""
        return self._stack([e.p_min_mw for e in self.problem.envelopes])

    @cached_property
    def p_max_mw(self) -> np.ndarray:
        """Most power in the resource's own sign."""
        return self._stack([e.p_max_mw for e in self.problem.envelopes])

    @cached_property
    def baseline_mw(self) -> np.ndarray:
        """Power of the uncontrolled day, in the resource's own sign."""
        columns = []
        for e in self.problem.envelopes:
            table = values(self.problem.network, self.problem.injections, e.element, "p_mw")
            position = np.flatnonzero(self.problem.network.ids(e.element) == e.element_index)[0]
            columns.append(table[:, position])
        return self._stack(columns)

    @cached_property
    def fed_per_unit(self) -> np.ndarray:
        """MW fed into its bus per MW of the resource's own sign, (asset,); 0 out of service."""
        network = self.problem.network
        factors = {t: network.in_use(t) for t in ("load", "sgen", "storage")}
        return np.array(
            [
                e.fed_sign
                * factors[e.element][np.flatnonzero(network.ids(e.element) == e.element_index)[0]]
                for e in self.problem.envelopes
            ]
        )

    @cached_property
    def bus_position(self) -> np.ndarray:
        """Position in network.buses of each resource, (asset,)."""
        network = self.problem.network
        buses = {t: network.bus_position(t) for t in ("load", "sgen", "storage")}
        return np.array(
            [
                buses[e.element][np.flatnonzero(network.ids(e.element) == e.element_index)[0]]
                for e in self.problem.envelopes
            ],
            dtype=np.int64,
        )

    def effect(self, gradient: Gradient) -> np.ndarray:
        """Change of each row per MW of each resource in its own sign, shape (row, asset)."""
        effect: np.ndarray = gradient.per_mw[:, self.bus_position] * self.fed_per_unit
        return effect

    def injections(self, p_mw: np.ndarray) -> xr.Dataset:
        """The problem's injections with the resources at ``p_mw`` (time, asset)."""
        network, given = self.problem.network, self.problem.injections
        changed: dict[str, tuple[tuple[str, str], np.ndarray]] = {}
        for table in ("load", "sgen", "storage"):
            columns = [i for i, e in enumerate(self.problem.envelopes) if e.element == table]
            if not columns:
                continue
            power = np.array(values(network, given, table, "p_mw"))
            ids = network.ids(table)
            index = [self.problem.envelopes[i].element_index for i in columns]
            order = np.argsort(ids)
            power[:, order[np.searchsorted(ids[order], index)]] = p_mw[:, columns]
            changed[f"{table}_p_mw"] = (("time", table), power)
        kept = given.drop_vars([name for name in changed if name in given])
        reindexed = {
            name: (("time", name.split("_")[0]), values(network, given, *name.split("_", 1)))
            for name in map(str, kept.data_vars)
        }
        coords = {t: network.ids(t) for t in ("load", "sgen", "storage")}
        return xr.Dataset({**reindexed, **changed}, coords={"time": self.problem.times, **coords})

    def _stack(self, columns: list[np.ndarray]) -> np.ndarray:
        return np.column_stack(columns) if columns else np.zeros((self.problem.steps, 0))
