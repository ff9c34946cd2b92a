"""Networks through files and back, MATPOWER's cases as they are published, and broken files."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pandapower.networks as examples
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import NetworkError
from grid import formats
from grid.network import Network
from grid.powerflow import run

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NOW = xr.Dataset(coords={"time": np.array(["2026-06-22"], dtype="datetime64[ns]")})
CASES = (
    "case9",
    "case14",
    "case118",
    "mv_oberrhein",
    "create_cigre_network_mv",
    "create_kerber_landnetz_freileitung_1",
)
ENDINGS = (".json", ".xlsx", ".m", ".mat")


def test_the_folder_is_the_list_of_formats():
    assert {e for f in formats.found().values() for e in f.extensions} == set(ENDINGS)
    with pytest.raises(NetworkError, match=r"named like net\.dgs; there are: \.json, \.m, "):
        formats.read(b"", "net.dgs")


@pytest.mark.parametrize("case", CASES)
def test_a_network_that_went_through_a_file_flows_as_before(case):
    """To 1e-8 pu and 1e-6 degrees at every bus, by all formats.

    A MATPOWER case has nodes, not buses: those that switches join are one there. The losses in
    conductances of branches, which it lacks, are powers of shunts in it.
    """
    network = Network(getattr(examples, case)())
    before = run(network, NOW)
    node = network.admittance.node_of_bus
    alive = node >= 0
    for ending in ENDINGS if len(network.buses) < 50 else (".xlsx", ".m"):
        again = formats.read(formats.write(network, f"net{ending}"), f"net{ending}")
        after = run(again, NOW)
        at = node[alive] if ending.startswith(".m") else np.flatnonzero(alive)
        np.testing.assert_allclose(
            after.vm_pu.values[0, at], before.vm_pu.values[0, alive], atol=1e-8, err_msg=ending
        )
        turned = after.va_degree.values[0, at] - before.va_degree.values[0, alive]
        np.testing.assert_allclose((turned + 180) % 360 - 180, 0, atol=1e-6, err_msg=ending)
        for name in ("import_mw", "q_exchange_mvar"):
            assert after[name].item() == pytest.approx(before[name].item(), abs=1e-6), ending


CASE9 = """function mpc = case9
%CASE9    9 bus, 3 generator case: J. H. Chow's book, p. 70
mpc.version = '2'; % a comment with [ and '
mpc.baseMVA = 100;
mpc.bus = [
	1	3	0	0	0	0	1	1	0	345	1	1.1	0.9;
	2	2	0	0	0	0	1	1	0	345	1	1.1	0.9;
	3	2	0	0	0	0	1	1	0	345	1	1.1	0.9;
	4	1	0	0	0	0	1	1	0	345	1	1.1	0.9;
	5	1	90	30	0	0	1	1	0	345	1	1.1	0.9;
	6	1	0	0	0	0	1	1	0	345	1	1.1	0.9;
	7	1	100	35	0	0	1	1	0	345	1	1.1	0.9; % trailing
	8	1	0	0	0	0	1	1	0	345	1	1.1	0.9
	9, 1, 125, 50, 0, 0, 1, 1, 0, 345, ...
	1, 1.1, 0.9;
];
mpc.gen = [
	1	72.3	27.03	300	-300	1.04	100	1	250	10;
	2	163	6.54	300	-300	1.025	100	1	300	10;
	3	85	-10.95	300	-300	1.025	100	1	270	10;
];
mpc.branch = [
	1	4	0	0.0576	0	250	250	250	0	0	1	-360	360;
	4	5	0.017	0.092	0.158	250	250	250	0	0	1	-360	360;
	5	6	0.039	0.17	0.358	150	150	150	0	0	1	-360	360;
	3	6	0	0.0586	0	300	300	300	0	0	1	-360	360;
	6	7	0.0119	0.1008	0.209	150	150	150	0	0	1	-360	360;
	7	8	0.0085	0.072	0.149	250	250	250	0	0	1	-360	360;
	8	2	0	0.0625	0	250	250	250	0	0	1	-360	360;
	8	9	0.032	0.161	0.306	250	250	250	0	0	1	-360	360;
	9	4	0.01	0.085	0.176	250	250	250	0	0	1	-360	360;
];
mpc.gencost = [2 1500 0 3 0.11 5 150; 2 2000 0 3 0.085 1.2 600];
"""


def test_a_published_case_and_its_published_solution():
    """Case9 of MATPOWER with the voltage setpoints of Chow's book: bus 9 at 0.996 pu (Anderson and
    Fouad, Power System Control and Stability, fig. 2.19), losses 4.64 MW."""
    network = formats.read(CASE9.encode(), "case9.m")
    flow = run(network, NOW)
    assert flow.losses_mw.item() == pytest.approx(4.641, abs=1e-3)
    assert flow.vm_pu.values[0, 3:].tolist() == pytest.approx(
        [1.026, 1.013, 1.032, 1.016, 1.026, 0.996], abs=5e-4
    )
    assert flow.import_mw.item() == pytest.approx(71.64, abs=1e-2)


def test_a_case_file_is_a_program_that_is_only_read_where_it_is_understood():
    """case33bw (Baran and Wu 1989) comes in ohm and kW: 202.7 kW lost, 0.9131 pu at bus 18."""
    net = examples.case33bw()
    ohm = 12.66**2 / 10
    rows = [
        f"{b.from_bus + 1} {b.to_bus + 1} {b.r_ohm_per_km * b.length_km!r}"
        f" {b.x_ohm_per_km * b.length_km!r} 0 0 0 0 0 0 {int(b.in_service)} -360 360"
        for b in net.line.itertuples()
    ]
    power = {load.bus: (load.p_mw * 1e3, load.q_mvar * 1e3) for load in net.load.itertuples()}
    buses = [
        f"{b + 1} {3 if b == 0 else 1} {power.get(b, (0, 0))[0]!r} {power.get(b, (0, 0))[1]!r}"
        " 0 0 1 1 0 12.66 1 1.1 0.9"
        for b in net.bus.index
    ]
    text = "\n".join(
        [
            "function mpc = case33bw",
            "mpc.version = '2';",
            "mpc.baseMVA = 10;",
            f"mpc.bus = [{';'.join(buses)}];",
            "mpc.gen = [1 0 0 10 -10 1 100 1 10 0];",
            f"mpc.branch = [{';'.join(rows)}];",
            "[PQ, PV, REF, NONE, BUS_I, BUS_TYPE, PD, QD, GS, BS, BUS_AREA, VM, ...",
            "    VA, BASE_KV, ZONE, VMAX, VMIN] = idx_bus;",
            "Vbase = mpc.bus(1, BASE_KV) * 1e3;      %% in Volts",
            "Sbase = mpc.baseMVA * 1e6;              %% in VA",
            "mpc.branch(:, [BR_R BR_X]) = mpc.branch(:, [BR_R BR_X]) / (Vbase^2 / Sbase);",
            "mpc.bus(:, [PD, QD]) = mpc.bus(:, [PD, QD]) / 1e3;",
        ]
    )
    flow = run(formats.read(text.encode(), "case33bw.m"), NOW)
    assert flow.losses_mw.item() * 1e3 == pytest.approx(202.68, abs=0.01)
    assert flow.vm_pu.values[0, 17] == pytest.approx(0.9131, abs=5e-5)
    assert ohm == pytest.approx(16.02756)
    for foreign in ("mpc.branch(:, 3) = mpc.branch(:, 3) * 2;", "if true", "mpc = scale(mpc);"):
        with pytest.raises(NetworkError, match=r"computes with its matrices .* savecase\.$"):
            formats.read((text + "\n" + foreign).encode(), "case33bw.m")


def test_a_transformer_at_the_low_voltage_end_keeps_its_two_port():
    """From 20 kV to 110 kV with tap, phase shift and charging, against the equations of the manual
    (section 3.2): the power that the two-port takes in is what the upstream grid gives."""
    r, x, b, tap, shift = 0.01, 0.12, 0.04, 1.05, 30.0
    text = f"""
    mpc.baseMVA = 50; mpc.version = '2';
    mpc.bus = [7 3 0 0 0 0 1 1 5 20 1 1.1 .9; 9 1 20 8 0 0 1 1 0 110 1 1.1 .9];
    mpc.gen = [7 0 0 9 -9 1.02 50 1 9 -9];
    mpc.branch = [7 9 {r} {x} {b} 40 0 0 {tap} {shift} 1];
    """
    network = formats.read(text.encode(), "t.m")
    assert network.net.trafo.hv_bus.tolist() == [9]
    flow = run(network, NOW)
    v = flow.vm_pu.values[0] * np.exp(1j * np.deg2rad(flow.va_degree.values[0]))
    ratio, y = tap * np.exp(1j * np.deg2rad(shift)), 1 / (r + 1j * x)
    into_from = (y + 0.5j * b) / tap**2 * v[0] - y / np.conj(ratio) * v[1]
    into_to = -y / ratio * v[0] + (y + 0.5j * b) * v[1]
    assert 50 * v[1] * np.conj(into_to) == pytest.approx(-(20 + 8j), abs=1e-6)
    given = flow.import_mw.item() + 1j * flow.q_exchange_mvar.item()
    assert 50 * v[0] * np.conj(into_from) == pytest.approx(given, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CASE9[:900], "never closed"),
        (CASE9.replace("0.017", "zero"), "'zero', which is not a number"),
        (
            CASE9.replace("	1	4	0	0", "	1	44	0	0"),
            "Row 1 of mpc.branch names a bus",
        ),
        (CASE9.replace("345	1	1.1	0.9;", "345;", 1), "different lengths"),
        (CASE9.replace("mpc.gen =", "mpc.generators ="), "lacks the matrix mpc.gen"),
        (CASE9.replace("mpc.baseMVA = 100", "mpc.baseMVA = 0"), "positive number"),
        (CASE9.replace("	5	1	90", "	4	1	90"), "appears twice"),
        (CASE9.replace("0.0576", "NaN"), "Row 1 of mpc.branch holds a value"),
        ("", "lacks the matrix mpc.bus"),
    ],
)
def test_a_broken_case_is_named_in_a_sentence(text, reason):
    with pytest.raises(NetworkError, match=reason) as caught:
        formats.read(text.encode(), "case.m")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=80), st.sampled_from(ENDINGS))
@settings(max_examples=30, deadline=None)
def test_no_bytes_but_a_network_are_read(data, ending):
    with pytest.raises(NetworkError) as caught:
        formats.read(data, f"net{ending}")
    assert "\n" not in str(caught.value)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_case_with_anything_cut_out_is_read_or_refused(data):
    start = data.draw(st.integers(0, len(CASE9)))
    length = data.draw(st.integers(1, 200))
    text = CASE9[:start] + CASE9[start + length :]
    with suppress(NetworkError):
        formats.read(text.encode(), "case.m")
