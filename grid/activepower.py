"""Where the active power of a power flow goes: both ends of every branch, every element, upstream.

All arrays run over time last, because whoever follows flows works node by node over all steps.
Reactive power is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import sparse

from grid.network import ELEMENTS, Network
from grid.powerflow import values
from grid.sensitivity import node_voltages


@dataclass(frozen=True)
class Exchanged:
    """What some elements draw from their nodes and feed into them, MW >= 0, (element, time).

    node: of each element, -1 where it is unfed or out of service (it exchanges nothing there).
    """

    node: np.ndarray
    drawn_mw: np.ndarray
    fed_mw: np.ndarray

    @classmethod
    def of(cls, node: np.ndarray, consumed_mw: np.ndarray) -> Exchanged:
        """From power that is positive when consumed, (element, time)."""
        return cls(node, np.maximum(consumed_mw, 0.0), np.maximum(-consumed_mw, 0.0))

    def at_nodes(self, power_mw: np.ndarray, nodes: int) -> np.ndarray:
        """The sum of (element, time) at each node, (node, time)."""
        return summed_at(self.node, power_mw, nodes)


def summed_at(node: np.ndarray, values_mw: np.ndarray, nodes: int) -> np.ndarray:
    """The sum at each of ``nodes`` of rows that stand at ``node`` (-1: nowhere), (node, time)."""
    rows = np.flatnonzero(node >= 0)
    shape = (nodes, len(node))
    total = sparse.csr_matrix((np.ones(len(rows)), (node[rows], rows)), shape) @ values_mw
    return np.asarray(total)


@dataclass(frozen=True)
class ActivePower:
    """Active power of some steps, MW.

    into_from, into_to: into both ends of each branch of ``network.admittance``, (branch, time).
    elements: by table (load, storage, sgen), in the order of the table, scaling applied.
    fixed: what the network itself holds besides these (wards, motors), one element a node.
    upstream: the upstream grid, one element a source node: fed is import, drawn is export.
    """

    into_from: np.ndarray
    into_to: np.ndarray
    elements: dict[str, Exchanged]
    fixed: Exchanged
    upstream: Exchanged

    @property
    def all(self) -> tuple[Exchanged, ...]:
        """Everything that exchanges power with nodes."""
        return (*self.elements.values(), self.fixed, self.upstream)


def active_power(
    network: Network, injections: xr.Dataset, flow: xr.Dataset, steps: np.ndarray
) -> ActivePower:
    """Active power at the positions ``steps`` of the time of ``flow``.

    injections, flow: what ``powerflow.run`` was given and has returned.
    """
    model = network.admittance
    matrix = model.bus_matrix
    voltage = node_voltages(network, flow, steps, matrix).T
    into_from, into_to = model.branch_matrices
    at_from = voltage[model.branch_from] * np.conj(into_from @ voltage)
    at_to = voltage[model.branch_to] * np.conj(into_to @ voltage)
    given = injections.isel(time=steps)
    elements = {table: _element(network, given, table) for table in ELEMENTS}
    every = np.arange(model.nodes)
    steady = np.repeat(model.fixed_mva.real[:, None], len(steps), axis=1)
    fixed = Exchanged.of(every, steady)
    source = model.source_nodes
    injected = (voltage * np.conj(matrix @ voltage)).real[source] * model.base_mva
    drawn = sum(e.at_nodes(e.drawn_mw - e.fed_mw, model.nodes) for e in (*elements.values(), fixed))
    imported = injected + np.asarray(drawn)[source]
    return ActivePower(
        into_from=at_from.real * model.base_mva,
        into_to=at_to.real * model.base_mva,
        elements=elements,
        fixed=fixed,
        upstream=Exchanged.of(source, -imported),
    )


def _element(network: Network, injections: xr.Dataset, table: str) -> Exchanged:
    factor = network.in_use(table)
    node = network.admittance.node_of_bus[network.bus_position(table)]
    power = values(network, injections, table, "p_mw") * factor
    consumed = np.ascontiguousarray((-ELEMENTS[table] * power).T)
    return Exchanged.of(np.where(factor != 0, node, -1), consumed)
