"""Average carbon intensity of every bus by tracing the AC flow from sources to loads.

Proportional sharing: what leaves a node, in whatever direction, has the mixture of what arrives
there (Bialek, "Tracing the flow of electricity", IEE Proc. Gener. Transm. Distrib. 143(4), 1996;
Kirschen, Allan, Strbac, IEEE Trans. Power Systems 12(1), 1997). With intensities of the sources
it gives the carbon emission flow of Kang, Zhou et al., "Carbon Emission Flow From Generation to
Demand: A Network-Based Model", IEEE Trans. Smart Grid 6(5), 2015:

    P_i e_i = sum over sources s at i of p_s e_s + sum over branches j->i of p_ji e_j

with p_ji the active power that ARRIVES at i and P_i all that arrives there. Only active power is
traced; what reactive power costs is in the losses of active power that it causes. Sharing is by
node: a load beside a PV plant takes the mixture of the node, not the plant's own energy first.

The mismatch of the power flow and what the shunt conductance of a node takes are losses of the
node, so that what is emitted is attributed completely.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import xarray as xr

from core.errors import ConfigurationError
from grid.activepower import ActivePower, Exchanged, active_power, summed_at
from grid.mixing import Diagonal, Elimination
from grid.network import ELEMENTS, Network

PASSES_NOTHING_MW = 1e-7
"""Below a tenth of a watt there is no flow, only the rounding of the power flow."""
_CHUNK_VALUES = 1 << 19
"""Numbers of one array worked on at a time: node by node they stay in the processor's cache."""
PER_MWH = "kgCO2e/MWh"
PER_H = "kgCO2e/h"


class Losses(StrEnum):
    """Who answers for the losses of the network.

    APART: e_i is the mixture that arrives; losses carry the intensity of where they arise and are
    reported apart. Consumption-based scope 2 without losses, which are scope 3 (category 3).
    CONSUMERS: the emissions of a branch arrive completely with what is left of the power, so that
    consumers bear the losses on the way to them; with one source e_i is its intensity over the
    share that is delivered. Apart remain only losses behind which nobody draws.
    """

    APART = "apart"
    CONSUMERS = "consumers"


_RULE = MappingProxyType({Losses.APART: Diagonal.INFLOW, Losses.CONSUMERS: Diagonal.OUTFLOW})


@dataclass(frozen=True)
class _Flows:
    """What the elimination needs of some steps; arrays (node, time) and (branch, time)."""

    edges: dict[tuple[int, int], np.ndarray]
    slack: np.ndarray
    through_mw: np.ndarray


@dataclass(frozen=True)
class Graph:
    """Branches from ``start`` to ``end`` between ``nodes``, and how the nodes are eliminated."""

    start: np.ndarray
    end: np.ndarray
    nodes: int
    elimination: Elimination

    @classmethod
    def of(cls, nodes: int, start: np.ndarray, end: np.ndarray) -> Graph:
        """The graph of some branches; start, end: node of both ends of each, (branch,)."""
        return cls(start, end, nodes, Elimination.of(nodes, start, end))

    @classmethod
    def of_network(cls, network: Network) -> Graph:
        """The graph of the branches of a network's electrical model."""
        model = network.admittance
        return cls.of(model.nodes, model.branch_from, model.branch_to)

    def flows(self, power: ActivePower, losses: Losses) -> _Flows:
        """Flows between nodes: as they arrive, or as they were sent where consumers bear losses."""
        forward, backward = _directions(power)
        count = power.into_from.shape[1]
        arriving: dict[tuple[int, int], np.ndarray] = {}
        sent: dict[tuple[int, int], np.ndarray] = {}
        zero = np.zeros(count)
        for b, (f, t) in enumerate(zip(self.start.tolist(), self.end.tolist(), strict=True)):
            for there, (to, at), into, out in (
                (forward[b], (t, f), power.into_from[b], power.into_to[b]),
                (backward[b], (f, t), power.into_to[b], power.into_from[b]),
            ):
                if there.any():
                    arriving[to, at] = arriving.get((to, at), zero) + np.where(there, -out, 0.0)
                    sent[to, at] = sent.get((to, at), zero) + np.where(there, into, 0.0)
        fed = _total(power, "fed_mw", self.nodes, count)
        through = fed.copy()
        for (to, _), flow in arriving.items():
            through[to] += flow
        if losses is Losses.APART:
            return _Flows(arriving, fed, through)
        return _Flows(sent, _total(power, "drawn_mw", self.nodes, count), through)


