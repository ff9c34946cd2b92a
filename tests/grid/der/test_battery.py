"""Batteries: limits, losses, wear by depth, and what they are to hold at the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.sites import AssetKind
from grid.der.battery import wear

BATTERY = {"p_max_mw": 2.0, "e_max_mwh": 4.0, "soc_min": 0.1, "soc_max": 0.9}
PRICE = np.where((np.arange(24) >= 17) & (np.arange(24) < 22), 860.0, 220.0)


def battery(make, parameters=None, soc=0.5, **given_):
    return make(AssetKind.BATTERY, {**BATTERY, **(parameters or {})}, states={"soc": soc}, **given_)


def test_it_ends_at_least_as_full_as_it_began(make):
    account = battery(make, soc=0.6).account
    assert account.initial_mwh == pytest.approx(2.4)
    assert account.min_mwh[-1] == pytest.approx(2.4)
    assert account.min_mwh[0] == pytest.approx(0.4)
    assert account.max_mwh.max() == pytest.approx(3.6)
    assert battery(make, soc=0.6).conflicts(1.0) == []


def test_charging_and_discharging_have_limits_of_their_own(make, cheapest):
    made = battery(make, {"charge_max_mw": 0.5, "discharge_max_mw": 1.5})
    plan = cheapest(made, 1.0, PRICE)
    assert plan.p_mw.max() == pytest.approx(0.5)
    assert plan.p_mw.min() == pytest.approx(-1.5)
    assert np.all(plan.content <= made.account.max_mwh + 1e-6)
    assert plan.content[-1] == pytest.approx(2.0)


def test_it_pays_for_its_losses_and_wear(make, cheapest):
    """It earns only where the dear hour pays for both efficiencies and the wear."""
    lossy = {"efficiency_charge": 0.9, "efficiency_discharge": 0.9}
    spread = np.where(PRICE > 500, 100 / 0.81 + 60, 100.0)
    idle = cheapest(battery(make, {**lossy, "cycle_cost_cny_per_mwh": 61}), 1.0, spread)
    busy = cheapest(battery(make, {**lossy, "cycle_cost_cny_per_mwh": 59}), 1.0, spread)
    assert np.abs(idle.p_mw).max() < 1e-9
    assert busy.p_mw.min() < -0.5
    assert busy.cost < -1e-3


def test_self_discharge_is_a_share_of_the_content(make):
    by_day = battery(make, {"self_discharge_percent_per_day": 3.0}, steps=96, dt_h=0.25)
    assert np.prod(by_day.account.keep) == pytest.approx(0.97)
    by_month = battery(make, {"self_discharge_percent_per_month": 3.0})
    assert np.prod(by_month.account.keep) ** (365.25 / 12) == pytest.approx(0.97)
    # Left alone it has done nothing wrong.
    assert by_day.account.min_mwh[-1] == pytest.approx(0.97 * 2.0)
    low = battery(make, {"self_discharge_percent_per_day": 3.0}, soc=0.1).account
    alone = low.initial_mwh * np.cumprod(low.keep)
    assert np.all(low.min_mwh <= alone + 1e-12)


def test_the_end_has_a_state_or_a_worth(make, cheapest):
    full = cheapest(battery(make, {"soc_end": 0.8}), 1.0, PRICE)
    assert full.content[-1] == pytest.approx(3.2)
    assert battery(make, {"soc_end": 0.05}).account.min_mwh[-1] == pytest.approx(0.4)
    kept = battery(make, {"end_cny_per_mwh": 900.0})
    sold = battery(make, {"end_cny_per_mwh": 100.0})
    assert kept.account.min_mwh[-1] == pytest.approx(0.4)
    evening = np.linspace(400, 500, 24)
    assert cheapest(kept, 1.0, evening).content[-1] == pytest.approx(3.6)
    assert cheapest(sold, 1.0, evening).content[-1] == pytest.approx(0.4)


@pytest.mark.parametrize("soc", [0.0, 1.0])
def test_a_state_outside_its_limits_is_left_as_fast_as_power_allows(make, cheapest, soc):
    """A measured state is a fact: it must not make the whole city's day infeasible."""
    made = battery(make, {"p_max_mw": 0.1, "end_cny_per_mwh": 0}, soc)
    assert made.conflicts(1.0) == []
    plan = cheapest(made, 1.0, PRICE)
    outside = np.abs(plan.content - np.clip(plan.content, 0.4, 3.6)) > 1e-6
    assert outside.sum() == 4 if soc == 0.0 else 3  # 0.4 MWh at 0.095 in, 0.105 out
    assert np.abs(plan.p_mw[outside]) == pytest.approx(0.1)
    assert not outside[len(np.flatnonzero(outside)) :].any()


