"""The batch power flow gives what pandapower's own gives, and what physics demands."""

from __future__ import annotations

import numpy as np
import pandapower
import pandapower.networks
import pytest
import xarray as xr

from core.errors import NetworkError, PowerFlowError
from grid import limits, powerflow
from grid.network import Network, read
from grid.powerflow import run

ONE_STEP = np.array(["2026-06-22T00:00"], dtype="datetime64[ns]")


def at_rest() -> xr.Dataset:
    """No injections given: everything at the network's own values."""
    return xr.Dataset(coords={"time": ONE_STEP})


def assert_same(flow: xr.Dataset, net: pandapower.pandapowerNet, step: int) -> None:
    """1e-6 pu and 0.01 % in loading: a thousandth of what meters resolve."""
    np.testing.assert_allclose(flow.vm_pu.values[step], net.res_bus.vm_pu, atol=1e-6)
    turned = flow.va_degree.values[step] - net.res_bus.va_degree.to_numpy()
    np.testing.assert_allclose(
        (turned + 180) % 360 - 180, np.where(np.isnan(turned), np.nan, 0), atol=1e-4
    )
    np.testing.assert_allclose(
        flow.line_loading_percent.values[step], net.res_line.loading_percent.fillna(0), atol=0.01
    )
    np.testing.assert_allclose(
        flow.trafo_loading_percent.values[step], net.res_trafo.loading_percent.fillna(0), atol=0.01
    )
    np.testing.assert_allclose(
        flow.line_p_from_mw.values[step], net.res_line.p_from_mw.fillna(0), atol=1e-5
    )
    exchange = (flow.import_mw - flow.export_mw).values[step]
    assert exchange == pytest.approx(net.res_ext_grid.p_mw.sum(), abs=1e-5)
    assert flow.q_exchange_mvar.values[step] == pytest.approx(
        net.res_ext_grid.q_mvar.sum(), abs=1e-5
    )


@pytest.mark.parametrize("code", ["1-MV-semiurb--2-sw", "1-LV-rural2--1-sw"])
def test_simbench_networks_over_the_year(simbench_case, judge, code):
    """A windy night, a summer noon, a winter evening and a spring morning."""
    network, injections_at = simbench_case(code)
    injections = injections_at([171 * 96 + 12, 180 * 96 + 50, 10 * 96 + 74, 100 * 96 + 30])
    flow = run(network, injections)
    for step in range(4):
        assert_same(flow, judge(network, injections, step), step)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "build",
    [
        pandapower.networks.mv_oberrhein,  # two substations, tap positions, open rings
        pandapower.networks.create_cigre_network_mv,
        pandapower.networks.example_multivoltage,  # three windings, impedances, wards, open ends
    ],
    ids=["oberrhein", "cigre", "multivoltage"],
)
def test_pandapower_examples(judge, build):
    net = build()
    net.gen["in_service"] = False
    if len(net.xward):
        net.xward["in_service"] = False
    network = read(pandapower.to_json(net))
    assert_same(run(network, at_rest()), judge(network, at_rest(), 0), 0)


def awkward() -> pandapower.pandapowerNet:
    """Parallel systems, taps at either side, phase shift, magnetising branch, cable charging,
    an open line end, switches with and without impedance, a shunt, things out of service."""
    net = pandapower.create_empty_network(sn_mva=10.0)
    hv, mv, mv2, a, b, c, d, dead = (
        pandapower.create_bus(net, kv) for kv in (110, 20, 20, 20, 20, 20, 0.4, 20)
    )
    pandapower.create_ext_grid(net, hv, vm_pu=1.02, va_degree=10)
    for lv, side, pos in ((mv, "hv", 3), (mv2, "lv", -2)):
        pandapower.create_transformer_from_parameters(
            net,
            hv,
            lv,
            sn_mva=25,
            vn_hv_kv=112,
            vn_lv_kv=20.5,
            vkr_percent=0.5,
            vk_percent=12,
            pfe_kw=30,
            i0_percent=0.2,
            shift_degree=150,
            tap_side=side,
            tap_neutral=0,
            tap_min=-9,
            tap_max=9,
            tap_step_percent=1.5,
            tap_pos=pos,
            tap_changer_type="Ratio",
            parallel=2,
        )
    pandapower.create_switch(net, mv, mv2, et="b", closed=False)
    line = {"r_ohm_per_km": 0.2, "x_ohm_per_km": 0.12, "c_nf_per_km": 300, "max_i_ka": 0.3}
    pandapower.create_line_from_parameters(net, mv, a, 5, **line, parallel=2, df=0.8)
    opened = pandapower.create_line_from_parameters(net, a, b, 8, **line, g_us_per_km=2.0)
    pandapower.create_line_from_parameters(net, mv2, b, 4, **line)
    off = pandapower.create_line_from_parameters(net, b, dead, 4, **line)
    net.line.loc[off, "in_service"] = False
    pandapower.create_switch(net, b, opened, et="l", closed=False)
    pandapower.create_switch(net, b, c, et="b", closed=True, z_ohm=0.05)
    pandapower.create_transformer(net, c, d, std_type="0.4 MVA 20/0.4 kV")
    pandapower.create_shunt(net, a, q_mvar=-1.0, p_mw=0.02)
    for bus, p in ((a, 6.0), (b, 2.0), (d, 0.2), (dead, 1.0)):
        pandapower.create_load(net, bus, p_mw=p, q_mvar=p / 3, scaling=0.9)
    pandapower.create_load(net, b, p_mw=50.0, in_service=False)
    pandapower.create_sgen(net, c, p_mw=1.5, q_mvar=0.2)
    pandapower.create_storage(net, a, p_mw=0.7, max_e_mwh=2.0)
    return net


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_awkward_elements(judge):
    network = read(pandapower.to_json(awkward()))
    injections = at_rest().assign(storage_p_mw=(("time", "storage"), np.array([[0.7]])))
    flow = run(network, injections)
    net = judge(network, injections, 0)
    assert_same(flow, net, 0)
    assert np.isnan(flow.vm_pu.values[0][7])
    losses = net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum()
    c_to_switch = flow.losses_mw.values[0] - losses  # the switch with impedance loses a little
    assert 0 <= c_to_switch < 1e-3