def trace(
    network: Network,
    injections: xr.Dataset,
    flow: xr.Dataset,
    intensities: xr.Dataset,
    *,
    losses: Losses = Losses.APART,
) -> xr.Dataset:
    """Average carbon intensity of every bus and step, and who answers for what is emitted.

    injections, flow: what ``powerflow.run`` was given and has returned.
    intensities: of what sources feed in, kgCO2e/MWh, each over (time,), its element, both or
    neither: import_kgco2e_per_mwh (ext_grid), sgen_kgco2e_per_mwh (sgen), storage_kgco2e_per_mwh
    (storage) of discharging, load_kgco2e_per_mwh (load) of loads that feed in,
    fixed_kgco2e_per_mwh of other elements that do. Only what feeds in has to be there. Several
    external grids at one node count as their mean.

    Returns kgco2e_per_mwh (time, bus): NaN at dead buses and where nothing passes (below 0.1 W),
    since no energy has an intensity there. And emissions in kgCO2e/h, all >= 0 for intensities
    >= 0: load_, sgen_ and storage_kgco2e_per_h of what these draw (charging), (time, element); and
    over time source_, export_, fixed_ and losses_kgco2e_per_h. In every step
    source = load + sgen + storage + export + fixed + losses (to 1e-9). Losses can come out
    negative where a branch has a negative resistance, as some three-winding transformers have.
    Raises ConfigurationError for a source without intensity.
    """
    graph = Graph.of_network(network)
    parts = []
    for steps in _chunks(network, flow.sizes["time"]):
        power = active_power(network, injections, flow, steps)
        given = _Given(network, intensities, steps)
        found = attribute(graph, power, given.per_table(power), losses)
        parts.append(_at_buses(network, found))
    return _dataset(network, flow["time"].values, parts, losses)


def storage_shares(
    network: Network,
    injections: xr.Dataset,
    flow: xr.Dataset,
    *,
    losses: Losses = Losses.APART,
) -> np.ndarray:
    """How much the intensity that one storage charges at owes to what another one discharges.

    Shape (time, storage, storage): at the bus of the first, per intensity of the second. The
    intensity of a bus is linear in those of the sources; here are the factors of the storages.
    """
    graph = Graph.of_network(network)
    found = []
    for steps in _chunks(network, flow.sizes["time"]):
        power = active_power(network, injections, flow, steps)
        storages = power.elements["storage"]
        flows = graph.flows(power, losses)
        sources = np.zeros((len(storages.node), graph.nodes, len(steps)))
        for s, node in enumerate(storages.node.tolist()):
            sources[s, max(node, 0)] = storages.fed_mw[s] * (node >= 0)
        mixed = graph.elimination.solve(flows.edges, flows.slack, sources, _RULE[losses])
        at = mixed[:, np.maximum(storages.node, 0)] * (storages.node >= 0)[None, :, None]
        found.append(at.transpose(2, 1, 0))
    return np.concatenate(found)


@dataclass(frozen=True)
class Attribution:
    """Who answers for what is emitted; arrays end with time.

    node_kgco2e_per_mwh: (node, time), 0 where nothing arrives. through_mw: what arrives at each
    node, (node, time). drawn_kgco2e_per_h: by table, (element, time); ``upstream`` is export.
    source_kgco2e_per_h, losses_kgco2e_per_h: (time,).
    """

    node_kgco2e_per_mwh: np.ndarray
    through_mw: np.ndarray
    drawn_kgco2e_per_h: dict[str, np.ndarray]
    source_kgco2e_per_h: np.ndarray
    losses_kgco2e_per_h: np.ndarray


