"""Loads that can be moved: by their hours, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.sites import AssetKind


def flexible(make, shift_hours, demand):
    parameters = {"p_max_mw": 1.0, "shift_hours": shift_hours}
    return make(AssetKind.FLEXIBLE_LOAD, parameters, p_mw=demand)


def allowed(made, p_mw) -> bool:
    drawn = np.cumsum(p_mw)
    return bool(
        np.all((p_mw >= made.p_min_mw - 1e-12) & (p_mw <= made.p_max_mw + 1e-12))
        and np.all(drawn >= made.account.min_mwh - 1e-9)
        and np.all(drawn <= made.account.max_mwh + 1e-9)
    )


@given(st.lists(st.floats(0, 1.5), min_size=24, max_size=24), st.floats(0, 48))
def test_the_demand_itself_is_always_allowed(make, demand, shift_hours):
    made = flexible(make, shift_hours, demand)
    assert allowed(made, np.array(demand))
    assert made.conflicts(1.0) == []


def test_it_moves_by_its_hours_and_no_more(make):
    demand = np.where(np.arange(24) == 12, 1.0, 0.0)
    made = flexible(make, 2, demand)
    assert [k for k in range(-6, 7) if allowed(made, np.roll(demand, k))] == [-2, -1, 0, 1, 2]


def test_it_goes_where_power_is_cheap(make, cheapest):
    demand = np.where(np.arange(24) == 12, 1.0, 0.0)
    price = np.where(np.arange(24) == 14, 100.0, np.where(np.arange(24) == 15, 50.0, 500.0))
    assert np.flatnonzero(cheapest(flexible(make, 2, demand), 1.0, price).p_mw > 1e-6) == [14]


def test_hours_that_make_no_sense_are_named(make):
    with pytest.raises(ConfigurationError, match="shift_hours of one is -1, not 0 at least"):
        flexible(make, -1, 1.0)
