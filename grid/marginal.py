"""What one more MWh drawn at a bus emits, where one source answers for it.

The source that gives one MW more (upstream, say) has to cover the losses that change with it:

    m_b = i (1 + dL/dp_b) = i dX/dp_b

with i the intensity of that source, p_b drawn at bus b, L the losses and X the exchange with the
upstream grid. dX/dp_b comes from the Newton equations (grid/sensitivity.py). Unlike an average
intensity it says what a decision changes; it does not add up to what is emitted.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from grid.network import Network
from grid.sensitivity import Quantity, gradients


def marginal_kgco2e_per_mwh(
    network: Network, flow: xr.Dataset, kgco2e_per_mwh: np.ndarray
) -> xr.DataArray:
    """Marginal intensity of every bus, kgCO2e/MWh drawn, (time, bus); NaN at dead buses.

    flow: a result of powerflow.run. kgco2e_per_mwh: intensity of the source upstream that answers,
    (time,); where a city exports, what its export displaces there.
    """
    steps = np.arange(flow.sizes["time"])
    drawn = -gradients(network, flow, Quantity.EXCHANGE, steps).per_mw
    alive = network.admittance.node_of_bus >= 0
    values = np.where(alive, drawn * np.asarray(kgco2e_per_mwh)[:, None], np.nan)
    return xr.DataArray(
        values,
        dims=("time", "bus"),
        coords={"time": flow["time"].values, "bus": network.buses},
        attrs={"units": "kgCO2e/MWh"},
    )