def attribute(
    graph: Graph, power: ActivePower, intensity: Mapping[str, np.ndarray], losses: Losses
) -> Attribution:
    """Tracing of known flows.

    intensity: of what the elements of each table of ``power`` (load, storage, sgen, fixed,
    upstream) feed in, kgCO2e/MWh, (element, time).
    """
    exchanged = {**power.elements, "fixed": power.fixed, "upstream": power.upstream}
    sources = sum(
        e.at_nodes(e.fed_mw * intensity[name], graph.nodes) for name, e in exchanged.items()
    )
    assert isinstance(sources, np.ndarray)
    flows = graph.flows(power, losses)
    mixed = graph.elimination.solve(flows.edges, flows.slack, sources[None], _RULE[losses])[0]
    if losses is Losses.APART:
        lost = _lost(graph, power, mixed, flows.through_mw)
    else:
        lost = _stranded(flows, mixed, sources)
    return Attribution(
        node_kgco2e_per_mwh=mixed,
        through_mw=flows.through_mw,
        drawn_kgco2e_per_h={name: _drawn(e, mixed) for name, e in exchanged.items()},
        source_kgco2e_per_h=sources.sum(axis=0),
        losses_kgco2e_per_h=lost,
    )


def _at_buses(network: Network, found: Attribution) -> dict[str, np.ndarray]:
    """The variables of ``trace``, time last."""
    node = network.admittance.node_of_bus
    at_bus = np.maximum(node, 0)
    passes = (found.through_mw[at_bus] > PASSES_NOTHING_MW) & (node >= 0)[:, None]
    drawn = found.drawn_kgco2e_per_h
    return {
        "kgco2e_per_mwh": np.where(passes, found.node_kgco2e_per_mwh[at_bus], np.nan),
        **{f"{table}_kgco2e_per_h": drawn[table] for table in ELEMENTS},
        "fixed_kgco2e_per_h": drawn["fixed"].sum(axis=0),
        "export_kgco2e_per_h": drawn["upstream"].sum(axis=0),
        "losses_kgco2e_per_h": found.losses_kgco2e_per_h,
        "source_kgco2e_per_h": found.source_kgco2e_per_h,
    }


def _drawn(exchanged: Exchanged, mixed: np.ndarray) -> np.ndarray:
    emitted: np.ndarray = exchanged.drawn_mw * mixed[np.maximum(exchanged.node, 0)]
    return emitted


def _lost(
    graph: Graph, power: ActivePower, mixed: np.ndarray, through_mw: np.ndarray
) -> np.ndarray:
    """Emissions of the losses of all branches and nodes, (time,)."""
    forward, backward = _directions(power)
    at_from, at_to = mixed[graph.start], mixed[graph.end]
    both = power.into_from + power.into_to
    ends = np.maximum(power.into_from, 0.0) * at_from + np.maximum(power.into_to, 0.0) * at_to
    branch = np.where(forward, both * at_from, np.where(backward, both * at_to, ends))
    left = through_mw - _total(power, "drawn_mw", graph.nodes, through_mw.shape[1])
    left -= summed_at(graph.start, np.maximum(power.into_from, 0.0), graph.nodes)
    left -= summed_at(graph.end, np.maximum(power.into_to, 0.0), graph.nodes)
    total: np.ndarray = branch.sum(axis=0) + (left * mixed).sum(axis=0)
    return total


