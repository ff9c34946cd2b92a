"""Outages: what a network does without a line, and that the fast way is the slow one."""

from __future__ import annotations

import numpy as np
import pandapower
import pandapower.networks as examples
import pytest
import xarray as xr

from core.errors import NetworkError
from grid.network import Network, empty_net
from grid.outages import n_1, with_outages
from grid.powerflow import run

TIMES = np.array(["2026-06-22T00:00", "2026-06-22T12:00"], dtype="datetime64[ns]")


@pytest.fixture(scope="module")
def network() -> Network:
    """The CIGRE network of medium voltage: rings with open ends, two transformers."""
    return Network(examples.create_cigre_network_mv())


@pytest.fixture(scope="module")
def two_steps(network: Network) -> xr.Dataset:
    own = network.net.load.p_mw.to_numpy()
    return xr.Dataset(
        {"load_p_mw": (("time", "load"), np.array([0.4 * own, own]))}, coords={"time": TIMES}
    )


def test_what_becomes_dark_is_named(network):
    before = network.net.line.in_service.copy()
    after, found = with_outages(network, lines=[1])  # from bus 2 to 3: the rings are open
    by = {f.component: f.ids for f in found}
    assert by["bus"] == (3, 4, 5, 6, 7, 8, 9, 10, 11)
    assert set(by["load"]) == set(network.net.load.index[network.net.load.bus.isin(by["bus"])])
    assert network.net.line.in_service.equals(before)  # a copy was changed
    opened = network.net.switch.index[~network.net.switch.closed]
    again, none = with_outages(network, lines=[1], close_switches=opened)
    assert none == []
    assert np.isfinite(again.admittance.series).all()
    assert (again.admittance.node_of_bus >= 0).all()
    with pytest.raises(NetworkError, match="no line 99"):
        with_outages(network, lines=[99])
    with pytest.raises(NetworkError, match="no switch 77"):
        with_outages(network, open_switches=[77])
    assert (after.admittance.node_of_bus >= 0).sum() == len(network.buses) - 9


def test_every_single_outage_is_what_a_converted_network_says(network, two_steps):
    found = n_1(network, two_steps)
    assert found.sizes["outage"] == (network.admittance.lines.branch >= 0).sum() + 2
    for i in (0, 3, 7, found.sizes["outage"] - 1):
        row = found.isel(outage=i)
        lines, trafos = ([row.element.item()], []), ([], [row.element.item()])
        out = lines if row.component.item() == "line" else trafos
        after, dark = with_outages(network, lines=out[0], trafos=out[1])
        flow = run(after, two_steps)
        assert row.solved
        assert row.vm_min_pu.item() == pytest.approx(np.nanmin(flow.vm_pu), abs=1e-9)
        assert row.line_loading_percent.item() == pytest.approx(
            flow.line_loading_percent.max().item(), abs=1e-6
        )
        worst = flow.line_loading_percent.max("time")
        assert row.line.item() == network.lines[int(worst.values.argmax())]
        assert row.dark_buses.item() == sum(len(f.ids) for f in dark if f.component == "bus")
        loads = [i for f in dark if f.component == "load" for i in f.ids]
        assert row.dark_mw.item() == pytest.approx(network.net.load.p_mw[loads].sum())


def test_an_outage_the_rest_cannot_carry_is_an_answer():
    """Two parallel lines carry what one cannot: no voltage solves the equations without it."""
    net = empty_net()
    a, b = (pandapower.create_bus(net, 20.0) for _ in range(2))
    pandapower.create_ext_grid(net, a)
    for _ in range(2):
        pandapower.create_line_from_parameters(
            net, a, b, 10.0, r_ohm_per_km=0.1, x_ohm_per_km=0.4, c_nf_per_km=0.0, max_i_ka=0.4
        )
    pandapower.create_load(net, b, 45.0)
    network = Network(net)
    found = n_1(network, xr.Dataset(coords={"time": TIMES}))
    assert not found.solved.any()
    assert np.isnan(found.vm_min_pu).all()
    net.load["p_mw"] = 20.0
    found = n_1(network, xr.Dataset(coords={"time": TIMES}), lines=[1], trafos=[])
    assert found.solved.all()
    assert found.line.item() == 0
    assert found.line_loading_percent.item() > 140
    with pytest.raises(NetworkError, match="no trafo 0 in service"):
        n_1(network, xr.Dataset(coords={"time": TIMES}), trafos=[0])
