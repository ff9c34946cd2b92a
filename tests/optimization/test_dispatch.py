"""The dispatch against cases solved by hand and against another formulation of the same LP."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

import grid.der
from core.errors import ConfigurationError, NotOptimalError
from core.sites import AssetKind
from grid.envelope import AT_ONCE, Envelope
from optimization.devices import TIE_BREAK_CNY_PER_MWH
from optimization.planner import plan
from optimization.result import Status


def test_arbitrage_by_hand(toy):
    """2 h at 100, 2 h at 500 CNY/MWh; 1 MW, 2 MWh, 0.9 each way: buys 2/0.9 MWh, gives back 1.8.

    1 MW of charging stores 0.9 MWh an hour: 1.8 MWh in the two cheap hours, 1.62 MWh returned.
    """
    day = toy(4)
    battery = day.battery(efficiency_charge=0.9, efficiency_discharge=0.9)
    found = plan(day.problem([battery], price=[100.0, 100.0, 500.0, 500.0], load=2.0))
    assert found.status is Status.OPTIMAL
    p = found.schedule.p_mw.values[:, 0]
    np.testing.assert_allclose(p[:2], [1.0, 1.0], atol=1e-6)
    assert p[2:].sum() == pytest.approx(-1.62, abs=1e-6)
    np.testing.assert_allclose(
        found.schedule.soc.values[:, 0],
        [0.45, 0.9, *found.schedule.soc.values[2:3, 0], 0.0],
        atol=1e-6,
    )
    assert found.baseline.cost_cny - found.planned.cost_cny == pytest.approx(
        1.62 * 500 - 2 * 100, rel=1e-5
    )
    np.testing.assert_allclose(found.schedule.price_cny_per_mwh, [100, 100, 500, 500], rtol=1e-4)


def test_wear_above_the_spread_keeps_the_battery_at_rest(toy):
    day = toy(2)
    battery = day.battery(
        efficiency_charge=1.0, efficiency_discharge=1.0, cycle_cost_cny_per_mwh=401.0
    )
    found = plan(day.problem([battery], price=[100.0, 500.0], load=2.0))
    np.testing.assert_allclose(found.schedule.p_mw, 0.0, atol=1e-9)


def test_the_carbon_price_moves_energy_into_clean_hours(toy):
    day = toy(2)
    battery = day.battery(efficiency_charge=1.0, efficiency_discharge=1.0)
    problem = day.problem(
        [battery], price=300.0, load=2.0, kgco2e=[0.0, 1000.0], carbon_cny_per_tco2e=100.0
    )
    found = plan(problem)
    np.testing.assert_allclose(found.schedule.p_mw.values[:, 0], [1.0, -1.0], atol=1e-6)
    assert found.baseline.emissions_kgco2e == pytest.approx(2000.0, rel=1e-5)
    assert found.planned.emissions_kgco2e == pytest.approx(1000.0, rel=1e-5)
    assert found.planned.carbon_cny == pytest.approx(100.0, rel=1e-5)


def test_exports_are_not_credited(toy):
    day = toy(1)
    found = plan(day.problem([], price=300.0, export=200.0, sgen=2.0, kgco2e=500.0))
    assert found.planned.emissions_kgco2e == 0.0
    assert found.planned.cost_cny == pytest.approx(-400.0, rel=1e-5)


def other_formulation(problem, load, available):
    """The same day as one dense LP over (charge, discharge, power, import, export), with the
    content eliminated by partial sums; solved by scipy."""
    n, dt = problem.steps, problem.dt_h
    battery, _ = problem.envelopes
    energy = battery.account
    ramp = TIE_BREAK_CNY_PER_MWH * (1 + np.arange(n) / n)
    zero, one, lower = np.zeros((n, n)), np.eye(n), np.tril(np.ones((n, n)))
    cost = dt * np.concatenate(
        [
            ramp,
            ramp + battery.down_cny_per_mwh,
            np.zeros(n),
            problem.import_total_cny_per_mwh,
            -problem.export_cny_per_mwh,
        ]
    )
    balance = np.hstack([one, -one, -one, -one, one])
    content = np.hstack(
        [
            dt * energy.gain_up * lower,
            -dt * energy.gain_down * lower,
            zero,
            zero,
            zero,
        ]
    )
    limits = [
        *[(0, p) for p in battery.p_max_mw],
        *[(0, -p) for p in battery.p_min_mw],
        *[(0, p) for p in available],
        *[(0, problem.import_limit_mw)] * n,
        *[(0, problem.export_limit_mw)] * n,
    ]
    return linprog(
        cost,
        A_ub=np.vstack([content, -content]),
        b_ub=np.concatenate(
            [energy.max_mwh - energy.initial_mwh, energy.initial_mwh - energy.min_mwh]
        ),
        A_eq=balance,
        b_eq=-load,
        bounds=limits,
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_optimum_is_that_of_another_formulation(toy, seed):
    """Random loads, sun and prices over a line without losses to speak of."""
    rng = np.random.default_rng(seed)
    day = toy(24, 0.5)
    load, available = rng.uniform(0.5, 3, 24), rng.uniform(0, 4, 24)
    battery = day.battery(
        soc=0.3,
        efficiency_charge=0.92,
        efficiency_discharge=0.9,
        cycle_cost_cny_per_mwh=20.0,
        soc_min=0.1,
    )
    problem = day.problem(
        [battery, day.plant(available)],
        price=rng.uniform(200, 1200, 24),
        export=rng.uniform(0, 200, 24),
        load=load,
        sgen=available,
        ohm=1e-5,
        import_limit_mw=2.8,
        export_limit_mw=1.5,
    )
    judge = other_formulation(problem, load, available)
    assert judge.status == 0
    found = plan(problem)
    p = found.schedule.p_mw.values[:, 0]
    ramp = TIE_BREAK_CNY_PER_MWH * (1 + np.arange(24) / 24)
    cost = found.planned.total_cny + float((ramp * np.abs(p)).sum()) * problem.dt_h
    assert cost == pytest.approx(judge.fun, rel=1e-6, abs=1e-4)
    assert found.violations == []
    assert_kept(problem, found)


def assert_kept(problem, found):
    """Energy of each account adds up, bounds hold, and so does the balance of the AC grid."""
    p = found.schedule.p_mw.values
    for a, envelope in enumerate(problem.envelopes):
        assert np.all(p[:, a] >= envelope.p_min_mw - 1e-6)
        assert np.all(p[:, a] <= envelope.p_max_mw + 1e-6)
        if envelope.account is None:
            continue
        account = envelope.account
        gain = np.maximum(p[:, a], 0) * account.gain_up
        gain -= np.maximum(-p[:, a], 0) * account.gain_down
        content = account.initial_mwh + np.cumsum(gain) * problem.dt_h
        assert np.all(content >= account.min_mwh - 1e-5)
        assert np.all(content <= account.max_mwh + 1e-5)
        if account.capacity_mwh:
            soc = found.schedule.soc.values[:, a]
            np.testing.assert_allclose(content / account.capacity_mwh, soc, atol=1e-6)
    fed = {(e.element, e.element_index): p[:, a] for a, e in enumerate(problem.envelopes)}
    network, given = problem.network, problem.injections
    total = np.zeros(problem.steps)
    for table, sign in (("load", -1), ("sgen", 1), ("storage", -1)):
        ids = network.ids(table)
        for i, index in enumerate(ids):
            name = f"{table}_p_mw"
            own = given[name].values[:, i] if name in given else 0.0
            total += sign * fed.get((table, int(index)), own)
    ac = found.ac
    left = ac.import_mw.values - ac.export_mw.values + total - ac.losses_mw.values
    np.testing.assert_allclose(left, 0.0, atol=1e-6)


def test_sun_beyond_the_export_limit_is_held_back(toy):
    day = toy(3)
    found = plan(
        day.problem(
            [day.plant([1.0, 5.0, 5.0])],
            price=500.0,
            export=100.0,
            load=1.0,
            sgen=[1.0, 5.0, 5.0],
            export_limit_mw=2.0,
        )
    )
    assert found.violations == []
    np.testing.assert_allclose(found.schedule.export_mw, [0.0, 2.0, 2.0], atol=0.01)
    assert found.planned.curtailed_mwh == pytest.approx(4.0, abs=0.05)
    (reason,) = found.reasons
    assert reason.binding == "export_limit"
    assert found.baseline.violations == 2


def test_an_import_limit_nobody_can_hold_becomes_a_finding(toy):
    day = toy(2)
    found = plan(
        day.problem([day.battery(soc=0.5)], price=[100.0, 500.0], load=4.0, import_limit_mw=2.0)
    )
    assert found.status is Status.OPTIMAL
    (finding,) = found.violations
    assert (finding.component, finding.field) == ("substation", "import_mw")
    assert "exceeds the limit of 2.00 MW" in finding.message


def test_negative_prices_do_not_make_a_battery_burn_energy(toy):
    """Charging and discharging at once would be paid for here; it is not physical."""
    day = toy(3)
    battery = day.battery(soc=0.5)
    found = plan(day.problem([battery], price=[-200.0, -200.0, 300.0], export=-250.0, load=0.2))
    assert found.status is Status.OPTIMAL
    problem = day.problem([battery], price=[-200.0, -200.0, 300.0], export=-250.0, load=0.2)
    assert_kept(problem, found)


def test_where_export_pays_more_than_import_costs(toy):
    """The model must not buy and sell at once; the reader is told."""
    day = toy(3)
    found = plan(
        day.problem(
            [day.battery(soc=0.5)],
            price=[100.0, 900.0, 900.0],
            export=[300.0, 300.0, 300.0],
            load=0.5,
        )
    )
    assert found.status is Status.OPTIMAL
    assert [n.component for n in found.notes] == ["tariff"]
    assert found.planned.total_cny <= found.baseline.total_cny + 1e-6


def test_a_conflict_is_explained_and_gives_way(toy):
    """Too slow to be full in time: the bound gives as far as it must, and there is a plan."""
    day = toy(4)
    problem = day.problem([day.battery(soc=0.0, soc_end=1.0, p_max_mw=0.1)], price=100.0)
    found = plan(problem)
    assert found.status is Status.RELAXED
    (finding,) = found.violations
    assert (finding.component, finding.ids) == ("battery", ("battery-0",))
    (given,) = found.given
    assert given.limit == "least_energy"
    assert given.amount == pytest.approx(2.0 - 4 * 0.1 * 0.95, abs=1e-3)
    np.testing.assert_allclose(found.schedule.p_mw.values[:, 0], 0.1, atol=1e-4)


def test_numbers_are_refused_where_there_are_none(toy):
    found = plan(toy(2).problem([], price=100.0, load=1.0))
    nothing = replace(found, status=Status.INFEASIBLE, numbers=None)
    for name in ("schedule", "ac", "planned", "grounds"):
        with pytest.raises(NotOptimalError, match="infeasible"):
            getattr(nothing, name)
    summary = json.loads(json.dumps(nothing.summary()))
    assert summary["status"] == "infeasible"
    assert summary["planned"] is None


def test_shifted_loads_take_all_their_energy_where_it_is_cheap(toy):
    day = toy(24)
    demand = np.where((np.arange(24) >= 18) & (np.arange(24) < 20), 1.0, 0.0)
    price = np.where((np.arange(24) >= 18) & (np.arange(24) < 22), 900.0, 300.0)
    car = day.asset(
        AssetKind.EV_CHARGER,
        "load",
        given={"profiles": {"p_mw": demand}},
        p_max_mw=1.0,
        arrival_hour=18,
        departure_hour=24,
    )
    found = plan(day.problem([car], price=price, load=demand))
    p = found.schedule.p_mw.values[:, 0]
    np.testing.assert_allclose(p[22:], [1.0, 1.0], atol=1e-6)
    assert p.sum() == pytest.approx(2.0)
    heat = day.asset(
        AssetKind.FLEXIBLE_LOAD,
        "load",
        given={"profiles": {"p_mw": demand}},
        p_max_mw=1.0,
        shift_hours=2,
    )
    found = plan(day.problem([heat], price=price, load=demand))
    np.testing.assert_allclose(found.schedule.p_mw.values[16:18, 0], [1.0, 1.0], atol=1e-6)
    assert "at 900 CNY/MWh is avoided" in found.reasons[0].text_en


def test_free_energy_goes_in_early(toy):
    day = toy(4)
    battery = day.battery(efficiency_charge=1.0, efficiency_discharge=1.0, e_max_mwh=1.0)
    found = plan(day.problem([battery], price=[200.0, 200.0, 200.0, 900.0], load=1.0, ohm=1e-5))
    np.testing.assert_allclose(found.schedule.p_mw.values[:, 0], [1, 0, 0, -1], atol=1e-6)


TOY = """
import numpy as np
from core.sites import AssetKind
from grid.envelope import AT_ONCE, Envelope

