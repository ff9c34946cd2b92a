"""Loads that can be cut: how much, when, how long, and what is made up for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.sites import AssetKind

DEAR = np.where((np.arange(24) >= 16) & (np.arange(24) < 21), 900.0, 300.0)


def load(make, parameters, demand=1.0, **given_):
    return make(AssetKind.INTERRUPTIBLE_LOAD, parameters, p_mw=demand, **given_)


def test_it_is_cut_where_power_costs_more_than_the_load_is_worth(make, cheapest):
    made = load(make, {"interruption_cny_per_mwh": 500, "share": 0.4})
    plan = cheapest(made, 1.0, DEAR)
    assert plan.p_mw == pytest.approx(np.where(DEAR > 500, 0.6, 1.0))
    assert not cheapest(load(make, {"interruption_cny_per_mwh": 901}), 1.0, DEAR).lowered.any()


def test_what_a_cut_is_worth_has_to_be_said(make):
    with pytest.raises(ConfigurationError, match="one lacks the number interruption_cny_per_mwh"):
        load(make, {})


def test_hours_of_a_day_are_counted_by_day(make, cheapest):
    """3 hours a day from 08:00 to 20:00, one of them used: 2 today, 3 tomorrow."""
    parameters = {
        "interruption_cny_per_mwh": 0,
        "from_hour": 8,
        "to_hour": 20,
        "hours_per_day": 3,
        "share": 0.5,
    }
    demand = np.where(np.arange(60) % 2, 1.0, 0.4)
    made = load(make, parameters, demand, steps=60, states={"activated_h": 1.0})
    plan = cheapest(made, 1.0, np.full(60, 300.0))
    full = np.divide(plan.lowered, made.down_mw, out=np.zeros(60), where=made.down_mw > 0)
    assert full[:8].sum() == 0.0
    assert full[8:20].sum() == pytest.approx(3.0)  # a new day began at 08:00
    assert full[32:44].sum() == pytest.approx(3.0)
    assert full.sum() == pytest.approx(6.0 + full[56:].sum())
    late = load(make, parameters, 1.0, steps=4, states={"activated_h": 1.0})
    assert late.account.initial_mwh == 0.0  # nothing can be cut at night anyway


def test_the_hours_already_used_are_gone(make, cheapest):
    parameters = {"interruption_cny_per_mwh": 0, "hours_per_day": 3}
    one = np.datetime64("2026-06-20T17:00", "ns")  # 01:00, an hour into the day
    made = load(make, parameters, states={"activated_h": 2.0}, start=one, steps=23)
    assert cheapest(made, 1.0, np.full(23, 300.0)).lowered.sum() == pytest.approx(1.0)


def test_cuts_have_a_length_a_rest_and_a_number(make, cheapest):
    parameters = {
        "interruption_cny_per_mwh": 0,
        "interruption_min_h": 2,
        "interruption_max_h": 3,
        "rest_h": 4,
        "interruptions_per_day": 2,
        "interruption_min_mw": 0.6,
    }
    made = load(make, parameters)
    assert made.commitment.lowers
    assert made.commitment.starts_max == 2
    off = (cheapest(made, 1.0, DEAR).lowered > 0.5).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], off, [0]])))
    lengths, rests = edges[1::2] - edges[::2], edges[2::2] - edges[1:-1:2]
    assert len(lengths) == 2
    assert set(lengths) <= {2, 3}
    assert (rests >= 4).all()
    assert off.sum() == 6


def test_a_cut_that_goes_on_is_counted_from_its_beginning(make, cheapest):
    """The plan is told since when; of a rest of 22 hours, 20 that have passed leave two."""
    parameters = {"interruption_cny_per_mwh": 0, "interruption_max_h": 3, "rest_h": 22}
    made = load(make, parameters, states={"cut_h": 2.0})
    assert (made.commitment.on, made.commitment.since_h) == (True, 2.0)
    rested = load(make, parameters, states={"time_in_state_h": 20.0})
    assert (rested.commitment.on, rested.commitment.since_h) == (False, 20.0)
    assert not cheapest(rested, 1.0, DEAR).lowered[:2].any()


PAYBACK = {
    "share": 0.5,
    "payback_hours": 4,
    "payback_factor": 1.2,
    "p_max_mw": 1.5,
    "from_hour": 16,
    "to_hour": 20,
}


def test_what_is_cut_is_made_up_for_within_its_hours(make, cheapest):
    made = load(make, PAYBACK)
    price = np.where((np.arange(24) >= 16) & (np.arange(24) < 18), 900.0, 300.0)
    plan = cheapest(made, 1.0, price)
    assert plan.lowered[16:18].sum() == pytest.approx(1.0 / 1.2)  # 1 MWh fits in two hours
    assert plan.raised[18:20].sum() == pytest.approx(1.2 * plan.lowered[16:18].sum())
    assert not plan.lowered[:16].any()
    assert not plan.lowered[20:].any()
    assert plan.content[-1] == pytest.approx(0.0)


@settings(max_examples=15)
@given(
    price=st.lists(st.floats(-200, 1500), min_size=24, max_size=24),
    hours=st.sampled_from([2, 3, 5, 8, 24]),
    factor=st.sampled_from([0.8, 1.0, 1.3]),
)
def test_no_price_lets_a_debt_grow_old(make, cheapest, price, hours, factor):
    """First cut, first made up for: whatever is cut is drawn again within payback_hours."""
    parameters = {**PAYBACK, "payback_hours": hours, "payback_factor": factor, "to_hour": 16}
    plan = cheapest(load(make, parameters), 1.0, np.array(price))
    owed, drawn = factor * np.cumsum(plan.lowered), np.cumsum(plan.raised)
    before = np.concatenate([np.zeros(hours), owed])[:24]
    assert np.all(drawn >= before - 1e-6)
    assert np.all(drawn <= owed + 1e-6)  # nothing in advance
    assert drawn[-1] == pytest.approx(owed[-1], abs=1e-6)


def test_a_debt_from_before_is_paid_in_its_period_or_said_to_be_too_much(make, cheapest):
    always = {**PAYBACK, "from_hour": 0, "to_hour": 0}
    made = load(make, always, states={"e_owed_mwh": 1.0})
    plan = cheapest(made, 1.0, np.full(24, 300.0))
    assert plan.raised[:4].sum() == pytest.approx(1.0 + 1.2 * plan.lowered[:4].sum())
    outside = load(make, PAYBACK, states={"e_owed_mwh": 1.0})
    assert cheapest(outside, 1.0, np.full(24, 300.0)).raised[:16].sum() == pytest.approx(1.0)
    (finding,) = load(make, always, states={"e_owed_mwh": 9.0}).conflicts(1.0)
    assert "below the least allowed" in finding.message


@given(
    st.lists(st.floats(0, 2), min_size=24, max_size=24),
    st.floats(0.5, 24),
    st.floats(0, 2),
    st.floats(0, 24),
    st.floats(0, 24),
)
def test_a_load_that_is_not_touched_is_always_allowed(make, demand, hours, factor, start, end):
    parameters = {
        **PAYBACK,
        "payback_hours": hours,
        "payback_factor": factor,
        "from_hour": start,
        "to_hour": end,
    }
    made = load(make, parameters, demand)
    assert np.all(made.account.min_mwh <= 0.0)
    assert np.all(made.account.max_mwh >= 0.0)
    assert made.conflicts(1.0) == []


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"share": 1.5}, "share of one is 1.5"),
        ({"p_max_mw": None}, "one lacks the number p_max_mw"),
        ({"payback_hours": 0}, "payback_hours of one is 0, not above 0"),
        ({"hours_per_day": 2}, "one has hours_per_day and payback_hours"),
        (
            {"interruption_min_h": 3, "interruption_max_h": 2},
            "interruption_max_h of one lies below its interruption_min_h",
        ),
    ],
)
def test_what_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        load(make, {**PAYBACK, **parameters})
