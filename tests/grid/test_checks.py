"""Checks before use: one finding per planted fault, and no stack trace whatever is spoilt."""

from __future__ import annotations

import copy
import warnings
from functools import cache

import numpy as np
import pandapower
import pandapower.networks as examples
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import NetworkError, PowerFlowError
from core.findings import Severity, errors
from grid import formats
from grid.network import Network, check, empty_net
from grid.powerflow import run

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

NOW = xr.Dataset(coords={"time": np.array(["2026-06-22"], dtype="datetime64[ns]")})


def sound() -> pandapower.pandapowerNet:
    """Two transformers in parallel, a ring with an open end, a cross-tie, an opened line."""
    return copy.deepcopy(_sound())


@cache
def _sound() -> pandapower.pandapowerNet:
    net = empty_net()
    hv, one, two, a, b = (
        pandapower.create_bus(net, kv, min_vm_pu=0.9, max_vm_pu=1.1) for kv in (110, 20, 20, 20, 20)
    )
    pandapower.create_ext_grid(net, hv)
    for lv in (one, two):
        pandapower.create_transformer(
            net, hv, lv, "25 MVA 110/20 kV", tap_pos=1, vector_group="YNd5"
        )
    pandapower.create_switch(net, one, two, et="b")
    line = {"r_ohm_per_km": 0.2, "x_ohm_per_km": 0.12, "c_nf_per_km": 200, "max_i_ka": 0.3}
    for start, end in ((one, a), (a, b), (two, b)):
        index = pandapower.create_line_from_parameters(net, start, end, 3.0, **line)
    pandapower.create_switch(net, b, index, et="l", closed=False)
    for bus in (a, b):
        pandapower.create_load(net, bus, 2.0, 0.5)
        pandapower.create_sgen(net, bus, 1.0)
    pandapower.create_storage(net, a, 0.2, max_e_mwh=1.0)
    return net


def spoil(table: str, column: str, index: int, value: object):
    def change(net):
        if column in net[table] and net[table][column].dtype == bool:
            net[table][column] = net[table][column].astype(object)
        net[table].loc[index, column] = value

    return change


FAULTS = {
    "tap beyond its range": (spoil("trafo", "tap_max", 1, 0), ("trafo", "tap_pos", (1,))),
    "tap without a step": (
        spoil("trafo", "tap_step_percent", 0, np.nan),
        ("trafo", "tap_step_percent", (0,)),
    ),
    "taps that differ in parallel": (spoil("trafo", "tap_pos", 0, 3), ("trafo", "tap_pos", (0, 1))),
    "an unknown vector group": (
        spoil("trafo", "vector_group", 1, "Xy5"),
        ("trafo", "vector_group", (1,)),
    ),
    "a vector group of another hour": (
        spoil("trafo", "vector_group", 1, "YNd11"),
        ("trafo", "shift_degree", (1,)),
    ),
    "a negative loss": (spoil("trafo", "pfe_kw", 1, -3.0), ("trafo", "pfe_kw", (1,))),
    "no short-circuit voltage": (
        spoil("trafo", "vk_percent", 1, np.nan),
        ("trafo", "vk_percent", (1,)),
    ),
    "a switch on nothing": (spoil("switch", "bus", 1, 0), ("switch", "bus", (1,))),
    "a switch of no kind": (spoil("switch", "et", 1, "x"), ("switch", "et", (1,))),
    "a switch to itself": (spoil("switch", "element", 0, 1), ("switch", "element", (0,))),
    "a switch to nowhere": (spoil("switch", "element", 1, 9), ("switch", "element", (1,))),
    "neither open nor closed": (spoil("switch", "closed", 1, None), ("switch", "closed", (1,))),
    "neither on nor off": (spoil("line", "in_service", 2, None), ("line", "in_service", (2,))),
    "no charging": (spoil("line", "c_nf_per_km", 0, np.nan), ("line", "c_nf_per_km", (0,))),
    "no parallel system": (spoil("line", "parallel", 0, 0), ("line", "parallel", (0,))),
    "no scaling": (spoil("sgen", "scaling", 1, np.nan), ("sgen", "scaling", (1,))),
    "no angle upstream": (
        spoil("ext_grid", "va_degree", 0, np.nan),
        ("ext_grid", "va_degree", (0,)),
    ),
}


def test_a_sound_network_has_no_findings():
    assert check(Network(sound())) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_the_one_found(fault):
    net = sound()
    plant, expected = FAULTS[fault]
    plant(net)
    assert [(f.component, f.field, f.ids) for f in check(Network(net))] == [expected]


def test_a_transformer_that_turns_otherwise_than_its_neighbour_is_a_short_circuit():
    net = sound()
    net.trafo.loc[1, "shift_degree"] = 0.0
    found = {(f.component, f.field, f.ids): f for f in check(Network(net))}
    assert found["trafo", "shift_degree", (0, 1)].severity is Severity.ERROR
    net.switch.loc[0, "closed"] = False
    assert errors(check(Network(net))) == []  # the other busbar, no longer in parallel