def test_an_end_that_power_cannot_reach_is_a_conflict(make):
    (finding,) = battery(make, {"p_max_mw": 0.01, "soc_end": 0.9}).conflicts(1.0)
    assert (finding.component, finding.ids) == ("battery", ("one",))
    assert "below the least allowed" in finding.message


def test_wear_by_depth_in_bands(make):
    bands = [[0.2, 20], [0.3, 40], [0.5, 90]]
    depth = battery(make, {"cycle_cost_by_depth": bands}).account.depth
    assert [[b.share, b.cny_per_mwh] for b in depth] == bands


LIFE = [(0.1, 30_000), (0.5, 5_000), (0.8, 2_500), (1.0, 1_500)]


@pytest.mark.parametrize(("depth", "cycles"), LIFE)
@pytest.mark.parametrize("efficiency", [1.0, 0.9])
def test_a_cycle_costs_its_share_of_new_cells(depth, cycles, efficiency):
    """1 MWh at 800,000 CNY: cycles of a depth until it is worn out cost 800,000 CNY together."""
    cost, left = 0.0, depth
    for band in wear(LIFE, 800_000, efficiency):
        discharged = efficiency * min(band.share, left)  # at the terminals
        cost += discharged * band.cny_per_mwh
        left -= min(band.share, left)
    assert cycles * cost == pytest.approx(800_000)


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6, unique_by=lambda d: round(d, 3)))
def test_a_power_law_of_life_gives_bands_an_envelope_takes(make, depths):
    """N = 2000 d^-1.5, a common form: the deeper, the dearer, and the shares make up 1."""
    life = [[d, 2000 * d**-1.5] for d in depths]
    made = battery(make, {"cycle_life": life, "replacement_cny_per_mwh": 8e5})
    assert len(made.account.depth) == len(depths)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"e_max_mwh": 0}, "e_max_mwh of one is 0, not above 0"),
        ({"p_max_mw": -1}, "p_max_mw of one is -1, not 0 at least"),
        ({"p_max_mw": None}, "one lacks the number charge_max_mw"),
        ({"efficiency_charge": 1.2}, "efficiency_charge of one is 1.2"),
        ({"efficiency_discharge": 0}, "efficiency_discharge of one is 0"),
        ({"soc_min": 0.95}, "soc_min of one is 0.95, above soc_max, which is 0.9"),
        ({"soc_end": 0.95}, "soc_end of one is 0.95, above soc_max"),
        (
            {"self_discharge_percent_per_day": 1, "self_discharge_percent_per_month": 1},
            "self-discharge of one is given by day and by month",
        ),
        ({"cycle_cost_by_depth": [[0.2, 20]]}, "cycle_cost_by_depth of one make 0.2, not 1"),
        ({"cycle_cost_by_depth": [[0.5, 20], [0.5, 10]]}, "wear of one must not fall"),
        ({"cycle_cost_by_depth": [[1.0]]}, "cycle_cost_by_depth of one is no list of pairs"),
        ({"cycle_cost_by_depth": [["a", 1]]}, "cycle_cost_by_depth of one is no list of pairs"),
        ({"cycle_life": LIFE}, "cycle_life of one needs the number replacement_cny_per_mwh"),
        (
            {"cycle_life": [[0.5, 100], [1.0, 400]], "replacement_cny_per_mwh": 1},
            "cycle_life of one: .*deeper discharge would wear less",
        ),
        (
            {"cycle_life": [[1.5, 100]], "replacement_cny_per_mwh": 1},
            "cycle_life of one: The depths",
        ),
        ({"cycle_life": LIFE, "cycle_cost_by_depth": [[1.0, 5]]}, "by cycle_cost_by_depth and by"),
        ({"sn_mva": 1.0}, "sn_mva of one is 1, below its active power of 2 MW"),
    ],
)
def test_what_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        battery(make, parameters)


@pytest.mark.parametrize("soc", [-0.1, 1.5, np.nan])
def test_a_state_that_cannot_be_is_named(make, soc):
    with pytest.raises(ConfigurationError, match="state soc of one is"):
        battery(make, soc=soc)


@given(
    low=st.floats(0, 0.5),
    width=st.floats(0, 0.5),
    where=st.floats(0, 1),
    loss=st.floats(0, 100),
    power=st.floats(0, 5),
)
def test_a_battery_left_alone_is_always_allowed(make, low, width, where, loss, power):
    parameters = {
        "soc_min": low,
        "soc_max": low + width,
        "p_max_mw": power,
        "self_discharge_percent_per_day": loss,
    }
    made = battery(make, parameters, soc=min(low + where * width, low + width))
    account = made.account
    content = account.initial_mwh * np.cumprod(account.keep)
    assert np.all(content >= account.min_mwh - 1e-9)
    assert np.all(content <= account.max_mwh + 1e-9)
    assert made.conflicts(1.0) == []
