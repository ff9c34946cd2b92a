"""Carbon by bus: a network from the literature by hand, a second program as judge, and balances."""

from __future__ import annotations

import numpy as np
import pandapower
import pandapower.networks
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigurationError
from grid import powerflow
from grid.activepower import ActivePower, Exchanged
from grid.network import Network, empty_net, read
from grid.tracing import Graph, Losses, attribute, trace

START = np.datetime64("2026-06-22T00:00", "ns")
DRAWS = ("load", "sgen", "storage")


def times(steps: int) -> np.ndarray:
    return START + np.arange(steps) * np.timedelta64(15, "m")


def attributed(traced: xr.Dataset) -> xr.DataArray:
    """Everything somebody answers for, over time."""
    total = traced.export_kgco2e_per_h + traced.fixed_kgco2e_per_h + traced.losses_kgco2e_per_h
    for table in DRAWS:
        total = total + traced[f"{table}_kgco2e_per_h"].sum(table)
    return total


def assert_balanced(traced: xr.Dataset) -> None:
    np.testing.assert_allclose(attributed(traced), traced.source_kgco2e_per_h, rtol=1e-9)


# --- Bialek's network -----------------------------------------------------------------------------

FROM, TO = np.array([0, 0, 0, 1, 3]), np.array([1, 2, 3, 3, 2])
SENT = np.array([60.0, 225.0, 115.0, 173.0, 83.0])
RECEIVED = np.array([59.0, 218.0, 112.0, 171.0, 82.0])


def bialek(turned: bool = False) -> tuple[Graph, ActivePower]:
    """The four buses of Bialek (1996): 400 and 114 MW made at buses 1 and 2, 300 and 200 MW used
    at buses 3 and 4, 14 MW lost. ``turned``: the branches described the other way round."""

    def elements(node: list[int], drawn: list[float], fed: list[float]) -> Exchanged:
        def column(values: list[float]) -> np.ndarray:
            return np.array(values)[:, None]

        return Exchanged(np.array(node), column(drawn), column(fed))

    nothing = elements([0], [0.0], [0.0])
    ends = (-RECEIVED[:, None], SENT[:, None]) if turned else (SENT[:, None], -RECEIVED[:, None])
    power = ActivePower(
        *ends,
        elements={
            "load": elements([2, 3], [300.0, 200.0], [0.0, 0.0]),
            "sgen": elements([0, 1], [0.0, 0.0], [400.0, 114.0]),
            "storage": nothing,
        },
        fixed=nothing,
        upstream=nothing,
    )
    return Graph.of(4, *((TO, FROM) if turned else (FROM, TO))), power


def emitting(first: float, second: float) -> dict[str, np.ndarray]:
    zero = np.zeros((1, 1))
    return {
        "load": np.zeros((2, 1)),
        "sgen": np.array([[first], [second]]),
        "storage": zero,
        "fixed": zero,
        "upstream": zero,
    }