def _stranded(flows: _Flows, mixed: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Emissions that arrive at nodes from which nobody draws, not even behind them, (time,)."""
    arriving, leaving = sources.copy(), flows.slack * mixed
    for (to, at), flow in flows.edges.items():
        arriving[to] += flow * mixed[at]
        leaving[at] += flow * mixed[at]
    total: np.ndarray = (arriving - leaving).sum(axis=0)
    return total


def _directions(power: ActivePower) -> tuple[np.ndarray, np.ndarray]:
    """Whether power goes through each branch from its from end, and from its to end."""
    start, end = power.into_from, power.into_to
    return (start > 0) & (end < 0), (start < 0) & (end > 0)


def _total(power: ActivePower, column: str, nodes: int, count: int) -> np.ndarray:
    total = np.zeros((nodes, count))
    for exchanged in power.all:
        total += exchanged.at_nodes(getattr(exchanged, column), nodes)
    return total


def _chunks(network: Network, count: int) -> Iterator[np.ndarray]:
    size = max(_CHUNK_VALUES // max(network.admittance.nodes, 1), 1)
    for first in range(0, count, size):
        yield np.arange(first, min(first + size, count))


@dataclass(frozen=True)
class _Given:
    """Intensities as they were given, at some steps."""

    network: Network
    dataset: xr.Dataset
    steps: np.ndarray

    def per_table(self, power: ActivePower) -> dict[str, np.ndarray]:
        """Intensities by table, (element, time); 0 where nothing is fed in."""
        model = self.network.admittance
        found = {
            table: self._of(table, self.network.ids(table), power.elements[table])
            for table in ELEMENTS
        }
        found["fixed"] = self._of("fixed", np.arange(model.nodes), power.fixed)
        found["upstream"] = self._upstream(power.upstream)
        return found

    def _of(self, table: str, ids: np.ndarray, exchanged: Exchanged) -> np.ndarray:
        feeding = exchanged.fed_mw > 0
        if not feeding.any():
            return np.zeros(feeding.shape)
        given = self._array(f"{table}_kgco2e_per_mwh", table, ids)
        return self._checked(table, ids, given, feeding)

    def _upstream(self, exchanged: Exchanged) -> np.ndarray:
        feeding = exchanged.fed_mw > 0
        table = self.network.net.ext_grid
        used = table[table.in_service.astype(bool)]
        given = self._array("import_kgco2e_per_mwh", "ext_grid", used.index.to_numpy())
        if given.shape[0] > 1:
            position = self.network.net.bus.index.get_indexer(used.bus)
            node = self.network.admittance.node_of_bus[position]
            with np.errstate(invalid="ignore"):
                means = [given[node == n].sum(axis=0) / (node == n).sum() for n in exchanged.node]
            given = np.array(means).reshape(len(exchanged.node), given.shape[1])
        return self._checked("ext_grid", exchanged.node, given, feeding)

    def _array(self, name: str, table: str, ids: np.ndarray) -> np.ndarray:
        """(element or 1, time) of a variable, its columns in the order of ``ids``."""
        if name not in self.dataset:
            return np.full((1, 1), np.nan)
        array = self.dataset[name]
        if "time" in array.dims:
            array = array.isel(time=self.steps)
        if table not in array.dims:
            return np.atleast_1d(array.values)[None, :]
        values = array.values if "time" in array.dims else array.values[None, :]
        if "time" in array.dims:
            values = array.transpose("time", table).values
        if table not in array.coords:
            if values.shape[1] != len(ids):
                raise ConfigurationError(
                    f"{name} has {values.shape[1]} columns, the network {len(ids)} elements."
                )
            return np.asarray(values.T)
        position = array.indexes[table].get_indexer(ids)
        return np.where(position >= 0, values[:, np.maximum(position, 0)], np.nan).T

    def _checked(
        self, table: str, ids: np.ndarray, given: np.ndarray, feeding: np.ndarray
    ) -> np.ndarray:
        intensity = np.broadcast_to(given, feeding.shape)
        unknown = feeding & ~np.isfinite(intensity)
        if unknown.any():
            element, step = np.argwhere(unknown)[0]
            raise ConfigurationError(
                f"The carbon intensity of {table} {ids[element]}, which feeds in at step "
                f"{self.steps[step]}, is missing or no number."
            )
        return np.where(feeding, intensity, 0.0)


def _dataset(
    network: Network, times: np.ndarray, parts: list[dict[str, np.ndarray]], losses: Losses
) -> xr.Dataset:
    columns = {}
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts], axis=-1)
        table = "bus" if name == "kgco2e_per_mwh" else name.partition("_")[0]
        units = PER_MWH if name == "kgco2e_per_mwh" else PER_H
        dims = ("time", table) if values.ndim == 2 else ("time",)
        columns[name] = (dims, np.ascontiguousarray(values.T), {"units": units})
    coords = {"time": times, "bus": network.buses}
    coords |= {table: network.ids(table) for table in ELEMENTS}
    return xr.Dataset(columns, coords, {"losses": str(losses)})
