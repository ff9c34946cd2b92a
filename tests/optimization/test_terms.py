"""What a plan can be asked beyond energy at a tariff, by cases solved by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ConfigurationError
from core.sites import AssetKind
from grid.envelope import Commitment, DepthBand, EnergyAccount, Envelope, Reactive
from optimization.pareto import sweep
from optimization.planner import plan
from optimization.result import Status
from optimization.terms import (
    ChangeCost,
    Direction,
    ExchangeSpread,
    FeederLimit,
    PeakCharge,
    PeakValley,
    Position,
    Reserve,
    Unserved,
    Weights,
)

PERFECT = {"efficiency_charge": 1.0, "efficiency_discharge": 1.0}


def test_a_peak_charge_flattens_the_peak_and_only_beyond_what_was(toy):
    """Load 1, 3, 1 MW, a flat price: a battery of 1 MW halves what lies above the peak so far."""
    day = toy(3)
    battery = day.battery(soc=0.5, **PERFECT)
    load = [1.0, 3.0, 1.0]
    asked = PeakCharge(cny_per_mw=1000.0, peak_so_far_mw=1.5)
    found = plan(day.problem([battery], price=300.0, load=load, peak=asked))
    assert found.planned.peak_import_mw == pytest.approx(2.0, abs=1e-3)
    assert found.planned.peak_cny == pytest.approx(500.0, abs=1.0)
    assert found.baseline.peak_cny == pytest.approx(1500.0, abs=1.0)
    # A month that has seen 3 MW already gives no reason to move anything.
    found = plan(day.problem([battery], price=300.0, load=load, peak=PeakCharge(1000.0, 3.0)))
    np.testing.assert_allclose(found.schedule.p_mw, 0.0, atol=1e-6)


def test_a_month_s_charge_is_no_reason_to_break_a_limit(toy):
    """Load 1 and 5 MW; before the peak 2 MW may be imported, so that 1 MW can be charged.

    1 MW beyond it for a quarter-hour, at 50 times the tariff, would cost a tenth of what the month
    would be spared.
    """
    day = toy(2, dt_h=0.25)
    battery = day.battery(soc=0.0, p_max_mw=4.0, **PERFECT)
    problem = day.problem([battery], price=300.0, load=[1.0, 5.0], peak=PeakCharge(40_000.0))
    found = plan(replace(problem, import_limit_mw=np.array([2.0, 9.0])))
    assert found.violations == []
    np.testing.assert_allclose(found.schedule.import_mw, [2.0, 4.0], atol=0.02)


def test_the_spread_of_peak_and_valley_is_brought_to_its_target(toy):
    day = toy(4)
    battery = day.battery(soc=0.5, e_max_mwh=4.0, **PERFECT)
    target = PeakValley(target_mw=1.0, breach_cny_per_mw=500.0)
    problem = day.problem([battery], price=300.0, load=[1.0, 3.0, 1.0, 3.0], peak_valley=target)
    found = plan(problem)
    net = (found.schedule.import_mw - found.schedule.export_mw).values
    assert net.max() - net.min() == pytest.approx(1.0, abs=1e-3)
    assert found.planned.peak_cny == pytest.approx(0.0, abs=1.0)


def test_a_call_of_demand_response_is_met_and_what_is_missing_is_paid(toy):
    day = toy(4)
    battery = day.battery(soc=1.0, soc_end=0.0, **PERFECT)
    call = FeederLimit("evening", day.times[1], day.times[3], 1.5, 2000.0)
    problem = day.problem([battery], price=300.0, load=2.0, calls=(call,))
    found = plan(problem)
    assert np.all(found.schedule.import_mw.values[1:3] <= 1.5 + 1e-3)
    assert found.planned.breach_cny == pytest.approx(0.0, abs=1.0)
    assert found.baseline.breach_cny == pytest.approx(2 * 0.5 * 2000.0, abs=1.0)
    deeper = replace(call, limit_mw=0.0)  # 2 MWh in the battery, 4 are asked: 2 MWh are missed
    found = plan(replace(problem, calls=(deeper,)))
    assert found.planned.breach_cny == pytest.approx(2 * 2000.0, rel=1e-2)
    assert found.violations == []


def test_a_call_is_not_missed_by_losses_that_the_model_did_not_see(toy):
    """10 MW less over 0.5 ohm at 20 kV: 0.5 (10/20)^2 = 0.125 MW more is lost than the tangent at
    the uncontrolled 20 MW says; in money 0.2 % of the day, for the call a breach."""
    day = toy(48)
    battery = day.battery(soc=0.5, p_max_mw=12.0, e_max_mwh=40.0, cycle_cost_cny_per_mwh=60.0)
    load = np.where(np.arange(48) // 2 == 5, 20.0, 8.0)
    problem = day.problem([battery], price=300.0, load=load, ohm=0.5, vm_min_pu=0.5)
    call = FeederLimit("evening", day.times[10], day.times[12], 10.0, 5000.0)
    found = plan(replace(problem, calls=(call,)))
    assert not found.given
    net = (found.ac["import_mw"] - found.ac["export_mw"]).values
    assert net[10:12].max() <= call.limit_mw + 0.01


def test_a_promised_exchange_is_kept_where_leaving_it_costs_more_than_it_earns(toy):
    day = toy(2)
    battery = day.battery(soc=0.5, **PERFECT)
    problem = day.problem([battery], price=[100.0, 500.0], load=2.0)
    promised = np.array([2.0, np.nan])
    kept = plan(replace(problem, position=Position(promised, 600.0, 600.0)))
    assert kept.schedule.import_mw.values[0] == pytest.approx(2.0, abs=1e-3)
    left = plan(replace(problem, position=Position(promised, 100.0, 600.0)))
    assert left.schedule.import_mw.values[0] == pytest.approx(3.0, abs=1e-3)
    assert left.planned.breach_cny == pytest.approx(100.0, abs=1.0)


def test_what_the_exchange_may_turn_out_to_be_decides_when_to_discharge(toy):
    """1 MWh to give: 250 CNY now for sure, or later, when 1 MW is exported at 100.

    If 2 MW more or less turn out to be drawn later, each as likely, discharging then sells at 100
    or saves 500: 300 on average, and waiting pays.
    """
    day = toy(2)
    battery = day.battery(soc=0.5, soc_end=0.0, **PERFECT)
    load = np.array([2.0, 0.0])
    problem = day.problem([battery], price=[250.0, 500.0], load=load, export=100.0)
    certain = plan(problem)
    np.testing.assert_allclose(certain.schedule.p_mw.values[:, 0], [-1.0, 0.0], atol=1e-6)
    offset = np.array([[0.0, 0.0], [-2.0, 2.0]])
    open_ended = replace(problem, spread=ExchangeSpread(offset, np.array([0.5, 0.5])))
    found = plan(open_ended)
    np.testing.assert_allclose(found.schedule.p_mw.values[:, 0], [0.0, -1.0], atol=1e-6)
    assert found.schedule.price_cny_per_mwh.values[1] == pytest.approx(300.0, rel=1e-3)
    # The expected course sells 1 MWh at 100; the cases buy 1 at 500 and sell 3 at 100.
    assert found.planned.cost_cny == pytest.approx(2 * 250.0 - 100.0, rel=1e-3)
    assert found.planned.error_cny == pytest.approx(0.5 * (500.0 - 300.0) + 100.0, rel=1e-3)
    assert found.planned.total_cny < found.baseline.total_cny
    with pytest.raises(ConfigurationError, match="add up"):
        ExchangeSpread(offset, np.array([0.5, 0.6]))
    with pytest.raises(ConfigurationError, match="other steps"):
        replace(problem, spread=ExchangeSpread(offset[:1], np.array([0.5, 0.5])))


def test_reserve_needs_power_and_energy_behind_it(toy):
    """1 MW, 2 MWh at 50 %: 1 MWh is left, so an activation of 2 h allows 0.5 MW only."""
    day = toy(1)
    battery = day.battery(soc=0.5, soc_end=0.0, cycle_cost_cny_per_mwh=400.0, **PERFECT)
    problem = day.problem([battery], price=300.0, load=2.0)
    for hours, expected in ((0.5, 1.0), (2.0, 0.5)):
        reserve = Reserve("up", Direction.UP, np.full(1, 3.0), hours, price_cny_per_mw_h=10.0)
        found = plan(replace(problem, reserves=(reserve,)))
        held = found.schedule["reserve_up_mw"].values.sum(axis=1)
        np.testing.assert_allclose(held, expected, atol=1e-6)
        assert found.planned.reserve_cny == pytest.approx(10.0 * expected)
        assert found.baseline.reserve_cny == 0.0


def test_what_is_switched_off_gives_no_reserve(toy):
    """A genset that is too dear to run earns its reserve only while it runs at its least."""
    day = toy(2)
    full = np.ones(2)
    genset = Envelope(
        "genset", AssetKind.GENERATOR, "sgen", 0, 0 * full, full, 0 * full,
        up_cny_per_mwh=400.0, commitment=Commitment(p_on_min_mw=0.3, start_cny=20.0),
    )  # fmt: skip
    problem = day.problem([genset], price=300.0, load=2.0)
    for price, expected in ((30.0, 0.0), (100.0, 0.7)):
        reserve = Reserve("up", Direction.UP, np.full(2, 5.0), 1.0, price)
        found = plan(replace(problem, reserves=(reserve,)))
        held = found.schedule["reserve_up_mw"].values[:, 0]
        np.testing.assert_allclose(held, expected, atol=1e-6)
        np.testing.assert_allclose(found.schedule.p_mw.values[:, 0], 0.3 * (expected > 0))
        assert found.planned.start_cny == (20.0 if expected else 0.0)
    with pytest.raises(ConfigurationError, match="no resource"):
        replace(problem, reserves=(replace(reserve, assets=("nobody",)),))


def test_a_price_on_change_keeps_the_plan_before(toy):
    day = toy(2)
    battery = day.battery(soc=0.5, **PERFECT)
    before = np.array([[0.4], [-0.4]])
    problem = day.problem([battery], price=[300.0, 310.0], load=2.0)
    free = plan(problem).schedule.p_mw.values[:, 0]
    np.testing.assert_allclose(free, [1.0, -1.0], atol=1e-6)
    kept = plan(replace(problem, change=ChangeCost(before, 20.0))).schedule.p_mw.values
    np.testing.assert_allclose(kept, before, atol=1e-6)
    # What is committed stays at whatever price, as far as the battery can: never above 1 MW.
    held = ChangeCost(np.array([[-3.0], [np.nan]]), 0.0, np.array([True, False]))
    kept = plan(replace(problem, change=held)).schedule.p_mw.values[:, 0]
    assert kept[0] == pytest.approx(-1.0, abs=1e-6)


def test_load_is_shed_only_where_nothing_else_holds_a_limit(toy):
    """4 MW over 10 ohm break the voltage; shedding at 9,000 CNY/MWh is better than that."""
    day = toy(2)
    problem = day.problem([], price=300.0, load=[1.0, 4.0], ohm=10.0, vm_min_pu=0.95)
    found = plan(replace(problem, unserved=Unserved(9000.0)))
    assert found.violations == []
    assert found.planned.vm_min_pu == pytest.approx(0.95, abs=2e-4)
    assert found.planned.unserved_mwh > 1.0
    assert found.planned.discomfort_cny == pytest.approx(9000.0 * found.planned.unserved_mwh)
    assert found.schedule.sizes["asset"] == 0
    calm = plan(
        replace(problem, unserved=Unserved(9000.0), network=day.problem([], price=1.0).network)
    )
    assert calm.planned.unserved_mwh == pytest.approx(0.0, abs=1e-9)


def test_wear_grows_with_depth(toy):
    """A spread of 100 CNY/MWh pays for the shallow half (40) but not for the deep one (300)."""
    day = toy(2)
    full = np.ones(2)
    account = EnergyAccount(
        2.0, 0 * full, 2 * full, full, full, full, 0 * full, capacity_mwh=2.0,
        end_cny_per_mwh=400.0, depth=(DepthBand(0.3, 40.0), DepthBand(0.7, 300.0)),
    )  # fmt: skip
    battery = Envelope("b", AssetKind.BATTERY, "storage", 0, 0 * full, full, full, account=account)
    found = plan(day.problem([battery], price=[500.0, 500.0], load=3.0))
    assert found.schedule.content_mwh.values[-1, 0] == pytest.approx(2.0 - 0.6, abs=1e-6)
    assert found.planned.wear_cny == pytest.approx(0.6 * 40.0)
    assert found.planned.stored_cny == pytest.approx(-0.6 * 400.0)


def test_an_inverter_holds_the_voltage_with_reactive_power_and_stays_in_its_circle(toy):
    """5 MW over 10 + 10j ohm: instead of curtailing half, it draws Mvar within 6 MVA."""
    day = toy(1)
    sun = np.array([5.0])
    plant = replace(day.plant(sun), reactive=Reactive(sn_mva=6.0, q_max_mvar=4.0))
    given = {"price": 500.0, "export": 300.0, "sgen": sun, "ohm": 10.0, "vm_max_pu": 1.05}
    without = plan(day.problem([day.plant(sun)], **given))
    found = plan(day.problem([plant], **given))
    assert found.violations == []
    p, q = float(found.schedule.p_mw[0, 0]), float(found.schedule.q_mvar[0, 0])
    assert q < -0.5
    assert found.planned.curtailed_mwh < 0.5 * without.planned.curtailed_mwh
    small = replace(plant, reactive=Reactive(sn_mva=4.0, q_max_mvar=4.0))
    found = plan(day.problem([small], **given))
    p, q = float(found.schedule.p_mw[0, 0]), float(found.schedule.q_mvar[0, 0])
    assert p**2 + q**2 <= (4.0 * 1.005) ** 2
    assert p**2 + q**2 == pytest.approx(16.0, rel=0.02)
    assert found.violations == []


def test_a_sweep_trades_money_for_carbon(toy):
    """Clean hours are the dear ones: the higher its weight, the cleaner and the dearer."""
    day = toy(2)
    problem = day.problem(
        [day.battery(**PERFECT)],
        price=[400.0, 300.0],
        load=2.0,
        kgco2e=[100.0, 900.0],
        carbon_cny_per_tco2e=50.0,
    )
    points = sweep(problem, carbon=(0.0, 10.0))
    assert [p.plan.status for p in points] == [Status.OPTIMAL] * 2
    assert points[1].money_cny > points[0].money_cny + 50.0
    assert points[1].emissions_kgco2e < points[0].emissions_kgco2e - 500.0
    assert all(p.efficient for p in points)
    assert sweep(problem, carbon=(10.0,))[0].plan.planned.total_cny == pytest.approx(
        points[1].plan.planned.total_cny, rel=1e-6
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PeakCharge(-1.0), "cny_per_mw"),
        (lambda: Unserved(0.0), "above 0"),
        (lambda: Weights(carbon=float("nan")), "carbon"),
        (lambda: Reserve("r", Direction.UP, np.array([-1.0])), "requirement_mw"),
        (
            lambda: FeederLimit(
                "c", np.datetime64("2026-01-02"), np.datetime64("2026-01-01"), 1.0, 1.0
            ),
            "ends before",
        ),
    ],
)
def test_terms_that_make_no_sense_are_refused(make, says):
    with pytest.raises(ConfigurationError, match=says):
        make()