@pytest.mark.parametrize("turned", [False, True])
def test_the_gross_demands_of_bialeks_network(turned):
    """With intensity 1 the emissions of a load are its gross demand: what it uses and what is
    lost on the way. 1->2 carries 60 to bus 2, of which 174 leave it with 173 MW; bus 4 gathers
    115 + 174 = 289 in 283 MW; its load answers for 289 x 200/283, the rest goes on to bus 3."""
    graph, power = bialek(turned)
    found = attribute(graph, power, emitting(1.0, 1.0), Losses.CONSUMERS)
    at_three, at_four = found.drawn_kgco2e_per_h["load"][:, 0]
    assert at_four == pytest.approx(289 * 200 / 283)  # 204.24
    assert at_three == pytest.approx(225 + 289 * 83 / 283)  # 309.76
    assert at_three + at_four == pytest.approx(514)
    assert found.losses_kgco2e_per_h[0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("turned", [False, True])
def test_who_made_what_is_used_in_bialeks_network(turned):
    """Mixtures as they arrive: bus 2 has 59 of 173 MW from the first plant, bus 4 (112 + 171 x
    59/173) of 283, bus 3 (218 + 82 x that) of 300."""
    graph, power = bialek(turned)
    found = attribute(graph, power, emitting(1.0, 0.0), Losses.APART)
    two = 59 / 173
    four = (112 + 171 * two) / 283
    three = (218 + 82 * four) / 300
    np.testing.assert_allclose(found.node_kgco2e_per_mwh[:, 0], [1, two, three, four])
    np.testing.assert_allclose(
        found.drawn_kgco2e_per_h["load"][:, 0], [300 * three, 200 * four], rtol=1e-12
    )
    lost = 1 + 7 + 3 + 2 * two + 1 * four
    assert found.losses_kgco2e_per_h[0] == pytest.approx(lost)
    assert 300 * three + 200 * four + lost == pytest.approx(400)


# --- another program as judge ---------------------------------------------------------------------


def judged(net: pandapower.pandapowerNet, made: dict[str, np.ndarray]) -> np.ndarray:
    """Intensity of every bus from pandapower's own results, by inverting the dense matrix.

    For networks of lines, two-winding transformers and buses without switches between them.
    """
    size = len(net.bus)
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    inflow, through, emitted = np.zeros((size, size)), np.zeros(size), np.zeros(size)
    ends = [(net.line, net.res_line, "from_bus", "to_bus", "p_from_mw", "p_to_mw")]
    ends.append((net.trafo, net.res_trafo, "hv_bus", "lv_bus", "p_hv_mw", "p_lv_mw"))
    for table, result, one, other, p_one, p_other in ends:
        for i in table.index:
            f, t = place[table.at[i, one]], place[table.at[i, other]]
            p_f, p_t = result.at[i, p_one], result.at[i, p_other]
            if p_f > 0 > p_t:
                inflow[t, f] -= p_t
                through[t] -= p_t
            elif p_t > 0 > p_f:
                inflow[f, t] -= p_f
                through[f] -= p_f
    for table, sign in (("load", -1), ("sgen", 1), ("storage", -1), ("ext_grid", 1)):
        for k, i in enumerate(net[table].index):
            fed = sign * net[f"res_{table}"].at[i, "p_mw"]
            if fed > 0:
                node = place[net[table].at[i, "bus"]]
                through[node] += fed
                emitted[node] += fed * made[table][k]
    used = through > 1e-6
    matrix = (np.diag(through) - inflow)[np.ix_(used, used)]
    result = np.full(size, np.nan)
    result[used] = np.linalg.solve(matrix, emitted[used])
    return result


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_with_rings_and_two_transformers_as_pandapower_sees_it(judge):
    net = pandapower.networks.create_cigre_network_mv(with_der="pv_wind")
    net.switch["closed"] = True  # three loops, and both transformers in parallel
    net.switch.drop(net.switch.index[net.switch.et == "b"], inplace=True)
    net.sgen["p_mw"] *= 20.0
    network = read(pandapower.to_json(net))
    injections = xr.Dataset(coords={"time": times(1)})
    flow = powerflow.run(network, injections)
    given_ = np.linspace(0.0, 90.0, len(net.sgen))
    sources = xr.Dataset({"import_kgco2e_per_mwh": 600.0, "sgen_kgco2e_per_mwh": ("sgen", given_)})
    traced = trace(network, injections, flow, sources)
    made = {"sgen": given_, "ext_grid": np.array([600.0]), "load": np.array([]), "storage": []}
    expected = judged(judge(network, injections, 0), made)
    found = traced.kgco2e_per_mwh.values[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(found) > 50
    assert_balanced(traced)


def test_a_summer_day_of_a_city_as_pandapower_sees_it(simbench_case, judge):
    """Wind and sun flow backwards through the transformers; storages charge and discharge."""
    network, injections_at = simbench_case()
    injections = injections_at([171 * 96 + 12, 10 * 96 + 74]).copy(deep=True)
    injections["storage_p_mw"] = injections["storage_p_mw"] + 0.1 * np.array([[1], [-2]])
    flow = powerflow.run(network, injections)
    plants = np.arange(len(network.sgens)) % 7 * 10.0
    batteries = 300.0 + np.arange(len(network.storages))
    sources = xr.Dataset(
        {
            "import_kgco2e_per_mwh": ("time", [500.0, 700.0]),
            "sgen_kgco2e_per_mwh": ("sgen", plants),
            "storage_kgco2e_per_mwh": ("storage", batteries),
        }
    )
    for rule in Losses:
        assert_balanced(trace(network, injections, flow, sources, losses=rule))
    traced = trace(network, injections, flow, sources)
    assert float(flow.export_mw.max()) > 0
    assert (traced.export_kgco2e_per_h.values > 0).tolist() == (flow.export_mw.values > 0).tolist()
    for step, imported in enumerate((500.0, 700.0)):
        net = judge(network, injections, step)
        made = {"sgen": plants, "storage": batteries, "load": [], "ext_grid": [imported]}
        fused = _fused(net)
        expected = judged(fused, made)
        found = traced.kgco2e_per_mwh.values[step]
        known = np.isfinite(expected)
        np.testing.assert_allclose(found[known], expected[known], rtol=1e-5, atol=1e-4)
        assert known.sum() > 80


def _fused(net: pandapower.pandapowerNet) -> pandapower.pandapowerNet:
    """Buses behind closed bus-bus switches as the one of them that pandapower's results name."""
    closed = net.switch[(net.switch.et == "b") & net.switch.closed]
    leader = {bus: bus for bus in net.bus.index}
    for one, other in zip(closed.bus, closed.element, strict=True):
        old, new = leader[other], leader[one]
        leader = {bus: new if at == old else at for bus, at in leader.items()}
    for table, columns in (
        ("line", ("from_bus", "to_bus")),
        ("trafo", ("hv_bus", "lv_bus")),
        *((t, ("bus",)) for t in ("load", "sgen", "storage", "ext_grid")),
    ):
        for column in columns:
            net[table][column] = net[table][column].map(leader)
    return net


def odd() -> Network:
    """Three windings, one of negative resistance, ward, shunt, open line end and a dead bus."""
    net = empty_net()
    hv, mv, lv, end, dead = (pandapower.create_bus(net, kv) for kv in (110, 20, 10, 20, 20))
    pandapower.create_ext_grid(net, hv)
    pandapower.create_transformer3w_from_parameters(
        net, hv, mv, lv, vn_hv_kv=110, vn_mv_kv=20, vn_lv_kv=10, sn_hv_mva=40, sn_mv_mva=25,
        sn_lv_mva=15, vk_hv_percent=10, vk_mv_percent=11, vk_lv_percent=10, vkr_hv_percent=0.6,
        vkr_mv_percent=0.1, vkr_lv_percent=0.1, pfe_kw=30, i0_percent=0.1,
    )  # fmt: skip
    line = {"r_ohm_per_km": 0.2, "x_ohm_per_km": 0.12, "c_nf_per_km": 300, "max_i_ka": 0.3}
    for _ in range(2):
        pandapower.create_line_from_parameters(net, mv, end, 5, **line, g_us_per_km=2.0)
    pandapower.create_switch(net, end, 1, et="l", closed=False)
    pandapower.create_line_from_parameters(net, end, dead, 4, **line, in_service=False)
    pandapower.create_shunt(net, end, q_mvar=-1.0, p_mw=0.02)
    pandapower.create_ward(net, lv, ps_mw=1.0, qs_mvar=0.1, pz_mw=0.2, qz_mvar=0.0)
    for bus in (lv, end, dead):
        pandapower.create_load(net, bus, p_mw=3.0, scaling=0.9)
    pandapower.create_sgen(net, mv, p_mw=1.5)
    return Network(net)


@pytest.mark.parametrize("rule", list(Losses))
def test_wards_shunts_open_ends_and_three_windings_leave_nothing_over(rule):
    network = odd()
    assert (1 / network.admittance.series).real.min() < 0
    injections = xr.Dataset(coords={"time": times(1)})
    flow = powerflow.run(network, injections)
    sources = xr.Dataset({"import_kgco2e_per_mwh": 580.0, "sgen_kgco2e_per_mwh": 12.0})
    traced = trace(network, injections, flow, sources, losses=rule)
    assert_balanced(traced)
    lv = float(traced.kgco2e_per_mwh[0, 2])
    assert float(traced.fixed_kgco2e_per_h[0]) == pytest.approx(lv * 1.0)  # the ward's power
    assert float(traced.load_kgco2e_per_h[0, 0]) == pytest.approx(lv * 2.7)
    assert float(traced.load_kgco2e_per_h[0, 2]) == 0.0
    assert np.isnan(traced.kgco2e_per_mwh.values[0]).tolist() == [False] * 4 + [True]


# --- random networks ------------------------------------------------------------------------------


def random_network(seed: int, chords: int, sources: int) -> Network:
    """A tree of 14 buses with ``chords`` more lines that close loops; up to 3 upstream grids."""
    random = np.random.default_rng(seed)
    net = empty_net()
    buses = [pandapower.create_bus(net, 20.0) for _ in range(14)]
    pairs = [(int(random.integers(0, i)), i) for i in range(1, 14)]
    pairs += [tuple(random.choice(14, 2, replace=False).tolist()) for _ in range(chords)]
    for one, other in pairs:
        pandapower.create_line_from_parameters(
            net, one, other, float(random.uniform(0.3, 3)), r_ohm_per_km=0.3, x_ohm_per_km=0.2,
            c_nf_per_km=200.0, max_i_ka=0.4, g_us_per_km=1.0,
        )  # fmt: skip
    for bus in buses[:sources]:
        pandapower.create_ext_grid(net, bus, vm_pu=1.0 + 0.001 * bus)
    for bus in random.integers(0, 14, 8):
        pandapower.create_load(net, int(bus), p_mw=0.0)
    for bus in random.integers(0, 14, 4):
        pandapower.create_sgen(net, int(bus), p_mw=0.0)
        pandapower.create_storage(net, int(bus), p_mw=0.0, max_e_mwh=1.0)
    return Network(net)


NETWORKS = [random_network(1, 0, 1), random_network(2, 0, 2)]
NETWORKS += [random_network(3, 4, 1), random_network(4, 6, 3)]


@pytest.mark.parametrize("rule", list(Losses))
@pytest.mark.parametrize("number", range(4))
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_what_is_emitted_is_attributed_completely(number, rule, seed):
    """Loads that feed in, plants that draw, storages both ways, a third of all at rest."""
    network, random = NETWORKS[number], np.random.default_rng(seed)
    shape = {"load": 8, "sgen": 4, "storage": 4}
    injections = xr.Dataset(
        {
            f"{table}_p_mw": (
                ("time", table),
                random.normal(0.5, 1, (3, n)) * random.integers(0, 3, (3, n)).clip(0, 1),
            )
            for table, n in shape.items()
        },
        {"time": times(3)},
    )
    flow = powerflow.run(network, injections)
    made = {t: random.uniform(0, 900, n) for t, n in shape.items()}
    upstream = random.uniform(0, 900, len(network.net.ext_grid))
    sources = xr.Dataset(
        {f"{t}_kgco2e_per_mwh": (t, values) for t, values in made.items()}
        | {"import_kgco2e_per_mwh": ("ext_grid", upstream)}
    )
    traced = trace(network, injections, flow, sources, losses=rule)
    assert_balanced(traced)
    if rule is Losses.APART:  # a mixture lies between its sources
        known = traced.kgco2e_per_mwh.values[np.isfinite(traced.kgco2e_per_mwh.values)]
        every = np.concatenate([*made.values(), upstream])
        assert known.min() >= every.min() * (1 - 1e-12)
        assert known.max() <= every.max() * (1 + 1e-12)
        assert (traced.losses_kgco2e_per_h.values >= 0).all()


# --- limits ---------------------------------------------------------------------------------------


def two_buses(load_mw: float = 5.0, **line: float) -> tuple[Network, xr.Dataset]:
    """Upstream - 10 km of line - a bus with a load and a plant; behind it an empty stub."""
    net = empty_net()
    source, bus, stub = (pandapower.create_bus(net, 20.0) for _ in range(3))
    pandapower.create_ext_grid(net, source)
    given_ = {"r_ohm_per_km": 0.3, "x_ohm_per_km": 0.3, "c_nf_per_km": 0.0, "max_i_ka": 1.0} | line
    pandapower.create_line_from_parameters(net, source, bus, 10.0, **given_)
    pandapower.create_line_from_parameters(net, bus, stub, 1.0, **given_)
    pandapower.create_load(net, bus, p_mw=load_mw)
    pandapower.create_sgen(net, bus, p_mw=0.0)
    return Network(net), xr.Dataset(coords={"time": times(1)})


def test_one_source_gives_every_bus_its_intensity_while_losses_stand_apart():
    network, injections = two_buses()
    flow = powerflow.run(network, injections)
    traced = trace(network, injections, flow, xr.Dataset({"import_kgco2e_per_mwh": 600.0}))
    np.testing.assert_allclose(traced.kgco2e_per_mwh.values[0, :2], 600.0, rtol=1e-12)
    np.testing.assert_allclose(traced.losses_kgco2e_per_h, 600.0 * flow.losses_mw, rtol=1e-9)


def test_consumers_that_bear_losses_pay_the_source_over_the_delivered_share():
    network, injections = two_buses()
    flow = powerflow.run(network, injections)
    traced = trace(
        network,
        injections,
        flow,
        xr.Dataset({"import_kgco2e_per_mwh": 600.0}),
        losses=Losses.CONSUMERS,
    )
    delivered = 5.0 / float(flow.import_mw[0])
    assert 0.9 < delivered < 0.99
    assert traced.kgco2e_per_mwh.values[0, 1] == pytest.approx(600.0 / delivered)
    assert float(traced.losses_kgco2e_per_h[0]) == pytest.approx(0.0, abs=1e-6)


def test_where_nothing_passes_there_is_no_intensity():
    network, injections = two_buses()
    flow = powerflow.run(network, injections)
    traced = trace(network, injections, flow, xr.Dataset({"import_kgco2e_per_mwh": 600.0}))
    assert np.isnan(traced.kgco2e_per_mwh.values[0, 2])
    assert np.isfinite(flow.vm_pu.values[0, 2])


def test_a_stub_that_only_loses_energy_strands_its_emissions_with_the_losses():
    network, injections = two_buses(g_us_per_km=50.0)
    flow = powerflow.run(network, injections)
    sources = xr.Dataset({"import_kgco2e_per_mwh": 600.0})
    for rule in Losses:
        assert_balanced(trace(network, injections, flow, sources, losses=rule))


def test_at_noon_the_bus_exports_its_own_mixture():
    network, injections = two_buses()
    injections = injections.assign(sgen_p_mw=(("time", "sgen"), [[8.0]]))
    flow = powerflow.run(network, injections)
    assert float(flow.export_mw[0]) > 2.5
    traced = trace(network, injections, flow, xr.Dataset({"sgen_kgco2e_per_mwh": 40.0}))
    np.testing.assert_allclose(traced.kgco2e_per_mwh.values[0, :2], 40.0, rtol=1e-12)
    assert float(traced.export_kgco2e_per_h[0]) == pytest.approx(40.0 * float(flow.export_mw[0]))
    assert_balanced(traced)


def test_chunks_of_a_long_time_join_without_a_seam(monkeypatch):
    network, _ = two_buses()
    load = 2.0 + np.arange(50.0)[:, None] / 25
    injections = xr.Dataset({"load_p_mw": (("time", "load"), load)}, {"time": times(50)})
    flow = powerflow.run(network, injections)
    sources = xr.Dataset({"import_kgco2e_per_mwh": ("time", np.linspace(400, 800, 50))})
    whole = trace(network, injections, flow, sources)
    monkeypatch.setattr("grid.tracing._CHUNK_VALUES", 21)  # 7 steps of 3 nodes
    xr.testing.assert_allclose(trace(network, injections, flow, sources), whole, rtol=1e-12)
    np.testing.assert_allclose(whole.kgco2e_per_mwh.values[:, 1], np.linspace(400, 800, 50))


def test_a_source_without_intensity_is_named():
    network, injections = two_buses()
    injections = injections.assign(sgen_p_mw=(("time", "sgen"), [[1.0]]))
    flow = powerflow.run(network, injections)
    with pytest.raises(ConfigurationError, match="sgen 0, which feeds in at step 0"):
        trace(network, injections, flow, xr.Dataset({"import_kgco2e_per_mwh": 600.0}))
    both = xr.Dataset({"sgen_kgco2e_per_mwh": 0.0, "import_kgco2e_per_mwh": np.nan})
    with pytest.raises(ConfigurationError, match="ext_grid"):
        trace(network, injections, flow, both)
    wide = both.assign(sgen_kgco2e_per_mwh=("sgen", [0.0, 1.0]), import_kgco2e_per_mwh=1.0)
    with pytest.raises(ConfigurationError, match="2 columns"):
        trace(network, injections, flow, wide)
