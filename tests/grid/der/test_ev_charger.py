"""Chargers: a vehicle leaves with what it needs, whatever the plan does until then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from core.errors import ConfigurationError
from core.sites import AssetKind
from grid.der import Stay
from grid.envelope import AT_ONCE

HOURS = np.arange(96) / 4
START = datetime(2026, 6, 20, 16, tzinfo=UTC)  # local midnight
NIGHT = {"p_max_mw": 1.0, "arrival_hour": 18, "departure_hour": 7}


def at(hour: float) -> datetime:
    return START + timedelta(hours=hour)


def charger(make, parameters=None, stays=None, steps=24, dt_h=1.0, **others):
    given_ = {"p_max_mw": 1.0, **(parameters or {})}
    kind = AssetKind.EV_CHARGER
    return make(kind, given_, stays=stays, steps=steps, dt_h=dt_h, **others)


def content(made, raised):
    a, c, path = made.account, made.account.initial_mwh, []
    dt_h = 24 / made.steps
    for t in range(made.steps):
        c = a.keep[t] * c + a.inflow_mwh[t] + dt_h * a.gain_up[t] * raised[t]
        path.append(c)
    return np.array(path)


def allowed(made, p_mw) -> bool:
    raised = p_mw - made.base_mw
    held = content(made, raised)
    return bool(
        np.all((raised >= -1e-9) & (raised <= made.up_mw + 1e-9))
        and np.all((held >= made.account.min_mwh - 1e-9) & (held <= made.account.max_mwh + 1e-9))
    )


# Without stays: the demand is all that is known.


@pytest.mark.parametrize("window", [{}, {"arrival_hour": 8, "departure_hour": 17}])
def test_the_demand_itself_is_always_allowed(make, window):
    demand = np.random.default_rng(7).uniform(0, 1.5, 96)
    made = charger(make, {**NIGHT, **window}, steps=96, dt_h=0.25, p_mw=demand)
    assert allowed(made, demand)


def test_it_charges_between_arrival_and_departure_only(make):
    demand = np.where(HOURS >= 18, 1.0, 0.0)
    made = charger(make, {**NIGHT, "p_max_mw": 2.0}, steps=96, dt_h=0.25, p_mw=demand)
    assert allowed(made, np.where(HOURS >= 21, 2.0, 0.0))
    away = (HOURS >= 7) & (HOURS < 18)
    assert not made.p_max_mw[away].any()
    assert made.account.max_mwh[away].max() == 0.0  # not before the car came
    assert made.account.min_mwh[-1] == pytest.approx(0.0)  # nothing is left to be charged


def test_the_horizon_cuts_a_usual_stay_and_each_part_keeps_its_energy(make):
    demand = np.where(HOURS < 2, 1.0, 0.0)  # of a car that came yesterday
    account = charger(make, NIGHT, steps=96, dt_h=0.25, p_mw=demand).account
    assert account.min_mwh[27] == pytest.approx(0.0)  # all is there when it leaves at 07:00
    assert account.min_mwh[26] == pytest.approx(-2.0)  # until then all may wait


def test_what_the_plan_before_put_off_is_made_up_for_until_departure(make, cheapest):
    """By hand: 1.5 MWh wait from the evening, 2 MWh are still to come; power is cheap at 05:00."""
    demand = np.where(HOURS < 2, 1.0, 0.0)
    price = np.where((HOURS >= 5) & (HOURS < 8), 100.0, 500.0)
    waits = {"steps": 96, "dt_h": 0.25, "p_mw": demand, "states": {"e_ahead_mwh": -1.5}}
    made = charger(make, {**NIGHT, "p_max_mw": 2.0}, **waits)
    plan = cheapest(made, 0.25, price)
    assert plan.p_mw.sum() * 0.25 == pytest.approx(3.5)
    assert plan.p_mw[20:28].sum() * 0.25 == pytest.approx(3.5)  # 05:00 to 07:00
    early = charger(make, NIGHT, steps=96, dt_h=0.25, p_mw=demand, states={"e_ahead_mwh": 0.5})
    assert cheapest(early, 0.25, price).p_mw.sum() * 0.25 == pytest.approx(1.5)
    too_much = charger(make, NIGHT, steps=96, dt_h=0.25, p_mw=demand, states={"e_ahead_mwh": -50.0})
    assert too_much.conflicts(0.25) == []
    assert cheapest(too_much, 0.25, price).p_mw.sum() * 0.25 == pytest.approx(7.0)  # at full power


def test_plans_that_follow_each_other_charge_a_car_before_it_leaves(make, cheapest):
    """It asks for 1 MWh at 18:00; each hour's plan waits for a cheaper one, and remembers."""
    day = np.where(np.arange(24) == 18, 1.0, 0.0)
    price = np.where(np.arange(24) == 6, 100.0, 500.0)
    moved, drawn = 0.0, []
    for hour in range(18, 18 + 14):
        start = np.datetime64("2026-06-20T16:00", "ns") + hour * np.timedelta64(1, "h")
        made = charger(
            make, NIGHT, p_mw=np.roll(day, -hour), start=start, states={"e_ahead_mwh": moved}
        )
        power = cheapest(made, 1.0, np.roll(price, -hour)).p_mw
        moved = float(content(made, power - made.base_mw)[0])
        drawn.append(power[0])
    assert np.flatnonzero(np.array(drawn) > 1e-6).tolist() == [12]  # at 06:00
    assert drawn[12] == pytest.approx(1.0)


