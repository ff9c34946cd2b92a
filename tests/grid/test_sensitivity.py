"""Sensitivities against finite differences of the power flow itself."""

from __future__ import annotations

import numpy as np
import pandapower.networks
import pytest
import xarray as xr

from grid.network import Network
from grid.powerflow import run
from grid.sensitivity import Quantity, gradients

STEPS = np.array([0, 1, 2])
CASES = {
    Quantity.VM_PU: np.array([60, 100, 20]),
    Quantity.LINE_LOADING: np.array([0, 60, 124]),
    Quantity.TRAFO_LOADING: np.array([0, 1, 0]),
    Quantity.EXCHANGE: None,
}


def value(flow, quantity: Quantity, elements):
    if quantity is Quantity.EXCHANGE:
        return (flow.import_mw - flow.export_mw).values[STEPS]
    return flow[quantity.value].values[STEPS, elements]


@pytest.mark.parametrize("quantity", list(Quantity))
@pytest.mark.parametrize("power", ["p_mw", "q_mvar"])
def test_gradients_are_the_slopes_of_the_power_flow(simbench_case, quantity, power):
    network, injections_at = simbench_case()
    injections = injections_at([171 * 96 + 10, 171 * 96 + 50, 171 * 96 + 80])
    elements = CASES[quantity]
    found = gradients(network, run(network, injections), quantity, STEPS, elements)
    slopes = found.per_mw if power == "p_mw" else found.per_mvar
    h = 1e-3
    for load in (0, 3, 40, 90, 121):
        bus = network.bus_position("load")[load]
        moved = []
        for sign in (1, -1):
            changed = injections.copy(deep=True)
            changed[f"load_{power}"][:, load] -= sign * h  # less drawn is more fed in
            moved.append(value(run(network, changed), quantity, elements))
        np.testing.assert_allclose(
            (moved[0] - moved[1]) / (2 * h), slopes[:, bus], rtol=1e-5, atol=2e-6
        )


def test_what_the_upstream_grid_holds_does_not_move(simbench_case):
    network, injections_at = simbench_case()
    flow = run(network, injections_at([171 * 96]))
    source = int(np.flatnonzero(network.source_buses)[0])
    held = gradients(network, flow, Quantity.VM_PU, np.array([0]), np.array([source]))
    assert not held.per_mw.any()
    exchange = gradients(network, flow, Quantity.EXCHANGE, np.array([0]))
    assert exchange.per_mw[0, source] == -1.0
    assert np.all((exchange.per_mw < -0.8) & (exchange.per_mw > -1.2))


@pytest.mark.parametrize("quantity", list(Quantity))
@pytest.mark.parametrize("power", ["p_mw", "q_mvar"])
def test_gradients_where_generators_hold_voltages(quantity, power):
    """IEEE 14: buses 2, 3, 6 and 8 (from 1) are held; their reactive power changes nothing."""
    network = Network(pandapower.networks.case14())
    load = network.net.load
    elements = {
        Quantity.VM_PU: np.array([3, 8, 13]),
        Quantity.LINE_LOADING: np.array([0, 6, 14]),
        Quantity.TRAFO_LOADING: np.array([0, 2, 4]),
        Quantity.EXCHANGE: None,
    }[quantity]

    def at(changed: np.ndarray) -> xr.Dataset:
        column = np.tile(changed, (3, 1))
        return xr.Dataset(
            {f"load_{power}": (("time", "load"), column)},
            coords={"time": np.arange(3).astype("datetime64[h]")},
        )

    own = load[power].to_numpy()
    found = gradients(network, run(network, at(own)), quantity, STEPS, elements)
    slopes = found.per_mw if power == "p_mw" else found.per_mvar
    h = 1e-2
    for i, bus in enumerate(network.bus_position("load")):
        moved = [
            value(run(network, at(own - sign * h * (np.arange(len(own)) == i))), quantity, elements)
            for sign in (1, -1)
        ]
        np.testing.assert_allclose(
            (moved[0] - moved[1]) / (2 * h), slopes[:, bus], rtol=1e-4, atol=2e-6
        )
    if power == "q_mvar":
        assert not slopes[:, network.held_buses].any()
