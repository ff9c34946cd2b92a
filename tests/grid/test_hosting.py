"""Hosting capacity: against the equations of two buses, against single power flows, and bounds."""

from __future__ import annotations

import copy

import numpy as np
import pandapower
import pandapower.networks as examples
import pytest
import xarray as xr

from core.errors import PowerFlowError
from grid.hosting import capacity, placements, unit
from grid.limits import violations
from grid.network import Network, empty_net
from grid.powerflow import run

NOON = xr.Dataset(coords={"time": np.array(["2026-06-22T12:00"], dtype="datetime64[ns]")})
FULL = np.ones(1)


def feeder(max_i_ka: float = 1.0) -> Network:
    """Upstream grid at 1.0 pu - 10 km of line - a bus that may rise to 1.05 and fall to 0.95."""
    net = empty_net()
    a, b = (pandapower.create_bus(net, 20.0, min_vm_pu=0.95, max_vm_pu=1.05) for _ in range(2))
    pandapower.create_ext_grid(net, a)
    pandapower.create_line_from_parameters(
        net, a, b, 10.0, r_ohm_per_km=0.3, x_ohm_per_km=0.3, c_nf_per_km=0.0, max_i_ka=max_i_ka
    )
    return Network(net)


def test_one_line_takes_what_its_equations_say():
    """With z = r + jx in pu and active power p fed in at |v| = 1.05: v - z p / v* = 1 turned, so
    (v^2 - r p)^2 + (x p)^2 = v^2. Its smaller root is the capacity; 1 MVA is 1 pu."""
    r = x = 3.0 / 400.0
    for vm, load, sign, side in ((1.05, False, 1, 1), (0.95, True, -1, -1)):
        roots = np.roots([r**2 + x**2, -2 * r * vm**2, vm**4 - vm**2])
        expected = min(abs(root.real) for root in roots if root.real * sign > 0)
        found = capacity(feeder(), NOON, unit(FULL, load=load), max_mw=50, tolerance_mw=1e-3)
        # The limit counts as held up to 1e-4 pu above it, here some 0.02 MW.
        assert found.capacity_mw.values[1] == pytest.approx(expected, rel=4e-3)
        assert found.limit.values[1] == "vm_pu"
        assert (found.side.values[1], found.element.values[1]) == (side, 1)
    thin = capacity(feeder(0.1), NOON, unit(FULL), max_mw=50, tolerance_mw=1e-3)
    assert thin.limit.values[1] == "line_loading_percent"
    rise = np.sqrt(3) * 20 * 0.1 * r  # of the voltage at that current, in phase with it
    assert thin.capacity_mw.values[1] == pytest.approx(np.sqrt(3) * 20 * 0.1 * (1 + rise), rel=2e-3)
    assert thin.capacity_mw.values[0] == 50  # beside the source nothing is in the way
    assert thin.limit.values[0] == "none"


def test_below_the_capacity_a_power_flow_is_clean_and_above_it_the_named_limit_breaks():
    net = examples.create_cigre_network_mv(with_der=False)
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.9, 1.05
    net.load["scaling"] = 0.4
    network = Network(net)
    profile = np.array([0.3, 1.0])
    two = xr.Dataset(coords={"time": np.arange(2).astype("datetime64[h]")})
    found = capacity(network, two, unit(profile, cos_phi=0.95), max_mw=30, tolerance_mw=0.01)
    for i in (3, 6, 11, 14):
        own = float(found.capacity_mw[i])
        assert 0 < own < 30
        for more, clean in ((0.0, True), (0.02, False)):
            changed = copy.deepcopy(net)
            reactive = -np.tan(np.arccos(0.95)) * (own + more)
            pandapower.create_sgen(changed, int(found.bus[i]), own + more, reactive)
            broken = violations(Network(changed), run(Network(changed), NOON))
            assert (broken == []) is clean
            if broken:
                field = str(found.limit.values[i]).removeprefix("line_").removeprefix("trafo_")
                named = {(f.field, f.ids[0]) for f in broken}
                assert (field, int(found.element[i])) in named
    assert (found.step.values[found.limit.values != "none"] == 1).all()


def test_a_limit_that_is_broken_before_leaves_nothing():
    net = copy.deepcopy(feeder().net)
    pandapower.create_load(net, 1, 10.0)
    found = capacity(Network(net), NOON, unit(FULL, load=True), max_mw=50)
    assert found.capacity_mw.values.tolist() == [0.0, 0.0]
    assert found.limit.values.tolist() == ["vm_pu", "vm_pu"]


def test_random_placements_lie_between_the_best_and_the_worst_bus():
    net = examples.create_cigre_network_mv(with_der=False)
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.9, 1.05
    net.load["scaling"] = 0.4
    network = Network(net)
    levels = np.arange(1.0, 31.0, 3.0)
    found = placements(
        network,
        NOON,
        unit(FULL),
        np.random.default_rng(7),
        buses=np.arange(3, 12),
        plant_mw=1.0,
        levels_mw=levels,
        draws=20,
    )
    share = found.clean_share.values
    assert share[0] == 1.0
    assert share[-1] == 0.0
    assert (np.diff(share) <= 0).all()  # more of the same plants breaks more
    assert 0 < found.attrs["min_hosting_mw"] <= found.attrs["max_hosting_mw"] < 30
    alone = capacity(network, NOON, unit(FULL), buses=np.arange(3, 12), max_mw=30)
    assert found.attrs["min_hosting_mw"] >= alone.capacity_mw.min() - 3.0
    again = placements(
        network, NOON, unit(FULL), np.random.default_rng(7),
        buses=np.arange(3, 12), plant_mw=1.0, levels_mw=levels, draws=20,
    )  # fmt: skip
    assert again.identical(found)


def test_what_cannot_be_asked_is_said():
    with pytest.raises(PowerFlowError, match="power factor"):
        unit(FULL, cos_phi=0.0)
    with pytest.raises(PowerFlowError, match="each of 1 steps"):
        capacity(feeder(), NOON, unit(np.ones(2)))
    with pytest.raises(PowerFlowError, match="does not exist"):
        capacity(feeder(), NOON, unit(FULL), buses=np.array([99]))
