"""LinDistFlow: voltages of a radial network by the linearised branch equations; a cross-check.

    P_ij, Q_ij = sum of what is drawn beyond j,   v_j^2 = v_i^2 - 2 (r_ij P_ij + x_ij Q_ij)

in per unit, losses left out. Source: Baran and Wu, "Optimal capacitor placement on radial
distribution systems", IEEE Trans. Power Delivery 4(1), 1989, equations (5) to (7). Leaving out the
losses makes voltages slightly too high where power is drawn: by about the losses' share of the
drop.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order

from core.errors import NetworkError
from grid.network import Network


def voltages(network: Network, fed_mw: np.ndarray, fed_mvar: np.ndarray) -> xr.DataArray:
    """Voltage magnitudes, (time, bus) in pu; NaN at dead buses.

    fed_mw, fed_mvar: power fed into each bus, (time, bus) in the order of ``network.buses``.
    Taps and magnetising branches count as in the AC model; shunts of lines are left out. Raises
    NetworkError when the supplied part of the network is not radial or has several sources.
    """
    model = network.admittance
    nodes, branches = model.nodes, len(model.series)
    if len(model.source_nodes) != 1 or branches != nodes - 1:
        raise NetworkError("LinDistFlow needs a radial network with one source.")
    source = int(model.source_nodes[0])
    links = coo_array(
        (np.arange(1, branches + 1), (model.branch_from, model.branch_to)), shape=(nodes, nodes)
    ).tocsr()
    order, before = breadth_first_order(links, source, directed=False)
    if len(order) != nodes:
        raise NetworkError("LinDistFlow needs a radial network that hangs together.")
    alive = model.node_of_bus >= 0
    drawn = np.tile(model.fixed_mva, (len(fed_mw), 1)).astype(complex)
    np.add.at(drawn.T, model.node_of_bus[alive], -(fed_mw + 1j * fed_mvar)[:, alive].T)
    drawn /= model.base_mva
    flow = drawn.copy()  # through the branch that leads to a node
    for node in order[:0:-1].tolist():
        flow[:, before[node]] += flow[:, node]
    branch = {}
    for b, (f, t) in enumerate(zip(model.branch_from, model.branch_to, strict=True)):
        branch[int(f), int(t)] = branch[int(t), int(f)] = b
    impedance, ratio = 1.0 / model.series, np.abs(model.tap)
    square = np.empty((len(fed_mw), nodes))
    square[:, source] = np.abs(model.source_pu[0]) ** 2
    for node in order[1:].tolist():
        up = int(before[node])
        b = branch[up, node]
        drop = 2 * (np.conj(impedance[b]) * flow[:, node]).real
        if model.branch_from[b] == up:  # the tap stands at the from end
            square[:, node] = square[:, up] / ratio[b] ** 2 - drop
        else:
            square[:, node] = (square[:, up] - drop) * ratio[b] ** 2
    at_bus = np.where(alive, np.sqrt(square)[:, np.maximum(model.node_of_bus, 0)], np.nan)
    return xr.DataArray(at_bus, dims=("time", "bus"), coords={"bus": network.buses})
