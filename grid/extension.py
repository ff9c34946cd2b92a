"""A network with more in it than it has: places for resources that are not built yet."""

from __future__ import annotations

from copy import deepcopy

import pandapower

from core.errors import NetworkError
from grid.network import Network


def with_storage(network: Network, bus: int) -> tuple[Network, int]:
    """A copy with a storage of no power at ``bus``, and the identifier of it.

    Raises NetworkError for a bus that is not there.
    """
    if bus not in network.buses:
        raise NetworkError(f"The network has no bus {bus}.")
    net = deepcopy(network.net)
    index = int(pandapower.create_storage(net, bus, p_mw=0.0, max_e_mwh=0.0))
    return Network(net), index