KIND = AssetKind.GENERATOR

def envelope(asset, conditions):
    power = np.full(conditions.steps, asset.parameters["p_max_mw"])
    return Envelope(asset.id, asset.kind, asset.element, asset.element_index, 0 * power, power,
                    0 * power, up_cny_per_mwh=250.0)
"""


def test_a_new_type_is_dispatched_without_a_change_here(toy, tmp_path, monkeypatch):
    """A generator whose fuel costs 250 CNY/MWh: it runs where power costs more."""
    (tmp_path / "toy_engine.py").write_text(TOY)
    monkeypatch.setattr(grid.der, "__path__", [*grid.der.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "grid.der.toy_engine", raising=False)
    day = toy(3)
    engine = day.asset(AssetKind.GENERATOR, "sgen", p_max_mw=1.0)
    found = plan(day.problem([engine], price=[100.0, 300.0, 200.0], load=2.0))
    np.testing.assert_allclose(found.schedule.p_mw.values[:, 0], [0.0, 1.0, 0.0], atol=1e-6)


def test_chargers_whose_vehicles_are_pooled_are_named(toy):
    day = toy(2)
    one = day.battery(soc=0.5)
    two = replace(day.battery(1, soc=0.5), settings={AT_ONCE: 2})
    notes = plan(day.problem([one, two], price=300.0)).notes
    assert [(n.component, n.ids) for n in notes] == [("ev_charger", (two.asset,))]


def test_problems_that_do_not_fit_are_refused(toy):
    day = toy(3)
    good = day.problem([day.battery()], price=100.0)
    with pytest.raises(ConfigurationError, match="import_cny_per_mwh"):
        replace(good, import_cny_per_mwh=np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ConfigurationError, match="other steps"):
        replace(good, envelopes=(toy(4).battery(),))
    with pytest.raises(ConfigurationError, match="appears twice"):
        replace(good, envelopes=(day.battery(), day.battery()))
    with pytest.raises(ConfigurationError, match="storage 7"):
        replace(good, envelopes=(day.battery(7),))
    with pytest.raises(ConfigurationError, match="negative"):
        replace(good, import_limit_mw=-1.0)


def test_a_day_without_resources_is_the_uncontrolled_day(toy):
    found = plan(toy(2).problem([], price=100.0, load=1.0))
    assert found.status is Status.OPTIMAL
    assert found.planned == found.baseline
    assert isinstance(found.schedule.sizes["asset"], int)
    assert not any(isinstance(e, Envelope) for e in found.reasons)
