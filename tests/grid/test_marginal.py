"""Marginal intensities against power flows with one more kW."""

from __future__ import annotations

import numpy as np
import pandapower
import xarray as xr

from grid import powerflow
from grid.marginal import marginal_kgco2e_per_mwh
from grid.network import Network, empty_net

TIMES = np.datetime64("2026-06-22T00:00", "ns") + np.arange(2) * np.timedelta64(1, "h")


def feeder() -> Network:
    """Upstream, three buses in a row with a load each, and a bus that nothing supplies."""
    net = empty_net()
    for _ in range(5):
        pandapower.create_bus(net, 20.0)
    pandapower.create_ext_grid(net, 0)
    for bus in range(3):
        pandapower.create_line_from_parameters(
            net, bus, bus + 1, 3.0, r_ohm_per_km=0.4, x_ohm_per_km=0.3, c_nf_per_km=0, max_i_ka=1
        )
    for bus in range(4):
        pandapower.create_load(net, bus, p_mw=1.0)
    return Network(net)


def test_one_more_kw_at_each_bus_and_step():
    network = feeder()
    load = np.array([[0.5, 1.0, 2.0, 1.0], [0.5, 1.0, -4.0, -3.0]])  # evening, noon
    injections = xr.Dataset({"load_p_mw": (("time", "load"), load)}, {"time": TIMES})
    intensity = np.array([800.0, 300.0])
    flow = powerflow.run(network, injections)
    found = marginal_kgco2e_per_mwh(network, flow, intensity)

    def emitted(step: int, bus: int, more_mw: float) -> float:
        changed = injections.copy(deep=True)
        changed["load_p_mw"][step, bus] += more_mw
        result = powerflow.run(network, changed)
        return float(intensity[step] * (result.import_mw - result.export_mw)[step])

    for step in range(2):
        for bus in range(4):
            slope = (emitted(step, bus, 1e-3) - emitted(step, bus, -1e-3)) / 2e-3
            np.testing.assert_allclose(found.values[step, bus], slope, rtol=1e-5)
    assert np.isnan(found.values[:, 4]).all()
    # In the evening losses grow with use, at noon use spares them.
    assert (np.diff(found.values[0, :4]) > 0).all()
    assert (np.diff(found.values[1, :4]) < 0).all()
