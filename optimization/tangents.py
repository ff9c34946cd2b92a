"""Tangents of AC quantities by the power fed into the buses, in a form that outlives a forecast.

    y ~ constant + per_mw @ fed_mw + per_mvar @ fed_mvar          at one step

Written with the whole power of each bus, not with that of the resources alone, a tangent stays
valid when forecasts of the loads change; only its distance to the operating point grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from grid.sensitivity import Quantity, gradients
from optimization.fleet import Fleet


@dataclass(frozen=True, eq=False)
class Tangents:
    """Some tangents: steps (row,), constant (row,), per_mw and per_mvar (row, bus)."""

    steps: np.ndarray
    constant: np.ndarray
    per_mw: np.ndarray
    per_mvar: np.ndarray

    def __len__(self) -> int:
        return len(self.steps)

    def take(self, which: np.ndarray) -> Tangents:
        """Some of them, by mask or positions."""
        return Tangents(
            self.steps[which], self.constant[which], self.per_mw[which], self.per_mvar[which]
        )

    def at(self, steps: np.ndarray) -> Tangents:
        """The same at other steps, (row,)."""
        return Tangents(steps, self.constant, self.per_mw, self.per_mvar)

    def effects(self, fleet: Fleet) -> tuple[np.ndarray, np.ndarray]:
        """Change per MW and per Mvar of each resource in its own sign, (row, asset)."""
        per_unit, bus = fleet.fed_per_unit, fleet.bus_position
        return self.per_mw[:, bus] * per_unit, self.per_mvar[:, bus] * per_unit

    def at_rest(self, fleet: Fleet) -> np.ndarray:
        """Value when no resource is moved and none chooses reactive power, (row,)."""
        active, reactive = fleet.fed_at_rest
        value: np.ndarray = (
            self.constant
            + np.einsum("rb,rb->r", self.per_mw, active[self.steps])
            + np.einsum("rb,rb->r", self.per_mvar, reactive[self.steps])
        )
        return value


def tangents(
    fleet: Fleet,
    flow: xr.Dataset,
    fed: tuple[np.ndarray, np.ndarray],
    quantity: Quantity,
    steps: np.ndarray,
    elements: np.ndarray | None = None,
) -> Tangents:
    """Tangents at an operating point.

    flow: its power flow; fed: Fleet.fed there; the rest as in grid.sensitivity.gradients.
    """
    gradient = gradients(fleet.problem.network, flow, quantity, steps, elements)
    if quantity is Quantity.EXCHANGE:
        value = (flow["import_mw"].values - flow["export_mw"].values)[steps]
    else:
        value = flow[quantity.value].values[steps, elements]
    active, reactive = fed
    constant = (
        value
        - np.einsum("rb,rb->r", gradient.per_mw, active[steps])
        - np.einsum("rb,rb->r", gradient.per_mvar, reactive[steps])
    )
    return Tangents(np.asarray(steps), constant, gradient.per_mw, gradient.per_mvar)


def none(buses: int) -> Tangents:
    """No tangents at all, of a network with so many buses."""
    return Tangents(
        np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, buses)), np.zeros((0, buses))
    )


def together(parts: Sequence[Tangents]) -> Tangents:
    """Several as one."""
    return Tangents(
        np.concatenate([p.steps for p in parts]),
        np.concatenate([p.constant for p in parts]),
        np.concatenate([p.per_mw for p in parts]),
        np.concatenate([p.per_mvar for p in parts]),
    )