def test_a_line_between_voltages_and_a_voltage_that_no_grid_has():
    net = sound()
    net.line.loc[0, "from_bus"] = 0
    assert ("line", "to_bus", (0,)) in {(f.component, f.field, f.ids) for f in check(Network(net))}
    net = sound()
    net.bus.loc[3, "vn_kv"] = 20_000.0  # volts
    assert ("bus", "vn_kv", (3,)) in {(f.component, f.field, f.ids) for f in check(Network(net))}


def test_upstream_grids_that_differ():
    net = sound()
    pandapower.create_ext_grid(net, 4, vm_pu=1.0, va_degree=3.0)
    (found,) = check(Network(net))
    assert (found.component, found.field, found.ids) == ("ext_grid", "va_degree", (0, 1))
    assert found.severity is Severity.WARNING


def test_what_is_not_modelled_is_named_and_a_held_voltage_is_a_warning():
    net = sound()
    pandapower.create_gen(net, 3, 1.0, vm_pu=1.01)
    pandapower.create_dcline(net, 3, 4, 1.0, 0.0, 0.0, 1.0, 1.0)
    found = {(f.component, f.field): f.severity for f in check(Network(net))}
    assert found == {
        ("gen", "max_q_mvar"): Severity.WARNING,
        ("dcline", "in_service"): Severity.ERROR,
    }
    with pytest.raises(NetworkError, match="dcline"):
        run(Network(net), NOW)


@pytest.mark.parametrize("bus", [-1, 99, np.nan])
def test_a_bus_that_does_not_exist_is_refused_before_compiled_code_sees_it(bus):
    """Beyond its arrays pandapower's compiled code ends the whole process."""
    for table, column in (("load", "bus"), ("line", "to_bus"), ("trafo", "hv_bus")):
        net = sound()
        net[table][column] = net[table][column].astype(float)
        net[table].loc[0, column] = bus
        with pytest.raises(NetworkError, match=f"A {table} stands at a {column}"):
            run(Network(net), NOW)


def test_three_windings_need_their_ratings(three_windings):
    assert not [f for f in check(Network(three_windings)) if f.component == "trafo3w"]
    for column, value in (
        ("sn_mv_mva", np.nan),
        ("vn_lv_kv", 0.4),
        ("vk_hv_percent", 0.0),
        ("max_loading_percent", -1.0),
    ):
        net = copy.deepcopy(three_windings)
        net.trafo3w[column] = value
        found = [(f.component, f.field, f.ids) for f in check(Network(net))]
        assert ("trafo3w", column, (0,)) in found


TABLES = ("bus", "line", "trafo", "switch", "load", "sgen", "storage", "ext_grid", "gen", "shunt")
BAD = (np.nan, None, -1, 0, -0.5, 1e30, np.inf, "?", 99)


def every_kind() -> pandapower.pandapowerNet:
    net = sound()
    pandapower.create_gen(net, 3, 0.5, vm_pu=1.0)
    pandapower.create_shunt(net, 4, -0.5)
    return net


SOUND = {"plain": sound(), "with a generator": every_kind()}


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_is_spoilt_the_answer_is_a_result_or_a_sentence(data):
    """Random cells deleted, negated or replaced: reading, checking and calculating never fail
    otherwise than by an error of ours; and what passes the checks has a result or no solution."""
    net = copy.deepcopy(SOUND[data.draw(st.sampled_from(sorted(SOUND)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(data.draw(st.integers(1, 3))):
            table = data.draw(st.sampled_from([t for t in TABLES if len(net[t])]))
            column = data.draw(st.sampled_from(list(net[table].columns)))
            row = data.draw(st.sampled_from(list(net[table].index)))
            how = data.draw(st.sampled_from(["cell", "negate", "row", "column"]))
            if how == "row":
                net[table] = net[table].drop(index=row)
            elif how == "column":
                net[table] = net[table].drop(columns=column)
            else:
                old = net[table].at[row, column]
                number = isinstance(old, int | float | np.number) and not isinstance(old, bool)
                new = -old if how == "negate" and number else data.draw(st.sampled_from(BAD))
                net[table][column] = net[table][column].astype(object)
                net[table].at[row, column] = new
        try:
            network = formats.read(pandapower.to_json(net, None).encode(), "net.json")
            found = errors(check(network))
        except NetworkError as error:
            assert "\n" not in str(error)  # noqa: PT017
            return
        try:
            flow = run(network, NOW)
            assert found or np.isfinite(flow.losses_mw).all()
        except (NetworkError, PowerFlowError) as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_the_published_networks_can_be_used():
    """No error in what pandapower ships as examples (warnings there are)."""
    for case in (
        "case9",
        "case118",
        "create_cigre_network_mv",
        "create_kerber_vorstadtnetz_kabel_1",
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = Network(getattr(examples, case)())
        found = errors(check(network))
        assert [str(f) for f in found] == [], case