def test_a_line_that_a_coupler_bridges_is_its_charging_alone(judge):
    net = awkward()
    line = net.line.iloc[0]
    pandapower.create_switch(net, int(line.from_bus), int(line.to_bus), et="b")
    network = read(pandapower.to_json(net))
    injections = at_rest().assign(storage_p_mw=(("time", "storage"), np.array([[0.7]])))
    flow = run(network, injections)
    assert_same(flow, judge(network, injections, 0), 0)
    assert flow.line_loading_percent.values[0, 0] > 0


def test_energy_is_neither_made_nor_lost(simbench_case):
    """Import + generation = export + load + charging + losses in each step."""
    network, injections_at = simbench_case()
    injections = injections_at(np.arange(171 * 96, 172 * 96))
    flow = run(network, injections)
    drawn = injections.load_p_mw.sum("load") + injections.storage_p_mw.sum("storage")
    left = flow.import_mw - flow.export_mw + injections.sgen_p_mw.sum("sgen") - drawn
    np.testing.assert_allclose(left, flow.losses_mw, atol=1e-6)
    assert float(flow.losses_mw.min()) > 0


def test_columns_are_matched_by_identifier_and_absent_ones_keep_their_own_value(simbench_case):
    network, injections_at = simbench_case()
    injections = injections_at([171 * 96 + 40])
    shuffled = injections.isel(load=np.arange(len(network.loads))[::-1])
    xr.testing.assert_allclose(run(network, injections), run(network, shuffled))
    few = injections[["load_p_mw"]].isel(load=[0, 1])
    own = network.net.load.p_mw.to_numpy()[2:].sum() + network.net.sgen.p_mw.sum() * -1
    flow = run(network, few)
    exchange = float((flow.import_mw - flow.export_mw - flow.losses_mw).values[0])
    assert exchange == pytest.approx(own + float(few.load_p_mw.sum()), abs=1e-6)


def test_a_step_without_solution_is_named(simbench_case):
    network, injections_at = simbench_case()
    injections = injections_at([171 * 96, 171 * 96 + 1, 171 * 96 + 2]).copy(deep=True)
    injections["load_p_mw"][1:] = 40.0
    with pytest.raises(PowerFlowError, match=r"step 1 \(2016-06-20T00:15 UTC\)"):
        run(network, injections)


def test_values_that_are_no_numbers_are_refused(simbench_case):
    network, injections_at = simbench_case()
    injections = injections_at([0]).copy(deep=True)
    injections["sgen_p_mw"][0, 3] = np.nan
    with pytest.raises(PowerFlowError, match="sgen_p_mw"):
        run(network, injections)


def test_what_cannot_be_calculated_is_said():
    net = awkward()
    net.ext_grid["in_service"] = False
    with pytest.raises(NetworkError, match="external grid"):
        run(Network(net), at_rest())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("case", "beyond"), [("case9", 0), ("case14", 0), ("case39", 1), ("case118", 6)]
)
def test_generators_hold_their_voltage_as_far_as_their_reactive_power_lasts(judge, case, beyond):
    """IEEE cases, with up to 53 of them; the judge is pandapower with its limits enforced."""
    network = Network(getattr(pandapower.networks, case)())
    assert len(network.admittance.held_nodes) == network.net.gen.bus.nunique()
    flow = run(network, at_rest())
    assert_same(flow, judge(network, at_rest(), 0, limited=True), 0)
    assert len(limits.given_up(network, flow)) == beyond


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_limits_without_a_solution_are_said_and_can_be_left_out(judge):
    """IEEE 300: 23 generators are beyond their limits, and within them pandapower finds no
    solution either; without limits both find the same."""
    net = pandapower.networks.case300()
    with pytest.raises(PowerFlowError, match="within the reactive limits of its generators"):
        run(Network(net), at_rest())
    net.gen[["min_q_mvar", "max_q_mvar"]] = np.nan
    unlimited = Network(net)
    flow = run(unlimited, at_rest())
    assert_same(flow, judge(unlimited, at_rest(), 0), 0)
    assert limits.given_up(unlimited, flow) == []


