"""The rolling simulation: devices stay within what they can do, forecasts look at nothing later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.__main__ import merged
from bench.rolling.devices import Devices
from bench.rolling.foresight import Expected, Foresight
from bench.rolling.window import Period, truth, window
from bench.rolling.year import BATTERY, DT_H, LOAD, START, STEPS_PER_DAY, Year
from core.sites import Asset, AssetKind
from grid.network import Network, read

DAYS = 12
SIZE = {"p_max_mw": 0.3, "e_max_mwh": 0.8}


def _network() -> Network:
    net = pandapower.create_empty_network()
    upstream, bus = (pandapower.create_bus(net, 20.0, min_vm_pu=0.9, max_vm_pu=1.1) for _ in "ab")
    pandapower.create_ext_grid(net, upstream)
    pandapower.create_line_from_parameters(
        net, upstream, bus, 1.0, r_ohm_per_km=0.1, x_ohm_per_km=0.1, c_nf_per_km=0.0, max_i_ka=1.0
    )
    pandapower.create_loads(net, [bus] * 3, p_mw=0.0)
    pandapower.create_sgens(net, [bus] * 2, p_mw=0.0)
    pandapower.create_storage(net, bus, p_mw=0.0, max_e_mwh=SIZE["e_max_mwh"])
    return read(pandapower.to_json(net))


@pytest.fixture(scope="module")
def year() -> Year:
    """Twelve days of a house, a charger, a heat pump, a PV plant, a turbine and a battery."""
    rng = np.random.default_rng(1)
    steps = DAYS * STEPS_PER_DAY
    hour = np.arange(steps) % STEPS_PER_DAY * DT_H
    noise = rng.uniform(0.8, 1.2, (steps, 3))
    evening = np.exp(-(((hour - 19.0) / 3.0) ** 2))
    load = noise * np.column_stack([0.3 + 0.4 * evening, 0.2 * evening, 0.1 + 0.05 * evening])
    sun = np.maximum(np.sin((hour - 6.0) / 12.0 * np.pi), 0.0) * rng.uniform(0.3, 1.0, steps)
    wind = np.abs(np.cumsum(rng.normal(0.0, 0.05, steps)))

    def asset(name: str, kind: AssetKind, element: str, index: int, **parameters: float) -> Asset:
        return Asset(
            name, kind, "", "", element=element, element_index=index, parameters=parameters
        )

    return Year(
        network=_network(),
        times=START + np.arange(steps) * np.timedelta64(15, "m"),
        load_p_mw=load,
        load_q_mvar=0.3 * load,
        sgen_p_mw=np.column_stack([sun, wind]),
        load_profile=np.array(["house", "car", "heat"]),
        sgen_profile=np.array(["sun", "wind"]),
        sgen_kind=np.array(["pv", "wind"]),
        assets=(
            asset("plant", AssetKind.PV, "sgen", 0),
            asset("battery", AssetKind.BATTERY, "storage", 0, **BATTERY, **SIZE),
            asset("car", AssetKind.EV_CHARGER, "load", 1, **LOAD, p_max_mw=0.4),
            asset("heat", AssetKind.FLEXIBLE_LOAD, "load", 2, **LOAD, p_max_mw=0.4),
        ),
        lat=53.4,
        lon=11.8,
    )


PERIOD = Period(10 * STEPS_PER_DAY, 11 * STEPS_PER_DAY)


@settings(deadline=None, max_examples=30)
@given(wishes=st.integers(0, 2**32 - 1))
def test_devices_keep_their_limits_and_serve_whatever_they_are_asked(
    year: Year, wishes: int
) -> None:
    true = truth(year, PERIOD)
    devices = Devices(true.envelopes, DT_H)
    wanted = np.random.default_rng(wishes).uniform(-1.0, 1.0, (true.steps, len(true.envelopes)))
    content = devices.content_mwh
    for t in range(true.steps):
        power = devices.step(t, wanted[t], np.full(len(true.envelopes), 2.0))
        for a, envelope in enumerate(true.envelopes):
            assert envelope.p_min_mw[t] - 1e-9 <= power[a] <= envelope.p_max_mw[t] + 1e-9
            account = envelope.account
            if account is None:
                continue
            moved = power[a] - envelope.base_mw[t]
            gain = account.gain_up[t] if moved > 0 else account.gain_down[t]
            after = account.keep[t] * content[a] + account.inflow_mwh[t] + DT_H * gain * moved
            assert devices.content_mwh[a] == pytest.approx(after, abs=1e-9)
            assert account.min_mwh[t] - 1e-8 <= after <= account.max_mwh[t] + 1e-8
        content = devices.content_mwh
    assert devices.unserved_mwh == 0.0


def test_a_plant_is_capped_only_when_it_is_held_back(year: Year) -> None:
    true = truth(year, PERIOD)
    t = 48
    there = true.envelopes[0].p_max_mw[t]
    asked = np.zeros(len(true.envelopes))
    for planned, expected, there_is in (
        (0.5 * there, 0.5 * there, there),
        (0.4 * there, 0.5 * there, 0.4 * there),
        (1.5 * there, 2.0 * there, there),
    ):
        asked[0] = planned
        devices = Devices(true.envelopes, DT_H)
        assert devices.step(t, asked, np.full(len(asked), expected))[0] == pytest.approx(there_is)


def test_forecasts_look_at_nothing_later(year: Year) -> None:
    row = PERIOD.first + 30
    garbage = np.random.default_rng(2)

    def spoilt(values: np.ndarray) -> np.ndarray:
        later = values.copy()
        later[row:] = garbage.uniform(0.0, 9.0, later[row:].shape)
        return later

    other = replace(
        year,
        load_p_mw=spoilt(year.load_p_mw),
        load_q_mvar=spoilt(year.load_q_mvar),
        sgen_p_mw=spoilt(year.sgen_p_mw),
    )
    one, two = Foresight(year).at(row, 40), Foresight(other).at(row, 40)
    for name in ("load_p_mw", "load_q_mvar", "sgen_p_mw"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.outlook is not None
    assert two.outlook is not None
    np.testing.assert_array_equal(one.outlook.values, two.outlook.values)
    # What may be wrong is said around what is expected: the medians of its series are its sums.
    median = one.outlook.at_level(0.5)
    drawn = np.array([table == "load" for table in one.outlook.table])
    np.testing.assert_allclose(median[:, drawn].sum(axis=1), one.load_p_mw.sum(axis=1))
    np.testing.assert_allclose(median[:, ~drawn].sum(axis=1), one.sgen_p_mw.sum(axis=1))
    assert np.isfinite(one.load_p_mw).all()
    assert one.load_p_mw.sum() == pytest.approx(year.load_p_mw[row : row + 40].sum(), rel=0.3)


@pytest.mark.parametrize("share", [0.0, 0.3, 3.0])
def test_whatever_came_instead_of_the_forecast_the_next_problem_can_be_solved(
    year: Year, share: float
) -> None:
    row = PERIOD.first + 70
    ahead = slice(row, PERIOD.last)
    expected = Expected(
        share * year.load_p_mw[ahead], share * year.load_q_mvar[ahead], year.sgen_p_mw[ahead]
    )
    true = truth(year, PERIOD)
    devices = Devices(true.envelopes, DT_H)
    for t in range(row - PERIOD.first):
        most = true.envelopes[2].p_max_mw[t], true.envelopes[3].p_max_mw[t]
        devices.step(t, np.array([0.0, -1.0, *most]), np.full(4, 2.0))
    seen = window(year, PERIOD, row, expected, devices.content_mwh)
    assert [f for e in seen.envelopes for f in e.conflicts(DT_H)] == []


def test_a_part_of_the_document_is_renewed_and_the_rest_stays() -> None:
    first = merged("# Old\n\n| a table |\n", {"rolling": "\n## rolling\n\nold\n"})
    second = merged(first, {"dispatch": "\n## dispatch\n\nnew\n"})
    third = merged(second, {"rolling": "\n## rolling\n\nrenewed\n"})
    assert third.index("## dispatch") < third.index("## rolling")
    assert "new" in third
    assert "renewed" in third
    assert "old" not in third
