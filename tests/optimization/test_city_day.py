"""The main job at its real size: 242 resources, 96 steps, 122 buses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from optimization.explain import Read, explained
from optimization.planner import plan
from optimization.result import Status


@pytest.fixture(scope="module")
def day(city_day):
    problem = city_day()
    return problem, plan(problem)


def test_the_plan_is_optimal_and_clean(day):
    problem, found = day
    assert len(problem.envelopes) > 200
    assert found.status is Status.OPTIMAL
    assert found.violations == []
    assert found.planned.violations == 0
    assert found.planned.total_cny < found.baseline.total_cny - 500.0
    assert found.planned.stored_change_mwh > -1e-4


def test_every_account_adds_up(day):
    problem, found = day
    schedule = found.schedule
    for a, envelope in enumerate(problem.envelopes):
        p = schedule.p_mw.values[:, a]
        assert np.all((p >= envelope.p_min_mw - 1e-6) & (p <= envelope.p_max_mw + 1e-6))
        if envelope.account is None:
            continue
        account = envelope.account
        gain = np.maximum(p - envelope.base_mw, 0) * account.gain_up
        gain -= np.maximum(envelope.base_mw - p, 0) * account.gain_down
        assert np.all(account.keep > 0)
        kept = np.cumprod(account.keep)
        came = (gain * problem.dt_h + account.inflow_mwh) / kept
        content = kept * (account.initial_mwh + np.cumsum(came))
        assert np.all((content >= account.min_mwh - 1e-5) & (content <= account.max_mwh + 1e-5))
    soc = schedule.soc.values
    held = np.array(
        [e.account is not None and e.account.capacity_mwh > 0 for e in problem.envelopes]
    )
    assert np.isnan(soc[:, ~held]).all()
    assert np.all((soc[:, held] >= 0.05 - 1e-6) & (soc[:, held] <= 0.95 + 1e-6))
    assert np.all(soc[-1, held] >= 0.5 - 1e-6)


def test_the_prices_are_those_of_the_tariff_when_nothing_binds(day):
    problem, found = day
    price = found.schedule.price_cny_per_mwh.values
    exporting = found.schedule.export_mw.values > 0.5
    assert exporting.sum() > 20
    np.testing.assert_allclose(price[exporting], 300.0, rtol=0.02)
    assert np.all(price <= problem.import_total_cny_per_mwh + 1.0)


def test_the_reasons_are_few_and_in_two_languages(day):
    _, found = day
    assert 4 <= len(found.reasons) <= 20
    assert any("its stored value of" in r.text_en for r in found.reasons)
    assert all(any("一" <= c <= "鿿" for c in r.text_zh) for r in found.reasons)
    assert all(r.ts.tzinfo is not None for r in found.reasons)


def test_every_sentence_of_the_day_is_true(day):
    """23,232 of them, by the claims each is built on; those by price alone once more by hand."""
    problem, found = day
    read, ds = Read.of(found.grounds), found.grounds
    told = [explained(read, e.asset, t) for e in problem.envelopes for t in range(problem.steps)]
    assert all(claim.holds for _, claims in told for claim in claims)
    assert all(reason.text_en and reason.text_zh for reason, _ in told)
    for a, envelope in enumerate(problem.envelopes):
        if envelope.account is None or envelope.account.capacity_mwh == 0:
            continue
        charging = ds.raised_mw.values[:, a] > 1e-6
        local = found.schedule.local_cny_per_mwh.values[:, a]
        worth = ds.stored_cny_per_mwh.values[:, a] * envelope.account.gain_up
        assert np.all(local[charging] <= worth[charging] + 0.02)
        discharging = ds.lowered_mw.values[:, a] > 1e-6
        cost = ds.stored_cny_per_mwh.values[:, a] * envelope.account.gain_down + 60.0
        assert np.all(local[discharging] >= cost[discharging] - 0.02)


def test_the_summary_is_json(day):
    _, found = day
    summary = json.loads(json.dumps(found.summary()))
    assert summary["status"] == "optimal"
    saved = summary["baseline"]["cost_cny"] - summary["planned"]["cost_cny"]
    assert summary["savings"]["cost_cny"] == pytest.approx(saved)


@pytest.mark.slow
def test_a_stressed_day_is_clean_too(city_day):
    """Sun and wind a third stronger, lines held to 60 %, export to 18 MW: limits bind at once."""
    problem = city_day(scale=1.33, max_loading_percent=60.0, export_limit_mw=18.0)
    told: list[str] = []
    found = plan(problem, progress=told.append)
    assert found.baseline.violations > 50
    assert int(told[1].split(" to solve, ")[1].split()[0]) > 50  # broken by the first solve
    assert found.status is Status.OPTIMAL
    assert found.violations == []
    assert found.planned.curtailed_mwh > 1.0
    assert found.planned.max_line_loading_percent <= 60.1


@pytest.mark.slow
def test_the_rest_of_the_day_can_be_planned_again(city_day):
    found = plan(city_day(first=61))
    assert found.status is Status.OPTIMAL
    assert found.violations == []
    assert found.schedule.sizes["time"] == 35
