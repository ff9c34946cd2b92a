"""Every sentence is true: what it states is worked out again from schedule, envelope and tariff."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandapower
import pytest
import xarray as xr

from core.errors import ConfigurationError
from core.sites import AssetKind
from grid.envelope import Commitment, EnergyAccount, Envelope, Ramp, Reactive
from grid.network import checked_tables, empty_net
from optimization.explain import Read, explained, price_reason, reasons, why
from optimization.limitcodes import WORDS, Limit
from optimization.planner import plan
from optimization.result import Status
from optimization.terms import (
    ChangeCost,
    Direction,
    FeederLimit,
    PeakCharge,
    Reserve,
)

TOLERANCE = 0.03


def envelope(name, table, index, steps, *, base=0.0, up=0.0, down=0.0, **parts):
    full = np.ones(steps)
    kind = parts.pop("kind", AssetKind.GENERATOR)
    return Envelope(name, kind, table, index, full * base, full * up, full * down, **parts)


def account(steps, **given):
    full = np.ones(steps)
    values = {
        "initial_mwh": 0.0, "min_mwh": 0.0, "max_mwh": 10.0, "gain_up": 1.0, "gain_down": 1.0,
        "keep": 1.0, "inflow_mwh": 0.0,
    }  # fmt: skip
    arrays = ("min_mwh", "max_mwh", "gain_up", "gain_down", "keep", "inflow_mwh")
    plain = (
        "carrier",
        "breach_cny_per_mwh",
        "end_cny_per_mwh",
        "capacity_mwh",
        "spill_cny_per_mwh",
    )
    values |= given
    return EnergyAccount(
        initial_mwh=values["initial_mwh"],
        **{name: full * values[name] for name in arrays},
        **{name: values[name] for name in plain if name in values},
    )


def assert_true(problem, found):
    """Every device and step: the economics by hand, bounds by the schedule, claims by both."""
    ds, schedule = found.grounds, found.schedule
    read = Read.of(ds)
    checked = 0
    for a, env in enumerate(problem.envelopes):
        sign = env.fed_sign
        for t in range(problem.steps):
            reason, claims = explained(read, env.asset, t)
            assert all(claim.holds for claim in claims), (reason.text_en, claims)
            assert claims or any(
                words in reason.text_en for words in ("can do nothing", "still runs", "no cheaper",
                                                      "is over", "used up")
            ), reason.text_en  # fmt: skip
            p = float(schedule.p_mw.values[t, a])
            assert p == pytest.approx(env.base_mw[t] + ds.raised_mw.values[t, a]
                                      - ds.lowered_mw.values[t, a], abs=1e-6)  # fmt: skip
            local = float(schedule.local_cny_per_mwh.values[t, a])
            stored = float(np.nan_to_num(ds.stored_cny_per_mwh.values[t, a]))
            up = sign * local - ds.own_up_cny_per_mwh.values[t, a]
            down = -sign * local - ds.own_down_cny_per_mwh.values[t, a]
            if env.account is not None:
                up += env.account.gain_up[t] * stored
                down -= env.account.gain_down[t] * stored
            carbon = problem.carbon_cny_per_kg * env.up_kgco2e_per_mwh
            assert ds.own_up_cny_per_mwh.values[t, a] == pytest.approx(
                env.up_cny_per_mwh[t] + carbon, abs=1e-6
            )
            moved_up, moved_down = ds.raised_mw.values[t, a], ds.lowered_mw.values[t, a]
            if "although" not in reason.text_en and "would pay" not in reason.text_en:
                if moved_up > 1e-6:
                    assert up >= -TOLERANCE, reason.text_en
                if moved_down > 1e-6:
                    assert down >= -TOLERANCE, reason.text_en
            binding = Limit(int(ds.binding.values[t, a]))
            if binding is Limit.MOST_POWER:
                assert p == pytest.approx(env.p_max_mw[t], abs=1e-6)
            if binding is Limit.LEAST_POWER:
                assert p == pytest.approx(env.p_min_mw[t], abs=1e-6)
            content = schedule.content_mwh.values[t, a]
            if binding is Limit.LEAST_ENERGY:
                assert content <= env.account.min_mwh[t] + 1e-6
            if binding is Limit.MOST_ENERGY:
                assert content >= env.account.max_mwh[t] - 1e-6
            checked += 1
    assert checked == problem.steps * len(problem.envelopes)
    for t in range(problem.steps):
        assert "CNY" in price_reason(ds, t).text_en
        price, extra = float(ds.price_cny_per_mwh[t]), float(ds.price_extra_cny_per_mwh[t])
        if schedule.import_mw[t] > 0.02 and int(ds.price_limit[t]) != Limit.RESOURCE:
            assert price - extra == pytest.approx(problem.import_total_cny_per_mwh[t], rel=1e-3)


def test_the_sentence_of_a_battery(toy):
    """0.9 each way: a MWh charged at 100 is worth 0.81 of the 500 of two hours later."""
    day = toy(4)
    battery = day.battery(efficiency_charge=0.9, efficiency_discharge=0.9, e_max_mwh=10.0)
    problem = day.problem([battery], price=[100.0, 100.0, 500.0, 500.0], load=2.0)
    found = plan(problem)
    assert_true(problem, found)
    said = why(found.grounds, "battery-0", 0)
    assert said.text_en == (
        "charges 1.00 MW at 00:00 because 100 CNY/MWh lies under its stored value of 405 from the "
        "02:00 peak; its power limit binds"
    )
    assert said.text_zh.startswith("00:00 充电 1.00 MW：电价 100 CNY/MWh 低于储能价值 405")
    assert said.binding == "most_power"
    with pytest.raises(ConfigurationError, match="no resource 'other'"):
        why(found.grounds, "other", 0)
    with pytest.raises(ConfigurationError, match="no step 4"):
        why(found.grounds, "battery-0", 4)


def every_kind(steps):
    """What an EV, a heat pump, a CHP, a genset, an interruptible load and PV look like."""
    demand = np.linspace(0.4, 0.6, steps)
    last = np.arange(steps) == steps - 1
    return [
        envelope("ev", "load", 0, steps, up=0.5, kind=AssetKind.EV_CHARGER,
                 account=account(steps, min_mwh=np.where(last, 1.1, 0.0), max_mwh=1.6,
                                 gain_up=0.93)),
        envelope("heat", "storage", 0, steps, up=0.5, kind=AssetKind.FLEXIBLE_LOAD,
                 soft_kind="comfort",
                 settings={"temp_reference_degc": 20.0, "c_mwh_per_k": 0.5},
                 account=account(steps, initial_mwh=0.2, max_mwh=1.5, gain_up=3.0, keep=0.95,
                                 inflow_mwh=-0.4, carrier="heat", breach_cny_per_mwh=3000.0)),
        envelope("chp", "sgen", 0, steps, up=0.8, up_cny_per_mwh=600.0, up_kgco2e_per_mwh=300.0,
                 account=account(steps, initial_mwh=0.5, gain_up=1.2, inflow_mwh=-0.3,
                                 carrier="heat", max_mwh=2.0, breach_cny_per_mwh=2000.0,
                                 spill_cny_per_mwh=1.0),
                 commitment=Commitment(p_on_min_mw=0.3, start_cny=30.0)),
        envelope("process", "load", 1, steps, base=demand, down=demand, down_cny_per_mwh=500.0,
                 commitment=Commitment(p_on_min_mw=0.2, min_up_h=2.0, start_cny=40.0, lowers=True,
                                       max_up_h=3.0)),
        envelope("genset", "sgen", 1, steps, up=1.0, up_cny_per_mwh=700.0,
                 up_kgco2e_per_mwh=600.0,
                 commitment=Commitment(p_on_min_mw=0.4, min_up_h=3.0, min_down_h=2.0,
                                       start_cny=120.0, running_cny_per_h=5.0),
                 ramp=Ramp(0.4, 0.6, 0.0)),
        envelope("sun", "sgen", 2, steps, base=2.0, down=2.0, down_cny_per_mwh=5.0,
                 kind=AssetKind.PV, reactive=Reactive(2.1, 1.2, 0.2)),
        envelope("battery", "storage", 1, steps, up=0.6, down=0.6, down_cny_per_mwh=20.0,
                 kind=AssetKind.BATTERY,
                 account=account(steps, initial_mwh=0.6, gain_up=0.95, gain_down=1 / 0.95,
                                 max_mwh=1.5, capacity_mwh=1.5, end_cny_per_mwh=300.0)),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def wide_network():
    """Three buses in a row at 10 kV, with three elements of each kind."""
    net = empty_net()
    buses = [pandapower.create_bus(net, 10.0, min_vm_pu=0.97, max_vm_pu=1.03) for _ in range(3)]
    pandapower.create_ext_grid(net, buses[0])
    for one, other in pairwise(buses):
        pandapower.create_line_from_parameters(
            net, one, other, 1.0, r_ohm_per_km=0.6, x_ohm_per_km=0.4, c_nf_per_km=0.0,
            max_i_ka=0.2,
        )  # fmt: skip
    for bus in (buses[1], buses[2], buses[2]):
        pandapower.create_load(net, bus, p_mw=0.0)
        pandapower.create_sgen(net, bus, p_mw=0.0)
        pandapower.create_storage(net, bus, p_mw=0.0, max_e_mwh=1.0)
    return checked_tables(net)


@pytest.mark.parametrize("seed", range(6))
def test_sentences_are_true_for_every_kind(toy, wide_network, seed):
    """Random prices and loads; reserves, a call, a peak, a plan before and a tight grid come in."""
    rng = np.random.default_rng(seed)
    steps = 8
    day = toy(steps)
    units = every_kind(steps)
    terms = {
        "peak": PeakCharge(400.0, 1.0),
        "calls": (FeederLimit("evening", day.times[4], day.times[6], 0.5, 900.0),),
        "reserves": (
            Reserve("fcr", Direction.UP, np.full(steps, 0.6), 0.5, 40.0, 10.0),
            Reserve("down", Direction.DOWN, np.full(steps, 0.4), 0.25, 5.0, 200.0),
        ),
        "change": ChangeCost(rng.uniform(-0.2, 0.8, (steps, len(units))), 8.0),
        "export_limit_mw": 1.5,
        "max_loading_percent": 60.0,
    }
    chosen = {name: term for name, term in terms.items() if rng.uniform() < 0.5}
    load = rng.uniform(0.5, 2.5, (steps, 3))
    load[:, 1] = np.linspace(0.4, 0.6, steps)
    price = rng.uniform(150, 1200, steps)
    given = xr.Dataset(
        {"load_p_mw": (("time", "load"), load), "load_q_mvar": (("time", "load"), 0.2 * load)},
        coords={"time": day.times},
    )
    problem = replace(
        day.problem([], price=price, export=0.6 * price, kgco2e=500.0),
        network=wide_network, injections=given, envelopes=tuple(units),
        carbon_cny_per_tco2e=90.0, **chosen,
    )  # fmt: skip
    found = plan(problem)
    assert found.status is Status.OPTIMAL
    assert_true(problem, found)
    assert reasons(found.grounds)


def test_a_genset_starts_for_what_it_saves(toy):
    day = toy(4)
    unit = envelope("genset", "sgen", 1, 4, up=1.0, up_cny_per_mwh=700.0,
                    commitment=Commitment(p_on_min_mw=0.5, start_cny=100.0))  # fmt: skip
    problem = day.problem([unit], price=[500.0, 720.0, 900.0, 500.0], load=2.0)
    found = plan(problem)
    assert_true(problem, found)
    assert (
        "its run saves 220 CNY against 100 for the start" in why(found.grounds, "genset", 2).text_en
    )
    assert why(found.grounds, "genset", 0).text_en == (
        "stays off at 00:00 because running would cost 700 CNY/MWh and bring 500"
    )
    dear = plan(replace(problem, import_cny_per_mwh=np.array([500.0, 720.0, 760.0, 500.0])))
    assert "would save 80 CNY, the start costs 100" in why(dear.grounds, "genset", 2).text_en


def test_a_heat_pump_preheats_and_says_for_when(toy):
    day = toy(4)
    low = np.array([0.0, 0.0, 0.0, 1.5])
    unit = envelope("pump", "load", 0, 4, up=0.4, kind=AssetKind.BUILDING, soft_kind="comfort",
                    settings={"temp_reference_degc": 20.0, "c_mwh_per_k": 1.0},
                    account=account(4, initial_mwh=0.0, min_mwh=low, max_mwh=4.0, gain_up=3.0,
                                    carrier="heat", breach_cny_per_mwh=5000.0))  # fmt: skip
    problem = day.problem([unit], price=[300.0, 400.0, 900.0, 950.0], load=0.0)
    found = plan(problem)
    assert_true(problem, found)
    assert why(found.grounds, "pump", 0).text_en == (
        "preheats with 0.40 MW to 21.2 degC at 00:00 because 300 CNY/MWh lies under the worth of "
        "its heat, 400 for comfort at 03:00; its power limit binds"
    )


def test_sun_that_is_held_back_names_the_element(toy):
    day = toy(2)
    problem = day.problem([day.plant([4.0, 1.0])], price=500.0, export=100.0, sgen=[4.0, 1.0],
                          max_i_ka=0.06)  # fmt: skip
    found = plan(problem)
    assert_true(problem, found)
    said = why(found.grounds, "pv-0", 0)
    assert "the loading limit of line 0 binds" in said.text_en
    assert "线路 0 负载率上限受限" in said.text_zh
    assert said.binding == "network"
    assert "feeds in all of its 1.00 MW" in why(found.grounds, "pv-0", 1).text_en
    assert found.grounds.binding_element.values[0, 0] == 0


def test_words_and_codes_are_complete():
    assert set(WORDS) == set(Limit)
    assert all(any("一" <= c <= "鿿" for c in zh) for _, zh in WORDS.values())


def test_why_reads_from_arrays_alone(toy):
    """What the store keeps is enough: values, codes and attributes, no objects."""
    day = toy(3)
    found = plan(day.problem([day.battery(soc=0.5)], price=[100.0, 500.0, 900.0], load=2.0))
    kept = xr.Dataset.from_dict(found.grounds.to_dict())
    assert why(kept, "battery-0", 1) == why(found.grounds, "battery-0", 1)
