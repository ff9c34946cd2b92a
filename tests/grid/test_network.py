"""Reading and checking network files: hostile texts, and one finding per planted fault."""

from __future__ import annotations

import copy

import numpy as np
import pandapower
import pandapower.networks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import NetworkError
from core.findings import Severity, errors
from grid.limits import excesses, violations
from grid.network import Network, check, read
from grid.powerflow import run


@given(st.text() | st.from_regex(r'\{"(bus|_object|_module)": .{0,20}\}'))
@settings(max_examples=60, deadline=None)
def test_no_text_but_a_network_is_read(text):
    with pytest.raises(NetworkError):
        read(text)


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '"bus"', "null", '{"bus": []}', "\x00"])
def test_the_reason_is_one_sentence(text):
    with pytest.raises(NetworkError) as caught:
        read(text)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message


def test_a_truncated_file_is_refused(simbench_case):
    network, _ = simbench_case()
    text = pandapower.to_json(network.net)
    with pytest.raises(NetworkError, match="not readable"):
        read(text[: len(text) // 2])


def test_a_network_within_a_network_is_refused():
    net = pandapower.networks.case9()
    net["inner"] = pandapower.networks.case9()
    with pytest.raises(NetworkError, match="another network"):
        read(pandapower.to_json(net))


def test_networks_share_no_table():
    """Empty tables come from one template; what is written into them stays with their network."""
    text = pandapower.to_json(pandapower.networks.case9())
    one, other = read(text).net, read(text).net
    pandapower.create_sgen(one, 1, p_mw=1.0)
    one.res_bus["vm_pu"] = 1.0
    one.std_types["line"].clear()
    assert len(one.sgen) == 1
    assert len(other.sgen) == len(other.res_bus) == 0
    assert other.std_types["line"]
    assert other.sgen.dtypes.equals(pandapower.create_empty_network().sgen.dtypes)


def test_a_sound_network_has_no_findings(simbench_case):
    network, _ = simbench_case()
    assert check(network) == []


def spoil(table, column, index, value):
    def change(net):
        net[table].loc[index, column] = value

    return change


FAULTS = {
    "zero length": (spoil("line", "length_km", 3, 0.0), ("line", "length_km", 3)),
    "no rating": (spoil("line", "max_i_ka", 5, np.nan), ("line", "max_i_ka", 5)),
    "short circuit voltage": (spoil("trafo", "vk_percent", 1, 0.0), ("trafo", "vk_percent", 1)),
    "rated voltage": (spoil("trafo", "vn_lv_kv", 0, 0.4), ("trafo", "vn_lv_kv", 0)),
    "crossed limits": (spoil("bus", "min_vm_pu", 9, 1.2), ("bus", "min_vm_pu", 9)),
    "no limit": (spoil("bus", "max_vm_pu", 9, np.nan), ("bus", "max_vm_pu", 9)),
    "load sign": (spoil("load", "p_mw", 7, -1.0), ("load", "p_mw", 7)),
    "sgen sign": (spoil("sgen", "p_mw", 7, -1.0), ("sgen", "p_mw", 7)),
    "no power": (spoil("load", "q_mvar", 2, np.nan), ("load", "q_mvar", 2)),
    "no energy": (spoil("storage", "max_e_mwh", 4, 0.0), ("storage", "max_e_mwh", 4)),
    "no bus": (spoil("load", "bus", 8, 9999), ("load", "bus", 8)),
    "line to nowhere": (spoil("line", "to_bus", 8, 9999), ("line", "to_bus", 8)),
    "source voltage": (spoil("ext_grid", "vm_pu", 0, 0.0), ("ext_grid", "vm_pu", 0)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_the_one_found(simbench_case, fault):
    network, _ = simbench_case()
    net = copy.deepcopy(network.net)
    plant, (component, field, element) = FAULTS[fault]
    plant(net)
    found = check(Network(net))
    assert [(f.component, f.field, f.ids) for f in found] == [(component, field, (element,))]


def test_dead_buses_and_what_stands_on_them(simbench_case):
    network, _ = simbench_case()
    net = copy.deepcopy(network.net)
    bus = int(net.line.to_bus.iloc[0])
    net.line.loc[(net.line.from_bus == bus) | (net.line.to_bus == bus), "in_service"] = False
    found = {(f.component, f.field): f for f in check(Network(net))}
    dark = found["bus", "in_service"].ids
    assert bus in dark
    assert len(dark) == 22  # the feeder behind it, whose ring is open at its other end
    assert found["load", "bus"].ids == tuple(net.load.index[net.load.bus.isin(dark)])
    assert found["load", "bus"].severity is Severity.ERROR
    net.ext_grid["in_service"] = False
    assert errors(check(Network(net)))[0].component == "ext_grid"


def test_places_and_limits(simbench_case):
    network, _ = simbench_case()
    geo = network.geo()
    assert geo["buses"].lon.between(10, 13).all()
    assert geo["buses"].lat.between(53, 54).all()
    assert (~geo["lines"].closed).sum() == 8  # normally open points of the rings
    assert set(np.unique(network.vm_max_pu)) == {1.055, 1.1}
    assert np.all(network.line_max_loading_percent == 100.0)


def test_a_violation_names_element_step_and_limit(simbench_case):
    network, injections_at = simbench_case()
    flow = run(network, injections_at(np.arange(171 * 96, 172 * 96)))
    assert violations(network, flow) == []
    tight = violations(network, flow, max_loading_percent=70.0)
    worst = flow.line_loading_percent.max("time")
    assert {f.ids[0] for f in tight} == set(network.lines[worst.values > 70.1])
    assert all("above the limit of 70.0 %" in f.message for f in tight)
    net = copy.deepcopy(network.net)
    net.bus["max_vm_pu"] = 1.04
    found = excesses(Network(net), flow)
    over = next(e for e in found if e.quantity == "vm_pu" and e.side == 1)
    assert over.violated.any()
    source = np.isin(network.buses, network.buses[network.source_buses])
    assert np.all(np.isneginf(over.values[:, source]))  # given by the upstream grid, not ours
