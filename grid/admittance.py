"""The electrical model of a network: nodes, branches as two-ports, and their admittances.

pandapower knows how its elements become branches of a per-unit bus-branch model (parallel
systems, tap positions, vector groups, magnetising branch, three windings, open line ends,
bus-bus switches with and without impedance, islands). That knowledge is used here once instead
of being written a second time; power flow and sensitivities then share one set of numbers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from pandapower.auxiliary import _add_ppc_options, pandapowerNet
from pandapower.pd2ppc import _pd2ppc
from pandapower.pypower import idx_brch, idx_bus, idx_gen
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from core.errors import NetworkError
from grid.reasons import first_line

UNSUPPORTED = ("dcline", "svc", "tcsc", "ssc", "vsc", "xward")
"""pandapower's tables of elements that are not modelled here."""
_UNLIMITED_MVAR = 9e4
"""From here on a limit of reactive power is none: formats without infinity write 99,999."""
_HELD_PU = 1e-9
"""A solved voltage this close to what a generator holds is held."""


@dataclass(frozen=True)
class Ends:
    """Where the currents of one kind of branch element are read, in the order of its table.

    branch: row in the branches, -1 where the element carries no current (out of service).
    scale_from, scale_to: percent of loading per unit of current at either end.
    """

    branch: np.ndarray
    scale_from: np.ndarray
    scale_to: np.ndarray

    def renumbered(self, row: np.ndarray) -> Ends:
        """The same elements after branch i became ``row[i]``; the last of ``row`` stands for -1."""
        return Ends(row[self.branch], self.scale_from, self.scale_to)