# With stays.


def test_a_vehicle_is_full_when_it_leaves_and_charged_when_power_is_cheap(make, cheapest):
    stay = Stay(at(8.5), at(17.25), needed_mwh=2.5)
    made = charger(make, stays=(stay,))
    price = np.where(np.arange(24) >= 14, 100.0, 500.0)
    plan = cheapest(made, 1.0, price)
    assert plan.p_mw.sum() == pytest.approx(2.5)
    assert plan.p_mw[14:18].sum() == pytest.approx(2.5)
    assert made.up_mw[8] == pytest.approx(0.5)  # it comes at half past
    assert made.up_mw[17] == pytest.approx(0.25)
    assert not made.up_mw[18:].any()
    assert plan.content[18:] == pytest.approx(0.0)


def test_several_days_are_several_stays(make, cheapest):
    stays = [Stay(at(24 * d + 18), at(24 * d + 31), needed_mwh=3.0) for d in range(3)]
    made = charger(make, stays=tuple(stays), steps=84)
    price = np.where(np.arange(84) < 24, 100.0, 500.0)  # the first evening is the cheapest of all
    plan = cheapest(made, 1.0, price)
    for d in range(3):
        there = plan.p_mw[24 * d + 18 : 24 * d + 31]
        assert there.sum() == pytest.approx(3.0), d  # no day charges for another
    assert made.conflicts(1.0) == []


def test_a_stay_that_began_before_counts_what_it_already_got(make, cheapest):
    stay = Stay(at(-5), at(4), needed_mwh=3.0, charged_mwh=2.0)
    plan = cheapest(charger(make, stays=(stay,)), 1.0, np.full(24, 300.0))
    assert plan.p_mw.sum() == pytest.approx(1.0)
    done = Stay(at(-5), at(4), needed_mwh=3.0, charged_mwh=3.5)
    assert cheapest(charger(make, stays=(done,)), 1.0, np.full(24, 300.0)).p_mw.sum() == 0.0


@pytest.mark.parametrize(
    ("fair_share", "energy"),
    [(1.0, 2.0), (0.0, 1.0), (0.25, 1.0), (0.75, 1.5)],  # 4 of 8 hours; 3 fit in the other 4
)
def test_a_stay_that_ends_after_the_horizon_gets_its_part(make, cheapest, fair_share, energy):
    stay = Stay(at(20), at(28), needed_mwh=4.0)
    parameters = {"fair_share": fair_share, "p_max_mw": 0.75}
    plan = cheapest(charger(make, parameters, (stay,)), 1.0, np.full(24, 300.0))
    assert plan.p_mw.sum() == pytest.approx(energy)


def test_a_stay_that_asks_too_much_is_a_conflict_or_has_a_price(make, cheapest):
    stay = Stay(at(8), at(10), needed_mwh=3.0)
    (finding,) = charger(make, stays=(stay,)).conflicts(1.0)
    assert (finding.component, finding.ids) == ("ev_charger", ("one",))
    assert "below the least allowed" in finding.message
    soft = charger(make, {"unserved_cny_per_mwh": 4000, "efficiency_charge": 1.0}, (stay,))
    assert soft.conflicts(1.0) == []
    assert soft.soft_kind == "energy at departure"
    plan = cheapest(soft, 1.0, np.full(24, 300.0))
    assert plan.p_mw.sum() == pytest.approx(2.0)
    assert plan.cost == pytest.approx(2 * 300 + 1 * 4000)  # the missing MWh is paid once


