"""How voltages, loadings and the exchange answer to injections, around an AC operating point.

The Newton equations of the power flow, differentiated: with mismatch Jacobian J and a quantity y
of the state x = (angles, magnitudes), dy/d(P, Q) = J^-T dy/dx. One transposed solve gives the
answer of one quantity to the power of every bus, so only the rows that are asked for cost
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import xarray as xr
from scipy import sparse
from scipy.sparse.linalg import splu

from grid.admittance import Admittance
from grid.jacobian import derivatives, jacobian
from grid.network import Network


class Quantity(StrEnum):
    """What can be linearised; the names of the power-flow result."""

    VM_PU = "vm_pu"
    LINE_LOADING = "line_loading_percent"
    TRAFO_LOADING = "trafo_loading_percent"
    TRAFO3W_LOADING = "trafo3w_loading_percent"
    EXCHANGE = "exchange_mw"  # import minus export, of all upstream grids together


TABLE: Mapping[Quantity, str] = MappingProxyType(
    {
        Quantity.VM_PU: "bus",
        Quantity.LINE_LOADING: "line",
        Quantity.TRAFO_LOADING: "trafo",
        Quantity.TRAFO3W_LOADING: "trafo3w",
    }
)
"""The table whose elements have a limit of the quantity."""


@dataclass(frozen=True)
class Gradient:
    """Derivatives by the power FED INTO each bus, shape (row, bus), per MW and per Mvar.

    A dead bus has 0; so has the voltage of a bus that the upstream grid or a generator holds. A
    generator at a limit of its reactive power holds none.
    Loads and storages are drawn from the bus: turn their sign.
    """

    per_mw: np.ndarray
    per_mvar: np.ndarray


def gradients(
    network: Network,
    flow: xr.Dataset,
    quantity: Quantity,
    steps: np.ndarray,
    elements: np.ndarray | None = None,
) -> Gradient:
    """Derivatives of ``quantity`` at (steps[i], elements[i]) by the power fed into every bus.

    flow: a result of powerflow.run. steps: positions in time, shape (row,); elements: positions
    in ``network.buses``, ``lines``, ``trafos`` or ``trafos3w``, shape (row,); none for the
    exchange.
    """
    steps = np.asarray(steps, dtype=np.int64)
    where = np.zeros_like(steps) if elements is None else np.asarray(elements, dtype=np.int64)
    model = network.admittance
    per_mw = np.zeros((len(steps), model.nodes))
    per_mvar = np.zeros_like(per_mw)
    matrix = model.bus_matrix
    places = np.unique(steps)
    for step, voltage in zip(places, node_voltages(network, flow, places, matrix), strict=True):
        point = _Point.at(model, matrix, voltage)
        rows = np.flatnonzero(steps == step)
        per_mw[rows], per_mvar[rows] = point.answers(quantity, where[rows])
    bus = model.node_of_bus
    at_bus = np.maximum(bus, 0)
    alive = bus >= 0
    return Gradient(per_mw[:, at_bus] * alive, per_mvar[:, at_bus] * alive)


def voltages_after(network: Network, flow: xr.Dataset, more_mva: np.ndarray) -> np.ndarray:
    """Voltage magnitudes, (time, bus) in pu, that the slopes around ``flow`` promise.

    more_mva: complex power fed into each node beyond that of ``flow``, (time, node), as the
    difference of two ``powerflow.drawn``. NaN at dead buses.
    """
    model = network.admittance
    alive = np.flatnonzero(model.node_of_bus >= 0)
    nodes, one_bus = np.unique(model.node_of_bus[alive], return_index=True)
    buses = alive[one_bus]  # one bus of each node, so that its power counts once
    promised = np.array(flow["vm_pu"].values)
    for step, more in enumerate(more_mva[:, nodes]):
        slopes = gradients(network, flow, Quantity.VM_PU, np.full(len(alive), step), alive)
        promised[step, alive] += slopes.per_mw[:, buses] @ more.real
        promised[step, alive] += slopes.per_mvar[:, buses] @ more.imag
    return promised


def node_voltages(
    network: Network, flow: xr.Dataset, steps: np.ndarray, matrix: sparse.csr_matrix
) -> np.ndarray:
    """Complex voltages in per unit (step, node) from those of the buses at positions ``steps``.

    flow: a result of powerflow.run; matrix: ``network.admittance.bus_matrix``. Auxiliary nodes
    (star points, open line ends) are rebuilt: nothing is fed into them.
    """
    model = network.admittance
    alive = model.node_of_bus >= 0
    magnitude, angle = flow["vm_pu"].values[steps], np.deg2rad(flow["va_degree"].values[steps])
    voltage = np.full((len(steps), model.nodes), np.nan + 0j)
    voltage[:, model.node_of_bus[alive]] = (magnitude * np.exp(1j * angle))[:, alive]
    known = np.zeros(model.nodes, dtype=bool)
    known[model.node_of_bus[alive]] = True
    inner, outer = np.flatnonzero(~known), np.flatnonzero(known)
    if len(inner):  # star points and open line ends feed nothing: Y_ii v_i = -Y_io v_o
        columns = matrix.tocsc()[inner]
        right = -(columns[:, outer] @ voltage[:, outer].T)
        voltage[:, inner] = splu(columns[:, inner].tocsc()).solve(right).T
    return voltage


@dataclass(frozen=True)
class _Point:
    """One operating point with its factorised Jacobian, and the nodes whose angle or magnitude
    may move."""

    model: Admittance
    voltage: np.ndarray
    angles: np.ndarray
    sizes: np.ndarray
    by_angle: sparse.csr_matrix
    by_magnitude: sparse.csr_matrix
    factors: object

    @classmethod
    def at(cls, model: Admittance, matrix: sparse.csr_matrix, voltage: np.ndarray) -> _Point:
        by_angle, by_magnitude = derivatives(matrix, voltage)
        angles, sizes = model.angle_nodes, model.size_nodes_at(voltage)
        lu = splu(jacobian(angles, sizes, by_angle, by_magnitude)) if len(angles) else None
        return cls(model, voltage, angles, sizes, by_angle, by_magnitude, lu)

    def answers(self, quantity: Quantity, elements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives by active and reactive power fed into each node; each (row, node)."""
        by_state, at_source = self._by_state(quantity, elements)
        count, angles = len(elements), len(self.angles)
        per_mw = np.zeros((count, self.model.nodes))
        per_mvar = np.zeros_like(per_mw)
        if angles:
            solved = self.factors.solve(np.ascontiguousarray(by_state.T), trans="T").T  # type: ignore[attr-defined]
            per_mw[:, self.angles] = solved[:, :angles] / self.model.base_mva
            per_mvar[:, self.sizes] = solved[:, angles:] / self.model.base_mva
        per_mw[:, self.model.source_nodes] = at_source
        return per_mw, per_mvar

    def _by_state(self, quantity: Quantity, elements: np.ndarray) -> tuple[np.ndarray, float]:
        """Derivatives by the unknown angles and magnitudes, and by power at the source."""
        if quantity is Quantity.VM_PU:
            return self._voltage_rows(elements), 0.0
        if quantity is Quantity.EXCHANGE:
            source = self.model.source_nodes
            angle = self.by_angle[source][:, self.angles].sum(axis=0)
            size = self.by_magnitude[source][:, self.sizes].sum(axis=0)
            row = np.concatenate([np.asarray(angle).ravel(), np.asarray(size).ravel()]).real
            return np.tile(row * self.model.base_mva, (len(elements), 1)), -1.0
        return self._loading_rows(quantity, elements), 0.0

    def _voltage_rows(self, buses: np.ndarray) -> np.ndarray:
        node = self.model.node_of_bus[buses]
        position = np.full(self.model.nodes, -1)
        position[self.sizes] = np.arange(len(self.sizes))
        rows = np.zeros((len(buses), len(self.angles) + len(self.sizes)))
        at = np.where(node >= 0, position[np.maximum(node, 0)], -1)
        held = at >= 0
        rows[np.flatnonzero(held), len(self.angles) + at[held]] = 1.0
        return rows

    def _loading_rows(self, quantity: Quantity, elements: np.ndarray) -> np.ndarray:
        """d|I| = Re(conj(I) dI) / |I| at the end that is loaded most."""
        model = self.model
        y_ff, y_ft, y_tf, y_tt = model.two_port
        rows = np.zeros((len(elements), len(self.angles) + len(self.sizes)))
        for i, element in enumerate(elements):
            scale, branch, outgoing = 0.0, -1, False
            current = 0j
            for ends in model.ends(quantity.value.removesuffix("_loading_percent")):
                at = int(ends.branch[element])
                if at < 0:
                    continue
                v_f = self.voltage[model.branch_from[at]]
                v_t = self.voltage[model.branch_to[at]]
                for to_end, factor, into in (
                    (False, ends.scale_from[element], y_ff[at] * v_f + y_ft[at] * v_t),
                    (True, ends.scale_to[element], y_tf[at] * v_f + y_tt[at] * v_t),
                ):
                    if abs(into) * factor > abs(current) * scale:
                        current, scale, branch, outgoing = into, factor, at, to_end
            if branch < 0:
                continue
            f, t = int(model.branch_from[branch]), int(model.branch_to[branch])
            y_f = (y_tf if outgoing else y_ff)[branch]
            y_t = (y_tt if outgoing else y_ft)[branch]
            direction = scale * np.conj(current) / abs(current)
            dense = np.zeros((2, model.nodes))
            for node, y in ((f, y_f), (t, y_t)):
                v = self.voltage[node]
                dense[0, node] += (direction * y * 1j * v).real
                dense[1, node] += (direction * y * v / abs(v)).real
            rows[i] = np.concatenate([dense[0, self.angles], dense[1, self.sizes]])
        return rows