@dataclass(frozen=True)
class Admittance:
    """A converted network. Power in per unit of ``base_mva``, shapes (node,) and (branch,).

    node_of_bus: node of each bus in the order of the bus table, -1 for a dead bus; several buses
    behind closed bus-bus switches are one node.
    series, shunt: series admittance and symmetrical shunt admittance (both halves together);
    tap: complex ratio at the from end (as in MATPOWER).
    node_shunt: everything else between a node and the earth.
    source_nodes, source_pu: nodes held by the upstream grid and their complex voltages.
    held_nodes, held_pu: nodes whose voltage magnitude a generator holds, and that magnitude.
    held_min_mvar, held_max_mvar: within which reactive power fed in the generators of each of
    these nodes can hold it together; infinite where the file states no limit.
    fixed_mva: complex power drawn at each node by elements that are no load, sgen or storage
    (generators, wards, motors, asymmetric ones), in MVA.
    """

    base_mva: float
    base_kv: np.ndarray
    node_of_bus: np.ndarray
    branch_from: np.ndarray
    branch_to: np.ndarray
    series: np.ndarray
    shunt: np.ndarray
    tap: np.ndarray
    node_shunt: np.ndarray
    source_nodes: np.ndarray
    source_pu: np.ndarray
    held_nodes: np.ndarray
    held_pu: np.ndarray
    held_min_mvar: np.ndarray
    held_max_mvar: np.ndarray
    fixed_mva: np.ndarray
    lines: Ends
    trafos: Ends
    trafos3w: tuple[Ends, Ends, Ends]

    def ends(self, table: str) -> tuple[Ends, ...]:
        """Where the loading of the elements of ``line``, ``trafo`` or ``trafo3w`` is read: that
        of an element is the highest of all."""
        return {"line": (self.lines,), "trafo": (self.trafos,), "trafo3w": self.trafos3w}[table]

    @property
    def nodes(self) -> int:
        """The number of nodes that are supplied."""
        return len(self.base_kv)

    @property
    def angle_nodes(self) -> np.ndarray:
        """Nodes whose voltage angle is unknown: all but the sources."""
        return np.setdiff1d(np.arange(self.nodes), self.source_nodes)

    @property
    def size_nodes(self) -> np.ndarray:
        """Nodes whose voltage magnitude is unknown: neither sources nor held."""
        return np.setdiff1d(self.angle_nodes, self.held_nodes)

    def size_nodes_at(self, voltage: np.ndarray) -> np.ndarray:
        """The same, with the nodes whose generator gave up its voltage in a solution, (node,)."""
        holds = np.abs(np.abs(voltage[self.held_nodes]) - self.held_pu) < _HELD_PU
        return np.setdiff1d(self.angle_nodes, self.held_nodes[holds])

    def without(self, branches: np.ndarray) -> Admittance:
        """The model with these branches (rows) taken out; what is then unsupplied is dropped."""
        stays = np.ones(len(self.series), dtype=bool)
        stays[branches] = False
        ends = self.branch_from[stays], self.branch_to[stays]
        joined = sparse.coo_array((np.ones(int(stays.sum())), ends), shape=(self.nodes, self.nodes))
        _, part = connected_components(joined, directed=False)
        alive = np.isin(part, part[self.source_nodes])
        stays &= alive[self.branch_from]
        node = np.where(alive, np.cumsum(alive) - 1, -1)
        row = np.append(np.where(stays, np.cumsum(stays) - 1, -1), -1)  # row -1 stays -1
        held = alive[self.held_nodes]
        return Admittance(
            base_mva=self.base_mva,
            base_kv=self.base_kv[alive],
            node_of_bus=np.append(node, -1)[self.node_of_bus],
            branch_from=node[self.branch_from[stays]],
            branch_to=node[self.branch_to[stays]],
            series=self.series[stays],
            shunt=self.shunt[stays],
            tap=self.tap[stays],
            node_shunt=self.node_shunt[alive],
            source_nodes=node[self.source_nodes],
            source_pu=self.source_pu,
            held_nodes=node[self.held_nodes[held]],
            held_pu=self.held_pu[held],
            held_min_mvar=self.held_min_mvar[held],
            held_max_mvar=self.held_max_mvar[held],
            fixed_mva=self.fixed_mva[alive],
            lines=self.lines.renumbered(row),
            trafos=self.trafos.renumbered(row),
            trafos3w=(
                self.trafos3w[0].renumbered(row),
                self.trafos3w[1].renumbered(row),
                self.trafos3w[2].renumbered(row),
            ),
        )

    @cached_property
    def two_port(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Yff, Yft, Ytf, Ytt of each branch: current into a branch = Y times the voltages."""
        own = self.series + self.shunt / 2
        ratio = np.abs(self.tap) ** 2
        return own / ratio, -self.series / np.conj(self.tap), -self.series / self.tap, own

    @cached_property
    def branch_matrices(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Sparse (branch, node) matrices giving the currents into the from and to ends."""
        y_ff, y_ft, y_tf, y_tt = self.two_port
        count = len(self.series)
        rows = np.concatenate([np.arange(count)] * 2)
        columns = np.concatenate([self.branch_from, self.branch_to])
        shape = (count, self.nodes)
        into_from = sparse.csr_matrix((np.concatenate([y_ff, y_ft]), (rows, columns)), shape)
        into_to = sparse.csr_matrix((np.concatenate([y_tf, y_tt]), (rows, columns)), shape)
        return into_from, into_to

    @cached_property
    def bus_matrix(self) -> sparse.csr_matrix:
        """The nodal admittance matrix, sparse (node, node)."""
        into_from, into_to = self.branch_matrices
        count = len(self.series)
        shape = (self.nodes, count)
        ones, columns = np.ones(count), np.arange(count)
        at_from = sparse.csr_matrix((ones, (self.branch_from, columns)), shape)
        at_to = sparse.csr_matrix((ones, (self.branch_to, columns)), shape)
        return sparse.csr_matrix(
            at_from @ into_from + at_to @ into_to + sparse.diags_array(self.node_shunt)
        )


def convert(net: pandapowerNet) -> Admittance:
    """The electrical model of ``net``.

    Raises NetworkError when no bus is supplied, when an element is not reciprocal, or when the
    network holds elements that are not modelled (direct current, power electronics).
    """
    try:
        return _convert(net)
    except NetworkError:
        raise
    except Exception as error:  # pandapower says what it does not like in many ways
        raise NetworkError(
            f"The network cannot be turned into an electrical model: {first_line(error)}"
        ) from error


def _convert(net: pandapowerNet) -> Admittance:
    _refuse(net)
    ppci = _per_unit(net)
    bus, branch = ppci["bus"], ppci["branch"]
    base_mva = float(ppci["baseMVA"])
    source_nodes, source_pu = _sources(ppci)
    held_nodes, held_pu, held_min_mvar, held_max_mvar = _held(ppci)
    series, shunt, extra = _branch_admittances(branch)
    branch_from = branch[:, idx_brch.F_BUS].real.astype(np.int64)
    branch_to = branch[:, idx_brch.T_BUS].real.astype(np.int64)
    node_shunt = (bus[:, idx_bus.GS] + 1j * bus[:, idx_bus.BS]) / base_mva
    np.add.at(node_shunt, branch_to, extra / 2)
    tap = np.where(branch[:, idx_brch.TAP].real == 0, 1.0, branch[:, idx_brch.TAP].real)
    base_kv = bus[:, idx_bus.BASE_KV].real.copy()
    node_of_bus = _node_of_bus(net, len(bus))
    return Admittance(
        base_mva=base_mva,
        base_kv=base_kv,
        node_of_bus=node_of_bus,
        branch_from=branch_from,
        branch_to=branch_to,
        series=series,
        shunt=shunt,
        tap=tap * np.exp(1j * np.deg2rad(branch[:, idx_brch.SHIFT].real)),
        node_shunt=node_shunt,
        source_nodes=source_nodes,
        source_pu=source_pu,
        held_nodes=held_nodes,
        held_pu=held_pu,
        held_min_mvar=held_min_mvar,
        held_max_mvar=held_max_mvar,
        fixed_mva=_fixed(net, bus, node_of_bus),
        lines=_line_ends(net, ppci, base_mva, base_kv, branch_from, branch_to),
        trafos=_trafo_ends(net, ppci, base_mva, base_kv, branch_from, branch_to),
        trafos3w=_trafo3w_ends(net, ppci, base_mva, base_kv, branch_from, branch_to),
    )


_HIGHEST_BUS = 10_000_000
"""pandapower makes an array as long as the highest number of a bus."""
_BUS_COLUMNS = ("bus", "from_bus", "to_bus", "hv_bus", "mv_bus", "lv_bus")


def _refuse_references(net: pandapowerNet) -> None:
    """pandapower's compiled code reads beyond its arrays for a bus that does not exist, which ends
    the process: no exception could be caught."""
    buses = net.bus.index
    if not pd.api.types.is_integer_dtype(buses) or not buses.is_unique or (buses < 0).any():
        raise NetworkError("The numbers of the buses must be whole, not negative, and each once.")
    if buses.max() > _HIGHEST_BUS:
        raise NetworkError(f"The number of a bus is above {_HIGHEST_BUS}; give smaller ones.")
    for table, elements in net.items():
        if not isinstance(elements, pd.DataFrame) or table.startswith(("_", "res_", "bus")):
            continue
        for column in elements.columns.intersection(list(_BUS_COLUMNS)):
            if not elements[column].isin(buses).all():
                raise NetworkError(f"A {table} stands at a {column} that does not exist.")
    for et, table in (("b", "bus"), ("l", "line"), ("t", "trafo"), ("t3", "trafo3w")):
        elements = net.switch.element[net.switch.et == et]
        if not elements.isin(net[table].index).all():
            raise NetworkError(f"A switch opens a {table} that does not exist.")


def _refuse(net: pandapowerNet) -> None:
    _refuse_references(net)
    if not (len(net.ext_grid) and net.ext_grid.in_service.any()) and not len(net.gen):
        raise NetworkError("No bus is supplied: the network has no external grid in service.")
    for table in UNSUPPORTED:
        if table in net and len(net[table]) and net[table].in_service.any():
            raise NetworkError(f"The network holds {table} elements, which cannot be calculated.")


def _per_unit(net: pandapowerNet) -> dict:
    net["_options"] = {}
    _add_ppc_options(
        net,
        calculate_voltage_angles=True,
        trafo_model="t",
        check_connectivity=True,
        mode="pf",
        switch_rx_ratio=2,
        init_vm_pu="flat",
        init_va_degree="flat",
        enforce_q_lims=False,
        enforce_p_lims=False,
        recycle=None,
        voltage_depend_loads=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about dtypes inside the conversion
        _, ppci = _pd2ppc(net)
    if not np.isfinite(ppci["branch"].view(float)).all():
        raise NetworkError("A branch of the network has an impedance that is not a number.")
    result: dict = ppci
    return result


def _sources(ppci: dict) -> tuple[np.ndarray, np.ndarray]:
    bus = ppci["bus"]
    nodes = np.flatnonzero(bus[:, idx_bus.BUS_TYPE].real == idx_bus.REF)
    gen = ppci["gen"]
    magnitude = {int(g[0].real): float(g[5].real) for g in gen}
    vm_pu = np.array([magnitude[int(n)] for n in nodes])
    angle = np.deg2rad(bus[nodes, idx_bus.VA].real)
    return nodes, vm_pu * np.exp(1j * angle)


def _held(ppci: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nodes at which generators hold the voltage (PV), the magnitude they hold, and the least and
    most reactive power they can feed in together."""
    nodes = np.flatnonzero(ppci["bus"][:, idx_bus.BUS_TYPE].real == idx_bus.PV)
    magnitude = {int(g[0].real): float(g[5].real) for g in ppci["gen"]}
    held = np.array([magnitude[int(n)] for n in nodes])
    if not np.isfinite(held).all():
        raise NetworkError("A generator holds a voltage that is not a number.")
    gen = ppci["gen"].real
    at = np.searchsorted(nodes, gen[:, idx_gen.GEN_BUS])
    there = np.isin(gen[:, idx_gen.GEN_BUS], nodes)
    low, high = np.zeros(len(nodes)), np.zeros(len(nodes))
    np.add.at(low, at[there], gen[there, idx_gen.QMIN])
    np.add.at(high, at[there], gen[there, idx_gen.QMAX])
    return (
        nodes,
        held,
        np.where(low > -_UNLIMITED_MVAR, low, -np.inf),
        np.where(high < _UNLIMITED_MVAR, high, np.inf),
    )


def _branch_admittances(branch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Series and shunt admittance, and what the to end has more in shunt than the from end."""
    if np.any(branch[:, [idx_brch.BR_R_ASYM, idx_brch.BR_X_ASYM]] != 0):
        raise NetworkError(
            "An impedance element differs by direction, which the power flow cannot model; "
            "give it equal values both ways."
        )
    series = 1.0 / (branch[:, idx_brch.BR_R] + 1j * branch[:, idx_brch.BR_X])
    shunt = branch[:, idx_brch.BR_G] + 1j * branch[:, idx_brch.BR_B]
    extra = branch[:, idx_brch.BR_G_ASYM] + 1j * branch[:, idx_brch.BR_B_ASYM]
    if not np.isfinite(series).all() or not np.isfinite(shunt + extra).all():
        raise NetworkError("A branch of the network has no impedance.")
    return series, shunt, extra


def _node_of_bus(net: pandapowerNet, nodes: int) -> np.ndarray:
    lookup = net["_pd2ppc_lookups"]["bus"]
    node = lookup[net.bus.index.to_numpy()]
    # pandapower numbers the buses it leaves out behind the ones it keeps.
    dead = (node < 0) | (node >= nodes) | ~net.bus.in_service.to_numpy(dtype=bool)
    return np.where(dead, -1, node)


def _fixed(net: pandapowerNet, bus: np.ndarray, node_of_bus: np.ndarray) -> np.ndarray:
    """Power at each node that does not come from the load, sgen and storage tables."""
    total = bus[:, idx_bus.PD] + 1j * bus[:, idx_bus.QD]
    position = {int(b): i for i, b in enumerate(net.bus.index)}
    # Of generators the model counts the active power only: the reactive one is what it takes.
    for table, sign, reactive in (
        ("load", 1, True),
        ("storage", 1, True),
        ("sgen", -1, True),
        ("gen", 1, False),
    ):
        elements = net[table]
        if not len(elements):
            continue
        node = node_of_bus[[position[int(b)] for b in elements.bus]]
        on = elements.in_service.to_numpy(dtype=bool) & (node >= 0)
        if table == "gen":
            on &= ~elements.slack.to_numpy(dtype=bool)
        power = (elements.p_mw + 1j * (elements.q_mvar if reactive else 0.0)).to_numpy()
        np.subtract.at(total, node[on], (sign * power * elements.scaling.to_numpy())[on])
    return np.where(np.abs(total) < 1e-9, 0.0, total)  # rounding of sums, not an element


def _rows(net: pandapowerNet, ppci: dict, table: str) -> np.ndarray:
    """Row of each element of ``table`` among the branches kept, -1 for those left out."""
    lookup = net["_pd2ppc_lookups"]["branch"]
    if table not in lookup or not len(net[table]):
        return np.full(len(net[table]), -1)
    first, last = lookup[table]
    kept = ppci["internal"]["branch_is"]
    rank = np.cumsum(kept) - 1
    return np.where(kept[first:last], rank[first:last], -1)


def _line_ends(
    net: pandapowerNet,
    ppci: dict,
    base_mva: float,
    base_kv: np.ndarray,
    branch_from: np.ndarray,
    branch_to: np.ndarray,
) -> Ends:
    rows = _rows(net, ppci, "line")
    line = net.line
    rating_ka = (line.max_i_ka * line.df * line.parallel).to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = 100.0 / rating_ka
    on = np.maximum(rows, 0)
    if not len(branch_from):
        return Ends(rows, np.zeros(len(rows)), np.zeros(len(rows)))
    ka_from = base_mva / (np.sqrt(3.0) * base_kv[branch_from[on]])
    ka_to = base_mva / (np.sqrt(3.0) * base_kv[branch_to[on]])
    return Ends(rows, percent * ka_from, percent * ka_to)


def _trafo_ends(
    net: pandapowerNet,
    ppci: dict,
    base_mva: float,
    base_kv: np.ndarray,
    branch_from: np.ndarray,
    branch_to: np.ndarray,
) -> Ends:
    rows = _rows(net, ppci, "trafo")
    trafo = net.trafo
    if not len(trafo) or not len(branch_from):
        return Ends(rows, np.zeros(len(rows)), np.zeros(len(rows)))
    # Loading counts current times rated voltage over rated power, as pandapower's "current".
    percent = 100.0 * base_mva / (trafo.sn_mva * trafo.df * trafo.parallel).to_numpy(dtype=float)
    on = np.maximum(rows, 0)
    hv = trafo.vn_hv_kv.to_numpy(dtype=float) / base_kv[branch_from[on]]
    lv = trafo.vn_lv_kv.to_numpy(dtype=float) / base_kv[branch_to[on]]
    return Ends(rows, percent * hv, percent * lv)


def _trafo3w_ends(
    net: pandapowerNet,
    ppci: dict,
    base_mva: float,
    base_kv: np.ndarray,
    branch_from: np.ndarray,
    branch_to: np.ndarray,
) -> tuple[Ends, Ends, Ends]:
    """The high, medium and low voltage side of three-winding transformers; each meets the star
    point at the end whose scale is 0."""
    trafo = net.trafo3w
    count = len(trafo)
    none = np.full(count, -1), np.zeros(count), np.zeros(count)
    if not count or "trafo3w" not in net["_pd2ppc_lookups"]["branch"] or not len(branch_from):
        return Ends(*none), Ends(*none), Ends(*none)
    rows = _rows(net, ppci, "trafo3w")
    found = []
    for number, side in enumerate(("hv", "mv", "lv")):
        row = rows[number * count : (number + 1) * count]
        node = (branch_from if side == "hv" else branch_to)[np.maximum(row, 0)]
        rated = trafo[f"vn_{side}_kv"].to_numpy(dtype=float) / base_kv[node]
        percent = 100.0 * base_mva * rated / trafo[f"sn_{side}_mva"].to_numpy(dtype=float)
        outer, star = (percent, np.zeros(count))
        found.append(Ends(row, outer, star) if side == "hv" else Ends(row, star, outer))
    return found[0], found[1], found[2]
