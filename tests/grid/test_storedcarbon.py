"""Storages give back the carbon they were charged with."""

from __future__ import annotations

import numpy as np
import pandapower
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from grid import powerflow
from grid.network import Network, empty_net
from grid.storedcarbon import Contents, battery_intensity, trace_storing
from grid.tracing import Losses

START = np.datetime64("2026-06-22T00:00", "ns")


def contents(e_mwh: float = 0.0, kgco2e_per_mwh: float = 0.0, **other: float) -> Contents:
    given_ = {"efficiency_charge": 1.0, "efficiency_discharge": 1.0, "keep_per_h": 1.0} | other
    columns = {"e_mwh": e_mwh, "kgco2e_per_mwh": kgco2e_per_mwh} | given_
    return Contents(**{name: np.array([value]) for name, value in columns.items()})


def over_time(values: list[float]) -> xr.DataArray:
    coords = {"time": START + np.arange(len(values)) * np.timedelta64(1, "h"), "storage": [0]}
    return xr.DataArray(np.array(values)[:, None], dims=("time", "storage"), coords=coords)


def test_a_battery_that_mixes_noon_and_evening_by_hand():
    """1 MWh at 100 and 3 MWh at 500, 90 % kept: 3.6 MWh hold 1600 kg, 444.4 kg/MWh. With 80 % out
    of the battery a MWh at the terminals takes 1.25 MWh: 555.6 kg."""
    start = contents(efficiency_charge=0.9, efficiency_discharge=0.8)
    found = battery_intensity(
        over_time([1.0, 3.0, -1.0, -1.88]), over_time([100, 500, 999, 999]), start, dt_h=1.0
    )
    np.testing.assert_allclose(found.content_mwh[:, 0], [0.9, 3.6, 2.35, 0.0], atol=1e-12)
    np.testing.assert_allclose(found.content_kgco2e_per_mwh[:, 0], [100 / 0.9] + [1600 / 3.6] * 3)
    assert float(found.discharged_kgco2e_per_mwh[2, 0]) == pytest.approx(1600 / 3.6 / 0.8)
    given_back = 2.88 * 1600 / 3.6 / 0.8
    assert given_back == pytest.approx(1600)


@given(
    power=st.lists(st.floats(-1, 1), min_size=1, max_size=30),
    efficiency=st.floats(0.5, 1),
    keep=st.floats(0.9, 1),
    seed=st.integers(0, 2**31),
)
def test_nothing_that_was_emitted_for_charging_is_lost(power, efficiency, keep, seed):
    """Charged = discharged + still held, whatever the losses; unless it gives what it has not."""
    at_bus = np.random.default_rng(seed).uniform(0, 900, len(power))
    start = contents(
        1.0, 300.0, efficiency_charge=efficiency, efficiency_discharge=efficiency, keep_per_h=keep
    )
    found = battery_intensity(over_time(power), over_time(at_bus.tolist()), start, dt_h=0.25)
    charged = 0.25 * (np.maximum(power, 0) * at_bus).sum()
    out = 0.25 * np.maximum(-np.array(power), 0) * found.discharged_kgco2e_per_mwh.values[:, 0]
    missing = (found.shortfall_mwh * found.content_kgco2e_per_mwh).values.sum()
    held = float((found.content_mwh * found.content_kgco2e_per_mwh)[-1, 0])
    assert 300.0 + charged == pytest.approx(out.sum() - missing + held, rel=1e-9)


def test_more_than_it_held_is_told_and_counts_alike():
    found = battery_intensity(over_time([-2.0]), over_time([0.0]), contents(0.5, 700.0), dt_h=1.0)
    assert float(found.shortfall_mwh[0, 0]) == 1.5
    assert float(found.discharged_kgco2e_per_mwh[0, 0]) == 700.0
    assert float(found.content_mwh[0, 0]) == 0.0


def test_impossible_contents_are_refused():
    with pytest.raises(ConfigurationError, match="negative"):
        contents(-0.1)
    with pytest.raises(ConfigurationError, match="efficiency_discharge"):
        contents(efficiency_discharge=0.0)
    with pytest.raises(ConfigurationError, match="keep_per_h"):
        contents(keep_per_h=float("nan"))


def ring() -> Network:
    """Upstream and three buses in a ring; storages at two of them, a plant at the third."""
    net = empty_net()
    buses = [pandapower.create_bus(net, 20.0) for _ in range(4)]
    pandapower.create_ext_grid(net, buses[0])
    for one, other in ((0, 1), (1, 2), (2, 3), (3, 1)):
        pandapower.create_line_from_parameters(
            net, one, other, 2.0, r_ohm_per_km=0.3, x_ohm_per_km=0.3, c_nf_per_km=0, max_i_ka=1
        )
    for bus in buses[1:]:
        pandapower.create_load(net, bus, p_mw=0.5)
    pandapower.create_sgen(net, 3, p_mw=0.0)
    for bus in (1, 2):
        pandapower.create_storage(net, bus, p_mw=0.0, max_e_mwh=4.0)
    return Network(net)


@pytest.mark.parametrize("rule", list(Losses))
def test_what_sources_emitted_is_drawn_lost_or_still_held_over_a_day(rule):
    """Sun at noon into two storages, one of which later feeds the other."""
    network = ring()
    noon = np.array([0, 0, 4, 4, 0, 0, 0, 0.0])
    storage = np.array([[0, 0, 1, 1, -1, -0.4, 0.3, 0], [0, 0, 0.8, 0.5, 0.5, 0, -1.2, 0]]).T
    injections = xr.Dataset(
        {
            "sgen_p_mw": (("time", "sgen"), noon[:, None]),
            "storage_p_mw": (("time", "storage"), storage),
        },
        {"time": START + np.arange(8) * np.timedelta64(1, "h")},
    )
    flow = powerflow.run(network, injections)
    start = Contents(
        np.array([0.5, 0.2]), np.array([600.0, 500.0]), *(np.full(2, x) for x in (0.95, 0.9, 0.99))
    )
    sources = xr.Dataset({"import_kgco2e_per_mwh": 600.0, "sgen_kgco2e_per_mwh": 40.0})
    found = trace_storing(network, injections, flow, sources, start, dt_h=1.0, losses=rule)
    assert float(found.shortfall_mwh.max()) == 0.0
    made = 600.0 * flow.import_mw.values.sum() + 40.0 * noon.sum()
    left = (found.content_mwh * found.content_kgco2e_per_mwh).values[-1].sum()
    drawn = found.load_kgco2e_per_h.sum() + found.export_kgco2e_per_h.sum()
    used = float(drawn + found.losses_kgco2e_per_h.sum())
    assert made + start.kgco2e.sum() == pytest.approx(used + left, rel=1e-9)
    # At noon the storages fill with sun, in the evening the bus is cleaner than the import.
    assert float(found.kgco2e_per_mwh[3, 2]) < 50
    assert float(found.kgco2e_per_mwh[4, 2]) < 450
    assert float(found.kgco2e_per_mwh[1, 2]) == pytest.approx(600.0, rel=0.01)