def test_the_price_of_a_lack_holds_for_any_length_of_step(make, cheapest):
    stay = Stay(at(8), at(10), needed_mwh=3.0)
    parameters = {"unserved_cny_per_mwh": 4000, "efficiency_charge": 1.0}
    plan = cheapest(
        charger(make, parameters, (stay,), steps=48, dt_h=0.25), 0.25, np.full(48, 300.0)
    )
    assert plan.cost == pytest.approx(2 * 300 + 1 * 4000)


V2G = {"v2g": 1, "v2g_soc_min": 0.25, "efficiency_charge": 0.9, "efficiency_discharge": 0.9}


def test_a_car_that_feeds_back_leaves_with_what_it_needs(make, cheapest):
    """It sells at 18:00 and buys at night, but is never below a quarter, and full at 07:00."""
    stay = Stay(at(17), at(31), needed_mwh=0.5 / 0.9, battery_mwh=2.0, arrival_mwh=1.2)
    made = charger(make, V2G, (stay,), steps=36)
    price = np.where((np.arange(36) >= 18) & (np.arange(36) < 21), 1000.0, 200.0)
    plan = cheapest(made, 1.0, price)
    assert plan.p_mw[18:21].sum() == pytest.approx(-1.5 * 0.9)  # filled at 17:00, then to 0.5
    assert plan.content[17:30].min() >= 0.5 - 1e-6
    assert plan.content[17:31].max() <= 2.0 + 1e-6
    assert plan.content[30] == pytest.approx(1.7)  # 1.2 brought, 0.5 needed
    assert plan.content[31:] == pytest.approx(0.0)
    assert plan.content[:17] == pytest.approx(0.0)
    worn = charger(make, {**V2G, "v2g_cny_per_mwh": 900}, (stay,), steps=36)
    assert cheapest(worn, 1.0, price).p_mw.min() >= -1e-9  # not worth it


@settings(max_examples=25)
@given(
    begin=st.floats(-6, 20),
    length=st.floats(0.5, 12),
    brought=st.floats(0, 1),
    needed=st.floats(0, 1.5),
    price=st.lists(st.floats(-300, 1500), min_size=24, max_size=24),
)
def test_no_price_lets_a_car_leave_without_what_it_needs(
    make, cheapest, begin, length, brought, needed, price
):
    battery = max(1.0, brought + needed)
    stay = Stay(at(begin), at(begin + length), needed, battery_mwh=battery, arrival_mwh=brought)
    made = charger(make, {**V2G, "efficiency_charge": 1.0, "p_max_mw": 0.4}, (stay,))
    plan = cheapest(made, 1.0, np.array(price))
    able = needed <= 0.4 * min(length, begin + length) + 1e-6
    assert (plan is not None) or not able
    assert (made.conflicts(1.0) == []) is (plan is not None)
    if plan is not None and 0 < begin + length <= 24:
        leaves = int(np.ceil(begin + length - 1e-9)) - 1
        assert plan.content[leaves] == pytest.approx(brought + needed, abs=1e-5)
        there = plan.content[int(max(begin, 0.0)) : leaves + 1]
        assert there.min() >= min(0.25 * battery, brought) - 1e-5
        assert plan.content.max() <= battery + 1e-5


def test_a_car_whose_battery_nobody_knows_is_only_charged(make):
    stay = Stay(at(17), at(23), needed_mwh=0.5)
    assert not charger(make, V2G, (stay,)).down_mw.any()
    known = Stay(at(17), at(23), needed_mwh=0.5, battery_mwh=2.0, arrival_mwh=1.0)
    assert charger(make, V2G, (known,)).down_mw.sum() == pytest.approx(6.0)
    assert not charger(make, {}, (known,)).down_mw.any()
    assert charger(make, {**V2G, "v2g_max_mw": 0.3}, (known,)).down_mw.max() == 0.3


def test_cars_that_follow_each_other_at_once_keep_their_own(make, cheapest):
    """One leaves at 12:00, the next comes then: what the first took along is gone."""
    stays = (
        Stay(at(8), at(12), needed_mwh=1.0, battery_mwh=2.0, arrival_mwh=1.0),
        Stay(at(12), at(16), needed_mwh=1.0, battery_mwh=2.0, arrival_mwh=0.4),
    )
    parameters = {**V2G, "efficiency_charge": 1.0, "efficiency_discharge": 1.0}
    plan = cheapest(charger(make, parameters, stays), 1.0, np.full(24, 300.0))
    assert plan.content[11] == pytest.approx(2.0)
    assert plan.content[15] == pytest.approx(1.4)
    assert plan.p_mw.sum() == pytest.approx(2.0)