def test_a_generator_gives_up_its_voltage_and_takes_it_back(judge):
    """A weak feeder over four steps: at much load the generator feeds all it can and the voltage
    sags, at none it holds it again, at much sun it draws all it can; a step knows nothing of the
    one before."""
    net = pandapower.create_empty_network()
    source, far = (pandapower.create_bus(net, 20.0) for _ in range(2))
    pandapower.create_ext_grid(net, source)
    pandapower.create_line_from_parameters(
        net, source, far, 10.0, r_ohm_per_km=0.3, x_ohm_per_km=0.4, c_nf_per_km=10, max_i_ka=0.4
    )
    pandapower.create_load(net, far, 0.0)
    pandapower.create_gen(net, far, p_mw=1.0, vm_pu=1.0, min_q_mvar=-0.5, max_q_mvar=1.5)
    network = Network(net)
    load = np.array([[9.0], [1.0], [-5.0], [1.0]])
    times = ONE_STEP[0] + np.arange(4) * np.timedelta64(15, "m")
    day = xr.Dataset({"load_p_mw": (("time", "load"), load)}, coords={"time": times})
    flow = run(network, day)
    for step in range(4):
        assert_same(flow, judge(network, day, step, limited=True), step)
    vm = flow.vm_pu.values[:, 1]
    assert vm[0] < 0.98
    assert vm[2] > 1.02
    np.testing.assert_allclose(vm[[1, 3]], 1.0, atol=1e-9)
    (found,) = limits.given_up(network, flow)
    assert (found.component, found.ids) == ("gen", (0,))
    assert "2 steps in all" in found.message


def test_the_published_solution_of_case9():
    """MATPOWER User's Manual 8.0, the power flow of case9: voltages of buses 4 to 9."""
    flow = run(Network(pandapower.networks.case9()), at_rest())
    np.testing.assert_allclose(
        flow.vm_pu.values[0, 3:], [0.987, 0.975, 1.003, 0.986, 0.996, 0.958], atol=5e-4
    )
    np.testing.assert_allclose(
        flow.va_degree.values[0, 3:], [-2.407, -4.017, 1.926, 0.622, 3.799, -4.350], atol=5e-3
    )
    assert flow.losses_mw.item() == pytest.approx(4.955, abs=5e-3)


def test_every_branch_end_and_loss(judge, three_windings):
    """The detailed result of awkward elements and of three windings, against pandapower's."""
    for net in (awkward(), three_windings):
        network = Network(net)
        flow = run(network, at_rest(), detail=True)
        told = judge(network, at_rest(), 0)
        for table, sides in (("line", ("from", "to")), ("trafo", ("hv", "lv"))):
            for unit, power in (("mw", "p"), ("mvar", "q")):
                for side in sides:
                    name = f"{power}_{side}_{unit}"
                    np.testing.assert_allclose(
                        flow[f"{table}_{name}"].values[0],
                        told[f"res_{table}"][name].fillna(0),
                        atol=1e-6,
                    )
                np.testing.assert_allclose(
                    flow[f"{table}_losses_{unit}"].values[0],
                    told[f"res_{table}"][f"{power}l_{unit}"].fillna(0),
                    atol=1e-6,
                )
        np.testing.assert_allclose(
            flow.trafo3w_loading_percent.values[0],
            told.res_trafo3w.loading_percent.to_numpy(dtype=float),
            atol=1e-4,
        )


def test_chunks_give_what_one_calculation_gives(monkeypatch):
    network = Network(awkward())
    times = ONE_STEP[0] + np.arange(7) * np.timedelta64(15, "m")
    load = np.linspace(0.2, 3.0, 7)[:, None] * network.net.load.p_mw.to_numpy()
    load[:, -1] = 0.0
    injections = xr.Dataset({"load_p_mw": (("time", "load"), load)}, coords={"time": times})
    whole = run(network, injections, detail=True)
    monkeypatch.setattr(powerflow, "_VALUES_AT_ONCE", 3 * network.admittance.nodes)
    xr.testing.assert_allclose(run(network, injections, detail=True), whole, rtol=1e-12)
    injections["load_p_mw"][5:] *= 100.0
    with pytest.raises(PowerFlowError, match="step 5"):
        run(network, injections)
