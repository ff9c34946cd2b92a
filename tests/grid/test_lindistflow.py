"""LinDistFlow against the AC power flow: equal up to the losses it leaves out."""

from __future__ import annotations

import numpy as np
import pandapower
import pytest
import xarray as xr

from core.errors import NetworkError
from grid import lindistflow, powerflow
from grid.network import Network, empty_net

LV = "1-LV-rural1--0-sw"


def fed(network: Network, injections: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Power fed into each bus, (time, bus)."""
    total = np.zeros((2, injections.sizes["time"], len(network.buses)))
    for table, sign in (("load", -1.0), ("sgen", 1.0), ("storage", -1.0)):
        factor, bus = sign * network.in_use(table), network.bus_position(table)
        for row, column in enumerate(("p_mw", "q_mvar")):
            power = powerflow.values(network, injections, table, column)
            np.add.at(total[row].T, bus, (power * factor).T)
    return total[0], total[1]


def test_voltages_of_a_radial_network_agree_up_to_the_losses(simbench_case):
    """A SimBench LV feeder, thrice its summer day: the error is second order in the drop."""
    network, of = simbench_case(LV)
    injections = 3.0 * of(np.arange(171 * 96, 172 * 96, 4))
    ac = powerflow.run(network, injections)["vm_pu"].values
    linear = lindistflow.voltages(network, *fed(network, injections)).values
    change = np.abs(ac - ac[:, network.source_buses].mean()).max()
    assert change > 0.01  # something happens on this day
    error = np.abs(linear - ac)
    assert np.nanmax(error) < 5e-4
    assert np.nanmax(error) < 0.03 * change


def test_one_line_by_hand():
    """20 kV, 2 + 2j ohm, 4 MW and 1 Mvar: v^2 = 1 - 2 (r p + x q) in per unit."""
    net = empty_net()
    one, other = (pandapower.create_bus(net, 20.0) for _ in range(2))
    pandapower.create_ext_grid(net, one)
    pandapower.create_line_from_parameters(
        net, one, other, 1.0, r_ohm_per_km=2.0, x_ohm_per_km=2.0, c_nf_per_km=0.0, max_i_ka=1.0
    )
    network = Network(net)
    found = lindistflow.voltages(network, np.array([[0.0, -4.0]]), np.array([[0.0, -1.0]]))
    assert float(found[0, 1]) == pytest.approx(np.sqrt(1 - 2 * (2 * 4 + 2 * 1) / 400))


def test_a_ring_is_refused():
    net = empty_net()
    buses = [pandapower.create_bus(net, 20.0) for _ in range(3)]
    pandapower.create_ext_grid(net, buses[0])
    for one, other in ((0, 1), (1, 2), (2, 0)):
        pandapower.create_line_from_parameters(
            net, buses[one], buses[other], 1.0, 2.0, 2.0, 0.0, 1.0
        )
    network = Network(net)
    with pytest.raises(NetworkError, match="radial"):
        lindistflow.voltages(network, np.zeros((1, 3)), np.zeros((1, 3)))