def test_expected_demand_beyond_the_known_stays_remains(make):
    """8 MWh expected till noon, 2 explained by the car: three quarters stay as they are."""
    demand = np.where(np.arange(24) < 16, 1.0, 0.5)
    stay = Stay(at(0), at(8), needed_mwh=2.0, max_p_mw=0.5)
    made = charger(make, {"p_max_mw": 3.0}, (stay,), p_mw=demand)
    assert made.base_mw[:8] == pytest.approx(0.75)
    assert made.base_mw[8:16] == pytest.approx(1.0)  # no usual stay
    assert not made.base_mw[18:].any()  # to be shifted
    assert made.account.inflow_mwh[18:].sum() == pytest.approx(-3.0)
    assert made.account.min_mwh[-1] == pytest.approx(0.0)
    assert made.conflicts(1.0) == []
    nobody = charger(make, NIGHT, (), p_mw=demand)
    assert nobody.base_mw[7:16] == pytest.approx(1.0)


def test_no_stay_and_no_demand_is_no_power(make):
    made = charger(make, stays=())
    assert not made.p_max_mw.any()
    assert made.conflicts(1.0) == []


@pytest.mark.parametrize(
    ("stay", "says"),
    [
        (Stay(at(5), at(5), 1.0), "The stay from 2026-06-20T21:00:00.* at one ends before it"),
        (Stay(at(5), at(4), 1.0), "departure"),
        (Stay(at(5), at(6), -1.0), "at one has the needed_mwh -1"),
        (Stay(at(5), at(6), np.nan), "at one has the needed_mwh nan"),
        (Stay(at(5), at(6), 1.0, max_p_mw=-1.0), "at one has the max_p_mw -1"),
        (Stay(at(5), at(6), 1.0, battery_mwh=1.0, arrival_mwh=2.0), "more than its battery_mwh"),
    ],
)
def test_a_stay_that_makes_no_sense_is_named(make, stay, says):
    with pytest.raises(ConfigurationError, match=says):
        charger(make, stays=(stay,))


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"p_max_mw": None}, "one lacks the number p_max_mw"),
        ({"arrival_hour": 25}, "arrival_hour of one is 25, not 0 at least and 24 at most"),
        ({"fair_share": 2}, "fair_share of one is 2"),
        ({"unserved_cny_per_mwh": -1}, "unserved_cny_per_mwh of one is -1"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        charger(make, parameters, p_mw=1.0)


def test_without_stays_and_demand_it_says_what_it_needs(make):
    with pytest.raises(ConfigurationError, match="one needs p_mw"):
        charger(make)


stays_ = st.builds(
    lambda begin, length, needed, p_max: Stay(at(begin), at(begin + length), needed, 0.0, p_max),
    st.floats(-10, 30),
    st.floats(0.1, 20),
    st.floats(0, 4),
    st.none() | st.floats(0.1, 2),
)


@given(st.lists(stays_, min_size=1, max_size=4), st.floats(0, 1))
def test_charging_every_vehicle_when_it_comes_is_allowed(make, stays, fair_share):
    """Each at its own power from arrival on: the bounds of several at once leave that out never.

    The station is as strong as all of them; what no vehicle can take is a conflict, and said.
    """
    parameters = {"p_max_mw": 8.0, "fair_share": fair_share, "efficiency_charge": 1.0}
    limited = [
        Stay(s.arrival, s.departure, s.needed_mwh, max_p_mw=s.max_p_mw or 2.0)
        for s in stays
        if s.arrival < at(24) and s.departure > START
    ]
    made = charger(make, parameters, tuple(limited))
    total = np.zeros(24)
    for stay in limited:
        begin, end = ((ts - START).total_seconds() / 3600 for ts in (stay.arrival, stay.departure))
        hours = np.clip(np.minimum(end, np.arange(24) + 1) - np.maximum(begin, np.arange(24)), 0, 1)
        got = np.minimum(np.cumsum(hours) * stay.max_p_mw, stay.needed_mwh)
        total += np.diff(got, prepend=0.0)
    impossible = any(s.needed_mwh > s.max_p_mw * _hours_left(s) + 1e-9 for s in limited)
    if impossible:
        assume(len(limited) == 1)  # of several, another's room can hide a lack: the relaxation
        assert made.conflicts(1.0) != []
    else:
        assert allowed(made, total)
        assert made.conflicts(1.0) == []


def _hours_left(stay: Stay) -> float:
    return (stay.departure - max(stay.arrival, START)).total_seconds() / 3600


# Several stays, against a judge that gives each its own energy.


def per_stay_cny(stays, price, p_max_mw: float = 1.0) -> float | None:
    """The least cost of charging each vehicle at its own power; None where it cannot be done."""
    hours = np.arange(24)
    rates = np.array(
        [
            (s.max_p_mw or p_max_mw)
            * np.clip(
                np.minimum(_hour(s.departure), hours + 1) - np.maximum(_hour(s.arrival), hours),
                0,
                1,
            )
            for s in stays
        ]
    )
    each, every = np.kron(np.eye(len(stays)), np.ones(24)), np.tile(np.eye(24), len(stays))
    found = linprog(
        np.tile(price, len(stays)),
        A_eq=each,
        b_eq=[s.needed_mwh for s in stays],
        A_ub=every,
        b_ub=np.full(24, p_max_mw),
        bounds=list(zip(np.zeros(rates.size), rates.ravel(), strict=True)),
    )
    return None if found.x is None else float(found.fun)


def _hour(ts: datetime) -> float:
    return (ts - START).total_seconds() / 3600


prices_ = st.lists(st.floats(-300, 1500), min_size=24, max_size=24)
EXACT = {"efficiency_charge": 1.0}


@settings(max_examples=30)
@given(
    edges=st.lists(st.integers(0, 24), min_size=2, max_size=8, unique=True),
    needed=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    powers=st.lists(st.floats(0.1, 1), min_size=4, max_size=4),
    price=prices_,
)
def test_one_vehicle_after_the_other_is_exact(make, cheapest, edges, needed, powers, price):
    """Any number of stays, back to back or apart: the same optimum as with an account for each."""
    ends = sorted(edges)[: len(edges) // 2 * 2]
    stays = tuple(
        Stay(at(a), at(b), share * power * (b - a), max_p_mw=power)
        for a, b, share, power in zip(ends[::2], ends[1::2], needed, powers, strict=False)
    )
    made = charger(make, EXACT, stays)
    assert made.settings == {}
    plan = cheapest(made, 1.0, np.array(price))
    assert plan.cost == pytest.approx(per_stay_cny(stays, price), abs=1e-3)


@settings(max_examples=30)
@given(
    parts=st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 12), st.floats(0, 1), st.floats(0.1, 0.5)),
        min_size=2,
        max_size=2,
    ),
    price=prices_,
)
def test_several_at_once_are_a_relaxation_and_named(make, cheapest, parts, price):
    """Never dearer than with an account for each, and where they overlap the envelope says so."""
    stays = tuple(
        Stay(at(a), at(min(a + n, 24)), share * power * (min(a + n, 24) - a), max_p_mw=power)
        for a, n, share, power in parts
    )
    made = charger(make, EXACT, stays)
    overlap = min(s.departure for s in stays) > max(s.arrival for s in stays)
    assert made.settings == ({AT_ONCE: 2} if overlap else {})
    plan, judge = cheapest(made, 1.0, np.array(price)), per_stay_cny(stays, price)
    assert judge is not None
    assert plan.cost <= judge + 1e-3


