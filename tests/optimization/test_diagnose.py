"""What must give on impossible days: by hand, and against every subset on random ones."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest

from core.sites import AssetKind
from grid.envelope import Commitment, EnergyAccount, Envelope, Ramp
from optimization.diagnose import IMPORTANCE, can_keep, minimal_set, relaxed
from optimization.limitcodes import Limit
from optimization.planner import plan
from optimization.result import Status


def unit(steps, *, up=2.0, table="sgen", index=1, kind=AssetKind.GENERATOR, **parts):
    full = np.ones(steps)
    return Envelope("unit", kind, table, index, 0 * full, up * full, 0 * full, **parts)


def account(steps, *, low, high, initial=0.0, gain=1.0, inflow=0.0):
    full = np.ones(steps)
    return EnergyAccount(
        initial_mwh=initial, min_mwh=full * low, max_mwh=full * high, gain_up=full * gain,
        gain_down=full, keep=full, inflow_mwh=full * inflow,
    )  # fmt: skip


def test_by_hand_a_car_that_cannot_be_full_leaves_with_what_it_can_get(toy):
    """0.5 MW for 2 h gives 1 MWh of the 1.6 asked for: 0.6 must give, and the plan charges all."""
    day = toy(3)
    low = np.array([0.0, 0.0, 1.6])
    car = unit(
        3, up=0.5, table="load", index=0, kind=AssetKind.EV_CHARGER,
        account=account(3, low=low, high=5.0, initial=-0.5),
    )  # fmt: skip
    found = plan(day.problem([car], price=[100.0, 200.0, 300.0]))
    assert found.status is Status.RELAXED
    (given,) = found.given
    assert (given.limit, given.subject, given.unit) == ("least_energy", "unit", "MWh")
    assert given.amount == pytest.approx(0.6, abs=1e-4)
    assert given.text_en.startswith("The energy at departure of unit must give by 0.6 MWh at 02:00")
    assert "离开时所需电量" in given.text_zh
    np.testing.assert_allclose(found.schedule.p_mw.values[:, 0], 0.5, atol=1e-4)
    assert found.violations[0].ids == ("unit",)
    summary = json.loads(json.dumps(found.summary()))
    assert summary["given"][0]["amount"] == pytest.approx(0.6, abs=1e-4)


def test_by_hand_a_run_that_must_both_go_on_and_end(toy):
    """On for 1 h, at least 3 h; but its tank is full after one: the upper bound gives, not the run.

    Either one limit or the other is enough; energy comes before what protects a machine.
    """
    day = toy(3)
    boiler = unit(
        3, up=1.0, account=account(3, low=0.0, high=0.5, gain=1.0),
        commitment=Commitment(p_on_min_mw=0.5, min_up_h=3.0, on=True, since_h=1.0),
    )  # fmt: skip
    problem = day.problem([boiler], price=100.0)
    assert minimal_set(problem, boiler) == (Limit.MOST_ENERGY,)
    assert can_keep(problem, boiler, [Limit.MIN_UP])
    found = plan(problem)
    assert found.status is Status.RELAXED
    assert found.given[0].amount == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(found.schedule.content_mwh.values[:2, 0], [0.5, 1.0], atol=1e-3)


def test_by_hand_what_stands_in_the_network_is_told_the_same_way(toy):
    day = toy(2)
    found = plan(
        day.problem([day.battery(soc=0.5)], price=[100.0, 500.0], load=4.0, import_limit_mw=2.0)
    )
    assert found.status is Status.OPTIMAL
    (given,) = found.given
    assert (given.limit, given.hard) == ("import_limit", False)
    assert "at 00:00-02:00" in given.text_en
    assert "变电站受电上限" in given.text_zh


def test_a_day_that_can_be_held_gives_nothing(toy):
    day = toy(4)
    problem = day.problem([day.battery(soc=0.5)], price=[100.0, 500.0, 100.0, 500.0], load=2.0)
    same, given = relaxed(problem)
    assert same is problem
    assert given == []
    assert plan(problem).given == []


def _random(rng: np.random.Generator, steps: int) -> Envelope:
    """A switched resource with an account and a ramp, more often impossible than not."""
    level = rng.uniform(0, 3, steps)
    return unit(
        steps,
        up=float(rng.uniform(0.5, 1.5)),
        account=account(
            steps,
            low=level,
            high=level + rng.uniform(0.2, 1.2, steps),
            initial=float(rng.uniform(0, 1)),
            inflow=rng.uniform(-0.6, 0.3, steps),
        ),
        commitment=Commitment(
            p_on_min_mw=float(rng.uniform(0.1, 0.5)),
            min_up_h=float(rng.integers(1, 5)),
            min_down_h=float(rng.integers(1, 5)),
            max_up_h=float(rng.integers(5, 7)),
            starts_max=int(rng.integers(0, 2)),
            on=bool(rng.integers(2)),
            since_h=1.0,
        ),
        ramp=Ramp(float(rng.uniform(0.1, 1)), float(rng.uniform(0.1, 1)), float(rng.uniform(0, 1))),
    )


@pytest.mark.parametrize("seed", range(8))
def test_no_smaller_set_would_do(toy, seed):
    """Every subset of all that may give, tried one after the other."""
    rng = np.random.default_rng(seed)
    day = toy(6)
    envelope = _random(rng, 6)
    problem = day.problem([envelope], price=100.0)
    found = minimal_set(problem, envelope)
    assert can_keep(problem, envelope, found)
    if not found:
        return
    for size in range(len(found)):
        for smaller in combinations(IMPORTANCE, size):
            assert not can_keep(problem, envelope, smaller), smaller
    rank = sum(IMPORTANCE.index(limit) for limit in found)
    for other in combinations(IMPORTANCE, len(found)):
        if sum(IMPORTANCE.index(limit) for limit in other) < rank:
            assert not can_keep(problem, envelope, other), other


@pytest.mark.parametrize("seed", range(4))
def test_the_relaxed_day_has_a_plan(toy, seed):
    rng = np.random.default_rng(seed)
    day = toy(6)
    problem = day.problem([_random(rng, 6), day.battery(soc=0.3)], price=rng.uniform(100, 900, 6))
    found = plan(problem)
    assert found.status in (Status.RELAXED, Status.OPTIMAL)
    assert (found.status is Status.RELAXED) == any(g.hard for g in found.given)
    assert {g.limit for g in found.given if g.hard} == {
        limit.label for limit in minimal_set(problem, problem.envelopes[0])
    }
