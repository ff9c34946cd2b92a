"""Electric boilers: the demand is met, the tank neither dry nor over its brim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.sites import AssetKind

BOILER = {"p_max_mw": 2.0, "tank_mwh": 6.0, "efficiency": 1.0}
PRICE = np.where(np.arange(24) < 7, 200.0, 800.0)


def boiler(make, parameters=None, heat_mw=0.5, soc=0.5, **given_):
    merged = {**BOILER, **(parameters or {})}
    return make(AssetKind.ELECTRIC_BOILER, merged, heat_mw=heat_mw, states={"soc": soc}, **given_)


def test_the_tank_is_filled_at_night_and_serves_the_day(make, cheapest):
    made = boiler(make)
    plan = cheapest(made, 1.0, PRICE)
    assert plan.content.max() == pytest.approx(6.0)
    assert plan.content.min() >= -1e-6
    assert plan.p_mw.sum() == pytest.approx(12.0)  # the demand, and as full as it began
    assert plan.content[-1] == pytest.approx(3.0)
    assert plan.p_mw[:7].sum() == pytest.approx(6.5)


def test_what_is_stored_is_lost_by_and_by(make, cheapest):
    made = boiler(make, {"tank_loss_percent_per_day": 10.0, "soc_end": 0.5})
    plan = cheapest(made, 1.0, np.full(24, 300.0))
    assert np.prod(made.account.keep) == pytest.approx(0.9)
    assert plan.p_mw.sum() > 12.0
    # Heat in = heat out + losses, which are what the tank held times the rate.
    before = np.concatenate([[3.0], plan.content[:-1]])
    lost = (before * (1 - made.account.keep)).sum()
    assert plan.p_mw.sum() == pytest.approx(12.0 + lost)


def test_efficiency_and_minimum_load(make, cheapest):
    made = boiler(make, {"efficiency": 0.8, "p_min_mw": 1.5, "min_up_h": 2})
    plan = cheapest(made, 1.0, PRICE)
    on = plan.p_mw > 1e-6
    assert plan.p_mw[on].min() >= 1.5 - 1e-6
    assert plan.p_mw.sum() == pytest.approx(12.0 / 0.8)


def test_a_demand_beyond_its_power_is_a_conflict_unless_another_boiler_helps(make, cheapest):
    (finding,) = boiler(make, heat_mw=3.0).conflicts(1.0)
    assert finding.component == "electric_boiler"
    assert "below the least allowed" in finding.message
    helped = boiler(make, {"backup_boiler": 1}, heat_mw=3.0)
    assert helped.conflicts(1.0) == []
    assert cheapest(helped, 1.0, PRICE).p_mw == pytest.approx(2.0)


def test_without_a_tank_heat_from_elsewhere_has_a_price(make, cheapest):
    made = boiler(make, {"tank_mwh": 0, "backup_heat_cny_per_mwh": 400.0})
    assert made.soft_kind == "heat from elsewhere"
    plan = cheapest(made, 1.0, PRICE)
    assert plan.p_mw == pytest.approx(np.where(PRICE < 400, 0.5, 0.0))
    assert plan.cost == pytest.approx(7 * 0.5 * 200 + 17 * 0.5 * 400)
    quarter = boiler(make, {"tank_mwh": 0, "backup_heat_cny_per_mwh": 400.0}, dt_h=0.25, steps=24)
    assert cheapest(quarter, 0.25, PRICE).cost == pytest.approx(plan.cost / 4)


def test_the_heat_left_at_the_end_has_a_worth(make, cheapest):
    dear = cheapest(boiler(make, {"end_cny_per_mwh": 900.0}), 1.0, PRICE)
    cheap = cheapest(boiler(make, {"end_cny_per_mwh": 100.0}), 1.0, PRICE)
    assert dear.content[-1] == pytest.approx(6.0)
    assert cheap.content[-1] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"p_max_mw": 0}, "p_max_mw of one is 0, not above 0"),
        ({"tank_mwh": -1}, "tank_mwh of one is -1"),
        ({"tank_min_mwh": 7}, "tank_min_mwh of one is 7, above tank_mwh, which is 6"),
        ({"tank_loss_percent_per_day": 101}, "tank_loss_percent_per_day of one is 101"),
        ({"backup_heat_cny_per_mwh": 1}, "one has tank_mwh and backup_heat_cny_per_mwh"),
        ({"max_up_h": 1, "min_up_h": 2}, "max_up_h of one lies below its min_up_h"),
    ],
)
def test_what_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        boiler(make, parameters)


@given(
    heat=st.lists(st.floats(0, 3), min_size=24, max_size=24),
    soc=st.floats(0, 1),
    least=st.floats(0, 6),
    loss=st.floats(0, 50),
)
def test_a_boiler_that_keeps_its_tank_full_can_follow_or_it_is_said(make, heat, soc, least, loss):
    """Nobody can do more for the demand than to heat whenever there is room."""
    parameters = {"tank_min_mwh": least, "tank_loss_percent_per_day": loss}
    made = boiler(make, parameters, np.array(heat), soc)
    account, content, able = made.account, made.account.initial_mwh, True
    for t in range(24):
        content = account.keep[t] * content + account.inflow_mwh[t]
        content = max(content, min(content + 2.0, account.max_mwh[t]))
        able = able and bool(content >= account.min_mwh[t] - 1e-9)
        assert content <= account.max_mwh[t] + 1e-9
    assert (made.conflicts(1.0) == []) is able