def test_what_the_relaxation_leaves_out(make, cheapest):
    """The car that stays till noon gets its energy at once; it cannot pass it to the one that goes
    at 02:00, which has to charge all the time. The sum does not know whose energy it is."""
    stays = (
        Stay(at(0), at(2), needed_mwh=1.0, max_p_mw=0.5),
        Stay(at(0), at(12), needed_mwh=1.0, max_p_mw=0.5),
    )
    price = np.where(np.arange(24) == 1, 900.0, np.where(np.arange(24) == 0, 100.0, 500.0))
    plan = cheapest(charger(make, EXACT, stays), 1.0, price)
    assert plan.p_mw[:2] == pytest.approx([1.0, 0.0])
    assert per_stay_cny(stays, price) == pytest.approx(0.5 * 900 + 1.0 * 100 + 0.5 * 500)
    assert plan.cost == pytest.approx(1.0 * 100 + 1.0 * 500)


def test_a_vehicle_takes_no_more_in_a_step_than_all_it_needs(make):
    """So a car that is nearly full lends no power to the one beside it."""
    stays = (Stay(at(0), at(4), needed_mwh=0.1), Stay(at(0), at(4), needed_mwh=2.0, max_p_mw=0.5))
    made = charger(make, EXACT, stays)
    assert made.up_mw[:4] == pytest.approx(0.6)
