"""Loads that can be moved: by their hours, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.sites import AssetKind


def flexible(make, shift_hours, demand, **states):
    parameters = {"p_max_mw": 1.0, "shift_hours": shift_hours}
    return make(AssetKind.FLEXIBLE_LOAD, parameters, p_mw=demand, states=states)


def ahead(made, p_mw) -> np.ndarray:
    """What has been drawn ahead of the demand at the end of each hour, MWh."""
    return made.account.initial_mwh + np.cumsum(p_mw - made.base_mw)


def allowed(made, p_mw) -> bool:
    held = ahead(made, p_mw)
    return bool(
        np.all((p_mw >= made.p_min_mw - 1e-12) & (p_mw <= made.p_max_mw + 1e-12))
        and np.all(held >= made.account.min_mwh - 1e-9)
        and np.all(held <= made.account.max_mwh + 1e-9)
    )


DEMAND = st.lists(st.floats(0, 1.5), min_size=24, max_size=24)


@given(DEMAND, st.floats(0, 48))
def test_the_demand_itself_is_always_allowed(make, demand, shift_hours):
    made = flexible(make, shift_hours, demand)
    assert allowed(made, np.array(demand))
    assert made.conflicts(1.0) == []


@given(DEMAND, st.floats(0, 48), st.floats(-50, 50))
def test_whatever_was_moved_before_there_is_a_way_on(make, demand, shift_hours, moved):
    made = flexible(make, shift_hours, demand, e_ahead_mwh=moved)
    assert made.conflicts(1.0) == []
    assert abs(made.account.initial_mwh) <= abs(moved)


def test_it_moves_by_its_hours_and_no_more(make):
    demand = np.where(np.arange(24) == 12, 1.0, 0.0)
    made = flexible(make, 2, demand)
    assert [k for k in range(-6, 7) if allowed(made, np.roll(demand, k))] == [-2, -1, 0, 1, 2]


def test_it_goes_where_power_is_cheap(make, cheapest):
    demand = np.where(np.arange(24) == 12, 1.0, 0.0)
    price = np.where(np.arange(24) == 14, 100.0, np.where(np.arange(24) == 15, 50.0, 500.0))
    assert np.flatnonzero(cheapest(flexible(make, 2, demand), 1.0, price).p_mw > 1e-6) == [14]


def test_what_was_put_off_falls_due_within_its_hours_and_what_came_early_counts(make):
    """By hand: 0.4 MWh, the demand of two hours, moved before; then 0.2 MW of demand."""
    late = flexible(make, 2, 0.2, e_ahead_mwh=-0.4)
    np.testing.assert_allclose(late.account.min_mwh[:3], [-0.2 - 0.2, -0.4, -0.4])
    never = np.zeros(24)
    assert ahead(late, never)[0] < late.account.min_mwh[0]  # no more can be put off
    early = flexible(make, 2, 0.2, e_ahead_mwh=0.4)
    p_mw = np.where(np.arange(24) < 2, 0.0, 0.2)
    assert allowed(early, p_mw)
    assert not allowed(flexible(make, 2, 0.2), p_mw)


def test_plans_that_follow_each_other_put_nothing_off_for_ever(make, cheapest):
    """Prices that fall without end tempt every plan to wait; each remembers what waits already."""
    demand, shift = 0.2, 2
    moved, drawn = 0.0, []
    for hour in range(12):
        made = flexible(make, shift, demand, e_ahead_mwh=moved)
        found = cheapest(made, 1.0, 900.0 - 10.0 * (hour + np.arange(24)))
        moved = float(ahead(made, found.p_mw)[0])
        drawn.append(found.p_mw[0])
    due = np.maximum(np.arange(1, 13) - shift, 0) * demand
    assert np.all(np.cumsum(drawn) >= due - 1e-9)


def test_hours_that_make_no_sense_are_named(make):
    with pytest.raises(ConfigurationError, match="shift_hours of one is -1, not 0 at least"):
        flexible(make, -1, 1.0)
